"""netexec: HTTP pages and UDP words that tell who was reached, and do what tests ask of a pod."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from .flags import FlagError, parsed, seconds
from .serving import (
    Handler,
    HttpServer,
    Reply,
    Request,
    Termination,
    bind,
    failure,
    get,
    log,
    redirect,
    shown,
    start,
    text,
)

_FLAGS = {
    "http-port": "8080",
    "udp-port": "8081",
    "sctp-port": "-1",
    "tls-cert-file": "",
    "tls-private-key-file": "",
    "http-override": "",
    "udp-listen-addresses": "",
    "delay-shutdown": "0",
}


class Netexec:
    """One server's state and pages."""

    def __init__(self, flags: dict[str, str]) -> None:
        self._flags = flags
        self._is_ready = False
        self._termination = Termination()
        self._server: HttpServer | None = None
        self._pages: dict[str, Handler] = {
            "/clientip": lambda r: text(r.client),
            "/dial": dial,
            "/echo": echo,
            "/exit": self._exit,
            "/header": header,
            "/healthz": lambda _: Reply(code=200 if self._is_ready else 412),
            "/hostName": lambda _: text(socket.gethostname()),
            "/hostname": lambda _: text(socket.gethostname()),
            "/readyz": self._readyz,
            "/redirect": _redirect,
            "/serverport": lambda _: text(flags["http-port"]),
            "/shell": shell,
            "/shutdown": lambda _: os._exit(0),
            "/upload": upload,
        }

    def run(self) -> None:
        for host in dict.fromkeys(self._flags["udp-listen-addresses"].split(",")):
            if self._flags["udp-port"] != "-1":
                self._listen_udp(host)
        self._server = HttpServer(self._overridden if self._flags["http-override"] else self.page, self._tls())
        self._server.listen(int(self._flags["http-port"]))
        log(f"Started HTTP server on port {self._flags['http-port']}")
        self._termination.wait()
        delay = int(self._flags["delay-shutdown"])
        if delay:
            log(f"Sleeping {delay} seconds before terminating...")
            time.sleep(delay)
        os._exit(0)

    def page(self, request: Request) -> Reply:
        log(f"{request.method} {request.target}")
        found = self._pages.get(request.path)
        return found(request) if found is not None else text(time.strftime("NOW: %Y-%m-%d %H:%M:%S %z UTC"))

    def _overridden(self, request: Request) -> Reply:
        from urllib.parse import parse_qs, urlsplit

        parts = urlsplit(self._flags["http-override"])
        return self.page(request._replace(method="GET", path=parts.path, form=parse_qs(parts.query)))

    def _tls(self) -> Callable[[socket.socket], socket.socket] | None:
        if not self._flags["tls-cert-file"]:
            return None
        return tls(self._flags["tls-cert-file"], self._flags["tls-private-key-file"])

    def _readyz(self, _: Request) -> Reply:
        if self._termination.has_come:
            return text("shutting down", 503)
        return text("ok") if self._is_ready else Reply(code=412)

    def _exit(self, request: Request) -> Reply:
        try:
            code = int(request.value("code") or "0")
            wait, timeout = (seconds(request.value(name) or "0") for name in ("wait", "timeout"))
        except (FlagError, ValueError) as error:
            return text(f"argument must be valid or empty: {error}\n")
        time.sleep(wait)
        if not timeout:
            os._exit(code)

        def end() -> None:
            assert self._server is not None
            self._server.shut_down(timeout)
            os._exit(code)

        start(end)
        return Reply()

    def _listen_udp(self, host: str) -> None:
        port = self._flags["udp-port"]
        made = bind(socket.SOCK_DGRAM, int(port), host)
        log(f"Started UDP server on port {host} {port}")
        self._is_ready = True

        def serve() -> None:
            while True:
                data, client = made.recvfrom(2048)
                said = udp_answer(data.decode("utf-8", "replace").strip().lower(), client[:2], port)
                if said is None:
                    log(f"Unknown UDP command received from {shown(client[:2])}: {data!r}")
                else:
                    made.sendto(said.encode(), client)

        start(serve)


def udp_answer(said: str, client: tuple[str, int], port: str) -> str | None:
    """What one datagram is answered."""
    if said.startswith("echo "):
        return said.partition(" ")[2]
    known = {"hostname": socket.gethostname(), "clientip": shown(client), "serverport": port}
    return known.get(said)


