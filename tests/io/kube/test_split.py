"""Lists and watches cut as they arrive: whatever the pieces, the objects are the same."""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.io.kube import split
from fairway.io.kube.split import ListSplitter, WatchSplitter
from fairway.kube.status import CorruptAnswerError


def object_(i: int) -> dict[str, Any]:
    # Endpoints stand behind one another just as objects do, and text may look like either.
    endpoints = [{"addresses": [f"10.0.0.{k}"], "conditions": {"ready": True}} for k in range(5)]
    trick = '},{"metadata":{"name":"no"}},{"metadata":'
    return {"metadata": {"name": f"o{i}", "annotations": {"t": trick, "u": '"items":[{}]'}}, "endpoints": endpoints}


def list_text(count: int, style: str) -> bytes:
    items = [object_(i) for i in range(count)]
    meta = {"resourceVersion": "77", "continue": "next"}
    match style:
        case "Go":
            body = {"kind": "XList", "apiVersion": "v1", "metadata": meta, "items": items}
            return json.dumps(body, separators=(",", ":")).encode()
        case "Python":
            return json.dumps({"metadata": meta, "items": items}).encode()
        case "indented":
            return json.dumps({"kind": "XList", "metadata": meta, "items": items}, indent=2).encode()
        case "metadata last":
            return json.dumps({"items": items, "metadata": meta}).encode()
        case "other items first":
            return json.dumps({"x": {"items": [1, 2]}, "y": '"items":[', "metadata": meta, "items": items}).encode()
    raise AssertionError(style)


STYLES = ["Go", "Python", "indented", "metadata last", "other items first"]


def fed(data: bytes, sizes: list[int]) -> tuple[list[Any], ListSplitter]:
    splitter = ListSplitter()
    found: list[Any] = []
    at = 0
    for size in sizes:
        found += map(msgspec.json.decode, splitter.feed(data[at : at + size]))
        at += size
    found += map(msgspec.json.decode, splitter.feed(data[at:]))
    found += map(msgspec.json.decode, splitter.close())
    return found, splitter


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("piece", [64, 1000, 4096])
def test_objects_do_not_depend_on_the_pieces(style: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "PIECE", 3000)
    data = list_text(60, style)
    rng = random.Random(piece)
    sizes = [rng.randint(1, 2 * piece) for _ in range(len(data) // piece + 1)]
    found, splitter = fed(data, sizes)
    assert found == [object_(i) for i in range(60)]
    assert (splitter.resource_version, splitter.continue_token) == ("77", "next")


@pytest.mark.parametrize("style", STYLES)
def test_objects_come_before_the_end_of_the_answer(style: str) -> None:
    data = list_text(4000, style)
    splitter = ListSplitter()
    early = sum(len(splitter.feed(data[at : at + 65536])) for at in range(0, len(data), 65536))
    late = len(splitter.close())
    assert early + late == 4000
    if style != "other items first":  # a first `items` that is not the list's costs the early start, nothing else
        assert early > 3000


@pytest.mark.parametrize(
    "text", ['{"items":null}', '{"items":[]}', '{"kind":"XList"}', '{"items": [ ] ,"metadata":{"resourceVersion":"1"}}']
)
def test_empty_lists(text: str) -> None:
    found, _ = fed(text.encode(), [3])
    assert found == []


@pytest.mark.parametrize("cut", [1, 10, 50, 300, 1000])
@pytest.mark.parametrize("style", STYLES)
def test_list_that_is_cut_is_an_error(style: str, cut: int) -> None:
    data = list_text(20, style)
    splitter = ListSplitter()
    splitter.feed(data[:-cut])
    with pytest.raises(CorruptAnswerError, match="not whole"):
        splitter.close()


@pytest.mark.parametrize("text", ["", "[]", "5", '{"items":5}', '{"items":[{}]}}', "<html>", '{"items":[{},]}'])
def test_answer_that_is_no_list_is_an_error(text: str) -> None:
    splitter = ListSplitter()
    splitter.feed(text.encode())
    with pytest.raises(CorruptAnswerError):
        splitter.close()


def test_large_list_needs_no_memory_of_its_size() -> None:
    data = list_text(20_000, "Go")
    splitter = ListSplitter()
    tracemalloc.start()
    count = 0
    for at in range(0, len(data), 65536):
        count += len(splitter.feed(data[at : at + 65536]))
    count += len(splitter.close())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < len(data) / 4


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=30), st.lists(st.integers(1, 80), max_size=40), st.booleans())
def test_any_items_in_any_pieces_come_out_as_they_went_in(items: list[Any], sizes: list[int], is_tight: bool) -> None:
    separators = (",", ":") if is_tight else (", ", ": ")
    data = json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}, separators=separators).encode()
    if b"\\ud" in data:
        return  # lone surrogates are no JSON to us
    piece, split.PIECE = split.PIECE, 16  # type: ignore[misc]
    try:
        found, _ = fed(data, sizes)
    finally:
        split.PIECE = piece  # type: ignore[misc]
    assert found == items


# -- watches


def event(i: int) -> bytes:
    return json.dumps({"type": "ADDED", "object": {"n": i, "text": "a\nb"}}).encode() + b"\n"


@given(st.lists(st.integers(1, 60), max_size=60))
def test_events_do_not_depend_on_the_pieces(sizes: list[int]) -> None:
    data = b"".join(event(i) for i in range(20))
    splitter = WatchSplitter()
    found: list[int] = []
    at = 0
    for size in [*sizes, len(data)]:
        found += [msgspec.json.decode(e.object)["n"] for e in splitter.feed(data[at : at + size])]
        at += size
    assert found == list(range(20))
    assert not splitter.has_rest
    assert splitter.error is None


def test_events_that_arrive_together_come_together() -> None:
    splitter = WatchSplitter()
    assert len(splitter.feed(b"".join(event(i) for i in range(1000)) + event(0)[:20])) == 1000
    assert splitter.has_rest


@pytest.mark.parametrize("wrong", [b"{}\n", b"x\n", b"[1]\n", b'{"type":1,"object":{}}\n', b'{"type":"A"\n', b"\xff\n"])
def test_wrong_line_gives_the_events_before_it_and_an_error(wrong: bytes) -> None:
    splitter = WatchSplitter()
    assert len(splitter.feed(event(1) + event(2) + wrong + event(3))) == 2
    assert splitter.error is not None


def test_blank_lines_are_nothing() -> None:
    splitter = WatchSplitter()
    assert len(splitter.feed(b"\n" + event(1) + b"\r\n\n" + event(2))) == 2
    assert splitter.error is None


def test_line_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "LONGEST_LINE", 1000)
    splitter = WatchSplitter()
    for _ in range(11):
        splitter.feed(b"x" * 100)
    assert splitter.error is not None


def test_object_nested_beyond_reason_is_an_error_not_a_crash() -> None:
    deep = b'{"type":"ADDED","object":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}\n"
    splitter = WatchSplitter()
    assert splitter.feed(event(1) + deep) != []
    assert splitter.error is not None
