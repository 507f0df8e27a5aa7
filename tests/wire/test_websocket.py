"""WebSocket frames: what is sent is what comes, however it is cut; what breaks the protocol is said so."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.wire.websocket import Decoder, Message, Opcode, WebSocketError, accept_key, encode, encode_masked

MESSAGES = st.lists(st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), st.binary(max_size=70_000)), max_size=5)


def test_accept_key_is_the_one_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(MESSAGES, st.binary(min_size=4, max_size=4), st.integers(1, 5000))
def test_messages_survive_any_cut(messages: list[tuple[Opcode, bytes]], mask: bytes, cut: int) -> None:
    stream = b"".join(encode_masked(o, p, mask) for o, p in messages)
    decoder = Decoder()
    got = [m for at in range(0, len(stream), cut) for m in decoder.feed(stream[at : at + cut])]

    assert got == [Message(o, p) for o, p in messages]


def test_fragments_are_put_together_around_control_frames() -> None:
    mask = b"abcd"
    first = bytearray(encode_masked(Opcode.BINARY, b"one", mask))
    first[0] &= 0x7F
    last = encode_masked(Opcode.CONTINUATION, b"two", mask)

    got = Decoder().feed(bytes(first) + encode_masked(Opcode.PING, b"!", mask) + last)

    assert got == [Message(Opcode.PING, b"!"), Message(Opcode.BINARY, b"onetwo")]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (encode(Opcode.BINARY, b"x"), "not masked"),
        (bytes([0xC2, 0x80]) + b"abcd", "reserved"),
        (bytes([0x83, 0x80]) + b"abcd", "opcode"),
        (bytes([0x09, 0x80]) + b"abcd", "control frame"),
        (bytes([0x80, 0x80]) + b"abcd", "fragment"),
        (bytes([0x82, 0xFF]) + (1 << 40).to_bytes(8, "big"), "too large"),
    ],
)
def test_broken_frames_are_refused(frame: bytes, words: str) -> None:
    with pytest.raises(WebSocketError, match=words):
        Decoder().feed(frame)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    with contextlib.suppress(WebSocketError):
        Decoder().feed(data)
