"""Probes and hooks by network, sent from the node as kubelet sends them: http, https, tcp and gRPC."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from fairway.io.containers.dialing import dial
from fairway.kube.podspec import Container, GrpcAction, HttpGetAction, NodePod, TcpSocketAction
from fairway.wire.grpc_health import Reply, health_request, read_reply

LONGEST_BODY: Final = 10 << 10
_REDIRECTS: Final = 10
_TIMED_OUT: Final = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"


class Asked(NamedTuple):
    """Whom to ask: a container of a pod, and from where."""

    pod: NodePod
    container: Container
    address: str
    vantage: str
    """The network namespace that asks; empty for this process's own."""


class Answer(NamedTuple):
    """What an HTTP server said."""

    code: int
    location: str
    body: str


async def ask_http(asked: Asked, action: HttpGetAction, seconds: float, *, is_hook: bool = False) -> str:
    """GET; returns what is wrong, empty when nothing is. A hook is content with any answer."""
    url = _url(asked, action)
    try:
        answer = await asyncio.wait_for(_follow(asked, action, url), seconds)
    except TimeoutError:
        return f'Get "{url}": {_TIMED_OUT}'
    except (OSError, ValueError) as error:
        return f'Get "{url}": {_words(error, url)}'
    if is_hook or 200 <= answer.code < 400:
        return ""
    return f"HTTP probe failed with statuscode: {answer.code}"


async def _follow(asked: Asked, action: HttpGetAction, url: str) -> Answer:
    """kubelet follows redirects on the same host; one to another host is success."""
    for _ in range(_REDIRECTS):
        answer = await _get(asked, action, url)
        target = urljoin(url, answer.location)
        if not (300 <= answer.code < 400 and answer.location) or urlsplit(target).hostname != urlsplit(url).hostname:
            return answer
        url = target
    raise ValueError(f"stopped after {_REDIRECTS} redirects")


async def _get(asked: Asked, action: HttpGetAction, url: str) -> Answer:
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    reader, writer = await dial(asked.vantage, parts.hostname or "", port, _anybody() if is_tls else None)
    try:
        own = {one.name: one.value for one in action.http_headers or ()}
        names = {name.lower() for name in own}
        usual = {"Host": parts.netloc, "User-Agent": "kube-probe/1.36", "Accept": "*/*", "Connection": "close"}
        headers = {name: value for name, value in usual.items() if name.lower() not in names} | own
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in path or headers")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        return await _read_answer(reader)
    finally:
        writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    words = (await reader.readline()).split()
    if len(words) < 2 or not words[1].isdigit():
        raise ValueError("malformed HTTP response")
    location = ""
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "location":
            location = value.strip()
    return Answer(int(words[1]), location, "")


def _url(asked: Asked, action: HttpGetAction) -> str:
    scheme = (action.scheme or "HTTP").lower()
    host = action.host or asked.address
    shown = f"[{host}]" if ":" in host else host
    path = action.path or "/"
    return f"{scheme}://{shown}:{_number(asked.container, action.port)}{path if path.startswith('/') else f'/{path}'}"


def _anybody() -> ssl.SSLContext:
    """A probe takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def ask_tcp(asked: Asked, action: TcpSocketAction, seconds: float) -> str:
    """Connect; returns what is wrong."""
    host = action.host or asked.address
    try:
        number = _number(asked.container, action.port)
    except ValueError as error:
        return str(error)
    try:
        _, writer = await asyncio.wait_for(dial(asked.vantage, host, number), seconds)
    except TimeoutError:
        return f"dial tcp {_pair(host, number)}: i/o timeout"
    except OSError as error:
        return _dial_words(error, host, number)
    writer.close()
    return ""


async def ask_grpc(asked: Asked, action: GrpcAction, seconds: float) -> str:
    """grpc.health.v1.Health/Check (KEP-2727); returns what is wrong."""
    shown = _pair(asked.address, action.port)
    try:
        reply = await asyncio.wait_for(_check_health(asked, action), seconds)
    except TimeoutError:
        return f'timeout: failed to connect service "{shown}" within {seconds:g}s: context deadline exceeded'
    except (OSError, ValueError) as error:
        return f"error: failed to connect service at {shown!r}: {_words(error, '')}"
    return "" if reply is Reply.SERVING else f'service unhealthy (responded with "{reply.value}")'


async def _check_health(asked: Asked, action: GrpcAction) -> Reply:
    reader, writer = await dial(asked.vantage, asked.address, action.port)
    try:
        writer.write(health_request(_pair(asked.address, action.port), action.service or ""))
        return await read_reply(reader.readexactly, writer.write)
    except asyncio.IncompleteReadError:
        raise ValueError("the server closed the connection") from None
    finally:
        writer.close()


def _number(container: Container, port: int | str) -> int:
    """Raises ValueError for a name that no port has."""
    if isinstance(port, int):
        return port
    for one in container.ports or ():
        if one.name == port:
            return one.container_port
    if port.isdigit():
        return int(port)
    raise ValueError(f"couldn't find port: {port!r} in container {container.name}")


def _pair(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _words(error: Exception, url: str) -> str:
    if isinstance(error, ConnectionRefusedError | TimeoutError) or (isinstance(error, OSError) and error.errno == 113):
        parts = urlsplit(url)
        return _dial_words(error, parts.hostname or "", parts.port or 80)
    return str(error) or type(error).__name__


_REASONS: Sequence[tuple[type[Exception], str]] = (
    (ConnectionRefusedError, "connect: connection refused"),
    (ConnectionResetError, "read: connection reset by peer"),
)


def _dial_words(error: Exception, host: str, port: int) -> str:
    """As Go's net package says it."""
    found = next((words for kind, words in _REASONS if isinstance(error, kind)), "")
    if not found:
        found = "connect: no route to host" if isinstance(error, OSError) and error.errno == 113 else str(error)
    return f"dial tcp {_pair(host, port)}: {found}"
