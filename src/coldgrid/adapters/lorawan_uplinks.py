"""Uplinks of LoRaWAN devices as their network servers hand them on: JSON read into one form. Pure and total.

The forms are those of The Things Stack v3 (`end_device_ids`, `uplink_message`) and ChirpStack v4
(`deviceInfo`), the same over MQTT and HTTP. Fields that are 0, false or empty are left out by both.

Sources: https://www.thethingsindustries.com/docs/integrations/data-formats/ and
https://www.chirpstack.io/docs/chirpstack/integrations/events.html.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from coldgrid.adapters.driving import PAYLOAD_BYTES_MAX

_EUI = re.compile(r"[0-9A-Fa-f]{16}", re.ASCII)

At = Annotated[datetime, msgspec.Meta(tz=True)] | None


class Malformed(ValueError):
    """This is no uplink that can be read; the text says why."""


class Uplink(msgspec.Struct, frozen=True, kw_only=True):
    """An uplink or a status, whichever network server handed it on."""

    device: str
    kind: str
    dedup_id: str
    session: str = ""
    f_cnt: int = 0
    f_port: int = 0
    data: bytes = b""
    decoded: dict[str, Any] | None = None
    normalized: dict[str, Any] = {}
    network_at: datetime | None = None
    gateway_at: datetime | None = None
    signal_dbm: float | None = None
    battery_pct: float | None = None


# --- The Things Stack v3 --------------------------------------------------------


class _StackIds(msgspec.Struct):
    dev_eui: str = ""


class _StackRx(msgspec.Struct):
    rssi: float | None = None
    snr: float = 0.0
    time: At = None


class _StackBattery(msgspec.Struct):
    value: float = 0.0


class _StackMessage(msgspec.Struct):
    session_key_id: str = ""
    f_cnt: int = 0
    f_port: int = 0
    frm_payload: str = ""
    decoded_payload: dict[str, Any] | None = None
    normalized_payload: list[dict[str, Any]] = []
    rx_metadata: list[_StackRx] = []
    received_at: At = None
    last_battery_percentage: _StackBattery | None = None


class _StackUp(msgspec.Struct):
    end_device_ids: _StackIds
    uplink_message: _StackMessage | None = None
    join_accept: dict[str, Any] | None = None
    received_at: At = None
    simulated: bool = False


def _of_stack(up: _StackUp) -> Uplink:
    message = up.uplink_message
    device = _device(up.end_device_ids.dev_eui)
    if message is None:
        kind = "join" if up.join_accept is not None else "other"
        return Uplink(device=device, kind=kind, dedup_id="")
    if up.simulated:
        raise Malformed("was simulated at the network server: no device measured it")
    received = message.received_at or up.received_at
    signal_dbm, gateway_at = _best([(rx.rssi, rx.snr, rx.time) for rx in message.rx_metadata])
    told = received.isoformat() if received else ""
    battery = message.last_battery_percentage
    return Uplink(
        device=device,
        kind="up",
        dedup_id=f"{message.session_key_id}/{message.f_cnt}/{told}",
        session=message.session_key_id,
        f_cnt=message.f_cnt,
        f_port=message.f_port,
        data=_bytes(message.frm_payload),
        decoded=message.decoded_payload,
        # Several of them are of several times, and none of them is that of the uplink.
        normalized=message.normalized_payload[0] if len(message.normalized_payload) == 1 else {},
        network_at=received,
        gateway_at=gateway_at,
        signal_dbm=signal_dbm,
        battery_pct=_percent(battery.value) if battery else None,
    )


# --- ChirpStack v4 --------------------------------------------------------------


class _ChirpDevice(msgspec.Struct, rename="camel"):
    dev_eui: str = ""


class _ChirpRx(msgspec.Struct, rename="camel"):
    rssi: float | None = None
    snr: float = 0.0
    gw_time: At = None
    time: At = None


class _ChirpEvent(msgspec.Struct, rename="camel"):
    device_info: _ChirpDevice
    deduplication_id: str = ""
    time: At = None
    dev_addr: str = ""
    f_cnt: int = 0
    f_port: int = 0
    data: str = ""
    object: dict[str, Any] | None = None
    rx_info: list[_ChirpRx] = []
    margin: int | None = None
    battery_level: float = 0.0
    battery_level_unavailable: bool = False
    external_power_source: bool = False


def _of_chirp(event: _ChirpEvent, kind: str) -> Uplink:
    device = _device(event.device_info.dev_eui)
    kind = kind or ("up" if event.rx_info else "status" if event.margin is not None else "other")
    battery = None
    if kind == "status" and not (event.battery_level_unavailable or event.external_power_source):
        battery = _percent(event.battery_level)
    signal_dbm, gateway_at = _best([(rx.rssi, rx.snr, rx.gw_time or rx.time) for rx in event.rx_info])
    if kind == "up" and not event.deduplication_id:
        raise Malformed("has no deduplicationId, so that a repeated one could not be told")
    return Uplink(
        device=device,
        kind=kind,
        dedup_id=event.deduplication_id,
        session=event.dev_addr,
        f_cnt=event.f_cnt,
        f_port=event.f_port,
        data=_bytes(event.data) if kind == "up" else b"",
        decoded=event.object,
        network_at=event.time,
        gateway_at=gateway_at,
        signal_dbm=signal_dbm,
        battery_pct=battery,
    )


# --- Both -----------------------------------------------------------------------

_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_stack = msgspec.json.Decoder(_StackUp)
_chirp = msgspec.json.Decoder(_ChirpEvent)


def read_uplink(body: bytes, event: str = "") -> Uplink:
    """Read what a network server sent.

    Args:
        body: The JSON.
        event: ChirpStack's kind of event, which its topic or its query names; empty: told from the body.

    Raises:
        Malformed: what is wrong with it.
    """
    if len(body) > PAYLOAD_BYTES_MAX:
        raise Malformed(f"{len(body)} bytes are more than {PAYLOAD_BYTES_MAX}")
    try:
        keys = _raw.decode(body).keys()
        if "end_device_ids" in keys:
            return _of_stack(_stack.decode(body))
        if "deviceInfo" in keys:
            return _of_chirp(_chirp.decode(body), event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise Malformed(f"is no uplink: {error}"[:200]) from None
    raise Malformed(
        "is neither an uplink of The Things Stack (end_device_ids) nor of ChirpStack (deviceInfo)"
    )


def _device(dev_eui: str) -> str:
    if _EUI.fullmatch(dev_eui) is None:
        raise Malformed(f"{dev_eui[:40]!r} is no DevEUI")
    return dev_eui.upper()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("its payload is no base64") from None


def _percent(value: float) -> float | None:
    return value if 0.0 <= value <= 100.0 else None


def _best(
    heard: Sequence[tuple[float | None, float, datetime | None]],
) -> tuple[float | None, datetime | None]:
    """Return the strength, in dBm, and the time of the gateway that heard it best."""
    told = [(rssi, snr, at) for rssi, snr, at in heard if rssi is not None and -200 <= rssi <= 50]
    if not told:
        return None, next((at for _, _, at in heard if at is not None), None)
    rssi, snr, at = max(told, key=lambda one: (one[1], one[0]))
    # Below the noise the channel's strength is that of the noise; the signal lies under it by the SNR.
    return rssi + min(snr, 0.0) if -50 <= snr <= 50 else rssi, at
