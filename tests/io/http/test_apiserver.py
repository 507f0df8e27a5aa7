"""The API server over real sockets, real TLS and a real file: crashes, watches, limits."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_process import ApiProcess, running

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiProcess]:
    with running(tmp_path) as started:
        yield started


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"k": "v"}}


def names(server: ApiProcess) -> set[str]:
    _, listed = server.call("GET", MAPS)
    return {i["metadata"]["name"] for i in listed["items"]}


def write_until_killed(server: ApiProcess, prefix: str, enough: threading.Event) -> list[str]:
    """Create objects as fast as one client can; returns those that the server said it has."""
    acknowledged: list[str] = []
    connection = server.connect()
    number = 0
    try:
        while True:
            name = f"{prefix}-{number}"
            number += 1
            if server.call("POST", MAPS, config_map(name), connection)[0] == 201:
                acknowledged.append(name)
            if number == 20:
                enough.set()
    except (OSError, http.client.HTTPException, ValueError):
        return acknowledged


def crash_once(server: ApiProcess, round_number: int) -> set[str]:
    """Three clients write; the server is killed in the middle; returns what it had acknowledged."""
    found: list[list[str]] = []
    events = [threading.Event() for _ in range(3)]
    clients = [
        threading.Thread(target=lambda e=e, i=i: found.append(write_until_killed(server, f"r{round_number}-{i}", e)))
        for i, e in enumerate(events)
    ]
    for client in clients:
        client.start()
    for event in events:
        assert event.wait(30)
    server.kill()
    for client in clients:
        client.join(30)
    return {name for one in found for name in one}


def survive(server: ApiProcess, rounds: int) -> None:
    acknowledged: set[str] = set()
    for number in range(rounds):
        acknowledged |= crash_once(server, number)
        server.restart()
        assert acknowledged <= names(server)


def test_acknowledged_writes_survive_kill_9(server: ApiProcess) -> None:
    survive(server, 3)


@pytest.mark.slow
def test_acknowledged_writes_survive_kill_9_two_hundred_times(server: ApiProcess) -> None:
    survive(server, 200)


def read_event(response: http.client.HTTPResponse) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(response.readline())
    return event


def open_watch(server: ApiProcess, version: str) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
    connection = server.connect()
    connection.request("GET", f"{MAPS}?watch=1&resourceVersion={version}", headers=server.headers())
    return connection, connection.getresponse()


def test_watch_resumes_after_a_crash(server: ApiProcess) -> None:
    _, first = server.call("POST", MAPS, config_map("a"))
    server.call("POST", MAPS, config_map("b"))
    server.kill()
    server.restart()
    server.call("POST", MAPS, config_map("c"))

    connection, response = open_watch(server, first["metadata"]["resourceVersion"])

    assert [read_event(response)["object"]["metadata"]["name"] for _ in range(2)] == ["b", "c"]
    connection.close()


def test_watch_hears_of_a_write_at_once(server: ApiProcess) -> None:
    _, listed = server.call("GET", MAPS)
    connection, response = open_watch(server, listed["metadata"]["resourceVersion"])
    server.call("POST", MAPS, config_map("a"))
    server.call("DELETE", f"{MAPS}/a")

    assert [read_event(response)["type"] for _ in range(2)] == ["ADDED", "DELETED"]
    connection.close()


def test_client_that_does_not_read_hinders_nobody(server: ApiProcess) -> None:
    _, listed = server.call("GET", MAPS)
    stuck, _ = open_watch(server, listed["metadata"]["resourceVersion"])
    reader, response = open_watch(server, listed["metadata"]["resourceVersion"])
    connection = server.connect()
    large = {"data": {"k": "x" * 200_000}}
    for number in range(40):
        code, _ = server.call("POST", MAPS, {**config_map(f"m-{number}"), **large}, connection)
        assert code == 201

    assert [read_event(response)["object"]["metadata"]["name"] for _ in range(40)] == [f"m-{n}" for n in range(40)]
    stuck.close()
    reader.close()


def test_client_that_stops_reading_its_watch_is_cut(server: ApiProcess) -> None:
    """What it is behind by is kept up to a limit; then its connection ends, and whoever reads has heard everything."""
    _, listed = server.call("GET", MAPS)
    stuck, unread = open_watch(server, listed["metadata"]["resourceVersion"])
    reader, response = open_watch(server, listed["metadata"]["resourceVersion"])
    connection = server.connect()
    large = {"data": {"k": "x" * 1_000_000}}
    for number in range(90):
        code, _ = server.call("POST", MAPS, {**config_map(f"m-{number}"), **large}, connection)
        assert code == 201
        assert read_event(response)["object"]["metadata"]["name"] == f"m-{number}"

    with pytest.raises((http.client.IncompleteRead, OSError)) as ended:
        unread.read()

    assert not isinstance(ended.value, TimeoutError)
    stuck.close()
    reader.close()


def damaged(server: ApiProcess) -> bytes:
    """Stop a server and spoil its database in the middle; returns what then lies there."""
    for number in range(50):
        server.call("POST", MAPS, {**config_map(f"m-{number}"), "data": {"k": "x" * 10_000}})
    server.stop()
    database = server.folder / "data" / "fairway.db"
    content = bytearray(database.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 200] = b"\xff" * 200
    database.write_bytes(content)
    return bytes(content)


def test_damaged_database_is_said_so_and_kept_aside(server: ApiProcess) -> None:
    content = damaged(server)

    with pytest.raises(RuntimeError, match=r"fairway\.db: the database is corrupt .*kept as .*fairway\.db\.corrupt-0"):
        server.restart()

    assert (server.folder / "data" / "fairway.db.corrupt-0").read_bytes() == content
    server.restart()  # asked a second time, it begins with nothing
    assert not {n for n in names(server) if n.startswith("m-")}


def syncs(trace: Path) -> int:
    return sum("sync(" in line for line in trace.read_text().splitlines())


@pytest.mark.parametrize("durability", ["process", "full"])
def test_each_write_is_on_the_disk_before_its_answer_if_asked(tmp_path: Path, durability: str) -> None:
    trace = tmp_path / "trace"
    traced = ("strace", "-D", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(trace))
    with running(tmp_path, "--durability", durability, inside=traced) as server:
        before = syncs(trace)
        for number in range(10):
            assert server.call("POST", MAPS, config_map(f"m-{number}"))[0] == 201
        assert (syncs(trace) - before >= 10) == (durability == "full")


def test_full_disk_is_said_and_nothing_is_half_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    mounted = f'mount -t tmpfs -o size=6m tmpfs {data} && exec "$@"'
    inside = ("unshare", "--mount", "--propagation", "private", "sh", "-c", mounted, "sh")
    large = {"data": {"k": "x" * 100_000}}
    with running(tmp_path, inside=inside) as server:
        accepted: set[str] = set()
        refused: set[str] = set()
        for number in range(80):
            code, answer = server.call("POST", MAPS, {**config_map(f"m-{number}"), **large})
            (accepted if code == 201 else refused).add(f"m-{number}")
            if code != 201:
                assert (code, answer["reason"]) == (500, "InternalError")
                assert "database or disk is full" in answer["message"]
        assert accepted
        assert len(refused) > 10
        assert accepted == {n for n in names(server) if n.startswith("m-")}

        more = ["nsenter", "-t", str(server.process.pid), "--mount", "mount", "-o", "remount,size=64m", str(data)]
        subprocess.run(more, check=True)
        assert server.call("POST", MAPS, config_map("m-later"))[0] == 201
        assert accepted | {"m-later"} == {n for n in names(server) if n.startswith("m-")}


def test_nobody_is_let_in_without_credentials(server: ApiProcess) -> None:
    connection = server.connect()
    for path in ("/api", "/version", "/healthz", MAPS):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert (answer.status, body["reason"]) == (401, "Unauthorized")


def test_client_certificate_is_the_admin(server: ApiProcess) -> None:
    pki = server.folder / "data" / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=30)
    body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    connection.request("POST", path, body, {"Content-Type": "application/json"})

    info = json.loads(connection.getresponse().read())["status"]["userInfo"]

    assert (info["username"], "system:masters" in info["groups"]) == ("admin", True)


def test_body_over_three_mebibytes_is_413(server: ApiProcess) -> None:
    code, answer = server.call("POST", MAPS, {"data": {"k": "x" * (3 << 20)}})

    assert (code, answer["reason"]) == (413, "RequestEntityTooLarge")


def test_pipelined_requests_are_answered_in_order(server: ApiProcess) -> None:
    context = ssl.create_default_context(cafile=str(server.folder / "data" / "pki" / "ca.crt"))
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
        head = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        tls.sendall(f"GET /healthz {head}\r\nGET /version {head}Connection: close\r\n\r\n".encode())
        received = b""
        while chunk := tls.recv(65536):
            received += chunk

    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.index(b"\r\n\r\nok") < received.index(b"gitVersion")


def test_broken_http_is_400_and_the_server_lives(server: ApiProcess) -> None:
    context = ssl.create_default_context(cafile=str(server.folder / "data" / "pki" / "ca.crt"))
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
        tls.sendall(b"\x00\x01 nonsense\r\n\r\n")
        assert b"400" in tls.recv(65536)

    assert server.call("GET", "/healthz") == (200, b"ok")


def test_sigterm_ends_it_cleanly(server: ApiProcess) -> None:
    server.call("POST", MAPS, config_map("a"))

    assert server.stop() == 0
    server.restart()
    assert "a" in names(server)


def test_second_server_on_the_same_folder_is_refused_or_waits_for_nobody(server: ApiProcess, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="another process"):
        ApiProcess(tmp_path)
