"""Small servers: serve-hostname, porter, liveness, test-webserver, tcp-reset."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from functools import partial
from pathlib import Path

from .flags import parsed
from .netexec import tls
from .serving import HttpServer, Reply, Request, Termination, bind, failure, log, redirect, shown, start, text


def _until_term() -> None:
    Termination().wait()
    log("Shutting down after receiving signal: terminated.\n")


def serve_hostname(arguments: list[str]) -> int:
    flags = parsed(arguments, {"tcp": "false", "udp": "false", "http": "true", "close": "false", "port": "9376"})
    port, name = int(flags["port"]), socket.gethostname().encode()
    if flags["http"] == "true" and "true" in (flags["tcp"], flags["udp"]):
        log("Can't server TCP/UDP mode and HTTP mode at the same time")
        return 1
    if flags["tcp"] == "true":
        start(lambda: _answer_tcp(bind(socket.SOCK_STREAM, port), name))
    if flags["udp"] == "true":
        start(lambda: _answer_udp(bind(socket.SOCK_DGRAM, port), name))
    if flags["http"] == "true":
        headers = (("Connection", "close"),) if flags["close"] == "true" else ()
        HttpServer(lambda _: Reply(name, headers=headers)).listen(port)
    log(f"Serving on port {port}.\n")
    _until_term()
    log("Awaiting pod deletion.\n")
    time.sleep(60)
    return 0


def _answer_tcp(listener: socket.socket, said: bytes) -> None:
    while True:
        connection, client = listener.accept()
        log(f"TCP request from {shown(client[:2])}")
        with connection:
            connection.sendall(said)


def _answer_udp(made: socket.socket, said: bytes) -> None:
    while True:
        _, client = made.recvfrom(2048)
        made.sendto(said, client)


def porter(arguments: list[str]) -> int:
    """A server for each variable SERVE_PORT_NNNN, SERVE_TCP_PORT_, SERVE_UDP_PORT_ and SERVE_TLS_PORT_."""
    in_json = parsed(arguments, {"json-response": "false"})["json-response"] == "true"
    for name, value in os.environ.items():
        prefix, _, port = name.rpartition("_")
        if prefix == "SERVE_UDP_PORT":
            start(partial(_answer_udp, bind(socket.SOCK_DGRAM, int(port), "0.0.0.0"), value.encode()))  # noqa: S104
        elif prefix in ("SERVE_PORT", "SERVE_TCP_PORT", "SERVE_TLS_PORT"):
            wrap = None
            if prefix == "SERVE_TLS_PORT":
                wrap = tls(
                    os.environ.get("CERT_FILE") or "localhost.crt", os.environ.get("KEY_FILE") or "localhost.key"
                )

            def answer(request: Request, value: str = value) -> Reply:
                if not in_json:
                    return text(value)
                body = json.dumps({"Method": request.method, "Body": value}, separators=(",", ":"))
                return Reply(body.encode(), headers=(("Content-Type", "application/json"),))

            HttpServer(answer, wrap).listen(int(port), "0.0.0.0")  # noqa: S104 - the pod's own
    threading.Event().wait()
    return 0


def liveness(_: list[str]) -> int:
    began = time.monotonic()

    def page(request: Request) -> Reply:
        age = time.monotonic() - began
        match request.path:
            case "/started":
                return text(f"{age:.9f}s")
            case "/healthz":
                return text("ok") if age <= 10 else text(f"error: {age}", 500)
            case "/redirect":
                return redirect(request, request.value("loc"), 302)
        return failure("404 page not found", 404)

    HttpServer(page).listen(8080)
    threading.Event().wait()
    return 0


def test_webserver(arguments: list[str]) -> int:
    """Files of the pod."""

    def page(request: Request) -> Reply:
        path = Path("/") / request.path.lstrip("/")
        headers = (("Cache-Control", "private"), ("Access-Control-Allow-Origin", "*"))
        if path.is_dir():
            names = sorted(f"{p.name}/" if p.is_dir() else p.name for p in path.iterdir())
            listed = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
            return Reply(
                f"<pre>\n{listed}</pre>\n".encode(), headers=(*headers, ("Content-Type", "text/html; charset=utf-8"))
            )
        if not path.is_file():
            return failure("404 page not found", 404)
        return Reply(path.read_bytes(), headers=headers)

    HttpServer(page).listen(int(parsed(arguments, {"port": "80"})["port"]))
    threading.Event().wait()
    return 0


def tcp_reset(arguments: list[str]) -> int:
    """Ends each connection with unread data, which makes the kernel reset it."""
    listener = bind(socket.SOCK_STREAM, int(parsed(arguments, {"port": "8080"})["port"]))

    def serve() -> None:
        while True:
            connection, client = listener.accept()
            with connection:
                connection.recv(1)
            log(f"TCP request from {shown(client[:2])}")

    start(serve)
    _until_term()
    return 0
