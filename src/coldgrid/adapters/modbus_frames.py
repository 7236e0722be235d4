"""Frames of Modbus TCP (MODBUS Messaging on TCP/IP 1.0b, MODBUS Application Protocol 1.1b3), as bytes.

Pure and total: any bytes are a frame, the beginning of one, or `Garbled`. An answer counts only when it is
exactly what was asked for: transaction, unit, function and number of bytes. What is a little wrong is
wrong: it never becomes a value.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct(">HHHB")
# A unit, a function and one byte at least; a unit and the largest PDU at most.
LENGTH_MIN, LENGTH_MAX = 3, 254
EXCEPTION_BIT = 0x80

ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3
GATEWAY_PATH, GATEWAY_TARGET = 10, 11
EXCEPTIONS = {
    1: "knows no such function",
    ILLEGAL_ADDRESS: "has no such register",
    ILLEGAL_VALUE: "does not take so many registers at once",
    4: "failed",
    5: "needs longer",
    6: "is busy",
    8: "found its memory damaged",
    GATEWAY_PATH: "is not reached: its gateway has no path to it",
    GATEWAY_TARGET: "does not answer its gateway",
}


class Frame(NamedTuple):
    """One frame: which request it answers, of which unit, and what it says."""

    transaction: int
    unit_id: int
    pdu: bytes


class Garbled(Exception):
    """These bytes are no answer to what was asked."""


class Refused(Exception):
    """The device answered with an exception. `code`: as in `EXCEPTIONS`."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(EXCEPTIONS.get(code, f"answers with exception {code}"))


def encode_request(transaction: int, unit_id: int, function: int, address: int, count: int) -> bytes:
    """Return a request for `count` bits or registers from `address` on."""
    return HEADER.pack(transaction, 0, 6, unit_id) + struct.pack(">BHH", function, address, count)


def split_frame(buffer: bytes) -> tuple[Frame | None, int]:
    """Return the first frame and how many bytes it took; (None, 0): more bytes are needed.

    Raises:
        Garbled: no frame begins so, and nobody knows where the next one does.
    """
    if len(buffer) < HEADER.size:
        return None, 0
    transaction, protocol, length, unit_id = HEADER.unpack_from(buffer)
    if protocol != 0 or not LENGTH_MIN <= length <= LENGTH_MAX:
        raise Garbled("what came is no Modbus TCP")
    end = HEADER.size - 1 + length
    if len(buffer) < end:
        return None, 0
    return Frame(transaction, unit_id, buffer[HEADER.size : end]), end


def read_answer(frame: Frame, unit_id: int, function: int, count: int) -> bytes:
    """Return the data of the answer to a request: registers as sent, or bits, eight in a byte.

    Raises:
        Refused: the device says that it cannot.
        Garbled: it is the answer to something else, or too short or too long.
    """
    pdu = frame.pdu
    if frame.unit_id != unit_id:
        raise Garbled(f"unit {frame.unit_id} answered instead of {unit_id}")
    if len(pdu) == 2 and pdu[0] == function | EXCEPTION_BIT:
        raise Refused(pdu[1])
    if pdu[0] != function:
        raise Garbled(f"answered function {pdu[0]} instead of {function}")
    size = (count + 7) // 8 if function in (1, 2) else 2 * count
    if len(pdu) != 2 + size:
        raise Garbled(f"sent {len(pdu) - 2} bytes instead of {size}")
    if pdu[1] != size:
        raise Garbled(f"says that it sent {pdu[1]} bytes, and sent {size}")
    return pdu[2:]
