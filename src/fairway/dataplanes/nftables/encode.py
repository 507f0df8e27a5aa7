"""The skeleton as nf_tables messages: tables, sets, chains, rules, verdict elements.

Sockets, sequence numbers and batches are left to `io.netlink`; the elements of maps, which must be fast, to `elements`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from fairway.dataplanes.nftables import expressions as ex
from fairway.dataplanes.nftables.codec import (
    ANONYMOUS,
    AnonymousLookup,
    attribute,
    be32,
    comment_data,
    encode_expression,
    nest,
    text,
    write_value,
    write_verdict,
)
from fairway.dataplanes.nftables.layout import TABLE
from fairway.dataplanes.nftables.skeleton import TABLE_COMMENT, Field, SetSpec
from fairway.values.address import Family

_SUBSYSTEM = 10 << 8
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
VERDICT_TYPE = 0xFFFFFF00
VERDICT_BYTES = 16
COMMENT_OF_SET = 7
_CONCAT_BITS = 6
_GENERIC_HEADER = 4
_IN_HOST_ORDER = bytes((0, 4)) + (1).to_bytes(4, sys.byteorder)


class Kind(IntEnum):
    """Message types."""

    NEW_TABLE = _SUBSYSTEM | 0
    GET_TABLE = _SUBSYSTEM | 1
    DELETE_TABLE = _SUBSYSTEM | 2
    NEW_CHAIN = _SUBSYSTEM | 3
    GET_CHAIN = _SUBSYSTEM | 4
    DELETE_CHAIN = _SUBSYSTEM | 5
    NEW_RULE = _SUBSYSTEM | 6
    GET_RULE = _SUBSYSTEM | 7
    DELETE_RULE = _SUBSYSTEM | 8
    NEW_SET = _SUBSYSTEM | 9
    GET_SET = _SUBSYSTEM | 10
    DELETE_SET = _SUBSYSTEM | 11
    NEW_ELEMENTS = _SUBSYSTEM | 12
    GET_ELEMENTS = _SUBSYSTEM | 13
    DELETE_ELEMENTS = _SUBSYSTEM | 14
    NEW_GENERATION = _SUBSYSTEM | 15
    GET_GENERATION = _SUBSYSTEM | 16
    DESTROY_ELEMENTS = _SUBSYSTEM | 30


class Message(NamedTuple):
    """One message without its netlink header."""

    kind: Kind
    flags: int
    payload: bytes


def family_header(family: Family) -> bytes:
    """nfgenmsg"""
    return bytes((2 if family is Family.IPV4 else 10, 0, 0, 0))


def table_header(family: Family, container: str = "", table: str = TABLE) -> bytes:
    """What begins every message about our table, or another, or about a set of it."""
    head = family_header(family) + text(1, table)
    return head + text(2, container) if container else head


def for_table(message: Message, table: str) -> Message:
    """The same message about another table: its name stands first in each."""
    kind, flags, payload = message
    header, rest = payload[:_GENERIC_HEADER], payload[_GENERIC_HEADER + len(text(1, TABLE)) :]
    return Message(kind, flags, header + text(1, table) + rest)


def new_table(family: Family, comment: str = TABLE_COMMENT) -> Message:
    payload = table_header(family) + attribute(6, comment_data(comment))
    return Message(Kind.NEW_TABLE, NLM_F_CREATE, payload)


def delete_table(family: Family) -> Message:
    return Message(Kind.DELETE_TABLE, 0, table_header(family))


_CHAIN_TYPES = {ex.ChainKind.FILTER: "filter", ex.ChainKind.NAT: "nat"}


def new_chain(family: Family, chain: ex.Chain) -> Message:
    """The chain without its rules."""
    payload = table_header(family) + text(3, chain.name)
    if chain.hook is not None:
        kind, point, priority = chain.hook
        payload += nest(4, be32(1, point), be32(2, priority)) + be32(5, ex.Code.ACCEPT) + text(7, _CHAIN_TYPES[kind])
    return Message(Kind.NEW_CHAIN, NLM_F_CREATE, payload)


def delete_chain(family: Family, name: str) -> Message:
    return Message(Kind.DELETE_CHAIN, 0, table_header(family) + text(3, name))


def new_rule(family: Family, chain: str, rule: ex.Rule, numbers: Iterator[int]) -> Iterator[Message]:
    """Append a rule, after the sets of its own; `numbers` tells the sets of one transaction apart."""
    written = []
    for expression in rule.expressions:
        if isinstance(expression, ex.OneOf):
            number = next(numbers)
            yield from _anonymous_set(family, expression.protocols, number)
            written.append(encode_expression(AnonymousLookup(expression.source, number)))
        else:
            written.append(encode_expression(expression))
    payload = table_header(family, chain) + nest(4, *written) + attribute(7, comment_data(rule.comment))
    yield Message(Kind.NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, payload)


def flush_table(family: Family) -> Message:
    """Delete all rules of all chains."""
    return Message(Kind.DELETE_RULE, 0, table_header(family))


def _anonymous_set(family: Family, protocols: frozenset[int], number: int) -> tuple[Message, Message]:
    """Gone with its rule."""
    head = table_header(family, ANONYMOUS)
    kind = be32(3, _SET_IS_ANONYMOUS | _SET_IS_CONSTANT) + be32(4, Field.PROTOCOL.number(family)) + be32(5, 1)
    created = head + kind + be32(10, number) + nest(9, be32(1, len(protocols)))
    filled = head + nest(3, *(nest(1, write_value(1, bytes((p,)))) for p in sorted(protocols))) + be32(4, number)
    return Message(Kind.NEW_SET, NLM_F_CREATE, created), Message(Kind.NEW_ELEMENTS, NLM_F_CREATE, filled)


def flush_chain(family: Family, chain: str) -> Message:
    """Delete all rules of a chain."""
    return Message(Kind.DELETE_RULE, 0, table_header(family, chain))


_SET_IS_ANONYMOUS, _SET_IS_CONSTANT, _SET_IS_MAP = 0x1, 0x2, 0x8


def set_flags(spec: SetSpec) -> int:
    return int(spec.kind) | (_SET_IS_MAP if spec.data or spec.leads else 0)


def new_set(family: Family, spec: SetSpec, number: int) -> Message:
    """A set or map; `number` tells the sets of one batch apart."""
    payload = b"".join(
        (
            family_header(family),
            text(1, TABLE),
            text(2, spec.name),
            be32(3, set_flags(spec)),
            be32(4, type_number(spec.key, family)),
            be32(5, spec.key_width(family)),
            *(_set_data(family, spec)),
            be32(10, number),
            *((nest(9, be32(1, spec.size)),) if spec.size else ()),
            attribute(13, _byte_order(spec) + comment_data(spec.comment, COMMENT_OF_SET)),
        )
    )
    return Message(Kind.NEW_SET, NLM_F_CREATE, payload)


def _byte_order(spec: SetSpec) -> bytes:
    """Tells nft that a key of one word is in host order; it takes it for big-endian else."""
    return _IN_HOST_ORDER if spec.key == (Field.WORD,) else b""


def _set_data(family: Family, spec: SetSpec) -> tuple[bytes, ...]:
    if spec.leads:
        return (be32(6, VERDICT_TYPE), be32(7, VERDICT_BYTES))
    if spec.data:
        return (be32(6, type_number(spec.data, family)), be32(7, spec.data_width(family)))
    return ()


def type_number(fields: tuple[Field, ...], family: Family) -> int:
    """nft's number of a concatenated type: 6 bits a field."""
    number = 0
    for field in fields:
        number = number << _CONCAT_BITS | field.number(family)
    return number


def delete_set(family: Family, name: str) -> Message:
    return Message(Kind.DELETE_SET, 0, table_header(family, name))


def verdict_elements(kind: Kind, family: Family, container: str, elements: dict[bytes, ex.Verdict]) -> Message:
    """Add or delete elements of a verdict map."""
    body = nest(3, *(nest(1, write_value(1, key), write_verdict(2, verdict)) for key, verdict in elements.items()))
    payload = table_header(family, container) + body
    return Message(kind, NLM_F_CREATE if kind is Kind.NEW_ELEMENTS else 0, payload)