def tls(certificate: str, key: str) -> Callable[[socket.socket], socket.socket]:
    """Makes TLS of connections."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key or certificate)
    return lambda connection: context.wrap_socket(connection, server_side=True)


def echo(request: Request) -> Reply:
    code = request.value("code")
    if code and not code.isdigit():
        return text(f"argument 'code' must be an integer or empty, got \"{code}\"\n")
    return text(request.value("msg"), int(code or "200"))


def header(request: Request) -> Reply:
    key = request.value("key")
    if key:
        return text(request.header(key))
    found: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name != "Host":
            found.setdefault(name, []).append(value)
    return text(json.dumps(found, sort_keys=True, separators=(",", ":")))


def _redirect(request: Request) -> Reply:
    code = request.value("code")
    if code and not code.isdigit():
        return text(f"argument 'code' must be an integer or empty, got \"{code}\"\n")
    return redirect(request, request.value("location"), int(code or "302"))


def shell(request: Request) -> Reply:
    command = request.value("shellCommand") or request.value("cmd")
    done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    output: dict[str, str] = {}
    if done.stdout:
        output["output"] = done.stdout.decode("utf-8", "replace")
    if done.returncode > 0:
        output["error"] = f"exit status {done.returncode}"
    elif done.returncode < 0:
        output["error"] = f"signal: {signal.strsignal(-done.returncode)}".lower()
    return text(json.dumps(dict(sorted(output.items())), separators=(",", ":"), ensure_ascii=False))


def upload(request: Request) -> Reply:
    kind = request.header("content-type")
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    parts = request.body.split(b"--" + boundary) if boundary else []
    files = [p.partition(b"\r\n\r\n") for p in parts if b'name="file"' in p.partition(b"\r\n\r\n")[0]]
    if not files:
        return text(json.dumps({"error": "Unable to upload file."}, separators=(",", ":")))
    try:
        descriptor, path = tempfile.mkstemp(prefix="upload", dir="/uploads")
    except OSError:
        return text(json.dumps({"error": "Unable to open file for write"}, separators=(",", ":")))
    with os.fdopen(descriptor, "wb") as file:
        file.write(files[0][2].removesuffix(b"\r\n"))
    os.chmod(path, 0o700)  # noqa: PTH101
    return text(json.dumps({"output": path}, separators=(",", ":")), 201)


def dial(request: Request) -> Reply:
    """Ask another server, several times; what it said each time."""
    tries, asked = request.value("tries") or "1", request.value("request")
    if not tries.isdigit():
        return failure(f'tries parameter is invalid. strconv.Atoi: parsing "{tries}": invalid syntax', 400)
    if not asked:
        return failure("request parameter not specified. <nil>", 400)
    dialers = {"": dial_http, "http": dial_http, "udp": dial_udp}
    dialer = dialers.get(request.value("protocol").lower())
    if dialer is None:
        return failure(f"unsupported protocol. {request.value('protocol')}", 400)
    host, port = request.value("host"), request.value("port")
    try:
        kind = socket.SOCK_DGRAM if dialer is dial_udp else socket.SOCK_STREAM
        address = socket.getaddrinfo(host, int(port), type=kind)[0][4]
    except (OSError, ValueError) as error:
        return failure(f"host and/or port param are invalid. {error}", 400)
    responses, errors = [], []
    for _ in range(int(tries)):
        try:
            responses.append(dialer(asked, str(address[0]), int(address[1])))
        except OSError as error:
            errors.append(str(error))
    output = {"errors": errors, "responses": responses}
    return text(json.dumps({k: v for k, v in output.items() if v}, separators=(",", ":")))


def dial_http(asked: str, host: str, port: int) -> str:
    return get(host, port, f"/{asked}")[1]


def dial_udp(asked: str, host: str, port: int) -> str:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(5)
        made.connect((host, port))
        made.send(asked.encode())
        try:
            return made.recv(2048).decode("utf-8", "replace")
        except OSError as error:
            raise OSError(f"reading from udp connection failed. err:'{error}'") from None


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM."""
    flags = parsed(arguments, _FLAGS)
    if flags["sctp-port"] != "-1":
        sys.stderr.write("SCTP is not served by Fairway's agnhost\n")
        return 1
    Netexec(flags).run()
    return 0
