"""One contract over the fake and the kernel's table, asked with and without its filter; then the kernel's own."""

import errno
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

import conntrack_entries
import netns
from conntrack_entries import Entry, FakeConntrack
from fairway.io.netlink import conntrack
from fairway.io.netlink.conntrack import Conntrack, Lookup, TableSize, decode, pick_stale, plan_lookups
from fairway.io.netlink.socket import attribute, nest
from fairway.plan.stale import Destination, StaleQuery
from fairway.values.address import Address, Family
from fairway.values.errors import KernelError

NODE = tuple(Address.parse(text) for text in ("192.168.0.2", "192.168.1.2", "127.0.0.1", "fd00::2", "::1"))


def query(destination: str | None, port: int, *allowed: tuple[str, int], family=Family.IPV4, spared=()) -> StaleQuery:
    address = Address.parse(destination) if destination else None
    return StaleQuery(
        Destination(address.family if address else family, address, port),
        frozenset((Address.parse(a), p) for a, p in allowed),
        frozenset(map(Address.parse, spared)),
    )


class RealTable:
    """The kernel's table in the namespace of this thread."""

    def __init__(self, *, can_filter: bool) -> None:
        self.opened = Conntrack(can_filter=can_filter)
        self.find, self.delete = self.opened.find, self.opened.delete

    def fill(self, entries) -> None:
        conntrack_entries.insert(entries)

    def listed(self) -> set[Entry]:
        return conntrack_entries.listed()


class FakeTable(FakeConntrack):
    def fill(self, entries) -> None:
        """Refuses what the kernel refuses: two entries with one reply."""
        self.entries |= set(entries)
        replies = {(e.source, e.source_port, e.reply, e.reply_port, e.protocol, e.zone) for e in self.entries}
        assert len(replies) == len(self.entries)

    def listed(self) -> set[Entry]:
        return set(self.entries)


KERNEL = [pytest.param(kind, marks=pytest.mark.kernel) for kind in ("filtered", "unfiltered")]


@pytest.fixture(params=["fake", *KERNEL])
def table(request) -> Iterator[RealTable | FakeTable]:
    if request.param == "fake":
        yield FakeTable()
        return
    with netns.private():
        real = RealTable(can_filter=request.param == "filtered")
        with real.opened:
            yield real
            assert real.opened._can_filter is (request.param == "filtered")


def cleaned(table, entries, *queries: StaleQuery) -> set[Entry]:
    """Which of `entries` a round removes; the others must still be there."""
    table.fill(entries)
    deleted = sum(table.delete(flows) for flows in table.find(queries, NODE))
    left = table.listed()
    gone = set(entries) - left
    assert left == set(entries) - gone
    assert deleted == len(gone)
    return gone


TO_GONE = Entry("10.1.0.9", "10.0.0.10", 53, "10.1.0.1", 5353)
TO_KEPT = Entry("10.1.0.8", "10.0.0.10", 53, "10.1.0.2", 5353)
UNTRANSLATED = Entry("10.1.0.7", "10.0.0.10", 53, "10.0.0.10", 53)


def test_flows_to_an_endpoint_that_went_go_and_others_stay(table):
    assert cleaned(table, [TO_GONE, TO_KEPT], query("10.0.0.10", 53, ("10.1.0.2", 5353))) == {TO_GONE}


def test_an_endpoint_is_its_address_and_port(table):
    assert cleaned(table, [TO_KEPT], query("10.0.0.10", 53, ("10.1.0.2", 5354))) == {TO_KEPT}


def test_flows_that_were_never_translated_go(table):
    assert cleaned(table, [UNTRANSLATED, TO_KEPT], query("10.0.0.10", 53, ("10.1.0.2", 5353))) == {UNTRANSLATED}


def test_all_flows_go_when_no_endpoint_is_left(table):
    assert cleaned(table, [TO_GONE, TO_KEPT], query("10.0.0.10", 53)) == {TO_GONE, TO_KEPT}


def test_other_addresses_and_ports_stay(table):
    others = [
        TO_GONE._replace(source_port=1, destination="10.0.0.11"),
        TO_GONE._replace(source_port=2, destination="8.8.8.8"),
        TO_GONE._replace(source_port=3, port=54),
    ]
    assert cleaned(table, [*others, TO_GONE], query("10.0.0.10", 53)) == {TO_GONE}


def test_a_flow_straight_to_an_endpoint_stays(table):
    straight = Entry("10.1.0.9", "10.1.0.1", 5353, "10.1.0.1", 5353)
    assert cleaned(table, [straight], query("10.0.0.10", 53)) == set()


