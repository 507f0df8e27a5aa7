"""Forwarding over real sockets: upstreams die and come back, are chosen by policy, and are asked over TLS."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import pytest

from certificates import Authority, Pair
from dns_process import DnsProcess, eventually, serving
from dns_upstream import TextUpstream, free_port, upstream

FIRST, SECOND = "192.0.2.250", "192.0.2.251"


@pytest.fixture
def upstreams() -> Iterator[tuple[TextUpstream, TextUpstream]]:
    with upstream(tag=FIRST) as first, upstream(tag=SECOND) as second:
        yield first, second


def forwarding(upstreams: tuple[TextUpstream, ...], options: str) -> str:
    to = " ".join(f"127.0.0.1:{one.port}" for one in upstreams)
    hosts = "hosts {\n 10.0.0.1 own.test\n fallthrough\n }"
    return f".:$PORT {{\n bind 127.0.0.1\n {hosts}\n forward . {to} {{\n{options}\n}}\n}}\n"


def test_when_an_upstream_dies_the_other_answers_until_it_is_back(
    tmp_path: Path, upstreams: tuple[TextUpstream, TextUpstream]
) -> None:
    first, second = upstreams
    options = "policy sequential\n max_fails 1\n health_check 0.1s\n read_timeout 0.3s"
    with serving(tmp_path, forwarding(upstreams, options)) as server:
        assert server.texts("who.a.test") == [FIRST]
        first.is_silent = True
        assert [server.texts(f"who.{n}.test") for n in "bcd"] == [[SECOND]] * 3
        # Once the checks have failed, nobody waits for it any more.
        eventually(lambda: seconds_for(server) < 0.2, "the dead upstream is asked before the other")
        first.is_silent = False
        eventually(lambda: server.texts("who.e.test") == [FIRST], "the upstream that is back is asked again")
        first.is_silent = second.is_silent = True
        assert server.texts("who.f.test") == ["SERVFAIL"]
        assert server.texts("own.test") == ["10.0.0.1"]


def seconds_for(server: DnsProcess) -> float:
    start = time.monotonic()
    assert server.texts("who.x.test") == [SECOND]
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("policy", "least", "most"), [("sequential", 40, 40), ("round_robin", 20, 20), ("random", 8, 32)]
)
def test_upstreams_are_chosen_by_policy(
    tmp_path: Path, upstreams: tuple[TextUpstream, TextUpstream], policy: str, least: int, most: int
) -> None:
    with serving(tmp_path, forwarding(upstreams, f"policy {policy}")) as server:
        server.texts("who.first.test")  # whoever answers that one
        found = Counter(server.texts(f"who.n{number}.test")[0] for number in range(40))
    assert least <= found[FIRST] <= most
    assert found[FIRST] + found[SECOND] == 40


def test_too_many_at_once_are_refused_and_nobody_else_waits(
    tmp_path: Path, upstreams: tuple[TextUpstream, TextUpstream]
) -> None:
    first, _ = upstreams
    with serving(tmp_path, forwarding((first,), "max_concurrent 1\n read_timeout 1s")) as server:
        first.is_silent = True
        waiting = threading.Thread(target=server.texts, args=("who.slow.test",))
        waiting.start()
        eventually(lambda: any(name.startswith("who.slow") for name, _, _ in first.asked), "the upstream is asked")
        start = time.monotonic()
        assert server.texts("who.b.test") == ["REFUSED"]
        assert server.texts("own.test") == ["10.0.0.1"]
        assert time.monotonic() - start < 0.5
        waiting.join()


@pytest.fixture
def secure(tmp_path: Path) -> tuple[Path, Authority]:
    """A folder with a server's and a client's certificate."""
    authority = Authority()
    put(tmp_path, "server", authority.server("dns.test"))
    put(tmp_path, "client", authority.client("somebody"))
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    return tmp_path, authority


def put(folder: Path, name: str, pair: Pair) -> None:
    (folder / f"{name}.pem").write_bytes(pair.certificate)
    (folder / f"{name}.key").write_bytes(pair.key)


def over_tls(folder: Path, port: int, *, has_certificate: bool) -> str:
    """What a TLS server answers, or why it does not."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if has_certificate:
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
    query = dns.message.make_query("own.test", "A")
    try:
        reply = dns.query.tls(query, "127.0.0.1", 3, port, ssl_context=context, server_hostname="dns.test")
    except (OSError, EOFError) as error:
        return type(error).__name__
    return str(reply.answer[0][0])


@pytest.mark.parametrize(
    ("auth", "stranger"),
    [
        ("", "10.0.0.1"),
        ("client_auth nocert", "10.0.0.1"),
        ("client_auth verify_if_given", "10.0.0.1"),
        ("client_auth require_and_verify", "refused"),
    ],
)
def test_clients_show_a_certificate_only_where_they_must(
    secure: tuple[Path, Authority], auth: str, stranger: str
) -> None:
    folder, _ = secure
    port = free_port()
    corefile = (
        f".:$PORT {{\n bind 127.0.0.1\n whoami\n}}\ntls://.:{port} {{\n bind 127.0.0.1\n root {folder}\n"
        f" tls server.pem server.key ca.pem {{\n {auth}\n }}\n hosts {{\n 10.0.0.1 own.test\n }}\n}}\n"
    )
    with serving(folder / "dns", corefile):
        assert over_tls(folder, port, has_certificate=True) == "10.0.0.1"
        found = over_tls(folder, port, has_certificate=False)
        assert (
            found == stranger if stranger == "10.0.0.1" else found in {"SSLError", "ConnectionResetError", "EOFError"}
        )


def test_questions_are_forwarded_over_tls_to_whom_the_certificate_names(secure: tuple[Path, Authority]) -> None:
    folder, _ = secure
    port = free_port()
    listening = f"bind 127.0.0.1\n root {folder}\n tls server.pem server.key\n hosts {{\n 10.0.0.1 own.test\n }}"
    to = f"tls://127.0.0.1:{port} {{\n tls ca.pem\n tls_servername"
    asking = f"bind 127.0.0.1\n root {folder}\n forward own.test {to} dns.test\n }}\n forward . {to} other.test\n }}"
    corefile = f"tls://.:{port} {{\n {listening}\n}}\n.:$PORT {{\n {asking}\n}}\n"
    with serving(folder / "dns", corefile) as server:
        assert server.texts("own.test") == ["10.0.0.1"]
        assert server.texts("elsewhere.test") == ["SERVFAIL"]
