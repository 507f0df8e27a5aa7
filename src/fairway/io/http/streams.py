"""log, exec, attach and port-forward on a node: the client's protocol on one side, a pod's bytes on the other.

Clients speak WebSocket with channels (v4, v5), SPDY/3.1, or SPDY inside a WebSocket (port-forward); the pod side is
`PodStreams`, which the pod agent implements.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol

from fairway.apiserver import errors
from fairway.apiserver.options import flag
from fairway.apiserver.request import Json, Request, Upgrade
from fairway.io.http.duplex import Duplex
from fairway.io.http.sessions import ChannelSession, Session, SpdyOverWebSocket, SpdySession
from fairway.io.http.wire_head import head
from fairway.wire.websocket import Opcode, accept_key, close_payload
from fairway.wire.websocket import encode as ws_encode

_log = logging.getLogger(__name__)
_WIRED = {"stdin": "input", "stdout": "output", "stderr": "error"}
_EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io")
_TUNNEL = "SPDY/3.1+portforward.k8s.io"
_SPDY_EXEC = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")


class Target(NamedTuple):
    """One container of one pod; without a uid, the pod that has the name now. A port-forward names no container."""

    namespace: str
    pod: str
    container: str = ""
    uid: str = ""


class Presence(enum.Enum):
    """What a node knows of a target."""

    NO_POD = enum.auto()
    NO_CONTAINER = enum.auto()
    """The pod has none of that name."""
    WAITING = enum.auto()
    """It has not run yet."""
    RUNNING = enum.auto()
    ENDED = enum.auto()


class LogOptions(NamedTuple):
    """What `kubectl logs` asks for; None is no limit."""

    follow: bool
    previous: bool
    timestamps: bool
    tail_lines: int | None
    limit_bytes: int | None
    since_seconds: int | None
    since_time: str


class Terminal(Protocol):
    """The client's end of a running command."""

    async def read(self) -> bytes:
        """Standard input; empty at its end."""

    async def write(self, data: bytes, *, stderr: bool = False) -> None:
        """Standard output or error."""

    async def resized(self) -> tuple[int, int]:
        """Width and height, each time they change; waits for ever when they never do."""


