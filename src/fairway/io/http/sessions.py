"""How clients speak with pods: WebSocket channels, SPDY streams, SPDY inside a WebSocket; one face for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Protocol

from fairway.apiserver.context import encode
from fairway.apiserver.request import Json
from fairway.io.http.duplex import Duplex
from fairway.wire.spdy import FIN, Codec, Frame, Kind
from fairway.wire.websocket import Decoder, Opcode, WebSocketError, close_payload
from fairway.wire.websocket import encode as ws_encode

Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_CHUNK = 32 << 10


class Terminal:
    """The client's end of a command, whatever the protocol: it fills the queues, `write` goes out through `send`."""

    def __init__(self, send: Callable[[bytes, bool], Awaitable[None]]) -> None:
        self._send = send
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue()
        self._sizes: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    async def read(self) -> bytes:
        return await self._stdin.get()

    async def write(self, data: bytes, *, stderr: bool = False) -> None:
        for at in range(0, len(data), _CHUNK):
            await self._send(data[at : at + _CHUNK], stderr)

    async def resized(self) -> tuple[int, int]:
        return await self._sizes.get()

    def feed(self, data: bytes) -> None:
        """Standard input; nothing ends it."""
        self._stdin.put_nowait(data)

    def resize(self, text: bytes) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            size = json.loads(text)
            self._sizes.put_nowait((int(size["Width"]), int(size["Height"])))


class Session(Protocol):
    """One client connection."""

    async def terminal(self, wanted: set[str], *, tty: bool) -> Terminal:
        """Begin a command."""

    async def finish(self, status: Json) -> None:
        """Say how it ended, and end."""

    async def forward(self, connect: Connect, ports: list[int]) -> None:
        """Serve port-forward to its end."""


# ---- WebSocket channels -----------------------------------------------------------------------------------------
class ChannelSession:
    """The first byte of each message is its channel. v5 can end one channel; the first version has no status.

    It says on the error channel, as text, what went wrong, and nothing otherwise.
    """

    def __init__(self, duplex: Duplex, protocol: str) -> None:
        self._duplex, self._v5 = duplex, protocol.startswith("v5")
        self._has_status = protocol != "channel.k8s.io"
        self._decoder = Decoder()
        self._reading: asyncio.Task[None] | None = None

    async def _send(self, channel: int, data: bytes) -> None:
        await self._duplex.write(ws_encode(Opcode.BINARY, bytes([channel]) + data))

    async def _messages(self, handle: Callable[[int, bytes], None]) -> None:
        """Hand on messages until the client leaves."""
        try:
            while data := await self._duplex.read():
                for message in self._decoder.feed(data):
                    if message.opcode is Opcode.PING:
                        await self._duplex.write(ws_encode(Opcode.PONG, message.payload))
                    elif message.opcode is Opcode.CLOSE:
                        return
                    elif message.payload and message.opcode is not Opcode.PONG:
                        handle(message.payload[0], message.payload[1:])
        except WebSocketError as error:
            await self._duplex.write(ws_encode(Opcode.CLOSE, close_payload(error.code, str(error))))

    async def terminal(self, wanted: set[str], *, tty: bool) -> Terminal:
        async def send(data: bytes, stderr: bool) -> None:
            await self._send(_STDERR if stderr else _STDOUT, data)

        made = Terminal(send)

        def handle(channel: int, data: bytes) -> None:
            if channel == _STDIN and data:
                made.feed(data)
            elif channel == _RESIZE:
                made.resize(data)
            elif channel == _CLOSE and self._v5 and data[:1] == bytes([_STDIN]):
                made.feed(b"")

        async def pump() -> None:
            await self._messages(handle)
            made.feed(b"")

        self._reading = asyncio.ensure_future(pump())
        for channel in (_STDOUT, *(() if tty else (_STDERR,))):
            await self._send(channel, b"")
        return made

    async def finish(self, status: Json) -> None:
        if self._has_status:
            await self._send(_ERROR, encode(status))
        elif status.get("status") != "Success":
            await self._send(_ERROR, str(status.get("message", "")).encode())
        await self._duplex.write(ws_encode(Opcode.CLOSE, close_payload(1000)))
        if self._reading is not None:
            self._reading.cancel()

    async def forward(self, connect: Connect, ports: list[int]) -> None:
        """Two channels a port, data and error; each begins with the port's number."""
        writers: dict[int, asyncio.StreamWriter] = {}
        tasks: list[asyncio.Task[None]] = []
        for index, port in enumerate(ports):
            number = port.to_bytes(2, "little")
            await self._send(2 * index, number)
            await self._send(2 * index + 1, number)
            try:
                reader, writers[2 * index] = await connect(port)
            except OSError as error:
                await self._send(2 * index + 1, str(error).encode())
                continue
            tasks.append(asyncio.ensure_future(self._copy(reader, 2 * index)))

        def handle(channel: int, data: bytes) -> None:
            writer = writers.get(channel)
            if writer is not None and data:
                writer.write(data)
            elif channel == _CLOSE and data and data[0] in writers:
                writers[data[0]].write_eof()

        try:
            await self._messages(handle)
        finally:
            await _end(tasks, writers.values())

    async def _copy(self, reader: asyncio.StreamReader, channel: int) -> None:
        while data := await reader.read(_CHUNK):
            await self._send(channel, data)
        if self._v5:
            await self._send(_CLOSE, bytes([channel]))


