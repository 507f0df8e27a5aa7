"""The pods' network of a node on the real kernel, in a namespace that stands for the node."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import netns as private
from fairway.cluster.settings import ClusterSettings, make_settings
from fairway.io.containers.network import BridgeNetwork, link_name
from fairway.io.host import netns, underlay
from fairway.kube.podspec import NodePod
from pod_objects import pod

pytestmark = pytest.mark.kernel


class Node:
    """The first node of a cluster of one, on a host of its own."""

    def __init__(self, folder: Path) -> None:
        # Namespaces have names that are the machine's: another run may use them at the same time.
        self.settings: ClusterSettings = make_settings("dual", {}, nodes=1, name=f"t{os.getpid()}")
        self.topology = self.settings.topology
        self.node = self.topology.nodes[0]
        self.folder = folder

    def network(self) -> BridgeNetwork:
        """As a process of the node makes it."""
        with netns.entered(self.node.namespace):
            made = BridgeNetwork(self.topology, self.node, self.folder)
            made.ensure()
        return made

    def attach(self, network: BridgeNetwork, one: NodePod) -> tuple[str, tuple[str, ...]]:
        with netns.entered(self.node.namespace):
            return asyncio.run(network.attach(one))

    def links(self) -> set[str]:
        """The pods' links on the node."""
        done = subprocess.run(
            ["ip", "-n", self.node.namespace, "-br", "link"], check=True, capture_output=True, text=True
        )
        names = {line.split()[0].partition("@")[0] for line in done.stdout.splitlines()}
        return names - {"lo", "eth0", "fw-pods"}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with private.private():
        made = Node(tmp_path)
        try:
            underlay.build(made.topology)
            yield made
        finally:
            for name in netns.names(made.settings.prefix + "-"):
                netns.remove(name)
            underlay.remove(made.topology)


def named(uid: str, **spec: object) -> NodePod:
    return pod(meta={"name": uid, "uid": uid}, **spec)


def reaches(namespace: str, address: str) -> bool:
    """Whether a connection from there gets as far as the address: nobody listens, so it is refused."""
    with netns.entered(namespace):
        try:
            socket.create_connection((address, 9), 0.5).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return True


def test_pods_reach_each_other_their_node_and_the_host_in_both_families(node: Node) -> None:
    network = node.network()
    first, addresses = node.attach(network, named("a"))
    second, others = node.attach(network, named("b"))
    assert (addresses, others) == (("10.244.0.2", "fd00:10:244::2"), ("10.244.0.3", "fd00:10:244::3"))
    for address in (*others, *map(str, node.node.addresses), *map(str, node.topology.host_addresses)):
        assert reaches(first, address), address
    assert reaches(second, addresses[0])
    network.close()


def test_a_pod_has_the_same_again_after_the_nodes_process_has_gone(node: Node) -> None:
    before = node.network()
    made = node.attach(before, named("a"))
    before.close()
    after = node.network()
    assert node.attach(after, named("a")) == made
    assert node.attach(after, named("b"))[1][0] == "10.244.0.3"
    assert node.links() == {link_name("a"), link_name("b")}
    after.close()


def test_what_pods_left_that_went_meanwhile_is_taken_away(node: Node) -> None:
    network = node.network()
    for uid in ("a", "b"):
        node.attach(network, named(uid))
    asyncio.run(network.keep({"b"}))
    assert node.links() == {link_name("b")}
    assert not netns.exists(f"{node.node.namespace}-a")
    asyncio.run(network.detach(named("b")))
    asyncio.run(network.detach(named("b")))
    assert node.links() == set()
    network.close()


def test_a_pod_is_connected_anew_when_the_nodes_namespace_is_another(node: Node) -> None:
    network = node.network()
    made = node.attach(network, named("a"))
    network.close()
    old = os.open(netns.FOLDER / node.node.namespace, os.O_RDONLY)  # as long as it is open, all in it stays
    try:
        netns.remove(node.node.namespace)
        underlay.build(node.topology)
        after = node.network()
        assert node.attach(after, named("a")) == made
        assert reaches(made[0], "10.245.0.1")
        after.close()
    finally:
        os.close(old)


def test_a_pod_of_the_nodes_network_has_nothing_of_its_own(node: Node) -> None:
    network = node.network()
    found = node.attach(network, named("host", hostNetwork=True))
    assert found == (node.node.namespace, ("10.245.0.2", "fd00:10:245::2"))
    assert node.links() == set()
    network.close()


def test_what_somebody_took_away_is_made_again(node: Node) -> None:
    network = node.network()
    namespace, _ = node.attach(network, named("a"))
    for gone in ("default", "10.244.0.0/24"):
        subprocess.run(["ip", "-n", node.node.namespace, "route", "del", gone], check=True)
    assert not reaches(namespace, "10.245.0.1")
    with netns.entered(node.node.namespace):
        network.ensure()
    assert reaches(namespace, "10.245.0.1")
    network.close()
