"""SPDY/3.1 frames: each comes as it was sent, in order, with one compression state a direction."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.wire.spdy import DICTIONARY, FIN, Codec, Frame, Kind, SpdyError

HEADERS = st.lists(
    st.tuples(
        st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.text(st.characters(min_codepoint=32, max_codepoint=126))
    ),
    max_size=4,
).map(tuple)
STREAMS = st.integers(1, 2**31 - 1)
FRAMES = st.one_of(
    st.builds(
        lambda s, d, f: Frame(Kind.DATA, s, FIN if f else 0, data=d), STREAMS, st.binary(max_size=2000), st.booleans()
    ),
    st.builds(lambda s, h: Frame(Kind.SYN_STREAM, s, 0, h), STREAMS, HEADERS),
    st.builds(lambda s, h: Frame(Kind.SYN_REPLY, s, 0, h), STREAMS, HEADERS),
    st.builds(lambda s, n: Frame(Kind.WINDOW_UPDATE, s, number=n), STREAMS, STREAMS),
    st.builds(lambda s, n: Frame(Kind.RST_STREAM, s, number=n), STREAMS, st.integers(1, 11)),
    st.builds(lambda n: Frame(Kind.PING, number=n), STREAMS),
    st.builds(lambda s: Frame(Kind.GOAWAY, s), STREAMS),
)


def test_dictionary_is_the_one_of_the_specification() -> None:
    assert len(DICTIONARY) == 1423
    assert hashlib.sha256(DICTIONARY).hexdigest()[:16] == "51d27341373f923f"


@given(st.lists(FRAMES, max_size=12), st.integers(1, 900))
def test_frames_survive_any_cut(frames: list[Frame], cut: int) -> None:
    sender, receiver = Codec(), Codec()
    stream = b"".join(sender.encode(f) for f in frames)

    got = [f for at in range(0, len(stream), cut) for f in receiver.feed(stream[at : at + cut])]

    assert got == frames


def test_frame_of_another_version_is_refused() -> None:
    with pytest.raises(SpdyError, match="not SPDY/3"):
        Codec().feed(b"\x80\x02\x00\x01\x00\x00\x00\x00")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_codec(data: bytes) -> None:
    with contextlib.suppress(SpdyError):
        Codec().feed(data)
