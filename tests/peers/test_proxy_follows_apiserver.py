"""`fairway proxy` follows the real kube-apiserver, through a crash and an expired watch, too: the kernel is right."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from api_churn import BACKEND_PORTS, EXTERNAL, NODE, NODE_PORTS, PORTS, SERVICES, Churn
from fairway.io.kube.client import ApiClient
from fairway.io.netlink import nftables_reader
from fairway.values.address import Address, Family
from fairway.values.packet import Packet
from fairway.values.protocol import Protocol
from flow_judge import Tally, draws
from flow_scenarios import node_addresses
from flow_world import Seen, World
from kube_apiserver import KubeApiserver, kube_apiserver
from peer import peer
from proxy_process import Proxy, answers, eventually, fairway, get, nft

pytestmark = [pytest.mark.peers, pytest.mark.kernel, pytest.mark.timeout(600)]
peer("kube-apiserver")
peer("etcd")

SOURCES = {"IPv4": ("10.0.0.2", "192.168.0.2", "203.0.113.2"), "IPv6": ("fd00:10::2", "2001:db8::1", "2600::1")}
"""A pod, the node, somebody outside."""
OWN = {"IPv4": "192.168.0.2", "IPv6": "2001:db8::1"}
SAMPLE = 60
"""Packets that are explained and sent after each phase."""
CONFIG = f"""\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: {NODE}
clusterCIDR: 10.0.0.0/8,fd00:10::/32
clientConnection: {{kubeconfig: KUBECONFIG}}
"""


class Setting(NamedTuple):
    """Server and proxy on one node, and the world around it."""

    server: KubeApiserver
    proxy: Proxy
    world: World
    flags: tuple[str, str]
    random: Random

    def do(self, work: Callable[[ApiClient], Awaitable[Any]]) -> Any:
        """Something with the API."""

        async def inside() -> Any:
            async with ApiClient(self.server.connection, qps=-1) as client:
                return await work(client)

        return asyncio.run(inside())

    def check(self, phase: str) -> None:
        """The kernel comes to hold exactly what the API says, and packets go where it says."""
        eventually(lambda: is_right(self.flags), f"{phase}: the kernel holds the plan; {self.proxy.log[-3000:]}")
        services = self.do(lambda client: client.get(SERVICES))
        packets = list(packets_to(json.loads(services)["items"]))
        chosen = self.random.sample(packets, min(SAMPLE, len(packets)))
        stdin = "\n".join(f"{p.source} -> {p.destination.with_port(p.port)}/{p.protocol}" for p in chosen)
        explained = answers(fairway("explain", *self.flags, "-o", "json", "-", stdin=stdin).stdout)
        assert len(explained) == len(chosen)
        for packet, answer in zip(chosen, explained, strict=True):
            assert answer["agrees"], (phase, str(packet), answer["disagreement"])
            self._check_packet(phase, packet, answer)

    def lose_the_server(self, meanwhile: Callable[[], None]) -> None:
        """It crashes and comes back with the same objects: health says so, and nothing is written."""
        held, generation = ruleset(), nftables_reader.generation()
        self.server.kill()
        eventually(is_stale, "health says stale")
        assert ruleset() == held
        meanwhile()
        self.server.start()
        eventually(lambda: not is_stale(), "health says fresh")
        assert ruleset() == held
        assert nftables_reader.generation() == generation

    def _check_packet(self, phase: str, packet: Packet, answer: dict[str, Any]) -> None:
        expected = {Address.parse(b["address"]).with_port(b["port"]): b["masquerade"] for b in answer["backends"]}
        is_sticky = any(step.get("rule") == 18 for step in answer["steps"])
        tries = draws(len(expected))
        outcomes = {self.world.attempt(packet) for _ in range(1 if is_sticky else tries)}
        Tally.flows += 1
        Tally.connections += tries
        verdict = {"forward": "to"}.get(answer["verdict"], answer["verdict"])
        assert {outcome.seen.value for outcome in outcomes} == {verdict}, (phase, str(packet), answer, outcomes)
        seen = {outcome.target: outcome.masqueraded for outcome in outcomes if outcome.seen is Seen.FORWARDED}
        if len(seen) == 1:  # with affinity a client comes to one of them again and again
            assert seen.items() <= expected.items(), (phase, str(packet), seen, expected)
        else:
            assert seen == expected, (phase, str(packet))


def is_right(flags: tuple[str, str]) -> bool:
    """Whether nothing is missing, different or unwanted, asked anew of API and kernel."""
    status = fairway("proxy", "status", *flags, "-o", "json")
    if status.returncode not in (0, 1):
        raise AssertionError(status.stderr)
    document = json.loads(status.stdout)
    rows = document["containers"]
    wrong = sum(row["missing"] + row["differing"] + row["unwanted"] for row in rows)
    assert any(row["desired"] for row in rows)
    return wrong == 0 and document["rules"] == []


def packets_to(services: list[dict[str, Any]]) -> Iterator[Packet]:
    """From everywhere to every frontend that these Services could have, and beside them."""
    for service in services:
        if service["metadata"]["name"] == "kubernetes":
            continue  # its backend is the server itself
        spec = service["spec"]
        for family in spec.get("ipFamilies", ()):
            ingress = service["status"]["loadBalancer"].get("ingress", ())
            texts = [text for text in spec["clusterIPs"] if text != "None"]
            texts += [*(row["ip"] for row in ingress), EXTERNAL[family]]
            targets = list(map(Address.parse, texts))
            for port in spec.get("ports", ()):
                protocol = Protocol.parse(port["protocol"])
                pairs = [(target, port["port"]) for target in targets]
                pairs += [(Address.parse(OWN[family]), port["nodePort"])] if port.get("nodePort") else []
                for source in map(Address.parse, SOURCES[family]):
                    yield from (Packet(source, t, protocol, n) for t, n in pairs if len(t) == len(source))


@contextmanager
def setting(folder: Path) -> Iterator[Setting]:
    """A node with both on it, and nothing in the cluster but the node."""
    ports = {*PORTS, *(port + 1 for port in PORTS), *BACKEND_PORTS, *NODE_PORTS}
    with (
        World(node_addresses(), ports) as world,
        world.entered(),
        kube_apiserver(folder, "172.30.0.0/16,fd00:96::/112") as server,
    ):
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(server.kubeconfig)
        config = folder / "config.yaml"
        config.write_text(CONFIG.replace("KUBECONFIG", str(kubeconfig)))
        flags = ("--config", str(config))
        with Proxy(folder, *flags) as proxy:
            yield Setting(server, proxy, world, flags, Random(7))


def ruleset() -> str:
    """All that the kernel holds, without what ages by itself."""
    return re.sub(r" expires \w+", "", nft("list", "ruleset"))


def is_stale() -> bool:
    status, body = get("http://127.0.0.1:10256/healthz")
    assert status == 200
    return bool(json.loads(body)["apiServer"]["stale"])


def test_the_kernel_follows_the_api_server_through_all_that_befalls_it(tmp_path: Path) -> None:
    with setting(tmp_path) as one:
        churn = Churn(seed=3)
        one.do(churn.start)
        for _ in range(4):
            one.do(lambda client: churn.change(client, 100))
            one.check(f"after {churn.changes} changes")
        one.lose_the_server(lambda: None)
        one.do(lambda client: churn.change(client, 30))
        one.check("after a restart of the server")
        one.lose_the_server(one.server.compact)
        one.do(lambda client: churn.change(client, 30))
        one.check("after an expired watch")
        one.do(churn.remove_everything)
        one.check("when everything is gone")
        families = {Family.IPV4: "ip", Family.IPV6: "ip6"}
        frontends = {family: nft("list", "map", word, "fairway", "frontends") for family, word in families.items()}
        assert "172.30.0.1 . tcp . 443" in frontends[Family.IPV4]
        assert "elements" not in frontends[Family.IPV6]
