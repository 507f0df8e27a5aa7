"""Elements of the maps and sets as nf_tables bytes, and back: the part that must be fast.

Elements of one container are all of one length (but for the comments of `counts`), so they are written by joining
constant pieces and read by slicing at a fixed stride. What an element means is decided in `layout`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.codec import attribute, be32, comment_data, nest, parse, read_comment
from fairway.dataplanes.nftables.encode import NLM_F_CREATE, Kind, Message, table_header
from fairway.dataplanes.nftables.skeleton import SETS, SetKind
from fairway.values.address import Family

Pair = tuple[bytes, bytes]
"""Key and value as `layout` packs them."""
Bound = tuple[bytes, bool, bytes]
"""Of an interval set: key, whether it ends a range, data."""

_KEY, _DATA, _FLAGS, _USERDATA = 1, 2, 3, 6
_ELEMENTS = 3
_HEADER_BYTES = 4
LIST_HEADER_BYTES = _HEADER_BYTES
_INTERVAL_END = be32(_FLAGS, 1)
_LIST_BYTES = 60_000
"""An attribute's length is 16 bits."""


_LONGEST_COMMENT, _LONGEST_NAME, _CUT = 127, 160, 80
_WHOLE_COMMENT = 100
"""A type of user data that nft passes over."""


class Shape(Enum):
    PLAIN = 0
    COMMENTED = 1
    """The value ends in a comment of any length: `counts`."""
    INTERVAL = 2
    """Two kernel elements for each of ours: where it starts and, behind its last address, where it ends."""


class Form(NamedTuple):
    """How the elements of one container are written in one family."""

    container: str
    shape: Shape
    head: bytes
    """What comes before the list: family, table, set."""
    prefix: bytes
    """Of an element with data, up to the key."""
    middle: bytes
    """Between key and data."""
    bare: bytes
    """Of an element without data, up to the key."""
    key_bytes: int
    data_bytes: int


@lru_cache(maxsize=64)
def form_of(family: Family, container: str) -> Form:
    """The form of a container's elements."""
    spec = next(spec for spec in SETS if spec.name == container)
    key, data = spec.key_width(family), spec.data_width(family)
    key_attribute = nest(_KEY, attribute(1, bytes(key)))
    bare = nest(1, key_attribute)
    full = nest(1, key_attribute, nest(_DATA, attribute(1, bytes(data)))) if data else bare
    if spec.kind is SetKind.INTERVAL:
        shape = Shape.INTERVAL
    else:
        shape = Shape.COMMENTED if container == layout.COUNTS else Shape.PLAIN
    start = 3 * _HEADER_BYTES
    return Form(
        container,
        shape,
        table_header(family, container),
        full[:start],
        full[start + key : start + key + 2 * _HEADER_BYTES] if data else b"",
        bare[:start],
        key,
        data,
    )


# --- writing -------------------------------------------------------------------------------------------------------


def encode_additions(form: Form, pairs: Iterable[Pair]) -> list[bytes]:
    """One list entry a pair."""
    match form.shape:
        case Shape.PLAIN:
            prefix, middle = form.prefix, form.middle
            return [prefix + key + middle + value for key, value in pairs]
        case Shape.COMMENTED:
            return [_commented(form, key, value) for key, value in pairs]
        case Shape.INTERVAL:
            return [_interval(form, key) for key, _ in pairs]


def encode_removals(form: Form, pairs: Iterable[Pair]) -> list[bytes]:
    """One list entry a pair; only its key matters."""
    if form.shape is Shape.INTERVAL:
        return [_interval(form, key) for key, _ in pairs]
    bare = form.bare
    return [bare + key for key, _ in pairs]


def _commented(form: Form, key: bytes, value: bytes) -> bytes:
    data, comment = value[: form.data_bytes], value[form.data_bytes :]
    inner = nest(_KEY, attribute(1, key)) + nest(_DATA, attribute(1, data))
    if comment:
        inner += attribute(_USERDATA, _userdata(comment.decode()))
    return nest(1, inner)


