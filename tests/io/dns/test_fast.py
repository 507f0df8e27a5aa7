"""The C part: memory safety under mutated queries and nodes, and the listener around it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import dns.message
import pytest

from dns_cases import query_bytes
from dns_upstream import free_port
from dns_world import MemoryServer, endpoint_slice, namespace, service
from fairway.config.corefile_settings import CacheSettings
from fairway.dns.answers import FastAnswers
from fairway.dns.cache_items import Item, Key
from fairway.dns.kept import MAX_ROWS, FastKey, Place, pack
from fairway.dns.model import Reply
from fairway.io.dns import fast
from fairway.io.dns.addresses import ListenAddress
from fairway.io.dns.fast import FastListener, NativeTable, load
from fairway.io.dns.tcp import StreamListener
from fairway.io.dns.udp import UdpListener
from fairway.values.domain import ROOT, from_text
from fairway.values.rrtypes import RRType
from fairway.wire.dns_message import Record

COREFILE = ".:53 {\n    kubernetes cluster.local {\n        pods insecure\n    }\n}\n"
OBJECTS = [
    namespace("default"),
    service("web"),
    service("six", "fd00::1"),
    service("peers", "None"),
    endpoint_slice("peers-1", "peers", [f"10.1.0.{i}" for i in range(1, 30)]),
]
NAMES = (
    "web.default.svc.cluster.local",
    "peers.default.svc.cluster.local",
    "_http._tcp.web.default.svc.cluster.local",
    "no.default.svc.cluster.local",
    "a.b.c.d.svc.cluster.local",
    "six.default.svc.cluster.local",
    "cluster.local",
)
TYPES = ("A", "AAAA", "SRV", "PTR", "TXT")


def server_and_answers() -> tuple[MemoryServer, FastAnswers]:
    server = MemoryServer(COREFILE, OBJECTS)
    return server, FastAnswers(server.chains[0].kubernetes[0][1])


def table_of(answers: FastAnswers) -> NativeTable:
    library = load()
    assert library is not None
    table = NativeTable(library)
    table.put(answers.everything())
    for index, zone in enumerate(answers.zones):
        table.set_zone(index, zone, 1)
    return table


def kept_answers() -> tuple[list[bytes], list[str]]:
    """What a cache hands over: aliases, addresses to be shuffled, a few of each age."""
    found, names = [], [f"n{i}.example.org." for i in range(20)]
    settings = CacheSettings((ROOT,), prefetch_hits=2, stale_for=10)
    for number, name in enumerate(names):
        asked, target = from_text(name), from_text("web.example.org.")
        alias = Record(asked, RRType.CNAME, 60, target)
        records = [alias, *(Record(target, RRType.A, 60, bytes((10, 0, 0, i))) for i in range(number))]
        item = Item(Reply(answer=records, source="forward"), 30, float(number))
        key = FastKey(Key(asked, RRType.A, 1, do=False, cd=False), number % 5 == 0)
        packed = pack(settings, key, "success", item, Place(3, shuffles=True))
        assert packed is not None
        found.append(packed)
    return found, names


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler")
def test_mutated_queries_and_nodes_never_leave_their_memory(tmp_path: Path) -> None:
    _, answers = server_and_answers()
    (tmp_path / "nodes").write_bytes(b"".join(answers.everything()))
    edns = (None, {"udp_size": 1232}, {"udp_size": 4096, "do": True})
    asked = [
        query_bytes({"qname": name, "qtype": kind} | ({"edns": e} if e else {}))
        for name in NAMES for kind in TYPES for e in edns
    ]  # fmt: skip
    kept, names = kept_answers()
    (tmp_path / "kept").write_bytes(b"".join(len(one).to_bytes(4, sys.byteorder) + one for one in kept))
    asked += [query_bytes({"qname": name, "qtype": kind}) for name in names for kind in ("A", "MX")]
    (tmp_path / "queries").write_bytes(b"".join(len(q).to_bytes(2, "little") + q for q in asked))
    program = tmp_path / "fuzz"
    folder = Path(fast.__file__).parent
    sources = [Path(__file__).with_name("fuzz_fast.c"), *folder.glob("fast_*.c")]
    flags = ["-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-pthread"]
    subprocess.run(["gcc", *flags, f"-I{folder}", "-o", program, *sources], check=True)
    files = [tmp_path / name for name in ("nodes", "kept", "queries")]
    done = subprocess.run([program, *files, "1000000"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 100_000


def ask_udp(port: int, query: bytes, host: str = "127.0.0.1") -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((host, port))
        sock.send(query)
        return sock.recv(65535)


@pytest.mark.parametrize("kind", ["fast", "plain"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_replies_come_from_the_address_that_was_asked(kind: str, host: str) -> None:
    if kind == "fast" and load() is None:
        pytest.skip("the C part was not built: no compiler")
    server, answers = server_and_answers()
    address = ListenAddress(host, free_port())

    async def run() -> list[bytes]:
        loop = asyncio.get_running_loop()
        listener = (
            FastListener(address, server.server, loop, table_of(answers), sockets=2)
            if kind == "fast"
            else UdpListener(address, server.server, loop)
        )
        listener.start()
        asked = "127.0.0.1" if host == "127.0.0.1" else "127.0.0.5"
        queries = [query_bytes({"qname": name, "qtype": "A"}) for name in NAMES]
        replies = [await asyncio.to_thread(ask_udp, address.port, query, asked) for query in queries]
        await listener.close()
        return replies

    found = [dns.message.from_wire(reply) for reply in asyncio.run(run())]
    assert [len(m.answer) for m in found] == [1, 1, 1, 0, 0, 0, 0]
    assert [m.rcode() for m in found] == [0, 0, 0, 3, 3, 0, 0]


@pytest.mark.skipif(load() is None, reason="the C part was not built: no compiler")
def test_the_fast_path_counts_what_it_answers() -> None:
    server, answers = server_and_answers()
    address = ListenAddress("127.0.0.1", free_port())

    async def run() -> FastListener:
        listener = FastListener(address, server.server, asyncio.get_running_loop(), table_of(answers))
        listener.start()
        for name in (NAMES[0], NAMES[0], NAMES[3]):
            await asyncio.to_thread(ask_udp, address.port, query_bytes({"qname": name, "qtype": "A"}))
        async with asyncio.timeout(5):  # how long it took is counted after the answer has left
            while sum((counted := listener.counted())[0].durations) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        assert counted[0].requests[0, "A"] == 3
        assert (counted[0].rcodes[0], counted[0].rcodes[3]) == (2, 1)
        assert sum(counted[0].durations) == 3
        assert [one.total for one in counted[1:]] == [0] * (MAX_ROWS - 1)
        await listener.close()
        return listener

    asyncio.run(run())


def test_pipelined_queries_over_one_connection_are_all_answered() -> None:
    server, _ = server_and_answers()
    address = ListenAddress("127.0.0.1", free_port())

    async def run() -> set[int]:
        listener = StreamListener(address, server.server)
        await listener.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        wanted = set()
        for name in NAMES:
            query = query_bytes({"qname": name, "qtype": "A"})
            wanted.add(int.from_bytes(query[:2], "big"))
            writer.write(len(query).to_bytes(2, "big") + query)
        writer.write_eof()
        got = set()
        for _ in NAMES:
            size = int.from_bytes(await reader.readexactly(2), "big")
            got.add(int.from_bytes((await reader.readexactly(size))[:2], "big"))
        writer.close()
        await listener.close()
        assert got == wanted
        return got

    assert asyncio.run(run())
