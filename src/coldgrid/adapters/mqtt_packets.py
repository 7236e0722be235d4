"""MQTT 3.1.1 on the wire: the few packets that a consumer of readings needs. No sockets here.

A general client handles each message in Python objects and callbacks: about 60 µs of a core for a message
received and acknowledged, which is all of a core at 15,000 a second with nothing left for the readings. This
parser cuts a buffer of many messages into (topic, packet id, payload) in about 1 µs each.

Source: OASIS MQTT 3.1.1 (2014), sections 2.2 and 3.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

CONNACK, PUBLISH, SUBACK = 0x20, 0x30, 0x90
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
# Readings are small; a length beyond this is no device of ours, and would fill the memory.
PACKET_MAX_BYTES = 1024 * 1024
REFUSALS = {
    1: "protocol version",
    2: "client id",
    3: "server unavailable",
    4: "user or password",
    5: "not authorised",
}


class MalformedPacket(ValueError):
    """The other side does not speak MQTT 3.1.1."""


class Message(NamedTuple):
    """A message: its topic, the two bytes of its packet id (empty: QoS 0) and its payload."""

    topic: bytes
    packet_id: bytes
    payload: bytes


def connect(
    client_id: str, *, keepalive_s: int, username: str = "", password: str = "", keep_session: bool = True
) -> bytes:
    """Return CONNECT; a kept session outlives the connection, and the broker keeps what arrives meanwhile."""
    flags = (0x80 if username else 0) | (0x40 if password else 0) | (0 if keep_session else 0x02)
    fields = [client_id, *([username] if username else []), *([password] if password else [])]
    body = _text("MQTT") + bytes([4, flags]) + struct.pack(">H", keepalive_s)
    return _packet(0x10, body + b"".join(map(_text, fields)))


def subscribe(packet_id: int, topic_filter: str) -> bytes:
    """Return SUBSCRIBE at QoS 1."""
    return _packet(0x82, struct.pack(">H", packet_id) + _text(topic_filter) + b"\x01")


def publish(topic: str, payload: bytes, packet_id: int) -> bytes:
    """Return PUBLISH at QoS 1."""
    return _packet(0x32, _text(topic) + struct.pack(">H", packet_id) + payload)


def acknowledge(packet_ids: list[bytes]) -> bytes:
    """Return a PUBACK for each packet id."""
    return b"".join([b"\x40\x02" + packet_id for packet_id in packet_ids])


class Parser:
    """Cuts what arrives into packets, whatever the pieces it arrives in."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> tuple[list[Message], list[tuple[int, bytes]]]:
        """Return the messages, and other packets as (kind, body), that are complete now.

        Raises:
            MalformedPacket: this is not MQTT, or a packet is too long.
        """
        buffer = self._rest + data if self._rest else data
        messages: list[Message] = []
        others: list[tuple[int, bytes]] = []
        offset, end = 0, len(buffer)
        while end - offset >= 2:
            length, start = buffer[offset + 1], offset + 2
            if length & 0x80:
                found = _length(buffer, offset + 1)
                if found is None:
                    break
                length, start = found
            if start + length > end:
                break
            head = buffer[offset]
            offset = start + length
            if head & 0xF0 == PUBLISH:
                messages.append(_message(head, buffer, start, offset))
            else:
                others.append((head & 0xF0, buffer[start:offset]))
        self._rest = buffer[offset:]
        return messages, others


def _message(head: int, buffer: bytes, start: int, end: int) -> Message:
    topic_end = start + 2 + (buffer[start] << 8) + buffer[start + 1]
    id_end = topic_end + 2 if head & 0x06 else topic_end
    if id_end > end:
        raise MalformedPacket("a message is shorter than its topic")
    return Message(buffer[start + 2 : topic_end], buffer[topic_end:id_end], buffer[id_end:end])


def _length(buffer: bytes, offset: int) -> tuple[int, int] | None:
    """Return a remaining length of several bytes and where it ends; None: more bytes must come."""
    length = 0
    for place in range(4):
        if offset + place >= len(buffer):
            return None
        byte = buffer[offset + place]
        length |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            if length > PACKET_MAX_BYTES:
                raise MalformedPacket(f"a packet of {length} bytes")
            return length, offset + place + 1
    raise MalformedPacket("a length of more than four bytes")


def _packet(head: int, body: bytes) -> bytes:
    length, digits = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | 0x80 if length else digit])
        if not length:
            return bytes([head]) + digits + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