def _userdata(comment: str) -> bytes:
    """What nft shows as the element's comment; it loads no longer one than 128 characters, the kernel holds 256."""
    if len(comment) <= _LONGEST_COMMENT:
        return comment_data(comment)
    return comment_data(comment[:_CUT] + "...") + comment_data(comment[:_LONGEST_NAME], _WHOLE_COMMENT)


def _interval(form: Form, key: bytes) -> bytes:
    """First and last address as a start and an end behind it; a range up to the highest address has no end."""
    first, last = key[: form.key_bytes], key[form.key_bytes :]
    start = form.bare + first
    if last == b"\xff" * len(last):
        return start
    behind = (int.from_bytes(last, "big") + 1).to_bytes(len(last), "big")
    return start + nest(1, nest(_KEY, attribute(1, behind)), _INTERVAL_END)


def share_bounds(count: int) -> dict[tuple[bytes, bool], bytes]:
    """The elements of `shares` for one N, (key, whether it ends a range) to data: each place has a range."""
    bounds = [bytes(8) + bound.to_bytes(8, "big") for bound in layout.share_bounds(count)]
    found = {(bounds[place], False): layout.id_data(place) for place in range(count)}
    found.update({(bound, True): b"" for bound in bounds[1:]})
    return found


def count_of_bound(key: bytes, *, is_end: bool) -> int:
    """The N that an element of `shares` is for; the end of the last range stands at the next N's beginning."""
    return (int.from_bytes(key[8:], "big") - is_end) >> 32


def encode_bounds(form: Form, bounds: dict[tuple[bytes, bool], bytes]) -> list[bytes]:
    """Entries of an interval set as its bounds are, in order: the kernel refuses a start inside an open range."""
    in_order = sorted(bounds.items(), key=lambda bound: (bound[0][0], not bound[0][1]))
    return [
        nest(1, nest(_KEY, attribute(1, key)), _INTERVAL_END) if is_end else form.prefix + key + form.middle + data
        for (key, is_end), data in in_order
    ]


def key_request(form: Form, keys: Iterable[bytes]) -> bytes:
    """The payload that asks for these elements."""
    bare = form.bare
    return form.head + nest(_ELEMENTS, *(bare + key for key in keys))


def raw_list(form: Form, raw: bytes) -> Message:
    """A message that adds a list of elements as it was dumped."""
    return Message(Kind.NEW_ELEMENTS, NLM_F_CREATE, form.head + nest(_ELEMENTS, raw))


