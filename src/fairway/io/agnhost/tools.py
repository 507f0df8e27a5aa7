"""Commands that do one thing: connect, pause, dns-suffix, dns-server-list, etc-hosts, logs-generator."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

from .flags import FlagError, parsed, seconds


class _FailedError(Exception):
    """Ends `connect`; the message is what it says."""


def connect(arguments: list[str]) -> int:
    """Try one connection; what hinders it is said by TIMEOUT, REFUSED, DNS, UNKNOWN or OTHER, and exit code 1."""
    defaults = {"timeout": "0s", "protocol": "tcp", "udp-data": "hostname", "sctp-data": "hostname"}
    flags = parsed(arguments, defaults)
    try:
        limit = seconds(flags["timeout"]) or None
        if flags["protocol"] in ("", "tcp"):
            _connect_tcp(_resolved(flags[""], socket.SOCK_STREAM), limit)
        elif flags["protocol"] == "udp":
            _connect_udp(_resolved(flags[""], socket.SOCK_DGRAM), limit, flags["udp-data"])
        else:
            raise _FailedError(f"Unsupported protocol\n{flags['protocol']}")
    except (_FailedError, FlagError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


_Address = tuple[socket.AddressFamily, tuple[str, int]]


def _resolved(place: str, kind: socket.SocketKind) -> _Address:
    host, colon, port = place.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        raise _FailedError(
            f"UNKNOWN: address {place}: {'missing port in address' if not colon else 'too many colons in address'}"
        )
    try:
        found = socket.getaddrinfo(host.strip("[]") or "localhost", port, type=kind)
    except OSError as error:
        raise _FailedError(f"DNS: lookup {host}: {error.strerror}") from None
    return found[0][0], (str(found[0][4][0]), int(found[0][4][1]))


def _connect_tcp(address: _Address, limit: float | None) -> None:
    with socket.socket(address[0], socket.SOCK_STREAM) as made:
        made.settimeout(limit)
        try:
            made.connect(address[1])
        except TimeoutError:
            raise _FailedError("TIMEOUT") from None
        except ConnectionRefusedError:
            raise _FailedError("REFUSED") from None
        except OSError as error:
            words = os.strerror(error.errno or 0).lower()
            raise _FailedError(f"OTHER: dial tcp {address[1][0]}:{address[1][1]}: connect: {words}") from None


def _connect_udp(address: _Address, limit: float | None, data: str) -> None:
    with socket.socket(address[0], socket.SOCK_DGRAM) as made:
        made.settimeout(limit)
        try:
            made.connect(address[1])
            made.send(f"{data}\n".encode())
            said = made.recv(1024)
        except TimeoutError:
            raise _FailedError("TIMEOUT: i/o timeout") from None
        except ConnectionRefusedError:
            raise _FailedError("REFUSED: connection refused") from None
        except OSError as error:
            raise _FailedError(f"UNKNOWN: {error}") from None
        if not said:
            raise _FailedError(
                "OTHER: No data received from the server. Cannot guarantee the server received the request."
            )


def pause(_: list[str]) -> int:
    """Wait for SIGINT (exit code 1) or SIGTERM (2)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    print("Paused\nSignals registered", flush=True)
    got = signal.sigwait((signal.SIGINT, signal.SIGTERM))
    words = f'exiting because of signal "{"interrupt" if got == signal.SIGINT else "terminated"}"\n'
    with contextlib.suppress(OSError):  # the log says it too
        Path(os.environ.get("TERMINATION_MESSAGE_PATH") or "/dev/termination-log").write_text(words)
    print(words, end="", flush=True)
    return 1 if got == signal.SIGINT else 2


def _resolv_conf(word: str) -> str:
    for line in Path("/etc/resolv.conf").read_text().splitlines():
        if line.startswith(word):
            return ",".join(line.split(" ")[1:])
    raise SystemExit("Could not find DNS search list!")


def dns_suffix(_: list[str]) -> int:
    print(_resolv_conf("search"))
    return 0


def dns_server_list(_: list[str]) -> int:
    print(_resolv_conf("nameserver"))
    return 0


def etc_hosts(_: list[str]) -> int:
    print(Path("/etc/hosts").read_text())
    return 0


def entrypoint_tester(_: list[str]) -> int:
    print(f"[{' '.join(['/agnhost', *sys.argv[1:]])}]")
    return 0


def logs_generator(arguments: list[str]) -> int:
    """Lines like an API server's log, evenly over a time."""
    defaults = {"log-lines-total": "0", "run-duration": "0"}
    flags = parsed(arguments, defaults, {"t": "log-lines-total", "d": "run-duration"})
    total, duration = int(flags["log-lines-total"]), seconds(flags["run-duration"])
    if total <= 0 or duration <= 0:
        sys.stderr.write(f"Invalid total number of lines: {total}, or duration: {duration}\n")
        return 255
    for number in range(total):
        method, namespace = random.choice(("GET", "POST", "PUT")), random.choice(("kube-system", "default", "ns"))  # noqa: S311
        name = "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=random.randrange(3, 5)))  # noqa: S311
        now = time.time()
        stamp = time.strftime("I%m%d %H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}"
        url, status = f"/api/v1/namespaces/{namespace}/pods/{name}", random.randrange(200, 600)  # noqa: S311
        sys.stderr.write(f"{stamp} {os.getpid():7d} logs_generator.go:76] {number} {method} {url} {status}\n")
        sys.stderr.flush()
        time.sleep(duration / total)
    return 0
