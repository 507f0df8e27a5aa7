"""Elements as bytes and back, by slicing and by parsing, whole, in lists, and as no kernel would dump them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.dataplanes.nftables import codec, elements, encode, layout
from fairway.dataplanes.nftables.elements import Form, Pair, Shape
from fairway.values.address import Address, Family, Prefix

families = st.sampled_from(list(Family))
PLAIN = [c.name for c in layout.CONTAINERS if c.name not in (layout.TIMEOUTS, layout.RANGE_LENGTHS)]


@st.composite
def lists_of_pairs(draw: st.DrawFn) -> tuple[Form, list[Pair]]:
    form = elements.form_of(draw(families), draw(st.sampled_from(PLAIN)))
    if form.shape is Shape.INTERVAL:
        width = form.key_bytes
        bounds = sorted(draw(st.sets(st.binary(min_size=width, max_size=width), max_size=20)))
        return form, [(first + last, b"") for first, last in list(pairwise(bounds))[::2]]
    keys = draw(st.sets(st.binary(min_size=form.key_bytes, max_size=form.key_bytes), max_size=20))
    values = st.binary(min_size=form.data_bytes, max_size=form.data_bytes)
    comments = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=150)
    is_commented = form.shape is Shape.COMMENTED
    return form, [(k, draw(values) + (draw(comments).encode() if is_commented else b"")) for k in sorted(keys)]


@given(lists_of_pairs())
def test_what_is_written_can_be_read_back(made: tuple[Form, list[Pair]]) -> None:
    form, pairs = made
    entries = b"".join(elements.encode_additions(form, pairs))
    match form.shape:
        case Shape.PLAIN:
            assert elements.decode_plain(form, entries) == pairs
        case Shape.COMMENTED:
            assert elements.decode_commented(form, entries) == pairs
        case Shape.INTERVAL:
            found = elements.join_bounds(elements.decode_bounds(form, entries))
            assert [(first + last, data) for first, last, data in found] == pairs


@given(lists_of_pairs())
def test_slicing_finds_what_parsing_finds(made: tuple[Form, list[Pair]]) -> None:
    form, pairs = made
    if form.shape is not Shape.PLAIN:
        return
    plain = b"".join(elements.encode_additions(form, pairs))
    # an attribute more, as another kernel might have: no longer of the fixed length
    odd = b"".join(
        codec.nest(1, value, codec.be32(5, 7))
        for entry in elements.encode_additions(form, pairs)
        for _, value in codec.parse(entry)
    )
    assert elements.decode_plain(form, plain) == elements.decode_plain(form, odd) == pairs


@given(form=st.builds(elements.form_of, families, st.sampled_from(PLAIN)), data=st.binary(max_size=300))
def test_any_bytes_decode_to_something(form: Form, data: bytes) -> None:
    for pairs in (elements.decode_plain(form, data), elements.decode_commented(form, data)):
        assert all(isinstance(part, bytes) for pair in pairs for part in pair)
    elements.join_bounds(elements.decode_bounds(form, data))
    elements.elements_of(data)


@given(lists_of_pairs(), st.integers(0, 400), st.integers(0, 255))
def test_a_flipped_byte_never_shifts_the_others(made: tuple[Form, list[Pair]], at: int, byte: int) -> None:
    form, pairs = made
    if form.shape is not Shape.PLAIN or not pairs:
        return
    entries = bytearray(b"".join(elements.encode_additions(form, pairs)))
    stride = len(entries) // len(pairs)
    at %= len(entries)
    entries[at] = byte
    found = elements.decode_plain(form, bytes(entries))
    assert found[: at // stride] == pairs[: at // stride]


@pytest.mark.parametrize("family", list(Family), ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 1000])
def test_shares_of_one_count_are_ranges_without_gap(family: Family, count: int) -> None:
    form = elements.form_of(family, layout.SHARES)
    bounds = elements.share_bounds(count)
    entries = b"".join(elements.encode_bounds(form, bounds))
    found = elements.decode_bounds(form, entries)
    assert {(key, is_end): data for key, is_end, data in found} == bounds
    assert {elements.count_of_bound(key, is_end=is_end) for key, is_end, _ in found} == {count}
    ranges = elements.join_bounds(found)
    assert [layout.unpack_id(data) for _, _, data in ranges] == list(range(count))
    assert all(int.from_bytes(b[0], "big") == int.from_bytes(a[1], "big") + 1 for a, b in pairwise(ranges))
    widths = {int.from_bytes(last, "big") - int.from_bytes(first, "big") for first, last, _ in ranges}
    assert max(widths) - min(widths) <= 1


@pytest.mark.parametrize("container", [layout.BACKENDS, layout.COUNTS, layout.PODS])
def test_long_lists_are_cut_where_an_attribute_ends(container: str) -> None:
    form = elements.form_of(Family.IPV6, container)
    entries = [bytes([n % 256]) * (40 + 4 * (n % 3 if container != layout.BACKENDS else 0)) for n in range(5000)]
    packed = list(elements.pack_lists(form, encode.Kind.NEW_ELEMENTS, entries))
    assert sum(count for _, count in packed) == len(entries)
    assert len(packed) > 2
    joined = b""
    for message, _ in packed:
        assert len(message.payload) < 1 << 16
        joined += elements.elements_of(message.payload)
    assert joined == b"".join(entries)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["0.0.0.0/0"], ["0.0.0.0/0"]),
        (["10.0.0.0/8", "11.0.0.0/8"], ["10.0.0.0/8", "11.0.0.0/8"]),
        (["255.255.255.255/32", "0.0.0.0/32"], ["0.0.0.0/32", "255.255.255.255/32"]),
    ],
)
def test_networks_become_ranges_and_networks_again(texts: list[str], expected: list[str]) -> None:
    form = elements.form_of(Family.IPV4, layout.PODS)
    pairs = [(layout.network_key(Prefix.parse(text)), b"") for text in texts]
    bounds = elements.decode_bounds(form, b"".join(elements.encode_additions(form, pairs)))
    ranges = elements.join_bounds(bounds)
    assert [str(layout.unpack_network_key(first + last)) for first, last, _ in ranges] == expected


def test_a_name_longer_than_a_comment_may_be_is_kept_whole_behind_a_short_one() -> None:
    form = elements.form_of(Family.IPV4, layout.COUNTS)
    name = f"{'n' * 63}/{'s' * 63}:{'p' * 15}/sctp cluster"
    pair = (layout.svc_key(2), layout.count_data(3, name))
    (entry,) = elements.encode_additions(form, [pair])
    assert elements.decode_commented(form, entry) == [pair]
    assert len(entry) < 400
    assert codec.comment_data(name[:80] + "...") in entry


def test_removals_name_the_key_alone() -> None:
    form = elements.form_of(Family.IPV4, layout.COUNTS)
    (entry,) = elements.encode_removals(form, [(layout.svc_key(2), layout.count_data(3, "name"))])
    assert elements.decode_plain(form, entry) == [(layout.svc_key(2), b"")]
    assert Address.parse("0.0.0.3") not in entry
