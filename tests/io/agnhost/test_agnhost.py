"""Fairway's agnhost, and with the peers the real one by the same tests: what both say is the same."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import fairway.io.agnhost
from peer import FOLDER, peer

OURS = ("/usr/bin/python3", "-ISB", str(Path(fairway.io.agnhost.__file__).parent))
REAL = (str(FOLDER / "agnhost"),)


@pytest.fixture(params=[pytest.param(OURS, id="ours"), pytest.param(REAL, id="real", marks=pytest.mark.peers)])
def agnhost(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return (peer("agnhost"),) if request.param is REAL else OURS


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET6, kind) as made:
        made.bind(("::", 0))
        return int(made.getsockname()[1])


def run(agnhost: tuple[str, ...], *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([*agnhost, *arguments], capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout, done.stderr


@contextmanager
def serving(
    agnhost: tuple[str, ...], *arguments: str, port: int, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from when its TCP port is open to its end."""
    process = subprocess.Popen([*agnhost, *arguments], stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    try:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        else:
            raise AssertionError("it did not begin to listen")
        yield process
    finally:
        process.kill()
        process.wait()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def ask(port: int, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=10) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


def ask_udp(port: int, words: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(5)
        made.sendto(words.encode(), ("127.0.0.1", port))
        return made.recv(2048).decode()


@pytest.fixture
def netexec(agnhost: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """A running netexec: its HTTP and UDP ports."""
    http, udp = free_port(), free_port(socket.SOCK_DGRAM)
    with serving(agnhost, "netexec", f"--http-port={http}", "--udp-port", str(udp), port=http):
        yield http, udp


HOST = socket.gethostname()


@pytest.mark.parametrize(
    ("path", "code", "body"),
    [
        ("/hostname", 200, HOST),
        ("/hostName", 200, HOST),
        ("/echo?msg=a%20b+c", 200, "a b c"),
        ("/echo?msg=gone&code=404", 404, "gone"),
        ("/echo?msg=x&code=y", 200, "argument 'code' must be an integer or empty, got \"y\"\n"),
        ("/shell?cmd=echo+out%3Becho+err>%262%3Bexit+3", 200, '{"error":"exit status 3","output":"out\\nerr\\n"}'),
        ("/shell?shellCommand=true", 200, "{}"),
        ("/dial?host=127.0.0.1&port=80&request=", 400, "request parameter not specified. <nil>\n"),
        ("/dial?host=127.0.0.1&port=80&request=x&protocol=icmp", 400, "unsupported protocol. icmp\n"),
    ],
)
def test_netexec_page(netexec: tuple[int, int], path: str, code: int, body: str) -> None:
    assert ask(netexec[0], path)[:2] == (code, body)


def test_netexec_knows_its_client_and_its_port(netexec: tuple[int, int]) -> None:
    http, udp = netexec
    assert re.fullmatch(r"127\.0\.0\.1:\d+", ask(http, "/clientip")[1])
    assert re.fullmatch(r"127\.0\.0\.1:\d+", ask_udp(udp, "clientip"))
    assert ask(http, "/serverport")[1] == str(http)
    assert ask_udp(udp, "serverport\n") == str(udp)


def test_netexec_shows_headers(netexec: tuple[int, int]) -> None:
    assert ask(netexec[0], "/header?key=x-thing", **{"X-Thing": "one"})[1] == "one"
    assert json.loads(ask(netexec[0], "/header", **{"X-Thing": "one"})[1])["X-Thing"] == ["one"]


def test_netexec_ends_the_connection_of_a_client_of_http_1_0(netexec: tuple[int, int]) -> None:
    with socket.create_connection(("127.0.0.1", netexec[0]), 10) as client:
        client.sendall(b"GET /echo?msg=old HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.endswith(b"\r\n\r\nold")


def test_netexec_redirects(netexec: tuple[int, int]) -> None:
    code, _, headers = ask(netexec[0], "/redirect?location=/echo%3Fmsg=x&code=307")
    assert (code, headers["Location"]) == (307, "/echo?msg=x")


def test_netexec_answers_datagrams(netexec: tuple[int, int]) -> None:
    assert ask_udp(netexec[1], "hostName") == HOST
    assert ask_udp(netexec[1], "echo Some Words") == "some words"


def test_netexec_dials_others(netexec: tuple[int, int]) -> None:
    http, udp = netexec
    by_http = ask(http, f"/dial?host=127.0.0.1&port={http}&request=echo?msg=x&protocol=http&tries=2")
    by_udp = ask(http, f"/dial?host=127.0.0.1&port={udp}&request=hostname&protocol=udp")
    to_nobody = ask(http, "/dial?host=127.0.0.1&port=9&request=x&protocol=http")
    assert json.loads(by_http[1]) == {"responses": ["x", "x"]}
    assert json.loads(by_udp[1]) == {"responses": [HOST]}
    assert len(json.loads(to_nobody[1])["errors"]) == 1


def test_netexec_is_ready_until_it_is_told_to_end(agnhost: tuple[str, ...]) -> None:
    http, udp = free_port(), free_port(socket.SOCK_DGRAM)
    arguments = ("netexec", f"--http-port={http}", f"--udp-port={udp}", "--delay-shutdown=30")
    with serving(agnhost, *arguments, port=http) as process:
        assert ask(http, "/readyz")[:2] == (200, "ok")
        assert ask(http, "/healthz")[0] == 200
        process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 10
        while (found := ask(http, "/readyz")[:2]) != (503, "shutting down"):
            assert time.monotonic() < until, found
            time.sleep(0.01)
        assert ask(http, "/healthz")[0] == 200


_TERMINATED_AT_EVERY_LINE = """
import os, signal, sys
from fairway.io.agnhost.serving import Termination

def trace(frame, event, _):
    if event == "line" and frame.f_code.co_name == "wait":
        os.kill(os.getpid(), signal.SIGTERM)
    return trace

termination = Termination()
sys.settrace(trace)
termination.wait()
print(termination.has_come)
"""


def test_a_signal_at_any_moment_of_waiting_ends_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TERMINATED_AT_EVERY_LINE], capture_output=True, timeout=20, check=True
    )
    assert done.stdout == b"True\n"


def test_netexec_exits_with_the_code_that_is_asked_for(agnhost: tuple[str, ...]) -> None:
    http = free_port()
    with serving(agnhost, "netexec", f"--http-port={http}", "--udp-port=-1", port=http) as process:
        ask(http, "/exit?code=4&timeout=5s")
        assert process.wait(10) == 4


def test_overridden_netexec_answers_every_path_alike(agnhost: tuple[str, ...]) -> None:
    http = free_port()
    arguments = ("netexec", f"--http-port={http}", "--udp-port=-1", "--http-override=/echo?msg=busy&code=500")
    with serving(agnhost, *arguments, port=http):
        assert ask(http, "/hostname")[:2] == (500, "busy")


def test_connect_says_what_hinders_it(agnhost: tuple[str, ...]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        assert run(agnhost, "connect", f"127.0.0.1:{port}", "--timeout=3s") == (0, "", "")
    assert run(agnhost, "connect", f"127.0.0.1:{port}") == (1, "", "REFUSED\n")
    code, _, words = run(agnhost, "connect", "--protocol=udp", "--timeout=2s", f"127.0.0.1:{port}")
    assert (code, words[:8]) == (1, "REFUSED:")
    code, _, words = run(agnhost, "connect", "no-port")
    assert (code, words) == (1, "UNKNOWN: address no-port: missing port in address\n")
    code, _, words = run(agnhost, "connect", "no.such.host.invalid:80")
    assert (code, words[:5]) == (1, "DNS: ")


def test_connect_times_out(agnhost: tuple[str, ...]) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        code, _, words = run(agnhost, "connect", "--protocol", "udp", "--timeout=100ms", place)
    assert (code, words[:8]) == (1, "TIMEOUT:")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_pause_tells_the_signal_by_its_exit_code(
    agnhost: tuple[str, ...], number: int, code: int, tmp_path: Path
) -> None:
    env = {**os.environ, "TERMINATION_MESSAGE_PATH": str(tmp_path / "said")}
    process = subprocess.Popen([*agnhost, "pause"], stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["Paused\n", "Signals registered\n"]
    process.send_signal(number)
    said = process.stdout.read()
    assert process.wait(10) == code
    assert said == (tmp_path / "said").read_text()
    assert re.fullmatch(r'exiting because of signal "(interrupt|terminated)"\n', said)


def test_serve_hostname_serves_it(agnhost: tuple[str, ...]) -> None:
    port = free_port()
    with serving(agnhost, "serve-hostname", "--port", str(port), port=port):
        assert ask(port, "/whatever")[:2] == (200, HOST)
    with serving(agnhost, "serve-hostname", "--http=false", "--tcp", "--udp", f"--port={port}", port=port):
        assert ask_udp(port, "x") == HOST
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            assert connection.recv(100).decode() == HOST


def test_porter_serves_what_its_environment_says(agnhost: tuple[str, ...]) -> None:
    port = free_port()
    env = {f"SERVE_PORT_{port}": '<a href="/rewriteme">test</a>'}
    with serving(agnhost, "porter", port=port, env=env):
        code, body, headers = ask(port, "/any")
        assert (code, body) == (200, '<a href="/rewriteme">test</a>')
        assert headers["Content-Type"] == "text/html; charset=utf-8"
    with serving(agnhost, "porter", "--json-response", port=port, env=env | {f"SERVE_PORT_{port}": "foo"}):
        assert ask(port, "/")[1] == '{"Method":"GET","Body":"foo"}'


def test_guestbook_keeps_words_on_its_replicas(agnhost: tuple[str, ...]) -> None:
    port = free_port()
    with serving(agnhost, "guestbook", f"--http-port={port}", "--backend-port=6379", port=port):
        assert ask(port, "/set?key=messages&value=one")[1] == '{"message":"Updated"}'
        assert ask(port, "/get?key=messages")[1] == '{"data":"one"}'
        assert ask(port, "/register?host=127.0.0.1")[1] == '{"data":{"messages":"one"}}'
        code, words, _ = ask(port, "/set?key=messages&value=two")
        assert (code, words[:52]) == (417, "encountered error while propagating to replica '127.")
        assert ask(port, "/guestbook?cmd=drop")[:2] == (400, "unsupported cmd: 'drop'\n")


def test_logs_generator_writes_as_many_lines_as_asked_for(agnhost: tuple[str, ...]) -> None:
    code, _, said = run(agnhost, "logs-generator", "--log-lines-total", "5", "--run-duration", "50ms")
    pattern = (
        r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ logs_generator.go:\d+\] \d (GET|POST|PUT) /api/v1/namespaces/\S+ \d{3}"
    )
    assert code == 0
    assert all(re.fullmatch(pattern, line) for line in said.splitlines())
    assert len(said.splitlines()) == 5


def test_dns_settings_are_told(agnhost: tuple[str, ...]) -> None:
    servers = [line.split()[1] for line in Path("/etc/resolv.conf").read_text().splitlines() if "nameserver" in line]
    assert run(agnhost, "dns-server-list")[1] == f"{servers[0]}\n"
    assert run(agnhost, "etc-hosts")[1] == Path("/etc/hosts").read_text() + "\n"


def test_half_closed_connections_are_made_by_net(agnhost: tuple[str, ...]) -> None:
    port, served = free_port(), free_port()
    with serving(agnhost, "net", f"--serve=127.0.0.1:{served}", port=served):
        options = json.dumps({"LocalAddr": f"127.0.0.1:{port}", "PostFinTimeoutSeconds": 0}).encode()
        url = f"http://127.0.0.1:{served}/run/nat-closewait-server"
        reading = _later(lambda: urllib.request.urlopen(url, data=options, timeout=10).read().decode())
        _until_open(port)
        assert reading().startswith("ok\noutput:\n\n# ")


def _later(work: Callable[[], str]) -> Callable[[], str]:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1).submit(work).result


def _until_open(port: int) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError(f"nobody listens on {port}")


def test_unknown_command_names_those_that_there_are() -> None:
    code, _, said = run(OURS, "dance")
    assert code == 1
    assert 'unknown command "dance"' in said
    assert "netexec" in said


def test_it_starts_with_the_standard_library_alone() -> None:
    found = subprocess.run(
        [*OURS[:1], "-ISBX", "importtime", OURS[2], "connect", "127.0.0.1:9"],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in found.splitlines() if "|" in line}
    assert "socket" in imported
    assert imported - {"agnhost", "imported package"} <= sys.stdlib_module_names