def pack_lists(form: Form, kind: Kind, entries: Sequence[bytes]) -> Iterator[tuple[Message, int]]:
    """Messages that hold all entries, in order, each with the number of entries in it."""
    flags = NLM_F_CREATE if kind is Kind.NEW_ELEMENTS else 0
    at = 0
    while at < len(entries):
        if form.shape is Shape.PLAIN:
            stop = at + max(1, _LIST_BYTES // len(entries[at]))
        else:
            stop, size = at, 0
            while stop < len(entries) and (size := size + len(entries[stop])) <= _LIST_BYTES:
                stop += 1
        taken = entries[at : max(stop, at + 1)]
        body = b"".join(taken)
        header = struct.pack("=HH", _HEADER_BYTES + len(body), _ELEMENTS | 0x8000)
        yield Message(kind, flags, form.head + header + body), len(taken)
        at += len(taken)


# --- reading -------------------------------------------------------------------------------------------------------


def elements_of(payload: bytes) -> bytes:
    """The list of elements in a dumped message."""
    offset, end = 4, len(payload)
    while offset + _HEADER_BYTES <= end:
        length = payload[offset] | payload[offset + 1] << 8
        if length < _HEADER_BYTES or offset + length > end:
            break
        if payload[offset + 2] == _ELEMENTS:
            return payload[offset + _HEADER_BYTES : offset + length]
        offset += (length + 3) & ~3
    return b""


def decode_plain(form: Form, elements: bytes) -> list[Pair]:
    """Keys and values of a list of plain elements."""
    reader, template = _reader(form)
    stride = reader.size
    if not len(elements) % stride and _has_template(elements, template, stride):
        return (
            list(reader.iter_unpack(elements))
            if form.data_bytes
            else [(k, b"") for (k,) in reader.iter_unpack(elements)]
        )
    return [(fields[_KEY], fields.get(_DATA, b"")) for fields in _slowly(elements) if _KEY in fields]


_NESTED = 0x80


@lru_cache(maxsize=64)
def _reader(form: Form) -> tuple[struct.Struct, tuple[tuple[int, int], ...]]:
    """What slices one element, and the bytes that every element has at the same places."""
    if form.data_bytes:
        shape = f"={len(form.prefix)}x{form.key_bytes}s{len(form.middle)}x{form.data_bytes}s"
        behind = len(form.prefix) + form.key_bytes
        fixed = [*enumerate(form.prefix), *((behind + at, byte) for at, byte in enumerate(form.middle))]
    else:
        shape = f"={len(form.bare)}x{form.key_bytes}s"
        fixed = list(enumerate(form.bare))
    # kernels dump nested attributes without NLA_F_NESTED, which is this byte's only bit
    return struct.Struct(shape), tuple((at, byte) for at, byte in fixed if byte != _NESTED)


def _has_template(elements: bytes, template: tuple[tuple[int, int], ...], stride: int) -> bool:
    count = len(elements) // stride
    return all(elements[at::stride].count(byte) == count for at, byte in template)


def _slowly(elements: bytes) -> Iterator[dict[int, bytes]]:
    """Element by element: attribute types to values, the data and key without their nesting."""
    for _, entry in parse(elements):
        fields = dict(parse(entry))
        for kind in (_KEY, _DATA):
            if kind in fields:
                fields[kind] = dict(parse(fields[kind])).get(1, b"")
        yield fields


def decode_commented(form: Form, elements: bytes) -> list[Pair]:
    """Keys and values of a list of elements with comments."""
    reader = _commented_reader(form)
    found, at, end = [], 0, len(elements)
    while at + reader.size <= end:
        length, key, data, userdata, kind, text_kind, text_length = reader.unpack_from(elements, at)
        stop = at + reader.size + text_length
        if kind != _USERDATA or text_kind or stop > at + length or userdata != text_length + 6:
            return _decode_commented_slowly(elements)
        found.append((key, data + elements[at + reader.size : stop - 1]))
        at += (length + 3) & ~3
    return found if at >= end else _decode_commented_slowly(elements)


@lru_cache(maxsize=64)
def _commented_reader(form: Form) -> struct.Struct:
    """Of an element with key, data and, last, a comment: its length, key, data, and the headers of the comment."""
    return struct.Struct(f"=H10x{form.key_bytes}s8x{form.data_bytes}sHHBB")


def _decode_commented_slowly(elements: bytes) -> list[Pair]:
    found = []
    for fields in _slowly(elements):
        if _KEY in fields:
            data = fields.get(_USERDATA, b"")
            comment = (read_comment(data, _WHOLE_COMMENT) or read_comment(data)).encode()
            found.append((fields[_KEY], fields.get(_DATA, b"") + comment))
    return found


def decode_bounds(_: Form, elements: bytes) -> list[Bound]:
    """(key, whether it ends a range, data) of a list of an interval set's elements."""
    return [
        (fields[_KEY], fields.get(_FLAGS, b"\0")[-1:] == b"\1", fields.get(_DATA, b""))
        for fields in _slowly(elements)
        if _KEY in fields
    ]


def join_bounds(bounds: Iterable[Bound]) -> list[tuple[bytes, bytes, bytes]]:
    """(first, last, data) of each range, from all the bounds of an interval set in any order."""
    ranges: list[tuple[bytes, bytes, bytes]] = []
    start: tuple[bytes, bytes] | None = None
    for key, is_end, data in sorted(bounds, key=lambda bound: (bound[0], not bound[1])):
        if start is not None:
            last = (int.from_bytes(key, "big") - 1).to_bytes(len(key), "big")
            ranges.append((start[0], last, start[1]))
        start = None if is_end else (key, data)
    if start is not None:
        ranges.append((start[0], b"\xff" * len(start[0]), start[1]))
    return ranges