@pytest.mark.parametrize("protocol", ["tcp", "sctp"])
def test_other_protocols_stay(table, protocol):
    assert cleaned(table, [TO_GONE._replace(protocol=protocol), TO_GONE], query("10.0.0.10", 53)) == {TO_GONE}


def test_a_node_port_counts_at_every_address_of_the_node_and_nowhere_else(table):
    texts = ("192.168.0.2", "192.168.1.2", "127.0.0.1")
    at = {text: Entry("1.2.3.4", text, 30053, "10.1.0.1", 53, source_port=n) for n, text in enumerate(texts, 1)}
    foreign = Entry("10.1.0.9", "9.9.9.9", 30053, "9.9.9.9", 30053)
    assert cleaned(table, [*at.values(), foreign], query(None, 30053)) == set(at.values())


def test_a_node_port_spares_an_address_where_another_service_has_its_number(table):
    spared = Entry("1.2.3.4", "192.168.0.2", 30053, "10.1.0.1", 53)
    other = Entry("1.2.3.4", "192.168.1.2", 30053, "10.1.0.1", 53, source_port=2)
    assert cleaned(table, [spared, other], query(None, 30053, spared=["192.168.0.2"])) == {other}


def test_ipv6_flows_go_by_the_same_rules(table):
    gone = Entry("fd00:1::9", "fd00:10::a", 53, "fd00:1::1", 5353)
    kept = gone._replace(source_port=2, reply="fd00:1::2")
    plain = gone._replace(source_port=3, reply="fd00:10::a", reply_port=53)
    node = gone._replace(source_port=4, destination="fd00::2", port=30053)
    queries = (query("fd00:10::a", 53, ("fd00:1::2", 5353)), query(None, 30053, family=Family.IPV6))
    assert cleaned(table, [gone, kept, plain, node], *queries) == {gone, plain, node}


def test_many_frontends_of_both_families_in_one_round(table):
    entries = [
        entry
        for n in range(60)
        for entry in (
            Entry("10.1.0.9", f"10.0.0.{n}", 53 + n, f"10.1.1.{n}", 53),
            Entry("fd00:1::9", f"fd00:10::{n + 1:x}", 53 + n, f"fd00:2::{n + 1:x}", 53),
            Entry("10.1.0.9", f"10.0.0.{n}", 53 + n, f"10.1.1.{n}", 53, "tcp"),
        )
    ]
    queries = []
    for n in range(60):
        v4, v6 = ([(f"10.1.1.{n}", 53)], [(f"fd00:2::{n + 1:x}", 53)]) if n % 3 else ([], [])
        queries += [query(f"10.0.0.{n}", 53 + n, *v4), query(f"fd00:10::{n + 1:x}", 53 + n, *v6)]
    gone = {e for e in entries if (e.port - 53) % 3 == 0 and e.protocol == "udp"}
    assert cleaned(table, entries, *queries) == gone


def test_nothing_is_asked_and_nothing_found(table):
    assert cleaned(table, [TO_GONE]) == set()
    assert list(table.find([query("10.0.0.10", 53)], NODE)) != []


def test_a_flow_that_went_by_itself_is_not_counted(table):
    table.fill([TO_GONE])
    flows = [flow for step in table.find([query("10.0.0.10", 53)], NODE) for flow in step]
    assert (table.delete(flows), table.delete(flows)) == (1, 0)


@pytest.mark.kernel
@pytest.mark.parametrize("table", ["filtered", "unfiltered"], indirect=True)
def test_an_entry_that_took_the_place_of_a_found_one_stays(table):
    """The same client's, made anew meanwhile and to another backend."""
    table.fill([TO_GONE])
    flows = [flow for step in table.find([query("10.0.0.10", 53)], NODE) for flow in step]
    netns.run("conntrack", "-F")
    anew = TO_GONE._replace(reply="10.1.0.2")
    table.fill([anew])
    assert table.delete(flows) == 0
    assert table.listed() == {anew}


@pytest.mark.kernel
@pytest.mark.parametrize("can_filter", [True, False])
def test_entries_in_a_zone_go_too(can_filter):
    with netns.private():
        real = RealTable(can_filter=can_filter)
        zoned = TO_GONE._replace(zone=7)
        with real.opened:
            assert cleaned(real, [TO_GONE, zoned, TO_KEPT], query("10.0.0.10", 53, ("10.1.0.2", 5353))) == {
                TO_GONE,
                zoned,
            }


