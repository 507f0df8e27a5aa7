"""What the table does beside picking backends, and what it leaves alone: other protocols, other tables, marks."""

from __future__ import annotations

import multiprocessing
import os
import socket
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

import netns
import nft_items as items
import raw_packets
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Flag, Policy
from fairway.dataplanes.nftables.skeleton import PodRanges, SkeletonSettings
from fairway.io.netlink.nftables import NftablesKernel
from fairway.values.address import Address, Family
from fairway.values.errors import UnavailableError
from fairway.values.protocol import Protocol
from nft_world import World, pods, settings_of, world_of
from node import PORT, Reached

pytestmark = pytest.mark.kernel
SVC = 2
both_families = pytest.mark.parametrize("family", list(Family), ids=str)
_RST, _SYN_FIN = 4, 3


@pytest.fixture
def world(family: Family) -> Iterator[World]:
    with world_of(settings_of(family)) as made:
        yield made


def raw_socket(namespace: int, family: Family, protocol: int) -> socket.socket:
    with netns.entered(namespace):
        made = socket.socket(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6, socket.SOCK_RAW, protocol)
    made.setblocking(False)
    return made


def arrived(sock: socket.socket, family: Family) -> list[bytes]:
    """Transport packets that a raw socket has got."""
    found = []
    while True:
        try:
            packet = sock.recv(2048)
        except BlockingIOError:
            return found
        found.append(packet[(packet[0] & 15) * 4 :] if family is Family.IPV4 else packet)


@both_families
@pytest.mark.parametrize("policy", [Policy.PICK, Policy.affinity(60)], ids=["pick", "affinity"])
def test_sctp_is_translated(world: World, policy: int) -> None:
    plan, vip = world.plan, world.plan.service(1)
    backend = (plan.pod[0], 9000)
    chosen = items.backends(SVC, [backend])
    if policy != Policy.PICK:
        chosen = [items.timeout(60), *items.sticky_backends(SVC, {5: backend})]
    world.add([*chosen, *items.frontend(vip, 38412, policy=policy, protocols=[Protocol.SCTP])])
    family, outside = plan.family, world.node.outside
    with raw_socket(outside, family, 132) as sender, raw_socket(world.node.pods, family, 132) as receiver:
        sender.sendto(raw_packets.sctp_init((4000, 38412)), (str(vip), 0))
        sender.sendto(raw_packets.sctp_init((4001, 38413)), (str(vip), 0))
        world.node.settle(outside, family)
        (packet,) = arrived(receiver, family)
    assert struct.unpack_from("!HH", packet) == (4000, 9000)
    assert raw_packets.is_sound_sctp(packet)


@both_families
@pytest.mark.parametrize("is_liberal", [False, True])
@pytest.mark.parametrize("flags", [_RST, _SYN_FIN])
def test_forwarded_packets_that_conntrack_calls_invalid_are_dropped_unless_liberal(
    family: Family, is_liberal: bool, flags: int
) -> None:
    with world_of(SkeletonSettings(family, PodRanges(), drop_invalid=not is_liberal)) as world:
        plan, outside = world.plan, world.node.outside
        segment = raw_packets.tcp(plan.client, plan.pod[0], (4000, 4001), flags)
        with raw_socket(outside, family, 6) as sender, raw_socket(world.node.pods, family, 6) as receiver:
            sender.sendto(segment, (str(plan.pod[0]), 0))
            world.node.settle(outside, family)
            found = [p for p in arrived(receiver, family) if p[:4] == segment[:4]]
        assert len(found) == is_liberal


@pytest.mark.parametrize("is_guarded", [False, True])
def test_localhost_node_ports_serve_the_node_and_nobody_else(is_guarded: bool) -> None:
    localhost = Address.parse("127.0.0.1")
    with world_of(SkeletonSettings(Family.IPV4, PodRanges(), guard_localhost=is_guarded)) as world:
        plan = world.plan
        netns.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        world.add([*items.backends(SVC, pods(plan, 0)), *items.frontend(localhost, flags=Flag.MASQUERADE_ALWAYS)])
        for protocol in (Protocol.TCP, Protocol.UDP):
            assert world.send(protocol, localhost, localhost) == Reached(plan.pod[0], PORT, plan.gateway)
        send_to_localhost(world, plan.client)
        received = world.node.received(Family.IPV4)
        # without the guard route_localnet would hand it on: the rule is what keeps it out
        assert sum(received.values()) == (0 if is_guarded else 1)


