"""`fairway apiserver` as a process of its own, and a client for it."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


class ApiProcess:
    """One server; `kill` and start again on the same folder."""

    def __init__(self, folder: Path, *flags: str, inside: tuple[str, ...] = ()) -> None:
        """`inside` is a command that runs the server in a world of its own (`unshare …`)."""
        self.folder = folder
        self._flags = flags
        self._inside = inside
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        config = self.folder / "kubeconfig"
        config.unlink(missing_ok=True)
        command = [*self._inside, sys.executable, "-m", "fairway.cli.main", "apiserver"]
        command += ["--data", str(self.folder / "data")]
        command += ["--listen", "127.0.0.1:0", "--kubeconfig", str(config), "--controllers", "none", *self._flags]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        line = process.stderr.readline()
        if "serving on" not in line:
            process.wait(10)
            raise RuntimeError(line + process.stderr.read())
        kubeconfig = yaml.safe_load(config.read_text())
        self.port = urlsplit(kubeconfig["clusters"][0]["cluster"]["server"]).port
        self.token = kubeconfig["users"][0]["user"]["token"]
        return process

    def connect(self) -> http.client.HTTPSConnection:
        seen = f"/proc/{self.process.pid}/root{self.folder}"  # as the server sees it
        context = ssl.create_default_context(cafile=f"{seen}/data/pki/ca.crt")
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

    def call(
        self, method: str, path: str, body: Any = None, connection: http.client.HTTPSConnection | None = None
    ) -> tuple[int, Any]:
        own = connection or self.connect()
        own.request(method, path, json.dumps(body) if body is not None else None, self.headers())
        answer = own.getresponse()
        raw = answer.read()
        if connection is None:
            own.close()
        return answer.status, json.loads(raw) if raw[:1] == b"{" else raw

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._reap()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        code = self.process.wait(20)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return code

    def restart(self) -> None:
        self.process = self._start()


@contextmanager
def running(folder: Path, *flags: str, inside: tuple[str, ...] = ()) -> Iterator[ApiProcess]:
    server = ApiProcess(folder, *flags, inside=inside)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()