async def _end(tasks: list[asyncio.Task[None]], writers: object) -> None:
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task
    for writer in writers:  # type: ignore[attr-defined]
        writer.close()


# ---- SPDY -------------------------------------------------------------------------------------------------------
class SpdySession:
    """Streams that the client opens; each says in its headers what it is."""

    def __init__(self, duplex: Duplex) -> None:
        self._duplex = duplex
        self._codec = Codec()
        self._streams: dict[str, int] = {}
        self._reading: asyncio.Task[None] | None = None

    async def _write(self, data: bytes) -> None:
        await self._duplex.write(data)

    async def _read(self) -> bytes:
        return await self._duplex.read()

    async def _frame(self, frame: Frame) -> None:
        await self._write(self._codec.encode(frame))

    async def _frames(self, handle: Callable[[Frame], Awaitable[None]]) -> None:
        while data := await self._read():
            for frame in self._codec.feed(data):
                if frame.kind is Kind.PING and frame.number % 2:
                    await self._frame(frame)
                    continue
                if frame.kind is Kind.GOAWAY:
                    return
                if frame.kind is Kind.SYN_STREAM:
                    await self._frame(Frame(Kind.SYN_REPLY, frame.stream))
                if frame.kind is Kind.DATA and frame.data:
                    # Both windows, the stream's and the connection's, are given back at once.
                    for stream in (frame.stream, 0):
                        await self._frame(Frame(Kind.WINDOW_UPDATE, stream, number=len(frame.data)))
                await handle(frame)

    async def terminal(self, wanted: set[str], *, tty: bool) -> Terminal:
        needed = {"error", *wanted} - ({"stderr"} if tty else set())
        complete = asyncio.Event()

        async def send(data: bytes, stderr: bool) -> None:
            stream = self._streams.get("stderr" if stderr else "stdout")
            if stream is not None:
                await self._frame(Frame(Kind.DATA, stream, data=data))

        made = Terminal(send)

        async def handle(frame: Frame) -> None:
            if frame.kind is Kind.SYN_STREAM:
                self._streams[frame.header("streamtype")] = frame.stream
                if needed <= set(self._streams):
                    complete.set()
            elif frame.kind is Kind.DATA:
                self._input(made, frame)

        async def pump() -> None:
            await self._frames(handle)
            made.feed(b"")
            complete.set()

        self._reading = asyncio.ensure_future(pump())
        await asyncio.wait_for(complete.wait(), 30)
        return made

    def _input(self, terminal: Terminal, frame: Frame) -> None:
        if frame.stream == self._streams.get("stdin"):
            if frame.data:
                terminal.feed(frame.data)
            if frame.is_last:
                terminal.feed(b"")
        elif frame.stream == self._streams.get("resize"):
            terminal.resize(frame.data)

    async def finish(self, status: Json) -> None:
        error = self._streams.get("error")
        if error is not None:
            await self._frame(Frame(Kind.DATA, error, FIN, data=encode(status)))
        for name in ("stdout", "stderr"):
            if name in self._streams:
                await self._frame(Frame(Kind.DATA, self._streams[name], FIN))
        await self._frame(Frame(Kind.GOAWAY, max(self._streams.values(), default=0)))
        if self._reading is not None:
            self._reading.cancel()

    async def forward(self, connect: Connect, ports: list[int]) -> None:
        """A pair of streams, data and error, for each connection of the client."""
        writers: dict[int, asyncio.StreamWriter] = {}
        error_streams: dict[str, int] = {}
        tasks: list[asyncio.Task[None]] = []

        async def handle(frame: Frame) -> None:
            if frame.kind is Kind.SYN_STREAM and frame.header("streamtype") == "error":
                error_streams[frame.header("requestid")] = frame.stream
            elif frame.kind is Kind.SYN_STREAM:
                await self._open(frame, connect, error_streams, writers, tasks)
            elif frame.stream in writers and frame.kind is Kind.DATA:
                writers[frame.stream].write(frame.data)
                if frame.is_last:
                    writers[frame.stream].write_eof()
            elif frame.stream in writers and frame.kind is Kind.RST_STREAM:
                writers.pop(frame.stream).close()

        try:
            await self._frames(handle)
        finally:
            await _end(tasks, writers.values())

    async def _open(
        self,
        frame: Frame,
        connect: Connect,
        error_streams: dict[str, int],
        writers: dict[int, asyncio.StreamWriter],
        tasks: list[asyncio.Task[None]],
    ) -> None:
        error = error_streams.pop(frame.header("requestid"), 0)
        text = frame.header("port")
        try:
            reader, writers[frame.stream] = await connect(int(text) if text.isdigit() else 0)
        except OSError as problem:
            words = f"error forwarding port {text} to pod: {problem}"
            await self._frame(Frame(Kind.DATA, error, FIN, data=words.encode()))
            await self._frame(Frame(Kind.DATA, frame.stream, FIN))
            return
        tasks.append(asyncio.ensure_future(self._copy(reader, frame.stream, error)))

    async def _copy(self, reader: asyncio.StreamReader, stream: int, error: int) -> None:
        while data := await reader.read(_CHUNK):
            await self._frame(Frame(Kind.DATA, stream, data=data))
        await self._frame(Frame(Kind.DATA, stream, FIN))
        if error:
            await self._frame(Frame(Kind.DATA, error, FIN))


class SpdyOverWebSocket(SpdySession):
    """The same, each piece of SPDY in a binary message (KEP-4006)."""

    def __init__(self, duplex: Duplex) -> None:
        super().__init__(duplex)
        self._decoder = Decoder()

    async def _write(self, data: bytes) -> None:
        await self._duplex.write(ws_encode(Opcode.BINARY, data))

    async def _read(self) -> bytes:
        while data := await self._duplex.read():
            out = b""
            for message in self._decoder.feed(data):
                if message.opcode is Opcode.PING:
                    await self._duplex.write(ws_encode(Opcode.PONG, message.payload))
                elif message.opcode is Opcode.CLOSE:
                    await self._duplex.write(ws_encode(Opcode.CLOSE, close_payload(1000)))
                    return b""
                elif message.opcode is not Opcode.PONG:
                    out += message.payload
            if out:
                return out
        return b""