def send_to_localhost(world: World, source: Address) -> None:
    """As an attacker on the node's link would."""
    hardware = hardware_address(world.node.node)
    packet = raw_packets.udp4(source, Address.parse("127.0.0.1"), (5000, 80), b"evil")
    with netns.entered(world.node.outside):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        wire.bind(("eth0", 0))
    with wire:
        wire.send(hardware + bytes(6) + b"\x08\x00" + packet)
    world.node.settle(world.node.outside, Family.IPV4)


def hardware_address(namespace: int) -> bytes:
    """The hardware address of eth0."""
    with netns.entered(namespace):
        text = netns.run("ip", "-br", "link", "show", "eth0")
    return bytes.fromhex(text.split()[2].replace(":", ""))


FOREIGN = """
add table inet other
add set inet other seen { type mark; flags dynamic; }
add chain inet other first { type filter hook prerouting priority -150; }
add rule inet other first meta mark set 0xdeadbeef ct mark set 0x12345678
add chain inet other last { type filter hook postrouting priority 200; }
add rule inet other last oifname "pods0" meta mark 0xdeadbeef ct mark 0x12345678 counter
add table ip kube-proxy
add chain ip kube-proxy nat { type nat hook postrouting priority 90; }
add rule ip kube-proxy nat ip daddr 203.0.113.1 masquerade
"""


@both_families
def test_tables_of_others_stay_as_they_are(world: World) -> None:
    world.kernel.remove()
    netns.run("nft", "-f", "-", stdin=FOREIGN)
    before = netns.run("nft", "list", "ruleset")
    world.kernel.ensure_skeleton(world.settings)
    world.add([*items.backends(SVC, pods(world.plan, 0)), *items.frontend(world.plan.service(1)), items.timeout(5)])
    assert "fairway" in netns.run("nft", "list", "ruleset")
    assert world.kernel.remove()
    assert netns.run("nft", "list", "ruleset") == before
    assert not world.kernel.remove()


@both_families
@pytest.mark.parametrize("policy", [Policy.PICK, Policy.affinity(60)], ids=["pick", "affinity"])
def test_packet_marks_of_others_pass_unchanged_and_decide_nothing(world: World, policy: int) -> None:
    netns.run("nft", "-f", "-", stdin=FOREIGN)
    plan, vip = world.plan, world.plan.service(1)
    targets = {100 + n: (plan.pod[n], PORT) for n in range(3)}
    chosen = items.backends(SVC, list(targets.values()))
    if policy != Policy.PICK:
        chosen = [items.timeout(60), *items.sticky_backends(SVC, targets)]
    world.add([*chosen, *items.frontend(vip, policy=policy, flags=Flag.MASQUERADE_OUTSIDE)])
    reached = set()
    for source in (plan.client, plan.stranger, *[plan.client] * 30):
        outcome = world.send(Protocol.UDP, source, vip)
        assert isinstance(outcome, Reached)
        assert outcome.source == plan.gateway
        reached.add(outcome.address)
    assert reached <= {address for address, _ in targets.values()}
    assert len(reached) == 3 or policy != Policy.PICK
    counted = netns.run("nft", "list", "chain", "inet", "other", "last")
    assert int(counted.split("packets ")[1].split()[0]) >= 32
    remembered = [layout.unpack_id(data) for data in world.dump(layout.AFFINITY).values()]
    assert set(remembered) <= set(targets)


@both_families
def test_a_ping_of_a_cluster_ip_is_refused_not_forwarded(world: World) -> None:
    plan, vip, family = world.plan, world.plan.service(1), world.plan.family
    world.add([*items.backends(SVC, pods(plan, 0)), *items.frontend(vip), items.cluster_ip(vip)])
    protocol, echo, unreachable = (1, 8, bytes((3, 3))) if family is Family.IPV4 else (58, 128, bytes((1, 4)))
    request = struct.pack("!BBHHH", echo, 0, 0, 1, 1)
    request = request[:2] + struct.pack("!H", raw_packets.internet_checksum(request)) + request[4:]
    with raw_socket(world.node.outside, family, protocol) as pinger:
        pinger.sendto(request, (str(vip), 0))
        world.node.settle(world.node.outside, family)
        assert [answer[:2] for answer in arrived(pinger, family) if answer[0] == unreachable[0]] == [unreachable]


@both_families
def test_who_lacks_the_right_to_write_is_told_so(family: Family) -> None:
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=say_why_not, args=(family, theirs))
    child.start()
    child.join()
    said = ours.recv()
    assert "CAP_NET_ADMIN" in said
    assert "run it as root" in said


def say_why_not(family: Family, result: Connection) -> None:
    os.setresuid(65534, 65534, 65534)
    try:
        NftablesKernel(family)
    except UnavailableError as error:
        result.send(str(error))
    else:
        result.send("no error")
