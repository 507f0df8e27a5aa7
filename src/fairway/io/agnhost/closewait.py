"""net: a client and a server that leave a connection half closed, to look at what conntrack makes of it."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from .flags import parsed
from .serving import HttpServer, Reply, Request, Termination, failure, log, text

_leaked: list[socket.socket] = []


class _RunError(Exception):
    """A run that failed, with what it had said until then."""

    def __init__(self, reason: str, said: list[str]) -> None:
        super().__init__(reason)
        self.output = "".join(f"# {line}\n" for line in said)


def _place(text_: str) -> tuple[str, int]:
    host, _, port = text_.rpartition(":")
    return host.strip("[]"), int(port)


def _server(options: dict[str, Any], say: Callable[[str], None]) -> None:
    host, port = _place(options.get("LocalAddr", ""))
    family = socket.AF_INET if "." in host else socket.AF_INET6
    with socket.create_server(
        (host, port), family=family, dualstack_ipv6=family == socket.AF_INET6 and not host
    ) as made:
        say(f"Server listening on {options.get('LocalAddr')}")
        connection, _ = made.accept()
        with connection:
            say("Client connected")
            connection.shutdown(socket.SHUT_WR)
            wait = int(options.get("PostFinTimeoutSeconds", 0))
            say(f"Server sent FIN, waiting {wait} seconds")
            time.sleep(wait)
    say("Done")


def _client(options: dict[str, Any], say: Callable[[str], None]) -> None:
    connection = socket.create_connection(_place(options.get("RemoteAddr", "")))
    _leaked.append(connection)
    say("Connected to server")
    if options.get("TimeoutSeconds"):
        connection.settimeout(int(options["TimeoutSeconds"]))
    if connection.recv(1):
        raise OSError("Got data but expected EOF")
    wait = int(options.get("PostFinTimeoutSeconds", 0))
    say(f"Server has half-closed the connection, waiting {wait} seconds")
    if options.get("LeakConnection"):
        say("Leaking client connection (assigning to global variable)")
    time.sleep(wait)
    if not options.get("LeakConnection"):
        _leaked.remove(connection)
        connection.close()
    say("Done")


_RUNNERS = {"nat-closewait-client": _client, "nat-closewait-server": _server}


def execute(name: str, options: str) -> str:
    """Run one; what it said. Raises _RunError."""
    said: list[str] = []
    runner = _RUNNERS.get(name)
    if runner is None:
        raise _RunError(f"Invalid runner: '{name}', see --help", said)
    try:
        runner(json.loads(options), said.append)
    except (OSError, ValueError, AttributeError) as error:
        raise _RunError(str(error), said) from None
    return "".join(f"# {line}\n" for line in said)


def _page(request: Request) -> Reply:
    if not request.path.startswith("/run/"):
        return failure("404 page not found", 404)
    if not request.body:
        return failure("Missing request body", 400)
    try:
        return text("ok\noutput:\n\n" + execute(request.path.removeprefix("/run/"), request.body.decode()))
    except _RunError as error:
        return failure(f"Error from runner: {error}\noutput:\n\n{error.output}", 500)


def main(arguments: list[str]) -> int:
    flags = parsed(arguments, {"serve": "", "runner": "", "options": "", "delay-shutdown": "0"})
    if not flags["serve"] and not flags["runner"]:
        log("Must set either --runner or --serve, see --help")
        return 1
    if not flags["serve"]:
        try:
            print("output:\n\n" + execute(flags["runner"], flags["options"]), end="")
        except _RunError as error:
            log(f"Error: {error}")
            print("output:\n\n" + error.output, end="")
            return 1
        return 0
    termination = Termination()
    host, port = _place(flags["serve"])
    log(f"Running server on {flags['serve']}")
    HttpServer(_page).listen(port, host)
    termination.wait()
    time.sleep(int(flags["delay-shutdown"]))
    sys.exit(0)