class PodStreams(Protocol):
    """Whoever runs pods. Errors of its own are OSError with words for the client."""

    def presence(self, target: Target) -> Presence:
        """Is it here, and does it run?"""

    def log(self, target: Target, options: LogOptions) -> AsyncIterator[bytes]:
        """The container's log."""

    async def run(self, target: Target, command: tuple[str, ...], terminal: Terminal, *, tty: bool) -> int:
        """Run a command in the container (none: attach to what runs); returns its exit code."""

    async def dial(self, target: Target, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a port as processes of the pod would."""


def target_of(upgrade: Upgrade) -> Target:
    return Target(upgrade.namespace, upgrade.name, upgrade.container, upgrade.uid)


class Streams:
    """Serves every upgrade on a `PodStreams`; refusals are text, in a kubelet's words."""

    def __init__(self, pods: PodStreams) -> None:
        self._pods = pods

    async def open(self, upgrade: Upgrade, duplex: Duplex) -> None:
        try:
            refusal = _refusal(upgrade, self._pods.presence(target_of(upgrade)))
            if refusal is not None:
                await refuse(duplex, *refusal)
                return
            match upgrade.kind:
                case "log":
                    await self._serve_log(upgrade, duplex)
                case "portforward":
                    await self._forward(upgrade, duplex)
                case _:
                    await self._run(upgrade, duplex)
        except ConnectionError:
            _log.debug("client left kind=%s pod=%s/%s", upgrade.kind, upgrade.namespace, upgrade.name)

    # ---- log --------------------------------------------------------------------------------------------------
    async def _serve_log(self, upgrade: Upgrade, duplex: Duplex) -> None:
        chunks = self._pods.log(target_of(upgrade), _log_options(upgrade.request))
        try:
            first = await anext(chunks, b"")
        except OSError as error:
            await refuse(duplex, 400, str(error))
            return
        frame: Callable[[bytes], bytes] = _chunk
        end = b"0\r\n\r\n"
        if upgrade.request.headers.get("upgrade", "").lower() == "websocket":
            chosen = await _shake_hands(upgrade.request, duplex, _LOG_PROTOCOLS, "")
            if chosen is None:
                return
            frame, end = _LOG_FRAMES[chosen], ws_encode(Opcode.CLOSE, close_payload(1000))
        else:
            await duplex.write(head(200, "text/plain", (), None, keep=False))
        if first:
            await duplex.write(frame(first))
        gone = asyncio.ensure_future(duplex.read())
        send = asyncio.ensure_future(_send_chunks(chunks, duplex, frame, end))
        await asyncio.wait({gone, send}, return_when=asyncio.FIRST_COMPLETED)
        for task in (gone, send):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task

    # ---- exec and attach --------------------------------------------------------------------------------------
    async def _run(self, upgrade: Upgrade, duplex: Duplex) -> None:
        request = upgrade.request
        session = await accept(request, duplex, _EXEC_PROTOCOLS, _SPDY_EXEC)
        if session is None:
            return
        wanted = {name for name, wired in _WIRED.items() if flag(request, wired)}
        tty = flag(request, "tty")
        command = tuple(request.query.get("command", ())) if upgrade.kind == "exec" else ()
        terminal = await session.terminal(wanted, tty=tty)
        try:
            running = self._pods.run(target_of(upgrade), command, terminal, tty=tty)
            code = await _while_there(running, duplex)
            # Who attaches hears that it is over; how it ended is in the pod's status.
            status = exit_status(code if command else 0)
        except ConnectionError:
            raise
        except OSError as error:
            status = errors.internal(f"error executing command in container: {error}").status()
        await session.finish(status)

    # ---- port-forward -----------------------------------------------------------------------------------------
    async def _forward(self, upgrade: Upgrade, duplex: Duplex) -> None:
        session = await accept(upgrade.request, duplex, (_TUNNEL, *_EXEC_PROTOCOLS), ("portforward.k8s.io",))
        if session is None:
            return
        target = target_of(upgrade)

        async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await self._pods.dial(target, port)

        ports = [int(p) for raw in upgrade.request.query.get("port", ()) for p in raw.split(",") if p.isdigit()]
        await session.forward(connect, ports)


Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def _while_there(running: Coroutine[Any, Any, int], duplex: Duplex) -> int:
    """The command's exit code; a client that goes ends it. Raises ConnectionError then."""
    run, gone = asyncio.ensure_future(running), asyncio.ensure_future(duplex.lost())
    try:
        await asyncio.wait({run, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not run.done():
            raise ConnectionResetError("the client is gone")
        return run.result()
    finally:
        for task in (run, gone):
            task.cancel()
        await asyncio.gather(run, gone, return_exceptions=True)


async def _send_chunks(
    chunks: AsyncIterator[bytes], duplex: Duplex, frame: Callable[[bytes], bytes], end: bytes
) -> None:
    async for chunk in chunks:
        if chunk:
            await duplex.write(frame(chunk))
    await duplex.write(end)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _binary(data: bytes) -> bytes:
    return ws_encode(Opcode.BINARY, data)


def _base64(data: bytes) -> bytes:
    return ws_encode(Opcode.TEXT, b64encode(data))


_LOG_FRAMES: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": _binary,
    "binary.k8s.io": _binary,
    "base64.binary.k8s.io": _base64,
}
_LOG_PROTOCOLS: Final = ("binary.k8s.io", "base64.binary.k8s.io")


def _log_options(request: Request) -> LogOptions:
    def number(name: str) -> int | None:
        text = request.first(name)
        return int(text) if text.isdigit() else None

    return LogOptions(
        flag(request, "follow"),
        flag(request, "previous"),
        flag(request, "timestamps"),
        number("tailLines"),
        number("limitBytes"),
        number("sinceSeconds"),
        request.first("sinceTime"),
    )


def exit_status(code: int) -> Json:
    """The Status that ends an exec: success, or the exit code as kubectl reads it."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    cause = {"reason": "ExitCode", "message": str(code)}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [cause]},
    }


def _refusal(upgrade: Upgrade, presence: Presence) -> tuple[int, str] | None:
    pod, container, is_log = upgrade.name, upgrade.container, upgrade.kind == "log"
    if presence is Presence.NO_POD:
        return 404, f'pod "{pod}" does not exist' if is_log else "pod does not exist"
    if upgrade.kind == "portforward":
        return None
    if presence is Presence.NO_CONTAINER and is_log:
        return 404, f'container "{container}" not found in pod "{pod}"'
    if presence is not Presence.RUNNING and not is_log:
        return 500, f'container not found ("{container}")'
    return None


async def refuse(duplex: Duplex, code: int, text: str) -> None:
    body = text.encode()
    await duplex.write(head(code, "text/plain; charset=utf-8", (), len(body), keep=False) + body)


async def accept(request: Request, duplex: Duplex, channels: tuple[str, ...], spdy: tuple[str, ...]) -> Session | None:
    """Answer the client's upgrade; None when it asked for nothing that we speak (and was told so)."""
    upgrade = request.headers.get("upgrade", "").lower()
    if upgrade == "websocket":
        chosen = await _shake_hands(request, duplex, channels, "channel.k8s.io")
        if chosen is None:
            return None
        return SpdyOverWebSocket(duplex) if chosen == _TUNNEL else ChannelSession(duplex, chosen)
    if upgrade == "spdy/3.1":
        offered = [p.strip() for p in request.headers.get("x-stream-protocol-version", "").split(",") if p.strip()]
        chosen = next((c for c in spdy if c in offered), spdy[0])
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: SPDY/3.1", "Connection: Upgrade"]
        lines.append(f"X-Stream-Protocol-Version: {chosen}")
        await duplex.write("\r\n".join([*lines, "", ""]).encode())
        return SpdySession(duplex)
    await refuse(duplex, 400, "Upgrade request required")
    return None


async def _shake_hands(request: Request, duplex: Duplex, spoken: tuple[str, ...], usual: str) -> str | None:
    """Answer a WebSocket's opening (RFC 6455): the protocol, `usual` where the client names none; None: refused."""
    offered = [p.strip() for p in request.headers.get("sec-websocket-protocol", "").split(",") if p.strip()]
    chosen = next((one for one in spoken if one in offered), None if offered else usual)
    key = request.headers.get("sec-websocket-key", "")
    if chosen is None or not key:
        await refuse(duplex, 400, f"unable to upgrade: unsupported protocols {offered}")
        return None
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {accept_key(key)}")
    if offered:
        lines.append(f"Sec-WebSocket-Protocol: {chosen}")
    await duplex.write("\r\n".join([*lines, "", ""]).encode())
    return chosen
