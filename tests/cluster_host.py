"""A machine of its own for `fairway up`: network, mounts and processes with nothing else, entered by commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

FAIRWAY = Path(sys.executable).with_name("fairway")
_BEGIN = "mount -t tmpfs tmpfs /run && ip link set lo up && echo ready && exec env --ignore-signal=CHLD sleep infinity"
"""The first process ignores SIGCHLD, so that what is left to it is reaped; with its end the kernel ends all others."""


class ClusterHost:
    """The machine. `up` and `down` are a cluster's; what is left when the block ends is gone with the namespaces."""

    def __init__(self, home: Path) -> None:
        self.home = home
        spaces = ["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        command = [*spaces, "--mount-proc", "sh", "-c", _BEGIN]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        self.pid = int(Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text())
        """Of its first process, as this machine's own see it."""
        kubeconfig = "/run/fairway/fairway/kubeconfig"
        path = f"{os.environ['PATH']}:{FAIRWAY.parent}:{FAIRWAY.parents[2] / '.peers/bin'}"
        self._environment = {**os.environ, "PATH": path, "HOME": str(home), "KUBECONFIG": kubeconfig}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.path("/run/fairway").exists():
            self.down()
        self._holder.send_signal(signal.SIGKILL)
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def path(self, inside: str) -> Path:
        """A file of this machine."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")

    def inside_machine(self, *command: str) -> list[str]:
        """The command that runs a command on this machine."""
        return ["nsenter", "-t", str(self.pid), "--net", "--mount", "--pid", *command]

    def attempt(self, *command: str, stdin: str = "", seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command on this machine, whatever comes of it."""
        inside = self.inside_machine(*command)
        return subprocess.run(
            inside, input=stdin, capture_output=True, text=True, env=self._environment, timeout=seconds, check=False
        )

    def spawn(self, *command: str, **streams: Any) -> subprocess.Popen[bytes]:
        """Begin a command on this machine."""
        inside = ["nsenter", "-t", str(self._holder.pid), "--net", "--mount", *command]
        return subprocess.Popen(inside, env=self._environment, **streams)

    def run(self, *command: str, stdin: str = "", seconds: float = 60) -> str:
        """Run a command on this machine; its output. Fails with what it said."""
        done = self.attempt(*command, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    # -- the cluster

    def up(self, *flags: str) -> None:
        self.run(str(FAIRWAY), "up", *flags, seconds=120)

    def down(self) -> None:
        self.run(str(FAIRWAY), "down", seconds=120)

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return self.run("kubectl", *words, stdin=stdin)

    def fairway(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of ours, whatever comes of it."""
        return self.attempt(str(FAIRWAY), *words, seconds=120)

    def parts(self) -> dict[str, dict[str, Any]]:
        """What `fairway status` says of each process."""
        return {one["name"]: one for one in json.loads(self.fairway("status", "-o", "json").stdout)["parts"]}

    def kill(self, name: str) -> None:
        """SIGKILL to one process of the cluster."""
        self.run("kill", "-9", str(self.parts()[name]["pid"]))

    def get(self, *words: str) -> Any:
        """`kubectl get`, as a tree."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def apply(self, *objects: Any) -> None:
        self.kubectl("apply", "-f", "-", stdin="\n".join(json.dumps(one) for one in objects))

    def inside(self, pod: str, *command: str) -> str:
        """A command in a pod."""
        return self.kubectl("exec", pod, "--", *command)

    def on_node(self, node: str, *command: str) -> str:
        """A command in a node's network namespace."""
        return self.run("ip", "netns", "exec", f"fw-{node}", *command)


def until(check: Callable[[], Any], what: str, seconds: float = 15) -> Any:
    """What a cluster comes to a moment after a change: asked again until it is so."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"not so after {seconds} s: {what}"
        time.sleep(0.05)
    return found
