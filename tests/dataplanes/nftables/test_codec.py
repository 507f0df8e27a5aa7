"""Expressions as bytes and back; what a kernel may dump, and what none would."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.dataplanes.nftables import codec, decode, encode
from fairway.dataplanes.nftables import expressions as ex
from fairway.dataplanes.nftables.skeleton import PodInterface, PodRanges, SkeletonSettings, build_skeleton
from fairway.values.address import Family


def all_rules() -> list[ex.Rule]:
    """Every rule of every skeleton."""
    detectors = [PodRanges(), PodInterface("cni0", is_prefix=False), PodInterface("veth", is_prefix=True), None]
    rules = []
    for family in Family:
        for pods in detectors:
            skeleton = build_skeleton(SkeletonSettings(family, pods, guard_localhost=True), [1, 10800], [0, 24, 32])
            rules += [rule for chain in skeleton.chains.values() for rule in chain.rules]
    return rules


def value_of(entry: bytes) -> bytes:
    """What is inside the list element."""
    ((_, value),) = codec.parse(entry)
    return value


def test_every_expression_of_the_skeleton_can_be_read_back() -> None:
    expressions = {e for rule in all_rules() for e in rule.expressions if not isinstance(e, ex.OneOf)}
    assert len(expressions) > 100
    for expression in expressions:
        assert codec.decode_expression(value_of(codec.encode_expression(expression))) == expression


def test_a_register_is_read_by_its_old_name_too() -> None:
    """The kernel dumps 32-bit registers 0, 4, 8, 12 as the 128-bit registers 1 to 4."""
    written = codec.nest(1, codec.text(1, "meta"), codec.nest(2, codec.be32(2, ex.MetaKey.MARK), codec.be32(1, 3)))
    assert codec.decode_expression(value_of(written)) == ex.Meta(ex.MetaKey.MARK, 8)


@pytest.mark.parametrize(
    "fields",
    [
        (codec.be32(2, 77), codec.be32(1, 8)),  # a key that we never load
        (codec.be32(2, 3),),  # sets the mark instead of loading it
        (codec.be32(2, 3), codec.be32(1, 0)),  # into the verdict register
    ],
)
def test_what_the_skeleton_never_has_is_unknown_and_equal_to_nothing_of_it(fields: tuple[bytes, ...]) -> None:
    found = codec.decode_expression(value_of(codec.nest(1, codec.text(1, "meta"), codec.nest(2, *fields))))
    assert isinstance(found, ex.Unknown)
    assert found.name == "meta"
    assert codec.decode_expression(value_of(codec.encode_expression(found))) == found


@pytest.mark.parametrize("verdict", [ex.Verdict(ex.Code.GOTO, "pick"), ex.Verdict(ex.Code.DROP)])
def test_verdicts_can_be_read_back(verdict: ex.Verdict) -> None:
    assert codec.read_verdict(value_of(codec.write_verdict(2, verdict))) == verdict


@pytest.mark.parametrize("comment", ["", "pick", "ü" * 60, "x" * 127])
@pytest.mark.parametrize("kind", [0, 7, 100])
def test_comments_can_be_read_back(comment: str, kind: int) -> None:
    data = codec.comment_data("other", 5) + codec.comment_data(comment, kind)
    assert codec.read_comment(data, kind) == comment
    assert codec.read_comment(data, 5) == "other"


attributes = st.recursive(
    st.binary(max_size=24),
    lambda inner: st.lists(st.tuples(st.integers(0, 12), inner), max_size=6).map(
        lambda fields: b"".join(codec.attribute(kind, value) for kind, value in fields)
    ),
)
names = st.sampled_from(
    [
        "payload",
        "meta",
        "ct",
        "fib",
        "immediate",
        "cmp",
        "bitwise",
        "numgen",
        "lookup",
        "dynset",
        "nat",
        "masq",
        "reject",
        "x",
    ]
)


@given(name=names, inner=attributes)
def test_any_bytes_decode_to_something(name: str, inner: bytes) -> None:
    entry = codec.text(1, name) + codec.attribute(2, inner)
    codec.decode_expression(entry)
    codec.decode_expression(inner)


@given(data=st.binary(max_size=200))
def test_any_dump_decodes_to_something(data: bytes) -> None:
    decode.decode_chain(data)
    decode.decode_rule(data)
    decode.decode_set(Family.IPV4, data)
    decode.decode_verdicts(data)
    decode.decode_protocols(data)


@given(fields=st.lists(st.tuples(st.integers(1, 13), attributes), max_size=8))
def test_any_dump_of_our_table_decodes_to_something(fields: list[tuple[int, bytes]]) -> None:
    body = b"".join(codec.attribute(kind, value) for kind, value in fields if kind != 1)
    payload = encode.table_header(Family.IPV6) + body
    assert decode.decode_chain(payload) is not None
    assert decode.decode_rule(payload) is not None
    assert decode.decode_set(Family.IPV6, payload) is not None


@given(data=st.binary(max_size=64))
def test_malformed_attributes_end_the_list(data: bytes) -> None:
    whole = codec.attribute(3, b"abc")
    assert codec.parse(whole + struct.pack("=HH", 0, 1) + data) == [(3, b"abc")]
    assert codec.parse(whole + struct.pack("=HH", 500, 1) + data[:60]) == [(3, b"abc")]
