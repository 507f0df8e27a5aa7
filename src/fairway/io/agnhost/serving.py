"""A small HTTP/1.1 server on threads, with what agnhost's pages need of Go's net/http."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

_REASONS = {
    200: "OK",
    201: "Created",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    404: "Not Found",
    412: "Precondition Failed",
    417: "Expectation Failed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_MOST = 32 << 20


class Request(NamedTuple):
    """One request; `form` has the query and a form's fields."""

    method: str
    path: str
    target: str
    headers: list[tuple[str, str]]
    form: dict[str, list[str]]
    body: bytes
    client: str
    """Address and port, as Go writes them."""
    keeps: bool = True
    """The client may ask more on this connection: unless told otherwise since HTTP/1.1, if told so before."""

    def value(self, name: str) -> str:
        return self.form.get(name, [""])[0]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


class Reply(NamedTuple):
    body: bytes = b""
    code: int = 200
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Reply]


def text(words: str, code: int = 200) -> Reply:
    return Reply(words.encode(), code)


def failure(words: str, code: int) -> Reply:
    """As Go's http.Error."""
    return Reply(f"{words}\n".encode(), code, (("X-Content-Type-Options", "nosniff"),))


def redirect(request: Request, location: str, code: int) -> Reply:
    """As Go's http.Redirect."""
    if not location.startswith("/") and "://" not in location:
        location = request.path.rpartition("/")[0] + "/" + location
    page = f'<a href="{location}">{_REASONS.get(code, "")}</a>.\n\n' if request.method in ("GET", "HEAD") else ""
    return Reply(page.encode(), code, (("Location", location), ("Content-Type", "text/html; charset=utf-8")))


def log(words: str) -> None:
    """A line as Go's log package writes it."""
    sys.stderr.write(time.strftime("%Y/%m/%d %H:%M:%S ") + words + "\n")
    sys.stderr.flush()


def shown(address: tuple[str, int]) -> str:
    host = address[0].removeprefix("::ffff:").partition("%")[0]
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def bind(kind: socket.SocketKind, port: int, host: str = "") -> socket.socket:
    """A socket on all addresses of both families, or on one address. Ends the program when it cannot."""
    family = socket.AF_INET if "." in host or not os.path.exists("/proc/net/if_inet6") else socket.AF_INET6  # noqa: PTH110
    made = socket.socket(family, kind)
    if kind == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(host)))
    try:
        made.bind((host, port))
    except OSError as error:
        name = "tcp" if kind == socket.SOCK_STREAM else "udp"
        log(f"listen {name} {host}:{port}: bind: {os.strerror(error.errno or 0).lower()}")
        os._exit(1)
    if kind == socket.SOCK_STREAM:
        made.listen(1024)
    return made


def start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


class HttpServer:
    """Serves `handler` on one port; `wrap` makes TLS of a connection."""

    def __init__(self, handler: Handler, wrap: Callable[[socket.socket], socket.socket] | None = None) -> None:
        self._handler, self._wrap = handler, wrap
        self._idle = threading.Condition()
        self._busy = 0
        self._listener: socket.socket | None = None

    def listen(self, port: int, host: str = "") -> None:
        """Serve from a thread."""
        self._listener = bind(socket.SOCK_STREAM, port, host)
        start(self._accept)

    def shut_down(self, seconds: float) -> bool:
        """Accept no more, and wait for requests that are being answered. False: they took too long."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        with self._idle:
            return self._idle.wait_for(lambda: self._busy == 0, seconds)

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return  # shut down
            start(partial(self._serve, connection, shown(address[:2])))

    def _serve(self, connection: socket.socket, client: str) -> None:
        try:
            if self._wrap is not None:
                connection = self._wrap(connection)
            with connection, connection.makefile("rb") as lines:
                while (request := read_request(lines, client, connection.sendall)) is not None:
                    keep = self._answer(connection, request)
                    if not keep:
                        return
        except (OSError, ValueError) as error:
            log(f"http: connection of {client} ended: {error}")

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        with self._idle:
            self._busy += 1
        try:
            reply = self._handler(request)
            keep = request.keeps and ("Connection", "close") not in reply.headers
            connection.sendall(encoded(reply, is_head=request.method == "HEAD", keep=keep))
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()
        return keep


def read_request(lines: BinaryIO, client: str, send: Callable[[bytes], None]) -> Request | None:
    """The next request of a connection; None at its end. Raises ValueError for what is none."""
    first = lines.readline(65536)
    if not first.strip():
        return None
    method, target, version = first.decode("latin-1").split()
    headers: list[tuple[str, str]] = []
    while line := lines.readline(65536).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name.title(), value.strip()))
    known = {name.lower(): value for name, value in headers}
    if known.get("expect", "").lower() == "100-continue":
        send(b"HTTP/1.1 100 Continue\r\n\r\n")
    if known.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join(_chunks(lines))
    else:
        body = lines.read(min(int(known.get("content-length", "0")), _MOST))
    parts = urlsplit(target)
    form = parse_qs(parts.query, keep_blank_values=True)
    if known.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = parse_qs(body.decode("latin-1"), keep_blank_values=True) | form
    said = known.get("connection", "").lower()
    keeps = said == "keep-alive" if version == "HTTP/1.0" else said != "close"
    return Request(method, unquote(parts.path), target, headers, form, body, client, keeps)


def _chunks(lines: BinaryIO) -> list[bytes]:
    found: list[bytes] = []
    while size := int(lines.readline(64).split(b";")[0], 16):
        found.append(lines.read(size))
        lines.readline(8)
    while lines.readline(65536).strip():
        pass
    return found


def encoded(reply: Reply, *, is_head: bool, keep: bool) -> bytes:
    names = {name.lower() for name, _ in reply.headers}
    lines = [f"HTTP/1.1 {reply.code} {_REASONS.get(reply.code, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in reply.headers if name.lower() != "connection"]
    lines.append("Date: " + time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))
    lines.append(f"Content-Length: {len(reply.body)}")
    if "content-type" not in names and reply.body:
        lines.append(f"Content-Type: text/{'html' if _is_page(reply.body) else 'plain'}; charset=utf-8")
    if not keep:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
    return head if is_head else head + reply.body


def _is_page(body: bytes) -> bool:
    """A guess from the beginning, as Go's (the letters of a tag, or a comment)."""
    start = body.lstrip()[:2]
    return start[:1] == b"<" and (start[1:].isalpha() or start[1:] == b"!")


def get(host: str, port: int, path: str, seconds: float = 5.0) -> tuple[int, str]:
    """Ask another server: code and body. Raises OSError."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Connection": "close", "User-Agent": "Go-http-client/1.1"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except HTTPException as error:
        raise OSError(f"malformed HTTP response: {error}") from None
    finally:
        connection.close()


class Termination:
    """SIGTERM as something to wait for, from the main thread.

    Told by a pipe: a signal that comes just before the thread sleeps on a lock or queue would not wake it.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._told, teller = os.pipe()
        os.set_blocking(teller, False)
        signal.set_wakeup_fd(teller)
        signal.signal(signal.SIGTERM, lambda *_: None)

    def wait(self) -> None:
        """Return once it has come."""
        while not self.has_come:
            self.has_come = signal.SIGTERM in os.read(self._told, 64)
