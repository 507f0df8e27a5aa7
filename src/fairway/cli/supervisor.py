"""The parent of a cluster's processes: starts them, and starts again what dies.

It imports what they all need before it makes them by fork, so that they share those pages and start in milliseconds. It
does nothing else. When it is itself killed, they run on; the one that comes after it takes over those that still run.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import os
import select
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fairway.io.host.statefolder import CONTROL_PLANE, ROOT, SUPERVISOR, StateFolder
from fairway.reconcile.backoff import Backoff

log = logging.getLogger("fairway.supervisor")

CONTROL_PLANE_NEEDS: Final = (
    "cryptography.hazmat.backends.openssl.backend",
    "encodings.ascii",
    "encodings.idna",
    "encodings.utf_8_sig",
    "importlib.readers",
    "uvloop",
    "fairway.agents.announcer",
    "fairway.agents.controllers.manager",
    "fairway.agents.controllers.performer",
    "fairway.apiserver.api",
    "fairway.apiserver.bootstrap",
    "fairway.cli.apiserver",
    "fairway.cli.control_plane",
    "fairway.cli.controllers",
    "fairway.cli.host_side",
    "fairway.cli.logs",
    "fairway.cli.own_tables",
    "fairway.cluster.kubeconfig",
    "fairway.cluster.resolvers",
    "fairway.controllers.registry",
    "fairway.io.dns.relay",
    "fairway.io.host.clock",
    "fairway.io.host.waysin",
    "fairway.io.http.apiserver",
    "fairway.io.http.certificates",
    "fairway.io.http.proxying",
    "fairway.io.kube.client",
    "fairway.io.kube.kubeconfig",
    "fairway.io.kube.userconfig",
    "fairway.io.netlink.routes",
    "fairway.io.storage.journal",
    "fairway.pods.files",
)
NODES_NEED: Final = (
    "fairway.agents.corefile_feed",
    "fairway.agents.dns_fast",
    "fairway.agents.dns_status",
    "fairway.agents.heartbeat",
    "fairway.agents.hostports",
    "fairway.cli.images",
    "fairway.cli.node",
    "fairway.cli.node_dns",
    "fairway.cli.node_network",
    "fairway.cli.on_node",
    "fairway.cli.serve",
    "fairway.io.containers.hostports",
    "fairway.io.containers.machine",
    "fairway.io.containers.network",
    "fairway.io.dns.node",
    "fairway.io.http.kubelet",
    "fairway.io.kube.podobjects",
    "fairway.io.netlink.hostports",
)
"""Behind what the control plane needs. A test holds that no process imports anything of ours by itself."""
STOP_SECONDS: Final = 15.0
"""What a part gets to end, before it is killed."""
STEADY_SECONDS: Final = 10.0
"""A part that ran for so long is started again at once."""


@dataclass(slots=True)
class _Part:
    name: str
    pid: int = 0
    descriptor: int = -1
    began: float = 0.0
    due: float = 0.0
    """When to start it; by the monotonic clock."""
    starts: int = 0
    last_end: str = ""
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.1, most=10.0, jitter=0.0))


def run(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="fairway supervisor", description=__doc__)
    parser.add_argument("--state", type=Path, default=ROOT / "fairway", help="the cluster's state folder")
    folder = StateFolder(parser.parse_args(arguments).state)
    folder.take(SUPERVISOR)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s %(message)s")
    Supervisor(folder).run()
    return 0


class Supervisor:
    """All parts of one cluster."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._parts = {name: _Part(name) for name in folder.names() if name != SUPERVISOR}
        for name, (starts, last_end) in folder.history().items():
            if name in self._parts:
                self._parts[name].starts, self._parts[name].last_end = starts, last_end
        self._poll = select.poll()
        self._is_stopping = False
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> None:
        """Until told to stop; then all parts are told, and this returns when they have ended."""
        signal.set_wakeup_fd(self._waker)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._poll.register(self._wake, select.POLLIN)
        gc.disable()
        # The control plane begins its work while what the nodes need is still imported.
        for needs, names in ((CONTROL_PLANE_NEEDS, [CONTROL_PLANE]), (NODES_NEED, self._nodes())):
            for module in needs:
                importlib.import_module(module)
            gc.collect()
            gc.freeze()  # what the children share is never looked at by their collectors
            for name in names:
                self._adopt_or_start(self._parts[name])
        self._folder.ready(SUPERVISOR)
        while not self._is_stopping:
            self._wait()
        self._end_all()

    def _nodes(self) -> list[str]:
        return [name for name in self._parts if name != CONTROL_PLANE]

    def _stop(self, number: int, frame: object) -> None:
        self._is_stopping = True

    # -- starting

    def _adopt_or_start(self, part: _Part) -> None:
        pid = self._folder.part(part.name).pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                self._watch(part, pid)
                log.info("part=%s pid=%d msg='runs already, taken over'", part.name, pid)
                return
        self._start(part)

    def _start(self, part: _Part) -> None:
        pid = os.fork()
        if pid == 0:
            self._be(part.name)
        self._watch(part, pid)
        part.starts += 1
        self._keep_history()
        log.info("part=%s pid=%d msg=started", part.name, pid)

    def _watch(self, part: _Part, pid: int) -> None:
        part.pid, part.began, part.due = pid, time.monotonic(), 0.0
        part.descriptor = os.pidfd_open(pid)
        self._poll.register(part.descriptor, select.POLLIN)

    def _be(self, name: str) -> None:
        """The child: becomes the part, and never returns."""
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            for descriptor in (self._wake, self._waker, *(p.descriptor for p in self._parts.values())):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            _log_to(self._folder.log(name))
            gc.enable()
            code = _become(name, self._folder)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            os._exit(code)

    # -- watching

    def _wait(self) -> None:
        now = time.monotonic()
        waits = [part.due - now for part in self._parts.values() if part.due]
        timeout = None if not waits else max(min(waits), 0.0) * 1000
        ready = {descriptor for descriptor, _ in self._poll.poll(timeout)}
        if self._wake in ready:
            os.read(self._wake, 64)
        now = time.monotonic()
        for part in self._parts.values():
            if part.descriptor in ready:
                self._ended(part)
            elif part.due and part.due <= now and not self._is_stopping:
                self._start(part)

    def _ended(self, part: _Part) -> None:
        how = "not seen how"
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(part.pid, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status)
            how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        self._poll.unregister(part.descriptor)
        os.close(part.descriptor)
        if time.monotonic() - part.began >= STEADY_SECONDS:
            part.backoff.succeeded()
        delay = part.backoff.failed(0.0)
        part.pid, part.descriptor, part.due = 0, -1, time.monotonic() + delay
        part.last_end = how
        self._keep_history()
        log.warning("part=%s ended='%s' msg='starting it again' in=%.1fs", part.name, how, delay)

    def _keep_history(self) -> None:
        self._folder.keep_history({part.name: (part.starts, part.last_end) for part in self._parts.values()})

    # -- the end

    def _end_all(self) -> None:
        """Nodes first: their pods end, and say so to an API server that still listens."""
        nodes = [self._parts[name] for name in self._nodes()]
        for group in (nodes, [self._parts[CONTROL_PLANE]]):
            running = {part.descriptor: part for part in group if part.pid}
            for descriptor in running:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while running and (left := deadline - time.monotonic()) > 0:
                for descriptor, _ in self._poll.poll(left * 1000):
                    if descriptor == self._wake:
                        os.read(self._wake, 64)
                    elif descriptor in running:
                        self._ended(running.pop(descriptor))
            for descriptor in running:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)


def _become(name: str, folder: StateFolder) -> int:
    _name_process(f"fw {name}")
    if name == CONTROL_PLANE:
        from fairway.cli import control_plane

        return control_plane.serve(folder)
    from fairway.cli import node

    return node.serve(folder, name)


def _name_process(name: str) -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name[:15], encoding="ascii")


def _log_to(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
