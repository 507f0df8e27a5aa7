"""kubectl's interactive commands against a whole cluster: logs, exec, attach, cp, port-forward, proxy, run, debug."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster_host import ClusterHost, until

pytestmark = pytest.mark.kernel


def busybox(name: str, *command: str, **fields: Any) -> dict[str, Any]:
    """A pod of BusyBox that runs one command and stays ended."""
    main = {"name": "main", "image": "busybox", "command": [*command], **fields}
    spec = {"containers": [main], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def make(cluster: ClusterHost, *pods: dict[str, Any]) -> None:
    cluster.apply(*pods)
    names = [f"pod/{one['metadata']['name']}" for one in pods]
    cluster.kubectl("wait", *names, "--for=condition=Ready", "--timeout=30s")


class Typist:
    """kubectl on a terminal of 111 columns and 33 lines."""

    def __init__(self, cluster: ClusterHost, *words: str) -> None:
        self._screen, terminal = pty.openpty()
        termios.tcsetwinsize(self._screen, (33, 111))
        own = ("setsid", "--ctty", "--wait", "kubectl")  # else nobody tells it of a new size
        self._process = cluster.spawn(*own, *words, stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        self._seen = b""

    def sees(self, text: bytes) -> None:
        """Read until it is there."""
        while text not in self._seen:
            assert select.select([self._screen], [], [], 20)[0], self._seen
            self._seen += os.read(self._screen, 4096)
        self._seen = self._seen.partition(text)[2]

    def types(self, text: bytes) -> None:
        os.write(self._screen, text)

    def resizes(self, lines: int, columns: int) -> None:
        termios.tcsetwinsize(self._screen, (lines, columns))

    def ends(self) -> int:
        """Its exit code."""
        with contextlib.suppress(OSError):
            while os.read(self._screen, 4096):
                pass
        os.close(self._screen)
        return self._process.wait(20)


@contextlib.contextmanager
def running(cluster: ClusterHost, *words: str) -> Iterator[str]:
    """A kubectl that goes on; its first line."""
    process = cluster.spawn("kubectl", *words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().decode()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_exec_tells_output_errors_and_exit_code(cluster: ClusterHost) -> None:
    done = cluster.attempt("kubectl", "exec", "-i", "client", "--", "sh", "-c", "cat; echo e >&2; exit 3", stdin="x\n")
    assert (done.returncode, done.stdout) == (3, "x\n")
    assert done.stderr.splitlines() == ["e", "command terminated with exit code 3"]


def test_exec_of_a_program_that_is_not_there_says_so(cluster: ClusterHost) -> None:
    done = cluster.attempt("kubectl", "exec", "client", "--", "no-such-program")
    assert done.returncode == 1
    assert 'exec: "no-such-program": executable file not found in $PATH' in done.stderr


def test_exec_on_a_terminal_follows_its_size(cluster: ClusterHost) -> None:
    typist = Typist(cluster, "exec", "-it", "client", "--", "bash", "--norc")
    typist.sees(b"# ")
    typist.types(b"stty size\n")
    typist.sees(b"33 111")
    typist.resizes(20, 70)
    typist.types(b"until [ \"$(stty size)\" = '20 70' ]; do sleep 0.05; done; echo chan''ged; exit 4\n")
    typist.sees(b"changed")
    assert typist.ends() == 4


def test_logs_can_be_cut_stamped_followed_and_had_of_a_run_before(cluster: ClusterHost) -> None:
    make(cluster, busybox("speaker", "sh", "-c", "seq 5; read word; echo heard $word", stdin=True, stdinOnce=True))
    until(lambda: cluster.kubectl("logs", "speaker", "--tail=2") == "4\n5\n", "it has counted")
    assert cluster.kubectl("logs", "speaker", "--limit-bytes=3") == "1\n2"
    assert cluster.kubectl("logs", "speaker", "--since=1h", "--tail=1") == "5\n"
    stamp, _, text = cluster.kubectl("logs", "speaker", "--timestamps", "--tail=1").partition(" ")
    assert (stamp[4:5], stamp[-1], text) == ("-", "Z", "5\n")
    following = cluster.spawn("kubectl", "logs", "-f", "--tail=1", "speaker", stdout=subprocess.PIPE)
    assert following.stdout is not None
    assert following.stdout.readline() == b"5\n"  # it follows from here on
    cluster.kubectl("attach", "-iq", "speaker", stdin="you\n")
    assert following.communicate(timeout=20)[0] == b"heard you\n"

    again = busybox("again", "sh", "-c", "echo run; exit 1")
    again["spec"]["restartPolicy"] = "Always"
    cluster.apply(again)
    until(lambda: cluster.get("pod", "again")["status"]["containerStatuses"][0]["restartCount"], "it began again")
    until(lambda: cluster.kubectl("logs", "again", "--previous") == "run\n", "what it said is all read")


def test_logs_of_many_pods_are_had_by_label(cluster: ClusterHost) -> None:
    lines = cluster.kubectl("logs", "-l", "app=echo", "--prefix", "--tail=1").splitlines()
    assert sorted(line.partition("/agnhost]")[0] for line in lines) == ["[pod/echo-1", "[pod/echo-2"]


def test_attach_speaks_with_a_console(cluster: ClusterHost) -> None:
    script = "while read word; do echo got $word; [ $word = end ] && exit 5; done"
    make(cluster, busybox("console", "sh", "-c", script, stdin=True, tty=True))
    typist = Typist(cluster, "attach", "-itq", "console")
    typist.types(b"one\n")
    typist.sees(b"got one")
    typist.types(b"end\n")
    typist.sees(b"got end")
    assert typist.ends() == 0
    ended = until(lambda: ended_with(cluster.get("pod", "console")), "it ended")
    assert ended["exitCode"] == 5


def ended_with(pod: dict[str, Any], kind: str = "containerStatuses") -> Any:
    return (pod["status"].get(kind) or [{}])[0].get("state", {}).get("terminated")


def test_run_hands_input_to_a_pod_and_removes_it(cluster: ClusterHost) -> None:
    words = ("run", "once", "--rm", "-iq", "--image=busybox", "--restart=Never", "--", "sh", "-c")
    done = cluster.attempt("kubectl", *words, "wc -c; exit 6", stdin="x" * 100_000)
    assert (done.returncode, done.stdout.split()[0]) == (6, "100000")
    assert cluster.attempt("kubectl", "get", "pod", "once").returncode == 1


def test_files_are_copied_both_ways(cluster: ClusterHost, tmp_path: Path) -> None:
    make(cluster, busybox("copy", "sleep", "600"))
    (tmp_path / "here").write_bytes(os.urandom(1_000_000))
    cluster.kubectl("cp", f"{tmp_path}/here", "copy:/tmp/there")
    cluster.kubectl("cp", "copy:/tmp/there", f"{tmp_path}/back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "here").read_bytes()


@pytest.mark.parametrize("target", ["pod/echo-1", "service/forwarded"])
def test_ports_are_forwarded(cluster: ClusterHost, target: str) -> None:
    ports = [{"port": 80, "targetPort": 8080}]
    spec = {"selector": {"number": "1"}, "ports": ports}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "forwarded"}, "spec": spec})
    port = "80" if target.startswith("service") else "8080"
    with running(cluster, "port-forward", target, f":{port}") as line:
        local = line.split("127.0.0.1:")[1].split(" ")[0]
        assert cluster.run("curl", "-s", f"http://127.0.0.1:{local}/hostname") == "echo-1"
        assert cluster.run("curl", "-s", f"http://127.0.0.1:{local}/echo?msg=again") == "again"


def test_the_proxy_leads_to_services_pods_and_nodes(cluster: ClusterHost) -> None:
    with running(cluster, "proxy", "--port=0") as line:
        root = f"http://{line.split(' ')[-1].strip()}/api/v1"
        pod = f"{root}/namespaces/default/pods/echo-1:8080/proxy"
        assert cluster.run("curl", "-s", f"{pod}/hostname") == "echo-1"
        assert cluster.run("curl", "-s", f"{root}/nodes/node-1/proxy/healthz") == "ok"
        names = cluster.run("curl", "-s", f"{root}/nodes/node-1/proxy/pods")
        assert '"echo-1"' in names


def test_debug_looks_into_a_pod_that_runs(cluster: ClusterHost) -> None:
    make(cluster, busybox("looked-at", "sleep", "600"))
    words = ("debug", "looked-at", "-c", "debug", "--image=busybox", "--target=main", "--", "cat", "/proc/1/cmdline")
    cluster.kubectl(*words)
    until(lambda: ended_with(cluster.get("pod", "looked-at"), "ephemeralContainerStatuses"), "the look ended")
    said = "sleep\x00600\x00"
    until(lambda: cluster.kubectl("logs", "looked-at", "-c", "debug") == said, "what it said is all read")


def test_what_is_not_there_is_named(cluster: ClusterHost) -> None:
    make(cluster, busybox("one", "sleep", "600"))
    assert 'pods "none" not found' in cluster.attempt("kubectl", "logs", "none").stderr
    wrong = cluster.attempt("kubectl", "logs", "one", "-c", "other")
    assert "container other is not valid for pod one" in wrong.stderr
    never = cluster.attempt("kubectl", "logs", "one", "--previous")
    assert 'previous terminated container "main" in pod "one" not found' in never.stderr
    waiting = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "unknown"}}
    cluster.apply({**waiting, "spec": {"containers": [{"name": "main", "image": "example.com/thing"}]}})
    until(lambda: "waiting" in str(cluster.get("pod", "unknown")["status"].get("containerStatuses")), "it waits")
    words = 'container "main" in pod "unknown" is waiting to start: trying and failing to pull image'
    until(lambda: words in cluster.attempt("kubectl", "logs", "unknown").stderr, words)
