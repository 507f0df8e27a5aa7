"""`fairway dns` as a process, with what tests ask of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode

from dns_upstream import free_port

FAIRWAY = Path(sys.executable).with_name("fairway")


def eventually(check: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """What a check gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return found


class DnsProcess:
    """Serves `$PORT` of 127.0.0.1, by a Corefile in a folder of its own."""

    def __init__(self, folder: Path, corefile: str) -> None:
        self.folder, self.port = folder, free_port()
        self.log = folder / "log"
        self.write(corefile)
        with self.log.open("wb") as log:
            command = [FAIRWAY, "dns", "--conf", "Corefile"]
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def write(self, corefile: str) -> None:
        (self.folder / "Corefile").write_text(corefile.replace("$PORT", str(self.port)))

    def ask(self, name: str, kind: str = "A", *, tcp: bool = False, timeout: float = 7.0) -> dns.message.Message | None:
        """The answer; None when there is none."""
        send = dns.query.tcp if tcp else dns.query.udp
        try:
            return send(dns.message.make_query(name, kind), "127.0.0.1", port=self.port, timeout=timeout)
        except (OSError, dns.exception.DNSException):
            return None

    def texts(self, name: str, kind: str = "A") -> list[str]:
        """Data of the records, or the code when it is none of success."""
        reply = self.ask(name, kind)
        if reply is None:
            return ["none"]
        found = sorted(str(rdata) for rrset in reply.answer for rdata in rrset)
        return found if reply.rcode() == dns.rcode.NOERROR else [dns.rcode.to_text(reply.rcode())]


@contextlib.contextmanager
def serving(folder: Path, corefile: str) -> Iterator[DnsProcess]:
    """A server that listens."""
    folder.mkdir(exist_ok=True)
    server = DnsProcess(folder, corefile)
    try:
        # Over TCP: whether anybody listens shows without a plugin that answers.
        eventually(lambda: _accepts(server), "nobody listens")
        yield server
    finally:
        server.process.terminate()
        server.process.wait(20)


def _accepts(server: DnsProcess) -> bool:
    assert server.process.poll() is None, server.log.read_text()[-2000:]
    return server.ask("ready.invalid", tcp=True, timeout=1) is not None
