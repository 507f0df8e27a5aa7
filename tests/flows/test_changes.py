"""What changes while the command runs: remembered UDP flows, the node's addresses and labels, service ranges."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import netns
from fairway.values.packet import Packet
from fake_api import FakeApi
from flow_cases import Tree
from flow_command import COLLECTIONS, PROGRAM, Command
from flow_world import Outcome, Seen, World
from planned import packet

pytestmark = pytest.mark.kernel
NODE, NODE6 = "192.168.0.2", "2001:db8::1"
UNTOUCHED, REJECTED, DROPPED = (Outcome(seen) for seen in (Seen.UNTOUCHED, Seen.REJECTED, Seen.DROPPED))
CLIENT_PORT = 20053


@pytest.fixture
def world() -> Iterator[World]:
    with World([f"{NODE}/24", f"{NODE6}/64"], [53, 5353, 30053]) as made, made.entered():
        yield made


def configuration() -> Tree:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": "node-a",
        "clusterCIDR": "10.0.0.0/8,fd00:10::/32",
        "detectLocalMode": "ClusterCIDR",
        "nodePortAddresses": ["0.0.0.0/0", "::/0"],
    }


@pytest.fixture
def command(world: World, tmp_path: Path) -> Iterator[Command]:
    with FakeApi() as api, Command(api, configuration(), tmp_path) as made:
        yield made


def node(zone: str = "a") -> Tree:
    addresses = [{"type": "InternalIP", "address": address} for address in (NODE, NODE6)]
    meta = {"name": "node-a", "labels": {"topology.kubernetes.io/zone": zone}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": {"addresses": addresses}}


def service(addresses: Sequence[str] = ("172.30.0.10", "fd00:30::10"), **spec: Any) -> Tree:
    port = {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}
    whole = {"type": "NodePort", "clusterIP": addresses[0], "clusterIPs": list(addresses), "ports": [port], **spec}
    meta = {"namespace": "ns", "name": "dns"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": whole}


def slices(*numbers: int, **more: Any) -> list[Tree]:
    """Backends of these numbers in both families."""
    made = []
    for family, address in (("IPv4", "10.180.0.{}"), ("IPv6", "fd00:10:180::{}")):
        meta = {"namespace": "ns", "name": f"dns-{family}", "labels": {"kubernetes.io/service-name": "dns"}}
        head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": family}
        ports = [{"name": "dns", "port": 5353, "protocol": "UDP"}]
        made.append(
            {**head, "ports": ports, "endpoints": [{"addresses": [address.format(n)], **more} for n in numbers]}
        )
    return made


FRONTENDS = {
    "cluster IP": ("10.0.0.2", "172.30.0.10", 53, "10.180.0.{}:5353"),
    "cluster IP, IPv6": ("fd00:10::2", "fd00:30::10", 53, "[fd00:10:180::{}]:5353"),
    "node port": ("203.0.113.2", NODE, 30053, "10.180.0.{}:5353"),
    "node port, IPv6": ("2600:5200::1", NODE6, 30053, "[fd00:10:180::{}]:5353"),
}


def look(world: World, question: Packet) -> Outcome:
    """What becomes of a packet while the proxy is at work."""
    return world.attempt(question, CLIENT_PORT, answers=False)


def reaches(world: World, question: Packet, target: str) -> bool:
    """Whether a packet arrives there by now."""
    return look(world, question).target == target


@pytest.mark.parametrize("frontend", FRONTENDS)
class TestRememberedFlows:
    """One client that keeps sending from one port: the kernel remembers its flow until somebody removes it."""

    def prepared(self, frontend: str, world: World, command: Command) -> Packet:
        """A flow to backend 1, remembered."""
        source, destination, port, target = FRONTENDS[frontend]
        question = packet(source, destination, port, "udp")
        command.replace([node(), service(), *slices(1)])
        assert self.send(world, question).target == target.format(1)
        assert self.send(world, question).target == target.format(1)
        return question

    def send(self, world: World, question: Packet) -> Outcome:
        return world.attempt(question, CLIENT_PORT)

    def test_follow_when_the_backend_is_replaced(self, frontend, world, command) -> None:
        question = self.prepared(frontend, world, command)
        command.replace([node(), service(), *slices(2)])
        command.until(lambda: reaches(world, question, FRONTENDS[frontend][3].format(2)))

    def test_stay_when_another_backend_comes_and_while_theirs_terminates(self, frontend, world, command) -> None:
        question = self.prepared(frontend, world, command)
        target = FRONTENDS[frontend][3].format(1)
        terminating = {"conditions": {"ready": False, "serving": True, "terminating": True}}
        for endpoints in (slices(1, 2), [*slices(1, **terminating)], slices(1, 2)):
            command.replace([node(), service(), *endpoints])
            assert {self.send(world, question).target for _ in range(20)} == {target}

    def test_are_refused_after_scale_to_zero_and_served_after_it(self, frontend, world, command) -> None:
        question = self.prepared(frontend, world, command)
        command.replace([node(), service(), *slices()])
        command.until(lambda: look(world, question) == REJECTED)
        command.replace([node(), service(), *slices(2)])
        command.until(lambda: reaches(world, question, FRONTENDS[frontend][3].format(2)))

    def test_are_left_alone_when_the_service_is_gone_and_served_when_it_is_back(self, frontend, world, command) -> None:
        question = self.prepared(frontend, world, command)
        command.replace([node()])
        command.until(lambda: look(world, question) == UNTOUCHED)
        command.replace([node(), service(), *slices(2)])
        command.until(lambda: reaches(world, question, FRONTENDS[frontend][3].format(2)))


@pytest.mark.parametrize("damage", ["delete table ip fairway", "flush map ip fairway frontends"])
def test_flows_that_were_made_while_rules_were_missing_are_removed(damage, world: World, command: Command) -> None:
    question = packet("10.0.0.2", "172.30.0.10", 53, "udp")
    command.replace([node(), service(), *slices(1)])
    netns.run("nft", *damage.split())
    look(world, question)  # past the missing rules, most likely
    command.until(lambda: reaches(world, question, "10.180.0.1:5353"))


def test_flows_that_went_stale_while_no_proxy_ran_are_removed_at_its_start(world: World, tmp_path: Path) -> None:
    question = packet("10.0.0.2", "172.30.0.10", 53, "udp")
    with FakeApi() as api:
        with Command(api, configuration(), tmp_path) as first:
            first.replace([node(), service(), *slices(1)])
            assert world.attempt(question, CLIENT_PORT).target == "10.180.0.1:5353"
        with Command(api, configuration(), tmp_path) as second:
            second.replace([node(), service(), *slices(2)])
            second.until(lambda: reaches(world, question, "10.180.0.2:5353"))


def test_flows_that_went_stale_are_removed_by_a_single_run(world: World, tmp_path: Path) -> None:
    question = packet("10.0.0.2", "172.30.0.10", 53, "udp")
    (tmp_path / "config.json").write_text(json.dumps(configuration()))
    for number in (1, 2):
        with FakeApi() as api:
            for tree in (node(), service(), *slices(number)):
                api.put(COLLECTIONS[tree["kind"]], tree)
            arguments = ["--config", str(tmp_path / "config.json"), "--master", api.url, "--once"]
            netns.run(PROGRAM, "proxy", *arguments)
        assert world.attempt(question, CLIENT_PORT).target == f"10.180.0.{number}:5353"


@pytest.mark.parametrize(("address", "source"), [("192.168.7.7", "203.0.113.2"), ("2001:db8:7::7", "2600:5200::1")])
def test_node_ports_follow_the_addresses_of_the_node(address, source, world: World, command: Command) -> None:
    question = packet(source, address, 30053, "udp")
    command.replace([node(), service(), *slices(1)])
    assert world.attempt(question) == UNTOUCHED
    netns.run("ip", "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
    command.until(lambda: world.attempt(question).seen is Seen.FORWARDED)
    netns.run("ip", "address", "del", address, "dev", "eth0")
    command.until(lambda: world.attempt(question) == UNTOUCHED)


def test_zone_hints_follow_the_label_of_the_node(world: World, command: Command) -> None:
    question = packet("10.0.0.2", "172.30.0.10", 53, "udp")
    both = slices(1, 2)
    for tree in both:
        for endpoint, zone in zip(tree["endpoints"], "ab", strict=True):
            endpoint["hints"] = {"forZones": [{"name": zone}]}

    def targets() -> set[str]:
        return {world.attempt(question).target for _ in range(30)}

    command.replace([node("a"), service(), *both])
    command.until(lambda: targets() == {"10.180.0.1:5353"})
    command.replace([node("b"), service(), *both])
    command.until(lambda: targets() == {"10.180.0.2:5353"})
    command.replace([node("c"), service(), *both])
    command.until(lambda: targets() == {"10.180.0.1:5353", "10.180.0.2:5353"})


def test_unallocated_addresses_are_dropped_while_a_service_range_says_so(world: World, command: Command) -> None:
    question = packet("10.0.0.2", "172.30.9.9", 53, "udp")
    meta = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}}
    command.replace([node(), service(), *slices(1)])
    assert world.attempt(question) == UNTOUCHED
    command.replace([node(), {**meta, "spec": {"cidrs": ["172.30.0.0/16", "fd00:30::/64"]}}, service(), *slices(1)])
    command.until(lambda: world.attempt(question) == DROPPED)
    command.replace([node(), service(), *slices(1)])
    command.until(lambda: world.attempt(question) == UNTOUCHED)
