"""Domain names in wire form: `b"\\x03www\\x07example\\x00"`, never compressed, case kept.

A label's length byte is below 64, so it is no letter: `name.lower()` folds case as RFC 4343 asks, and equality, hashing
and suffix tests run at C speed. Which names mean what is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairway.values.errors import InvalidValueError

Name = bytes
"""A whole name in wire form, with the root's zero byte at the end."""

ROOT: Name = b"\0"
MAX_NAME = 255
MAX_LABEL = 63
IN_ADDR_ARPA: Name = b"\x07in-addr\x04arpa\0"
IP6_ARPA: Name = b"\x03ip6\x04arpa\0"
_ESCAPED = frozenset(b'."\\;@$()')


def from_labels(labels: Iterable[bytes], origin: Name = ROOT) -> Name:
    """Join labels in front of a name. Raises InvalidValueError when a label or the whole is too long."""
    parts = []
    for label in labels:
        if not 0 < len(label) <= MAX_LABEL:
            raise InvalidValueError(f"a label of {len(label)} bytes in a domain name")
        parts.append(bytes((len(label),)) + label)
    name = b"".join(parts) + origin
    if len(name) > MAX_NAME:
        raise InvalidValueError(f"a domain name of {len(name)} bytes")
    return name


def from_text(text: str) -> Name:
    """Read `www.example.org` or `www.example.org.`, with the escapes of RFC 1035. Raises InvalidValueError."""
    if text in {".", ""}:
        return ROOT
    labels, label, rest = [], bytearray(), iter(text.encode("utf-8"))
    for byte in rest:
        if byte == 0x2E:
            labels.append(bytes(label))
            label.clear()
        elif byte == 0x5C:
            label.append(_escape(text, rest))
        else:
            label.append(byte)
    if label:
        labels.append(bytes(label))
    try:
        return from_labels(labels)
    except InvalidValueError as error:
        raise InvalidValueError(f"{text!r} is not a domain name: {error}") from None


def _escape(text: str, rest: Iterator[int]) -> int:
    try:
        first = next(rest)
        if not 0x30 <= first <= 0x39:
            return first
        value = int(bytes((first, next(rest), next(rest))))
    except (StopIteration, ValueError):
        raise InvalidValueError(f"{text!r} is not a domain name: a broken escape") from None
    if value > 255:
        raise InvalidValueError(f"{text!r} is not a domain name: \\{value} is no byte")
    return value


def to_text(name: Name) -> str:
    """`www.example.org.`; bytes that are no plain characters are escaped."""
    if name == ROOT:
        return "."
    return "".join(label_text(label) + "." for label in labels(name))


def label_text(label: bytes) -> str:
    """One label, escaped."""
    if label.isalnum() and label.isascii():
        return label.decode()
    parts = []
    for byte in label:
        if byte in _ESCAPED:
            parts.append("\\" + chr(byte))
        elif 0x20 < byte < 0x7F:
            parts.append(chr(byte))
        else:
            parts.append(f"\\{byte:03d}")
    return "".join(parts)


def labels(name: Name) -> list[bytes]:
    """The labels from left to right, without the root."""
    found, at = [], 0
    while length := name[at]:
        found.append(name[at + 1 : at + 1 + length])
        at += length + 1
    return found


def suffixes(name: Name) -> Iterator[Name]:
    """The name itself, then each parent, the root last."""
    at = 0
    while length := name[at]:
        yield name[at:]
        at += length + 1
    yield ROOT


def parent(name: Name) -> Name:
    """The name without its first label; the root's parent is the root."""
    return name[name[0] + 1 :] if name[0] else ROOT


def is_subdomain(name: Name, zone: Name) -> bool:
    """Both in lower case; a name is a subdomain of itself."""
    if not name.endswith(zone):
        return False
    at, end = 0, len(name) - len(zone)
    while at < end:
        at += name[at] + 1
    return at == end


def longest_zone(name: Name, zones: Iterable[Name]) -> Name | None:
    """Of the zones (lower case) the longest that holds the name (lower case)."""
    best: Name | None = None
    for zone in zones:
        if (best is None or len(zone) > len(best)) and is_subdomain(name, zone):
            best = zone
    return best


def reverse_address(name: Name) -> bytes | None:
    """The packed address that a reverse name (lower case) spells in full, else None."""
    if name.endswith(IN_ADDR_ARPA):
        parts = labels(name)[:-2]
        return _decimal(parts) if len(parts) == 4 else None
    if name.endswith(IP6_ARPA):
        parts = labels(name)[:-2]
        if len(parts) != 32 or any(len(p) != 1 for p in parts):
            return None
        try:
            return bytes.fromhex(b"".join(reversed(parts)).decode("ascii"))
        except ValueError:
            return None
    return None


def _decimal(parts: list[bytes]) -> bytes | None:
    if any(not p.isdigit() or len(p) > 3 or (len(p) > 1 and p[0] == 0x30) for p in parts):
        return None
    values = [int(p) for p in reversed(parts)]
    return bytes(values) if max(values) < 256 else None


def reverse_name(address: bytes) -> Name:
    """The name under in-addr.arpa or ip6.arpa of a packed address."""
    if len(address) == 4:
        return from_labels((str(b).encode() for b in reversed(address)), IN_ADDR_ARPA)
    return b"".join(b"\x01" + digit.encode() for digit in reversed(address.hex())) + IP6_ARPA


def is_reverse(zone: Name) -> bool:
    """The zone (lower case) lies under in-addr.arpa or ip6.arpa."""
    return zone.endswith((IN_ADDR_ARPA, IP6_ARPA))
