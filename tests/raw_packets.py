"""Packets made by hand, for what no socket sends."""

from __future__ import annotations

import struct

from fairway.values.address import Address
from fairway.values.protocol import Protocol


def internet_checksum(data: bytes) -> int:
    """RFC 1071"""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo_header(source: Address, target: Address, protocol: int, length: int) -> bytes:
    if len(source) == 4:
        return source + target + struct.pack("!BBH", 0, protocol, length)
    return source + target + struct.pack("!IxxxB", length, protocol)


def tcp(source: Address, target: Address, ports: tuple[int, int], flags: int) -> bytes:
    """A segment without data."""
    body = struct.pack("!HHIIBBHHH", *ports, 1, 0, 5 << 4, flags, 1024, 0, 0)
    checksum = internet_checksum(_pseudo_header(source, target, Protocol.TCP, len(body)) + body)
    return body[:16] + struct.pack("!H", checksum) + body[18:]


def udp4(source: Address, target: Address, ports: tuple[int, int], data: bytes) -> bytes:
    """A whole IPv4 packet."""
    segment = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0, 64, Protocol.UDP, 0) + source + target
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:] + segment


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A"""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def sctp_init(ports: tuple[int, int]) -> bytes:
    """The first packet of an association."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 7, 65535, 1, 1, 9)
    head = struct.pack("!HHI", *ports, 0)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


def is_sound_sctp(packet: bytes) -> bool:
    """Whether its checksum is right."""
    return struct.unpack_from("<I", packet, 8)[0] == crc32c(packet[:8] + bytes(4) + packet[12:])