@pytest.mark.kernel
def test_the_kernel_returns_only_what_matches():
    unrelated = [Entry("10.1.0.9", "8.8.8.8", 53, "8.8.8.8", 53, source_port=1000 + n) for n in range(5000)]
    with netns.private(), Conntrack() as real:
        conntrack_entries.insert([*unrelated, TO_GONE, TO_KEPT])
        assert real.count() == 5002
        lookup = Lookup(Family.IPV4, Address.parse("10.0.0.10"), 53)
        rows = [row for step in real._dumps.dump(conntrack._GET, conntrack.encode_lookup(lookup)) for row in step]
        assert len(rows) == 2


@pytest.mark.kernel
def test_a_large_answer_comes_in_small_steps():
    entries = [Entry("10.1.0.9", "10.0.0.10", 53, "10.1.0.1", 53, source_port=1000 + n) for n in range(3000)]
    with netns.private(), Conntrack() as real:
        conntrack_entries.insert(entries)
        steps = [len(step) for step in real.find([query("10.0.0.10", 53)], NODE)]
        assert sum(steps) == 3000
        assert max(steps) < 300


@pytest.mark.kernel
def test_a_walk_over_all_udp_entries_tells_how_many_there_are():
    entries = [Entry("10.1.0.9", "8.8.8.8", 53, "8.8.8.8", 53, "tcp", source_port=1000 + n) for n in range(90)]
    entries += [Entry("10.1.0.9", "8.8.8.8", 53, "8.8.8.8", 53, source_port=1000 + n) for n in range(10)]
    with netns.private(), Conntrack() as real:
        conntrack_entries.insert(entries)
        queries = [query(f"10.0.0.{n}", 53 + n) for n in range(1, 100)]
        assert sum(len(step) for step in real.find(queries, NODE)) == 0
        assert real._udp_share == {Family.IPV4: 0.1}


@pytest.mark.kernel
def test_a_round_that_is_given_up_does_not_block_the_next():
    entries = [Entry("10.1.0.9", "10.0.0.10", 53, "10.1.0.1", 53, source_port=1000 + n) for n in range(3000)]
    with netns.private(), Conntrack() as real:
        conntrack_entries.insert(entries)
        with closing(real.find([query("10.0.0.10", 53)], NODE)) as given_up:
            next(given_up)
        assert sum(len(step) for step in real.find([query("10.0.0.10", 53)], NODE)) == 3000


@pytest.mark.kernel
def test_a_kernel_that_refuses_the_filter_is_asked_without():
    with netns.private(), Conntrack() as real:
        conntrack_entries.insert([TO_GONE, TO_KEPT])
        dump, asked = real._dumps.dump, []

        def refuse_filters(kind, payload, *, what):
            asked.append(len(payload))
            if len(payload) > 4:
                raise KernelError("refused", errno.EOPNOTSUPP)
            return dump(kind, payload, what=what)

        real._dumps.dump = refuse_filters
        for _ in range(2):
            flows = [flow for step in real.find([query("10.0.0.10", 53, ("10.1.0.2", 5353))], NODE) for flow in step]
            assert [flow.destination for flow in flows] == [bytes.fromhex("0a00000a0035")]
        assert asked[1:] == [4, 4]


@pytest.mark.kernel
def test_a_failing_dump_is_an_error_with_its_errno():
    with netns.private(), Conntrack(can_filter=False) as real:
        conntrack_entries.insert([TO_GONE])

        def fail(kind, payload, *, what):
            raise KernelError(what, errno.EINVAL)

        real._dumps.dump = fail
        with pytest.raises(KernelError) as caught:
            list(real.find([query("10.0.0.10", 53)], NODE))
        assert caught.value.errno == errno.EINVAL


RULES = """
table ip test {{
  chain output {{ type nat hook output priority -100; ip daddr 10.0.0.10 udp dport 53 dnat to {}:5353; }}
}}
"""


@pytest.mark.kernel
def test_a_client_that_keeps_sending_reaches_the_new_backend_only_after_the_round():
    with netns.private(), Conntrack() as real:
        for text in ("10.0.0.10", "10.1.0.1", "10.1.0.2", "10.1.0.9"):
            netns.run("ip", "address", "add", f"{text}/32", "dev", "lo")
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as old,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as new,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            for server, address in ((old, "10.1.0.1"), (new, "10.1.0.2")):
                server.bind((address, 5353))
                server.settimeout(5)
            client.bind(("10.1.0.9", 0))
            client.connect(("10.0.0.10", 53))
            netns.run("nft", "-f", "-", stdin=RULES.format("10.1.0.1"))
            client.send(b"first")
            assert old.recv(9) == b"first"
            netns.run("nft", "-f", "-", stdin="delete table ip test\n" + RULES.format("10.1.0.2"))
            client.send(b"stale")
            assert old.recv(9) == b"stale"
            found = [f for step in real.find([query("10.0.0.10", 53, ("10.1.0.2", 5353))], NODE) for f in step]
            assert real.delete(found) == 1
            client.send(b"fresh")
            assert new.recv(9) == b"fresh"


