"""What the kernel dumps of a table, as the skeleton's own data, so that both compare equal when nothing differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fairway.dataplanes.nftables import expressions as ex
from fairway.dataplanes.nftables.codec import (
    decode_expression,
    parse,
    read_comment,
    read_number,
    read_text,
    read_value,
    read_verdict,
)
from fairway.dataplanes.nftables.encode import COMMENT_OF_SET, VERDICT_BYTES, VERDICT_TYPE, set_flags, type_number
from fairway.dataplanes.nftables.layout import TABLE
from fairway.dataplanes.nftables.skeleton import SETS, SetSpec
from fairway.values.address import Family

_GENERIC_HEADER = 4
_TYPES = {"filter": ex.ChainKind.FILTER, "nat": ex.ChainKind.NAT}


class FoundRule(NamedTuple):
    chain: str
    handle: int
    rule: ex.Rule


def _fields(payload: bytes) -> dict[int, bytes]:
    return dict(parse(payload[_GENERIC_HEADER:]))


def decode_chain(payload: bytes, table: str = TABLE) -> ex.Chain | None:
    """A chain without its rules; None if it is of another table."""
    fields = _fields(payload)
    if read_text(fields.get(1, b"")) != table:
        return None
    hook = None
    if 4 in fields:
        at = dict(parse(fields[4]))
        priority = int.from_bytes(at.get(2, b""), "big", signed=True)
        kind, point = _TYPES.get(read_text(fields.get(7, b""))), read_number(at.get(1, b""))
        if kind is not None and point <= ex.HookPoint.POSTROUTING:
            hook = ex.Hook(kind, ex.HookPoint(point), priority)
    return ex.Chain(read_text(fields.get(3, b"")), (), hook)


def decode_rule(payload: bytes, table: str = TABLE) -> FoundRule | None:
    """A rule; None if it is of another table."""
    fields = _fields(payload)
    if read_text(fields.get(1, b"")) != table:
        return None
    expressions = tuple(decode_expression(entry) for _, entry in parse(fields.get(4, b"")))
    comment = read_comment(fields.get(7, b""))
    return FoundRule(read_text(fields.get(2, b"")), read_number(fields.get(3, b"")), ex.Rule(expressions, comment))


def decode_set(family: Family, payload: bytes, table: str = TABLE, specs: Sequence[SetSpec] = SETS) -> SetSpec | None:
    """The skeleton's own spec if the set is exactly that; one that equals none if it is not; None for other tables."""
    fields = _fields(payload)
    if read_text(fields.get(1, b"")) != table:
        return None
    name = read_text(fields.get(2, b""))
    found = [read_number(fields.get(kind, b"")) for kind in (3, 4, 5, 6, 7)]
    size = read_number(dict(parse(fields.get(9, b""))).get(1, b""))
    for spec in specs:
        if spec.name == name and found == _facts(family, spec):
            return spec._replace(size=size, comment=read_comment(fields.get(13, b""), COMMENT_OF_SET))
    return SetSpec(name, ())


def _facts(family: Family, spec: SetSpec) -> list[int]:
    data = (VERDICT_TYPE, VERDICT_BYTES) if spec.leads else (0, 0)
    if spec.data:
        data = (type_number(spec.data, family), spec.data_width(family))
    return [set_flags(spec), type_number(spec.key, family), spec.key_width(family), *data]


def is_anonymous(spec: SetSpec) -> bool:
    """A set that belongs to a rule; the kernel names it __set0, __set1 …"""
    return spec.name.startswith("__set")


def decode_protocols(elements: bytes) -> frozenset[int]:
    """Elements of an anonymous set."""
    keys = (read_value(dict(parse(entry)).get(1, b"")) for _, entry in parse(elements))
    return frozenset(read_number(key) for key in keys)


def with_anonymous(rule: ex.Rule, anonymous: Mapping[str, frozenset[int]]) -> ex.Rule:
    """The rule with its lookups in anonymous sets as what they are."""
    expressions = tuple(
        ex.OneOf(e.source, anonymous[e.container])
        if isinstance(e, ex.Lookup) and e.container in anonymous and e == ex.Lookup(e.container, e.source)
        else e
        for e in rule.expressions
    )
    return rule._replace(expressions=expressions)


def decode_verdicts(elements: bytes) -> dict[bytes, ex.Verdict]:
    """Elements of a verdict map; those with a verdict that we never use are given as an impossible one."""
    found = {}
    for _, entry in parse(elements):
        fields = dict(parse(entry))
        key = read_value(fields.get(1, b""))
        try:
            found[key] = read_verdict(fields.get(2, b""))
        except ValueError:
            found[key] = ex.Verdict(ex.Code.ACCEPT)
    return found
