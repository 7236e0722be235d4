"""Cayenne LPP: examples of vendors, and total on any bytes."""

from __future__ import annotations

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.adapters import cayenne


def values(data: str | bytes) -> dict[str, float]:
    found, why = cayenne.decode(bytes.fromhex(data) if isinstance(data, str) else data)
    assert not why
    return {field.name: field.value for field in found}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # myDevices' documentation: a device with two temperature sensors, and one below zero beside motion.
        ("03670110056700FF", {"temperature_3": 27.2, "temperature_5": 25.5}),
        ("0167FFD7067104D2FB2E0000", {"temperature_1": -4.1}),
        # Electronic Cats' extended types.
        ("02740168", {"voltage_2": 3.6}),
        ("0900010901000A8E01", {"digital_in_9": 1.0, "digital_out_9": 0.0, "switch_10": 1.0}),
        ("0102FF38", {"analog_in_1": -2.0}),
        ("0B8000FA0C8300000400", {"power_11": 250.0, "energy_12": 1024.0}),
        ("", {}),
    ],
)
def test_vendors_examples_are_read(data: str, expected: dict[str, float]) -> None:
    assert values(data) == expected


def test_an_example_of_another_decoder_is_read() -> None:
    # Azure's iotedge-lorawan-starterkit, Samples/CayenneDecoder/ReadMe.md
    found = values(base64.b64decode("AWcA5gJoMANzJigEZQD9"))
    assert found == {
        "temperature_1": 23.0,
        "relative_humidity_2": 24.0,
        "barometric_pressure_3": 976.8,
        "luminosity_4": 253.0,
    }


@pytest.mark.parametrize(
    ("data", "kept", "why"),
    [
        ("0367011005", 1, "a channel without a type"),
        ("0367011005670", 1, "cut off"),
        ("036701100599FF", 1, "type 153 is not known"),
        ("0367011003670111", 1, "temperature_3 is there twice"),
        ("0188" + "00" * 8, 0, "gps_1 is cut off"),
        ("00" * 256, 0, "more than an uplink carries"),
    ],
)
def test_what_is_wrong_is_told_and_what_stands_before_it_is_kept(data: str, kept: int, why: str) -> None:
    raw = bytes.fromhex(data + "0" * (len(data) % 2))
    found, told = cayenne.decode(raw)
    assert why in told
    assert len(found) == kept


@given(st.binary(max_size=300))
def test_any_bytes_give_finite_values_or_a_reason(data: bytes) -> None:
    found, why = cayenne.decode(data)
    assert all(math.isfinite(field.value) for field in found)
    assert len({field.name for field in found}) == len(found)
    assert isinstance(why, str)


def test_units_are_told_by_names() -> None:
    assert cayenne.unit_of("temperature_3") == "C"
    assert cayenne.unit_of("relative_humidity_12") == "%"
    assert cayenne.unit_of("analog_in_1") == ""
    assert cayenne.unit_of("luminosity_4") is None
    assert cayenne.unit_of("temperature") is None
    assert cayenne.unit_of("temperature_" + "1" * 400) is None
