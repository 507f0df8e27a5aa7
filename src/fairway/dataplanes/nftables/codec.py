"""nf_tables attributes, and rule expressions as such and back.

One table of forms serves both directions, so that what the kernel dumps compares equal to what was written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from fairway.dataplanes.nftables import expressions as ex

_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_HEADER = struct.Struct("=HH")
_BE32 = struct.Struct(">I")
_BE64 = struct.Struct(">Q")
_FIRST_REGISTER = 8
_VERDICT_REGISTER = 0
_FULLY_RANDOM = 1 << 4
_RESULT_IS_ADDRESS_TYPE = 3
_IS_RANDOM = 1
_IS_DESTINATION = 1


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to 4 bytes."""
    return _HEADER.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """A string with its NUL."""
    return attribute(kind, value.encode() + b"\0")


def be32(kind: int, number: int) -> bytes:
    """A number of 32 bits in network order, as nf_tables has them all."""
    return attribute(kind, _BE32.pack(number & 0xFFFFFFFF))


def parse(data: bytes) -> list[tuple[int, bytes]]:
    """(type, value) of each attribute; what is malformed ends the list."""
    found = []
    offset, end = 0, len(data)
    while offset + 4 <= end:
        length, kind = _HEADER.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            break
        found.append((kind & _TYPE_MASK, data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found


def read_number(data: bytes) -> int:
    """The inverse of be32, of the attribute's value; 0 if it is empty."""
    return int.from_bytes(data, "big")


def read_text(data: bytes) -> str:
    """The inverse of text, of the attribute's value."""
    return data.rstrip(b"\0").decode(errors="replace")


def write_value(kind: int, data: bytes) -> bytes:
    """NFTA_DATA_VALUE inside the attribute `kind`."""
    return nest(kind, attribute(1, data))


def read_value(data: bytes) -> bytes:
    """The inverse of write_value, of the attribute's value."""
    return dict(parse(data)).get(1, b"")


def write_verdict(kind: int, verdict: ex.Verdict) -> bytes:
    """NFTA_DATA_VERDICT inside the attribute `kind`."""
    chain = (text(2, verdict.chain),) if verdict.chain else ()
    return nest(kind, nest(2, be32(1, verdict.code), *chain))


def read_verdict(data: bytes) -> ex.Verdict:
    """The inverse of write_verdict, of the attribute's value. Raises ValueError for a code that we never use."""
    fields = dict(parse(dict(parse(data)).get(2, b"")))
    code = int.from_bytes(fields.get(1, b"\x7f"), "big", signed=True)
    return ex.Verdict(ex.Code(code), read_text(fields.get(2, b"")))


class _Field(NamedTuple):
    """One attribute of an expression."""

    kind: int
    name: str
    """Field of the expression's class; a constant has none."""
    write: Callable[[int, Any], bytes]
    read: Callable[[bytes], Any]
    default: Any = ...
    """Of a named field: neither written nor, in a dump, necessarily there. Of a constant: its value."""


def _number(kind: int, name: str, make: Callable[[int], Any] = int) -> _Field:
    return _Field(kind, name, be32, lambda data: make(read_number(data)))


def _constant(kind: int, value: int) -> _Field:
    return _Field(kind, "", be32, read_number, value)


def _write_register(kind: int, register: int) -> bytes:
    return be32(kind, _FIRST_REGISTER + register)


def _read_register(data: bytes) -> int:
    """The kernel dumps a register that starts a 128-bit one by the old number of that, 1 to 4."""
    number = read_number(data)
    register = (number - 1) * 4 if number <= 4 else number - _FIRST_REGISTER
    if register < 0:
        raise ValueError("the verdict register")
    return register


def _register(kind: int, name: str, default: Any = ...) -> _Field:
    return _Field(kind, name, _write_register, _read_register, default)


def _data(kind: int, name: str) -> _Field:
    return _Field(kind, name, write_value, read_value)


def _text(kind: int, name: str) -> _Field:
    return _Field(kind, name, text, read_text)


def _one_byte(kind: int, number: int) -> bytes:
    return attribute(kind, bytes((number,)))


class AnonymousLookup(NamedTuple):
    """A OneOf as it is written: the kernel names the set, whose number tells the sets of a transaction apart."""

    source: int
    number: int


ANONYMOUS = "__set%d"


class _Form(NamedTuple):
    """How one class of expressions is written."""

    made: type
    name: str
    fields: tuple[_Field, ...]


_FORMS = (
    _Form(
        ex.Payload,
        "payload",
        (_register(1, "target"), _number(2, "base", ex.Base), _number(3, "offset"), _number(4, "length")),
    ),
    _Form(ex.Meta, "meta", (_number(2, "key", ex.MetaKey), _register(1, "target"))),
    _Form(
        ex.Ct,
        "ct",
        (
            _number(2, "key", ex.CtKey),
            _register(1, "target"),
            _Field(3, "original", lambda kind, _: _one_byte(kind, 0), lambda data: data == b"\0", False),
        ),
    ),
    _Form(
        ex.Fib,
        "fib",
        (_register(1, "target"), _constant(2, _RESULT_IS_ADDRESS_TYPE), _number(3, "flags", ex.FibFlag)),
    ),
    _Form(ex.Decide, "immediate", (_constant(1, _VERDICT_REGISTER), _Field(2, "verdict", write_verdict, read_verdict))),
    _Form(ex.Immediate, "immediate", (_register(1, "target"), _data(2, "data"))),
    _Form(ex.Compare, "cmp", (_register(1, "source"), _number(2, "comparison", ex.Comparison), _data(3, "data"))),
    _Form(
        ex.Bitwise,
        "bitwise",
        (
            _register(1, "source"),
            _register(2, "target"),
            _Field(3, "mask", lambda kind, mask: be32(kind, len(mask)), bytes),
            _constant(6, 0),
            _data(4, "mask"),
            _data(5, "xor"),
        ),
    ),
    _Form(ex.Random, "numgen", (_register(1, "target"), _number(2, "modulus"), _constant(3, _IS_RANDOM))),
    _Form(ex.Dispatch, "lookup", (_text(1, "container"), _register(2, "source"), _constant(3, _VERDICT_REGISTER))),
    _Form(
        ex.Lookup,
        "lookup",
        (
            _text(1, "container"),
            _register(2, "source"),
            _register(3, "target", None),
            _Field(5, "inverted", be32, lambda data: bool(read_number(data)), False),
        ),
    ),
    _Form(
        ex.Remember,
        "dynset",
        (
            _text(1, "container"),
            _number(3, "change", ex.Change),
            _register(4, "key"),
            _register(5, "data"),
            _Field(6, "timeout_ms", lambda kind, number: attribute(kind, _BE64.pack(number)), read_number),
        ),
    ),
    _Form(
        ex.DestinationNat,
        "nat",
        (_constant(1, _IS_DESTINATION), _number(2, "address_family"), _register(3, "address"), _register(5, "port")),
    ),
    _Form(
        AnonymousLookup,
        "lookup",
        (_Field(1, "", text, read_text, ANONYMOUS), _register(2, "source"), _number(4, "number")),
    ),
    _Form(ex.Masquerade, "masq", (_constant(1, _FULLY_RANDOM),)),
    _Form(ex.Untracked, "notrack", ()),
    _Form(ex.Reject, "reject", (_constant(1, 0), _Field(2, "code", _one_byte, read_number))),
)
_FORM_OF = {form.made: form for form in _FORMS}


def encode_expression(expression: ex.Expression | AnonymousLookup) -> bytes:
    """NFTA_LIST_ELEM of one expression; of a OneOf, its AnonymousLookup."""
    if isinstance(expression, ex.Unknown):
        return nest(1, text(1, expression.name), attribute(2 | _NESTED, expression.data))
    form = _FORM_OF[type(expression)]
    written = []
    for field in form.fields:
        value = getattr(expression, field.name) if field.name else field.default
        if not field.name or value != field.default:
            written.append(field.write(field.kind, value))
    return nest(1, text(1, form.name), nest(2, *written))


def decode_expression(data: bytes) -> ex.Expression:
    """The inverse of encode_expression, of the list element's value; Unknown for what the skeleton never has."""
    outer = dict(parse(data))
    name, inner = read_text(outer.get(1, b"")), outer.get(2, b"")
    fields = dict(parse(inner))
    for form in _FORMS:
        if form.name == name:
            try:
                return _decode_form(form, fields)
            except (KeyError, ValueError):
                continue
    return ex.Unknown(name, inner)


def _decode_form(form: _Form, fields: dict[int, bytes]) -> ex.Expression:
    """Raises KeyError for a missing attribute, ValueError for one that this form cannot have."""
    values: dict[str, Any] = {}
    for field in form.fields:
        if field.name and field.default is not ... and field.kind not in fields:
            values[field.name] = field.default
            continue
        value = field.read(fields[field.kind])
        if field.name:
            values[field.name] = value
        elif value != field.default:
            raise ValueError(form.name)
    return cast("ex.Expression", form.made(**values))


def comment_data(comment: str, kind: int = 0) -> bytes:
    """libnftnl's type, length, value with the text's NUL, as `nft` shows and saves it."""
    value = comment.encode() + b"\0"
    return bytes((kind, len(value))) + value


def read_comment(data: bytes, kind: int = 0) -> str:
    """The inverse of comment_data."""
    offset = 0
    while offset + 2 <= len(data):
        length = data[offset + 1]
        if data[offset] == kind:
            return read_text(data[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""
