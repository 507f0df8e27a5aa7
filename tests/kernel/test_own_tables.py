"""The small tables beside the fairway table: where packets go, what nft lists, what is mended."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

import netns
import nft_programs
from fairway.dataplanes.nftables.own_tables import (
    DNS,
    EGRESS,
    HOST_PORTS,
    OwnTable,
    balancers_table,
    dns_table,
    egress_table,
    host_ports_table,
)
from fairway.io.netlink.hostports import HostPortTable
from fairway.io.netlink.own_tables import OwnTableWriter, remove_own_table
from fairway.podnet.hostports import ANY_PORTS, HAIRPIN, PORTS, PortMapping, items
from fairway.reconcile.items import Action, Item, Operation, WriteError
from fairway.values.address import Address, Family, Prefix
from fairway.values.protocol import Protocol
from node import PLANS, PORT, Node, Reached, Refused

pytestmark = pytest.mark.kernel
both_families = pytest.mark.parametrize("family", list(Family), ids=str)
both_protocols = pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=str)
every_program = pytest.mark.parametrize("nft", nft_programs.programs())
LOCAL_DNS = {Family.IPV4: Address.parse("169.254.20.10"), Family.IPV6: Address.parse("fe80::a")}
INSIDE = {Family.IPV4: Prefix.parse("10.244.0.0/16"), Family.IPV6: Prefix.parse("fd00:244::/61")}


def tables(family: Family) -> tuple[OwnTable, ...]:
    return (
        egress_table(family, INSIDE.values(), "fw-underlay"),
        host_ports_table(family),
        dns_table(family, LOCAL_DNS[family]),
        balancers_table(family, [Prefix.parse("192.0.2.0/24"), Prefix.parse("2001:db8::/64")]),
    )


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node() as made:
        with netns.entered(made.node):
            netns.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        yield made


@pytest.fixture
def ports(node: Node, family: Family) -> Iterator[HostPortTable]:
    with netns.entered(node.node):
        made = HostPortTable(family)
        made.read()
    yield made
    with netns.entered(node.node):
        made.remove()
    made.close()


def add(table: HostPortTable, *wanted: Item) -> None:
    table.apply([Operation(Action.ADD, item) for item in wanted])


@both_families
@both_protocols
def test_a_port_at_every_address_is_reached_from_everywhere(
    node: Node, ports: HostPortTable, family: Family, protocol: Protocol
) -> None:
    plan = PLANS[family]
    add(ports, *items(plan.pod[0], [PortMapping(8888, PORT, protocol)]))
    for source in (plan.client, plan.stranger, plan.caller, plan.node):
        assert node.send(protocol, source, plan.node, 8888) == Reached(plan.pod[0], PORT, source)
        assert node.send(protocol, source, plan.gateway, 8888).__class__ is Reached
    assert node.send(protocol, plan.client, plan.node, 8889) == Refused()


@both_families
@both_protocols
def test_a_port_at_one_address_is_not_at_another(
    node: Node, ports: HostPortTable, family: Family, protocol: Protocol
) -> None:
    plan = PLANS[family]
    other = Protocol.UDP if protocol is Protocol.TCP else Protocol.TCP
    add(ports, *items(plan.pod[1], [PortMapping(8888, PORT, protocol, plan.node)]))
    assert node.send(protocol, plan.client, plan.node, 8888) == Reached(plan.pod[1], PORT, plan.client)
    assert node.send(protocol, plan.client, plan.gateway, 8888) == Refused()
    assert node.send(other, plan.client, plan.node, 8888) == Refused()


@pytest.mark.parametrize("family", [Family.IPV4], ids=str)
@both_protocols
def test_localhost_is_served_with_whatever_source(
    node: Node, ports: HostPortTable, family: Family, protocol: Protocol
) -> None:
    plan, localhost = PLANS[family], Address.parse("127.0.0.1")
    add(ports, *items(plan.pod[2], [PortMapping(8888, PORT, protocol, localhost)]))
    assert node.send(protocol, localhost, localhost, 8888) == Reached(plan.pod[2], PORT, plan.gateway)
    assert node.send(protocol, plan.node, localhost, 8888) == Reached(plan.pod[2], PORT, plan.node)
    assert node.send(protocol, localhost, localhost, 8889) == Refused()


@pytest.mark.parametrize("family", [Family.IPV4], ids=str)
def test_packets_from_outside_to_localhost_are_dropped(node: Node, ports: HostPortTable, family: Family) -> None:
    plan = PLANS[family]
    with netns.entered(node.node):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server:
        server.bind(("127.0.0.1", 8890))
        server.settimeout(0.0)
        with netns.entered(node.outside):
            netns.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
            netns.run("ip", "route", "add", "127.0.0.1", "via", str(plan.node), "dev", "eth0", "table", "99")
            netns.run("ip", "rule", "add", "pref", "0", "dport", "8890", "ipproto", "udp", "table", "99")
            netns.run("ip", "rule", "add", "pref", "1", "table", "local")
            netns.run("ip", "rule", "del", "pref", "0", "table", "local")
            try:
                client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                with client:
                    client.bind((str(plan.client), 0))
                    client.sendto(b"hello", ("127.0.0.1", 8890))
            finally:
                netns.run("ip", "rule", "add", "pref", "0", "table", "local")
                netns.run("ip", "rule", "del", "pref", "1")
                netns.run("ip", "rule", "del", "dport", "8890")
                netns.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=0")
        node.settle(node.outside, family)
        with pytest.raises(BlockingIOError):
            server.recv(64)


@both_families
def test_a_pod_reaches_itself_by_its_own_host_port(node: Node, ports: HostPortTable, family: Family) -> None:
    plan = PLANS[family]
    add(ports, *items(plan.pod[0], [PortMapping(8888, PORT)]))
    reached = node.send(Protocol.TCP, plan.pod[0], plan.node, 8888)
    assert reached == Reached(plan.pod[0], PORT, plan.gateway)


@both_families
def test_sctp_is_read_back(ports: HostPortTable, family: Family, node: Node) -> None:
    plan = PLANS[family]
    wanted = list(items(plan.pod[0], [PortMapping(8888, 1, Protocol.SCTP), PortMapping(1, 65535, host_ip=plan.node)]))
    add(ports, *wanted)
    with netns.entered(node.node):
        found = ports.read()
    assert {Item(name, key, value) for name, rows in found.items() for key, value in rows.items()} == set(wanted)


@both_families
def test_another_pod_takes_a_port_over(node: Node, ports: HostPortTable, family: Family) -> None:
    plan = PLANS[family]
    key = (Protocol.TCP, 8888)
    add(ports, Item(ANY_PORTS, key, (plan.pod[0], PORT)))
    ports.apply([Operation(Action.REPLACE, Item(ANY_PORTS, key, (plan.pod[1], PORT)))])
    assert node.send(Protocol.TCP, plan.client, plan.node, 8888) == Reached(plan.pod[1], PORT, plan.client)
    ports.apply([Operation(Action.REMOVE, Item(ANY_PORTS, key))])
    assert node.send(Protocol.TCP, plan.client, plan.node, 8888) == Refused()


@pytest.mark.parametrize("family", [Family.IPV4], ids=str)
def test_a_refused_transaction_changes_nothing_and_names_what_was_refused(
    node: Node, ports: HostPortTable, family: Family
) -> None:
    missing = Operation(Action.REMOVE, Item(HAIRPIN, PLANS[family].pod[0]))
    good = Operation(Action.ADD, Item(PORTS, (PLANS[family].node, Protocol.TCP, 1), (PLANS[family].pod[0], 1)))
    with pytest.raises(WriteError, match="ENOENT") as caught:
        ports.apply([good, missing])
    assert caught.value.operation == missing
    with netns.entered(node.node):
        assert not any(ports.read().values())


@both_families
def test_what_others_break_is_mended_and_elements_stay(family: Family) -> None:
    word = "ip" if family is Family.IPV4 else "ip6"
    with netns.private():
        with HostPortTable(family) as ports:
            ports.read()
            add(ports, Item(ANY_PORTS, (Protocol.TCP, 80), (PLANS[family].pod[0], 8080)))
            for command in (f"flush chain {word} {HOST_PORTS} postrouting", f"add chain {word} {HOST_PORTS} mine"):
                netns.run("nft", command)
            with OwnTableWriter(host_ports_table(family)) as writer:
                assert writer.ensure() == ["rules of chain postrouting differed", "chain mine does not belong here"]
                assert writer.ensure() == []
            assert ports.read()[ANY_PORTS] == {(Protocol.TCP, 80): (PLANS[family].pod[0], 8080)}
        for table in tables(family):
            with OwnTableWriter(table) as writer:
                writer.ensure()
                assert writer.ensure() == []


def test_tables_of_a_dead_process_are_removed_by_name() -> None:
    with netns.private():
        for family in Family:
            for table in tables(family):
                with OwnTableWriter(table) as writer:
                    writer.ensure()
                assert remove_own_table(table.name, family)
                assert not remove_own_table(table.name, family)
        assert netns.run("nft", "list", "ruleset") == ""


@every_program
def test_nft_lists_saves_and_restores_them(nft: str) -> None:
    with netns.private():
        for family in Family:
            for table in tables(family):
                with OwnTableWriter(table) as writer:
                    writer.ensure()
            with HostPortTable(family) as ports:
                add(ports, *items(PLANS[family].pod[0], [PortMapping(80, 8080), PortMapping(53, 5353, Protocol.UDP)]))
        saved = netns.run(nft, "list", "ruleset")
        assert "masquerade" in saved
        assert 'oifname != "fw-underlay"' in saved
        assert "ip daddr 192.0.2.0/24 ct state new reject" in saved
        assert f"tcp . 80 : {PLANS[Family.IPV4].pod[0]} . 8080" in saved
        assert "ip daddr 169.254.20.10 udp dport 53 notrack" in saved
        netns.run(nft, "-j", "list", "ruleset")
        with netns.private():
            netns.run(nft, "-f", "-", stdin=saved)
            assert netns.run(nft, "list", "ruleset") == saved


@both_families
def test_what_leaves_the_cluster_is_masqueraded_and_what_stays_is_not(family: Family) -> None:
    is_v4 = family is Family.IPV4
    pod, host, other, outside = (
        ("10.244.0.5", "192.168.9.1", "10.244.1.5", "203.0.113.5")
        if is_v4
        else ("fd00:244::5", "fd09::1", "fd00:244:0:1::5", "2001:db8::5")
    )
    length, inside = (32, "10.244.0.0/16") if is_v4 else (128, "fd00:244::/61")
    flag = "-4" if is_v4 else "-6"
    with netns.private():
        router = netns.current()
        pods, world = netns.create(), netns.create()
        try:
            for name, peer in (("fw-underlay", pods), ("eth0", world)):
                place = f"/proc/{os.getpid()}/fd/{peer}"
                netns.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", place)
                netns.run("ip", "link", "set", name, "up")
            nodad = [] if is_v4 else ["nodad"]
            netns.run("ip", "addr", "add", f"{host}/{length}", "dev", "eth0", *nodad)
            netns.run("ip", "addr", "add", f"{host}/{length}", "dev", "fw-underlay", *nodad)
            netns.run("ip", flag, "route", "add", inside, "dev", "fw-underlay")
            netns.run("ip", flag, "route", "add", f"{outside}/{length}", "dev", "eth0")
            netns.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            for namespace, addresses in ((pods, (pod, other)), (world, (outside,))):
                with netns.entered(namespace):
                    netns.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.eth0.rp_filter=0")
                    netns.run("ip", "link", "set", "eth0", "up")
                    for address in addresses:
                        netns.run("ip", "addr", "add", f"{address}/{length}", "dev", "eth0", *nodad)
                    netns.run("ip", flag, "route", "add", f"{host}/{length}", "dev", "eth0")
                    netns.run("ip", flag, "route", "add", "default", "via", host)
            with OwnTableWriter(egress_table(family, [Prefix.parse(inside)], "fw-underlay")) as writer:
                writer.ensure()
            assert seen_source(pods, pod, world, outside) == host
            assert seen_source(world, outside, pods, pod) == outside
        finally:
            for namespace in (router, pods, world):
                os.close(namespace)


def seen_source(sender: int, source: str, receiver: int, target: str) -> str:
    """Who a datagram seems to come from."""
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    with netns.entered(receiver):
        server = socket.socket(kind, socket.SOCK_DGRAM)
    with netns.entered(sender):
        client = socket.socket(kind, socket.SOCK_DGRAM)
    with server, client:
        server.settimeout(5)
        server.bind((target, 9999))
        client.bind((source, 0))
        client.sendto(b"hello", (target, 9999))
        return str(server.recvfrom(64)[1][0])


@both_families
@both_protocols
def test_what_would_be_forwarded_to_an_address_that_nobody_has_is_refused(
    node: Node, family: Family, protocol: Protocol
) -> None:
    plan = PLANS[family]
    unowned = Address.parse("192.0.2.9" if family is Family.IPV4 else "2001:db8::9")
    with netns.entered(node.node), OwnTableWriter(balancers_table(family, [Prefix.of(unowned, 24)])) as writer:
        writer.ensure()
        try:
            for source in (plan.client, plan.caller):
                assert node.send(protocol, source, unowned, 80) == Refused()
            assert node.send(protocol, plan.client, plan.pod[0], PORT) == Reached(plan.pod[0], PORT, plan.client)
        finally:
            writer.remove()


@both_families
def test_dns_of_the_node_gets_no_conntrack_entry(family: Family) -> None:
    address = LOCAL_DNS[family] if family is Family.IPV4 else Address.parse("fd00::a")
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    with netns.private():
        netns.run("ip", "addr", "add", f"{address}/{family.width * 8}", "dev", "lo")
        with OwnTableWriter(dns_table(family, address)) as writer:
            writer.ensure()
        # somebody has to need conntrack for it to look at all
        netns.run("nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }")
        netns.run("nft", "add rule inet t c ct state new accept")
        with socket.socket(kind, socket.SOCK_DGRAM) as server, socket.socket(kind, socket.SOCK_DGRAM) as client:
            server.settimeout(5)
            client.settimeout(5)
            server.bind((str(address), 53))
            client.sendto(b"question", (str(address), 53))
            data, peer = server.recvfrom(64)
            server.sendto(data, peer)
            assert client.recv(64) == b"question"
        listing = subprocess.run(["conntrack", "-L"], capture_output=True, text=True, check=True).stdout
        assert "dport=53" not in listing


def test_names_are_what_the_documents_say() -> None:
    assert (EGRESS, HOST_PORTS, DNS) == ("fw-egress", "fw-hostports", "fw-dns")
