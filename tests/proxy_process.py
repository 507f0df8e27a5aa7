"""`fairway` as a process of its own, in the network namespace that the test's thread is in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0
SHOP = Path(__file__).resolve().parents[1] / "examples" / "shop"
CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/16
hostnameOverride: node-a
"""


def fairway(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [sys.executable, "-m", "fairway.cli.main", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)


def nft(*arguments: str) -> str:
    """What `nft` prints."""
    return subprocess.run(["nft", *arguments], capture_output=True, text=True, check=True).stdout


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition holds; returns what it gave."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.01)
    return found


def get(url: str) -> tuple[int, str]:
    """Status and body of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Folder:
    """A configuration and a copy of the shop that a test may change."""

    def __init__(self, root: Path) -> None:
        self.manifests = root / "manifests"
        shutil.copytree(SHOP, self.manifests)
        self.config = root / "config.yaml"
        self.config.write_text(CONFIG)
        self.flags = ("--config", str(self.config), "--manifests", str(self.manifests))

    def edit(self, name: str, old: str, new: str) -> None:
        """Change one manifest, as an editor does: a new file in the place of the old one."""
        path = self.manifests / name
        replace(path, path.read_text().replace(old, new))

    def edit_config(self, old: str, new: str) -> None:
        replace(self.config, self.config.read_text().replace(old, new))


def replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.rename(path)


class Proxy:
    """A running `fairway proxy`; entered when it says that it is ready."""

    def __init__(self, root: Path, *flags: str) -> None:
        self._root = root
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        address = self._root / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(address))
            listener.settimeout(PATIENCE)
            with (self._root / "log").open("ab") as log:
                command = [sys.executable, "-m", "fairway.cli.main", "proxy", *self._flags]
                environment = {**os.environ, "NOTIFY_SOCKET": str(address)}
                self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            assert b"READY=1" in listener.recv(256), self.log
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(signal.SIGTERM)

    @property
    def log(self) -> str:
        return (self._root / "log").read_text()

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(PATIENCE)


def answers(text: str) -> list[dict[str, Any]]:
    """The JSON objects of `explain -o json`."""
    return [json.loads(line) for line in text.splitlines()]