BIG, SMALL = TableSize(20_000, 1 << 18), TableSize(10, 1 << 18)


class TestPlanLookups:
    V4, OTHER, V6 = (Address.parse(text) for text in ("10.0.0.10", "10.0.0.11", "fd00::a"))

    def test_few_frontends_in_a_large_table_are_walked_one_by_one(self):
        destinations = [Destination(Family.IPV4, self.V4, 53), Destination(Family.IPV6, None, 30053)]
        assert plan_lookups(destinations, BIG) == [
            Lookup(Family.IPV4, self.V4, 53),
            Lookup(Family.IPV6, None, 30053),
        ]

    def test_many_frontends_are_one_wide_walk(self):
        destinations = [Destination(Family.IPV4, self.V4, port) for port in range(100)]
        assert plan_lookups(destinations, BIG) == [Lookup(Family.IPV4)]

    def test_a_table_with_few_udp_entries_is_walked_once(self):
        destinations = [Destination(Family.IPV4, self.V4, port) for port in (53, 54)]
        size = BIG._replace(udp_share={Family.IPV4: 0.01})
        assert plan_lookups(destinations, size) == [Lookup(Family.IPV4)]
        assert len(plan_lookups(destinations, BIG._replace(udp_share={Family.IPV6: 0.01}))) == 2

    def test_a_small_table_is_walked_once(self):
        destinations = [Destination(Family.IPV4, self.V4, 53), Destination(Family.IPV4, self.OTHER, 53)]
        assert plan_lookups(destinations, SMALL) == [Lookup(Family.IPV4, port=53)]

    def test_families_are_walked_apart(self):
        destinations = [Destination(Family.IPV6, self.V6, port) for port in range(100)]
        destinations.append(Destination(Family.IPV4, self.V4, 53))
        assert plan_lookups(destinations, SMALL) == [Lookup(Family.IPV4, self.V4, 53), Lookup(Family.IPV6)]

    def test_one_frontend_is_always_asked_for_exactly(self):
        assert plan_lookups([Destination(Family.IPV4, self.V4, 53)], TableSize(0, 1)) == [
            Lookup(Family.IPV4, self.V4, 53)
        ]

    def test_nothing_needs_no_walk(self):
        assert plan_lookups([], BIG) == []


ADDRESSES = {4: st.integers(1, 6).map(lambda n: f"10.0.0.{n}"), 6: st.integers(1, 6).map(lambda n: f"fd00::{n}")}


@st.composite
def entries(draw) -> Entry:
    address = ADDRESSES[draw(st.sampled_from((4, 6)))]
    port = st.integers(50, 54)
    return Entry(
        draw(address), draw(address), draw(port), draw(address), draw(port), draw(st.sampled_from(("udp", "tcp")))
    )


@given(entries(), entries())
def test_the_short_way_over_usual_entries_agrees_with_full_decoding(entry, wanted):
    """Entries as they are inserted have the shape of those that the kernel dumps."""
    payload = memoryview(conntrack_entries.encode(entry))
    flow = decode(payload)
    if entry.protocol == "tcp":
        assert flow is None
        return
    assert flow.destination == Address.parse(entry.destination) + entry.port.to_bytes(2, "big")
    assert flow.reply == Address.parse(entry.reply) + entry.reply_port.to_bytes(2, "big")
    other = decode(memoryview(conntrack_entries.encode(wanted._replace(protocol="udp"))))
    expected = {other.destination: frozenset([other.reply])}
    is_stale = flow.destination == other.destination and flow.reply != other.reply
    assert pick_stale([payload], expected) == ([flow] if is_stale else [])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_entry(noise):
    assert pick_stale([memoryview(noise), memoryview(b"\2\0\0\0" + noise)], {}) == []
    for family in (2, 10, 0):
        decode(memoryview(bytes((family, 0, 0, 0)) + noise))


@given(entries(), st.data())
def test_a_damaged_entry_is_never_an_error(entry, data):
    payload = bytearray(conntrack_entries.encode(entry))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    cut = memoryview(bytes(payload[: data.draw(st.integers(0, len(payload)))]))
    decode(cut)
    pick_stale([cut], {b"\x0a\0\0\1\0\x35": frozenset()})


def test_a_tuple_without_ports_is_no_entry():
    bare = nest(1, nest(1, attribute(1, bytes(4)), attribute(2, bytes(4))))
    assert decode(memoryview(bytes((2, 0, 0, 0)) + bare + bare)) is None
