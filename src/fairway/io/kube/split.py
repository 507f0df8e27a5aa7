"""Bytes of a list or a watch into raw objects as they arrive, without decoding any object.

Sans-IO: bytes in, `msgspec.Raw` out. Does not know HTTP, nor what the objects are.

A list answer can be 100 MB in one body (a server that serves from memory ignores `limit`), so it is cut while it comes
in: a guess says where an object may end, and parsing everything up to there as one JSON array proves it, since a prefix
of an array's text is itself an array only where every element is complete. A wrong guess costs time, never correctness.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from fairway.agents.api import WatchEvent
from fairway.kube.status import CorruptAnswerError

PIECE: Final = 256 * 1024
"""Cut when so much is waiting: some hundred objects, a millisecond's work."""
OPENING: Final = 12
"""So many bytes of an object's beginning are compared when looking for the next one (`{"metadata":`)."""
GUESSES: Final = 8
LONGEST_LINE: Final = 64 * 1024 * 1024
"""Of a watch; an API server's own limit for one object is 3 MB."""

_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError)
_ITEMS: Final = re.compile(rb'"items"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*')
_BLANKS: Final = b" \t\r\n"


class _ListMeta(msgspec.Struct, rename={"continue_": "continue"}):
    resourceVersion: str = ""  # noqa: N815 - the wire's name
    continue_: str = ""


class _List(msgspec.Struct):
    items: list[msgspec.Raw] | None = None
    metadata: _ListMeta | None = None


_list_decoder: Final = msgspec.json.Decoder(_List)
_array_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_event_decoder: Final = msgspec.json.Decoder(WatchEvent)


class ListSplitter:
    """`feed` bytes as they come and get the objects that are complete; `close` gives the rest.

    `resource_version` and `continue_token` hold after `close`.
    """

    def __init__(self) -> None:
        self.resource_version = ""
        self.continue_token = ""
        self._buffer = bytearray()
        self._in_items = False
        self._opening = b""
        self._try_at = PIECE

    def feed(self, data: bytes) -> list[msgspec.Raw]:
        """Take more bytes; return the objects that are complete, in order."""
        self._buffer += data
        if len(self._buffer) < self._try_at or not (self._in_items or self._enter()):
            return []
        return self._cut()

    def close(self) -> list[msgspec.Raw]:
        """Say that the answer has ended; return the last objects. Raises CorruptAnswerError when it is not whole."""
        body = b'{"items":[' + self._buffer if self._in_items else self._buffer
        try:
            rest = _list_decoder.decode(body)
        except _UNREADABLE as error:
            raise CorruptAnswerError(f"the list is not whole: {error}") from None
        self._note(rest)
        return rest.items or []

    def _enter(self) -> bool:
        """Find where the array begins, and prove it: what stands before, closed there, must be an object."""
        match = _ITEMS.search(self._buffer)
        if match:
            head = bytes(self._buffer[: match.end()]) + b"]}"
            try:
                self._note(_list_decoder.decode(head))
            except _UNREADABLE:
                match = None
        if match is None:
            self._try_at = len(self._buffer) * 2
            return False
        del self._buffer[: match.end()]
        self._in_items = True
        self._opening = bytes(self._buffer[:OPENING])
        return True

    def _cut(self) -> list[msgspec.Raw]:
        end = len(self._buffer)
        for _ in range(GUESSES):
            # All objects of one answer begin alike, since one encoder wrote them.
            end = self._buffer.rfind(self._opening, 1, end)
            if end < 0:
                break
            text = bytes(self._buffer[:end]).rstrip(_BLANKS)
            if not text.endswith(b","):
                continue
            try:
                items = _array_decoder.decode(b"[" + text[:-1] + b"]")
            except _UNREADABLE:
                continue
            del self._buffer[:end]
            self._try_at = PIECE
            return items
        self._try_at = len(self._buffer) * 2
        return []

    def _note(self, answer: _List) -> None:
        if answer.metadata is not None:
            self.resource_version = answer.metadata.resourceVersion or self.resource_version
            self.continue_token = answer.metadata.continue_ or self.continue_token


class WatchSplitter:
    """`feed` bytes of a watch as they come and get the events that are complete: one JSON object a line."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._waiting = 0
        self.error: CorruptAnswerError | None = None
        """Set by `feed` when a line is no event; what it returned then are the events before that line."""

    def feed(self, data: bytes) -> list[WatchEvent]:
        """Take more bytes; return the complete events. After an unreadable line, `error` says what was wrong."""
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._keep(data)
            return []
        lines = b"".join((*self._pieces, data[:cut])) if self._pieces else data[:cut]
        self._pieces, self._waiting = [], 0
        if cut < len(data):
            self._keep(data[cut:])
        try:
            return _event_decoder.decode_lines(lines)
        except _UNREADABLE:
            return self._until_corrupt(lines)

    @property
    def has_rest(self) -> bool:
        """Whether a line was begun and not ended: at the end of the stream, it was cut off."""
        return self._waiting > 0

    def _keep(self, data: bytes) -> None:
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting > LONGEST_LINE:
            self.error = CorruptAnswerError(f"a watch event longer than {LONGEST_LINE} bytes")

    def _until_corrupt(self, lines: bytes) -> list[WatchEvent]:
        events: list[WatchEvent] = []
        for line in lines.splitlines():
            if not line.strip():
                continue
            try:
                events.append(_event_decoder.decode(line))
            except _UNREADABLE as error:
                shown = line[:80].decode("utf-8", "replace")
                self.error = CorruptAnswerError(f"a line of the watch is no event: {error}: {shown}")
                break
        return events
