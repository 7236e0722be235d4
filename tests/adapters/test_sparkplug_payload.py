"""Payloads of Sparkplug B: decoded from an independent encoder's bytes, and total on any."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.adapters import sparkplug_payload as sp
from coldgrid.adapters.sparkplug_payload import Metric, NoNumber

T = 1_772_352_000_000
# Written by pysparkplug 0.6.1 (Apache-2.0, https://github.com/matteosox/pysparkplug), an encoder of its own.
NBIRTH = bytes.fromhex(
    "0880a0a5c3ca3312120a0562645365711880a0a5c3ca332004580712210a144e6f646520436f6e74726f6c2f52656269727468"
    "1880a0a5c3ca33200b700012180a06537570706c7910011880a0a5c3ca332009653333abc11800"
)
DBIRTH = bytes.fromhex(
    "088aa0a5c3ca3312200a0a52657475726e20416972100a1885a0a5c3ca33200a6900000000004032c012130a04446f6f72100b"
    "1885a0a5c3ca33200b700112150a04436f696c100c1885a0a5c3ca33200250e1ff0312170a0848756d6964697479100d1885a0"
    "a5c3ca332005503f12170a06456e65726779100e1885a0a5c3ca33200858c0c40712140a0550726f6265100f1885a0a5c3ca33"
    "2009380112180a054d6f64656c10101885a0a5c3ca33200c7a0452582d3412150a05537061726510111885a0a5c3ca33200150"
    "fb01121b0a0342696710121885a0a5c3ca33200458f9ffffffffffffffff0112170a04576f726410131885a0a5c3ca33200350"
    "90ddfbff0f1801"
)
DDATA = bytes.fromhex(
    "08e8a7a5c3ca331212100a18e8a7a5c3ca336900000000008031c0120b100b1884a7a5c3ca3370001214100a18a0cba1c3ca33"
    "28016900000000000032c01802"
)
NDEATH = bytes.fromhex("0888c7a5c3ca3312120a0562645365711880a0a5c3ca3320045807")
NCMD = bytes.fromhex("0880a0a5c3ca3312210a144e6f646520436f6e74726f6c2f526562697274681880a0a5c3ca33200b7001")


def test_a_birth_by_another_encoder_is_read() -> None:
    birth = sp.decode(DBIRTH)
    assert (birth.at_ms, birth.seq) == (T + 10, 1)
    values = {
        metric.name: sp.number_of(metric, metric.datatype)
        for metric in birth.metrics
        if metric.datatype not in sp.WORDS and not metric.null
    }
    assert values == {
        "Return Air": -18.25,
        "Door": 1.0,
        "Coil": -31.0,
        "Humidity": 63.0,
        "Energy": 123456.0,
        "Spare": -5.0,
        "Big": -7.0,
        "Word": -70000.0,
    }
    assert {metric.name: metric.alias for metric in birth.metrics}["Word"] == 19


def test_a_node_birth_and_a_death_tell_their_session() -> None:
    assert sp.decode(NBIRTH).bd_seq == 7
    assert sp.decode(NDEATH).bd_seq == 7
    assert sp.decode(NDEATH).seq is None
    assert sp.number_of(sp.decode(NBIRTH).metrics[2], sp.FLOAT) == -21.4


def test_values_by_another_encoder_keep_their_alias_and_their_time() -> None:
    first, door, old = sp.decode(DDATA).metrics
    assert (first.alias, first.name, first.value, first.at_ms) == (10, "", -17.5, T + 1000)
    assert (door.value, door.at_ms) == (False, T + 900)
    assert (old.historical, old.at_ms) == (True, T - 60_000)


def test_our_request_for_a_rebirth_is_what_another_encoder_writes() -> None:
    assert sp.rebirth_request(T) == NCMD


@pytest.mark.parametrize(
    ("datatype", "kind", "value", "number"),
    [
        (sp.INT8, "int_value", 0xFFFFFFF6, -10),
        (sp.INT8, "int_value", 0xF6, -10),
        (sp.INT8, "int_value", 127, 127),
        (sp.INT16, "int_value", 0x8000, -32768),
        (sp.INT32, "int_value", 0xFFFFFFFF, -1),
        (sp.INT32, "long_value", 2**64 - 5, -5),
        (sp.INT64, "long_value", 2**63, -(2**63)),
        (sp.UINT8, "int_value", 255, 255),
        (sp.UINT32, "long_value", 2**32 - 1, 2**32 - 1),
        (sp.FLOAT, "float_value", struct.unpack("f", struct.pack("f", 3.2))[0], 3.2),
        (sp.DOUBLE, "float_value", 2.5, 2.5),
        (sp.BOOLEAN, "boolean_value", True, 1),
    ],
)
def test_numbers_are_read_as_their_datatype_says(
    datatype: int, kind: str, value: float, number: float
) -> None:
    assert sp.number_of(Metric(kind=kind, value=value), datatype) == number


@pytest.mark.parametrize(
    ("metric", "datatype", "why"),
    [
        (Metric(kind="int_value", value=300), sp.UINT8, "300 is no UInt8"),
        (Metric(kind="int_value", value=200_000), sp.INT16, "200000 is no Int16"),
        (Metric(kind="double_value", value=math.nan), sp.DOUBLE, "nan is no number"),
        (Metric(kind="float_value", value=math.inf), sp.FLOAT, "inf is no number"),
        (Metric(kind="string_value"), sp.FLOAT, "its value string_value"),
        (Metric(kind="boolean_value", value=True), sp.INT8, "its value boolean_value"),
        (Metric(kind="int_value", value=1), sp.BOOLEAN, "its value int_value"),
        (Metric(kind="double_value", value=1.0), sp.INT32, "its value double_value"),
        (Metric(null=True), sp.DOUBLE, "is_null"),
        (Metric(kind="double_value", value=4.0, quality=500), sp.DOUBLE, "quality 500"),
        (Metric(kind="dataset_value"), 16, "datatype DataSet"),
        (Metric(kind="template_value"), 19, "datatype Template"),
        (Metric(kind="double_value", value=4.0), 0, "datatype unknown"),
        (Metric(kind="double_value", value=4.0), 4_000, "datatype 4000"),
        (Metric(), sp.DOUBLE, "its value missing"),
    ],
)
def test_what_is_no_number_says_why(metric: Metric, datatype: int, why: str) -> None:
    with pytest.raises(NoNumber, match=why):
        sp.number_of(metric, datatype)


def test_units_are_those_that_are_kept_here() -> None:
    assert sp.unit_of("°C", sp.FLOAT) == "C"
    assert sp.unit_of("%RH", sp.FLOAT) == "%"
    assert sp.unit_of("", sp.BOOLEAN) == "state"
    assert sp.unit_of("", sp.FLOAT) == ""
    with pytest.raises(NoNumber, match="psi"):
        sp.unit_of("psi", sp.FLOAT)


def test_a_unit_and_a_quality_cross_the_wire() -> None:
    metric = Metric(name="t", datatype=sp.FLOAT, kind="float_value", value=1.5, unit="°C", quality=0)
    (read,) = sp.decode(sp.encode(T, [metric], seq=3)).metrics
    assert (read.unit, read.quality, read.value) == ("°C", 0, 1.5)


def test_a_payload_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(sp.MalformedPayload, match="bytes are more than"):
        sp.decode(b"\0" * (sp.PAYLOAD_MAX_BYTES + 1))


def test_a_flood_of_metrics_is_refused() -> None:
    with pytest.raises(sp.MalformedPayload, match="metrics are more than"):
        sp.decode(b"\x12\x00" * (sp.METRICS_MAX + 1))


def test_a_truncated_payload_is_refused() -> None:
    for length in range(1, len(DBIRTH)):
        try:
            sp.decode(DBIRTH[:length])
        except sp.MalformedPayload:
            continue
        # A cut between two fields is a shorter payload; it never has the last one, its seq.
        assert sp.decode(DBIRTH[:length]).seq is None


@given(st.binary(max_size=400))
def test_any_bytes_are_a_payload_or_malformed(data: bytes) -> None:
    check_total(data)


@given(
    st.sampled_from([NBIRTH, DBIRTH, DDATA]),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=6),
)
def test_any_bytes_near_a_payload_are_a_payload_or_malformed(
    data: bytes, flips: list[tuple[int, int]]
) -> None:
    near = bytearray(data)
    for place, byte in flips:
        near[place % len(near)] = byte
    check_total(bytes(near))


def check_total(data: bytes) -> None:
    try:
        payload = sp.decode(data)
    except sp.MalformedPayload:
        return
    assert payload.bd_seq is None or isinstance(payload.bd_seq, int)
    for metric in payload.metrics:
        with suppress(NoNumber):
            assert math.isfinite(sp.number_of(metric, metric.datatype))


@given(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    st.integers(0, 2**63),
    st.integers(0, 255),
)
def test_what_is_written_is_read_again(value: float, name: str, alias: int, seq: int) -> None:
    metric = Metric(name=name, alias=alias, at_ms=T, datatype=sp.DOUBLE, kind="double_value", value=value)
    again = sp.decode(sp.encode(T, [metric], seq=seq))
    assert (again.metrics, again.seq) == ([metric], seq)


def test_without_the_library_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['google'] = None\n"
        "from coldgrid.adapters import sparkplug, sparkplug_map\n"
        "assert not sparkplug_map.problems_of_map('groups: [a]')\n"
        "try:\n    import coldgrid.adapters.sparkplug_host\n"
        "except ImportError as error:\n    print(error)\n"
        "from coldgrid.adapters.driving import CannotBuild, make_driver\n"
        "from coldgrid.telemetry.gateways import Gateway\n"
        "gateway = Gateway(gateway_id='A-GW1', site_id='A', driver='sparkplug', address='mqtt://h')\n"
        "try:\n    make_driver(gateway, None, None, None)\n"
        "except CannotBuild as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == [
        "Sparkplug needs protobuf: pip install 'coldgrid[devices]'",
        "protobuf is not installed: pip install 'coldgrid[devices]'",
    ]
