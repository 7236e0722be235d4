"""Sirens and lamps on an MQTT topic: a retained message says on or off, so that a siren that restarts knows.

Invariants
    S1  Off is final for its chain of pages: an `on` that was late (the broker was down) does not sound again.
    S2  A siren that several chains share falls silent with the last of them, whatever order messages come in.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import msgspec
from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion

from coldgrid.kernel.outbox import Effect, Permanent, Receipt, Retryable

TIMEOUT_S = 10.0
OVERTAKEN_MAX = 1_000
# Ours alone: what a siren has no use for.
NOT_TOLD = frozenset({"to", "text", "subject", "needed_by"})


class Broker(msgspec.Struct, frozen=True):
    """An MQTT broker."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    tls: bool = False


def broker_of(url: str) -> Broker:
    """Read `mqtt://[user:password@]host[:port]` or `mqtts://`.

    Raises:
        ValueError: it is neither.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
        raise ValueError("a broker is mqtt:// or mqtts:// and a host")
    tls = parts.scheme == "mqtts"
    return Broker(
        parts.hostname,
        parts.port or (8883 if tls else 1883),
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        tls,
    )


class SirenChannel:
    """Switches sirens: payload `to` (the topic under the prefix), `state` (on, off), `escalation_id`.

    With `off` comes `needed_by`: the other chains that sounded the same siren when it was decided (S2).
    """

    def __init__(self, broker: Broker, prefix: str, timeout_s: float = TIMEOUT_S) -> None:
        self._broker = broker
        self._prefix = prefix.strip("/")
        self._timeout_s = timeout_s
        self._silenced: dict[str, None] = {}
        self._sounding: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def send(self, effect: Effect, key: str) -> Receipt:
        """Publish the state, retained, at QoS 1.

        Raises:
            Permanent: it names no topic or no state.
            Retryable: the broker did not take it.
        """
        payload = effect.payload
        state, chain = payload.get("state"), str(payload.get("escalation_id", ""))
        topic = "/".join(part for part in (self._prefix, str(payload.get("to", "")).strip("/")) if part)
        if state not in {"on", "off"} or not payload.get("to") or set(topic) & set("+#\0"):
            raise Permanent("a siren is switched on or off under a topic")
        # One at a time: an `on` on its way must not overtake the `off` behind it.
        with self._lock:
            if state == "on" and chain and chain in self._silenced:
                return Receipt("overtaken by off")
            if state == "off":
                needed_by = self._needed_by(topic, chain, payload.get("needed_by") or [])
                if needed_by:
                    self._end(topic, chain)
                    return Receipt(f"sounds for {', '.join(needed_by)}")
            told = {name: value for name, value in payload.items() if name not in NOT_TOLD}
            self._publish(topic, msgspec.json.encode({**told, "key": key}))
            if state == "on" and chain:
                self._sounding.setdefault(topic, set()).add(chain)
            elif state == "off":
                self._end(topic, chain)
        return Receipt(topic)

    def _needed_by(self, topic: str, chain: str, told: Sequence[str]) -> list[str]:
        """The other chains that still need a siren: those known here, and those that the message names."""
        others = (self._sounding.get(topic, set()) | set(told)) - {chain}
        return sorted(other for other in others if other not in self._silenced)

    def _end(self, topic: str, chain: str) -> None:
        self._sounding.get(topic, set()).discard(chain)
        if chain:
            self._silenced[chain] = None
        while len(self._silenced) > OVERTAKEN_MAX:
            del self._silenced[next(iter(self._silenced))]

    def _publish(self, topic: str, body: bytes) -> None:
        broker = self._broker
        client = Client(CallbackAPIVersion.VERSION2)
        if broker.user:
            client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            client.tls_set()
        client.connect_timeout = self._timeout_s
        try:
            client.connect(broker.host, broker.port)
            client.loop_start()
            info: MQTTMessageInfo = client.publish(topic, body, qos=1, retain=True)
            info.wait_for_publish(self._timeout_s)
            if not info.is_published():
                raise Retryable(f"the broker did not take it within {self._timeout_s:g} s")
        except (OSError, ValueError, RuntimeError) as error:
            raise Retryable(f"{type(error).__name__}: {error}") from error
        finally:
            client.disconnect()
            client.loop_stop()
