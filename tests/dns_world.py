"""A DNS server in memory: a Corefile, API objects and scripted upstreams, without sockets or clocks."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dns.rrset

from fairway.config import corefile_settings as config
from fairway.config.corefile_servers import read_corefile
from fairway.dns import rows
from fairway.dns.chain import Chain, build_chain
from fairway.dns.forward import UpstreamError
from fairway.dns.server import Block, Peer, Server
from fairway.dns.state import ClusterState
from fairway.dns.zonefile import read_zone
from fairway.values.domain import Name, from_text, to_text
from fairway.values.names import ObjectName
from fairway.values.rrtypes import QR, RA, Rcode, type_text
from fairway.wire.dns_message import Message, Record


class ScriptedUpstream:
    """Answers what it was told to, NXDOMAIN for names it never heard of."""

    def __init__(self, answers: Sequence[Mapping[str, Any]]) -> None:
        self.answers = answers
        self.name = "192.0.2.53:53"
        self.asked: list[str] = []
        self.is_dead = False

    async def exchange(self, query: Message, *, stream: bool, seconds: float) -> Message:
        assert query.question is not None
        name, kind = to_text(query.question.name).lower(), type_text(query.question.type)
        self.asked.append(f"{name} {kind}")
        if self.is_dead:
            raise UpstreamError(f"{self.name}: no answer")
        same = [a for a in self.answers if a["qname"] == name]
        hit = next((a for a in same if a["qtype"] == kind), None)
        is_known = any(a["rcode"] == "NOERROR" for a in same)
        rcode = Rcode[hit["rcode"]] if hit else Rcode.NOERROR if is_known else Rcode.NXDOMAIN
        flags = QR | RA | int(rcode) | (0x0200 if hit and hit.get("tc") else 0)
        return replace(query, flags=flags, answer=[record(r) for r in (hit["answer"] if hit else ())])


def record(words: Sequence[str], ttl: int = 60) -> Record:
    """`[owner, type, rdata…]` as a record."""
    rrset = dns.rrset.from_text(words[0], ttl, "IN", words[1], " ".join(words[2:]))
    return Record(from_text(words[0]), int(rrset.rdtype), ttl, rrset[0].to_wire())


class MemoryWorld:
    """`fairway.dns.chain.World`: time stands still until moved, and chance is the same each time."""

    hostname = "node-a"

    def __init__(self, upstream: ScriptedUpstream | None = None) -> None:
        self.time = 1000.0
        self.upstream = upstream or ScriptedUpstream(())
        self.lines: list[str] = []
        self.background: list[Coroutine[Any, Any, object]] = []

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return 0.3

    def spawn(self, work: Coroutine[Any, Any, object]) -> object:
        self.background.append(work)
        return work

    async def wait_for(self, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
        self.background.append(work)  # it takes longer than anybody waits

    def run_background(self) -> None:
        """Do what was left for later."""
        while self.background:
            drive(self.background.pop(0))

    def upstreams(self, settings: config.ForwardSettings) -> Sequence[ScriptedUpstream]:
        return [self.upstream]

    def search_list(self, path: str) -> tuple[Name, ...]:
        return ()

    def write_log(self, line: str) -> None:
        self.lines.append(line)

    def write_error(self, line: str, level: str) -> None:
        self.lines.append(line)


def drive(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


class MemoryServer:
    """All blocks of a Corefile at one address."""

    def __init__(
        self,
        corefile: str,
        objects: Iterable[Mapping[str, Any]] = (),
        world: MemoryWorld | None = None,
        *,
        local: tuple[bytes, ...] = (),
        synced: bool = True,
        zone_files: Mapping[str, str] | None = None,
    ) -> None:
        self.world = world or MemoryWorld()
        self.settings = read_corefile(corefile, "Corefile", {})
        self.state = ClusterState()
        self.chains: list[Chain] = [
            build_chain(s, self.world, lambda _settings: self.state) for s in self.settings.servers
        ]
        blocks = [
            Block(zone, c.first, to_text(zone), c.takes_classes) for c in self.chains for zone in c.settings.zones
        ]
        self.server = Server("dns://:53", blocks, now=self.world.now)
        for chain in self.chains:
            for settings, plugin in chain.kubernetes:
                plugin.local, plugin.has_synced = local, lambda: synced
                plugin.serial = lambda count: 1000 + count
                if synced:
                    feed(self.state, settings, list(objects))
            for resolving in chain.resolving:
                resolving.resolve = self.server.resolve
            for file_settings, plugin_file in chain.files:
                text = (zone_files or {})[file_settings.file]
                plugin_file.zones |= {z: read_zone(text, z, file_settings.file) for z in file_settings.zones}

    def ask(self, query: bytes, peer: Peer | None = None) -> list[bytes]:
        """The messages that go back."""
        found: list[bytes] = drive(self.server.answer(query, peer or Peer()))
        return found


def feed(state: ClusterState, settings: config.KubernetesSettings, objects: list[Mapping[str, Any]]) -> None:
    """What the watches would hand over for these objects."""
    kinds = [
        (rows.NAMESPACES, state.namespaces, settings.namespace_labels),
        (rows.SERVICES, state.services, settings.labels),
        (rows.slices(pod_names=settings.endpoint_pod_names, zones=settings.zonal), state.slices, settings.labels),
        (rows.PODS, state.pods, settings.labels),
        (rows.IMPORTS, state.imports, ""),
    ]
    for kind, table, selector in kinds:
        if kind.name == "EndpointSlice" and not settings.has_endpoints:
            continue
        mine = [o for o in objects if o["kind"] == kind.name and is_selected(o["metadata"].get("labels", {}), selector)]
        live = [o for o in mine if o.get("status", {}).get("phase") not in {"Succeeded", "Failed", "Unknown"}]
        table.replace([kind.decode(o) for o in live], ())


def is_selected(labels: Mapping[str, str], selector: str) -> bool:
    """The API server's label selectors, as far as the cases use them."""
    for part in filter(None, map(str.strip, re.split(r",(?![^()]*\))", selector))):
        inside = re.match(r"^(\S+)\s+(in|notin)\s+\((.*)\)$", part)
        if inside:
            is_in = labels.get(inside[1]) in {text.strip() for text in inside[3].split(",")}
            if is_in != (inside[2] == "in"):
                return False
        elif "!=" in part:
            key, value = part.split("!=")
            if labels.get(key) == value:
                return False
        else:
            key, value = re.split("==?", part)
            if labels.get(key) != value:
                return False
    return True


def service(name: str, address: str = "10.0.0.1", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """A Service as the API gives it."""
    ports = spec.pop("ports", [{"name": "http", "protocol": "TCP", "port": 80}])
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": ports, **spec},
    }


def endpoint_slice(
    name: str, service_name: str, addresses: Sequence[str], namespace: str = "default", **more: Any
) -> dict[str, Any]:
    """An EndpointSlice with ready endpoints."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": service_name}},
        "addressType": "IPv6" if addresses and ":" in addresses[0] else "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
        **more,
    }


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def object_name(one: Mapping[str, Any]) -> ObjectName:
    return ObjectName(one["metadata"].get("namespace", ""), one["metadata"]["name"])
