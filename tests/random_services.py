"""Random Services, slices, nodes and packets, from few addresses, so that they meet: hypothesis strategies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from fairway.kube.endpointslice import EndpointSlice
from fairway.kube.service import Service
from fairway.plan.model import FrontendKey
from fairway.plan.view import DetectLocal, Detector, NodeView
from fairway.values.address import Address, Family, Prefix
from fairway.values.packet import Packet
from fairway.values.protocol import Protocol
from objects import HERE, THERE, endpoint, port, service, slice_of


class Pool(NamedTuple):
    """The addresses of one family that everything is drawn from."""

    family: Family
    cluster: list[str]
    external: list[str]
    """External and load balancer addresses; one is the node's own."""
    node: list[str]
    loopback: str
    pods: list[str]
    outside: list[str]
    pod_ranges: list[str]
    service_ranges: list[str]


FOUR = Pool(
    Family.IPV4,
    ["172.30.0.1", "172.30.0.2", "172.30.0.3"],
    ["192.168.0.2", "1.2.3.4", "5.6.7.8"],
    ["192.168.0.2", "192.168.1.2"],
    "127.0.0.1",
    ["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.1.2"],
    ["203.0.113.2", "203.0.113.130", "1.2.3.4"],
    ["10.0.0.0/8", "10.0.0.0/24", "192.168.1.2/32"],
    ["172.30.0.0/16", "172.30.0.0/24"],
)
SIX = Pool(
    Family.IPV6,
    ["fd00:96::1", "fd00:96::2", "fd00:96::3"],
    ["2001:db8::1", "fd00:99::1", "fd00:99::2"],
    ["2001:db8::1", "2001:db8:1::2"],
    "::1",
    ["fd00:10::1", "fd00:10::2", "fd00:10:1::1", "fd00:10:1::2"],
    ["2600::1", "2600:0:0:8000::1", "fd00:99::1"],
    ["fd00:10::/32", "fd00:10::/64"],
    ["fd00:96::/48", "fd00:96::/112"],
)
NAMES = ("web", "dns", "db")
POLICIES = st.sampled_from(["Cluster", "Local"])
PORTS = (("http", "TCP", 80), ("dns", "UDP", 53), ("", "TCP", 80), ("sctp", "SCTP", 80), ("http", "UDP", 80))
CHOICES = (PORTS[:1], PORTS[1:2], PORTS[2:3], PORTS[:2], (PORTS[0], PORTS[3]), PORTS[4:])
"""Which ports stand together in one Service."""
NUMBERS = (53, 80, 81, 3001, 3002)
RANGES: list[list[str]] = [
    [],
    ["203.0.113.0/25", "2600::/49"],
    ["10.0.0.0/24", "192.168.0.0/24", "fd00:10::/64", "2001:db8::/64"],
    ["0.0.0.0/0", "::/0", "10.0.0.2/32", "fd00:10::2/128"],
    ["10.0.0.2/32", "203.0.113.0/25"],
]


def some(values: list[str], most: int = 2) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=most)


@st.composite
def services(draw: st.DrawFn, name: str | None = None) -> Service:
    """A Service with any of its fields, of one family or both."""
    chosen = draw(st.sampled_from(CHOICES))
    pools = draw(st.sampled_from([[FOUR, SIX], [SIX, FOUR], [FOUR], [SIX]]))
    both: list[Pool] = [FOUR, SIX]
    spec: dict[str, Any] = {
        "type": draw(st.sampled_from(["ClusterIP", "LoadBalancer", "NodePort"])),
        "externalIPs": [ip for pool in both for ip in draw(some(pool.external))],
        "loadBalancerSourceRanges": draw(st.sampled_from(RANGES)),
        "internalTrafficPolicy": draw(POLICIES),
        "externalTrafficPolicy": draw(POLICIES),
        "sessionAffinity": draw(st.sampled_from(["None", "None", "ClientIP"])),
        "healthCheckNodePort": draw(st.sampled_from([0, 30000])),
    }
    if spec["sessionAffinity"] == "ClientIP" and draw(st.booleans()):
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": draw(st.sampled_from([1, 10, 86400]))}}
    node_ports = draw(st.lists(st.sampled_from([None, 3001, 3002, 80]), min_size=2, max_size=2))
    return service(
        name or draw(st.sampled_from(NAMES)),
        cluster_ips=[draw(st.sampled_from(pool.cluster)) for pool in pools],
        ports=[
            port(number, called, protocol=protocol, nodePort=node_port)
            for (called, protocol, number), node_port in zip(chosen, node_ports, strict=False)
        ],
        ingress=[
            {"ip": ip, "ipMode": draw(st.sampled_from(["VIP", "VIP", "Proxy"]))}
            for pool in both
            for ip in draw(st.lists(st.sampled_from(pool.external[1:]), min_size=1, max_size=2))
        ]
        if draw(st.integers(0, 2))
        else [],
        created=draw(st.sampled_from(["", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"])),
        **spec,
    )


def _endpoints(pool: Pool) -> st.SearchStrategy[dict[str, Any]]:
    flags = st.fixed_dictionaries(
        {},
        optional={
            "ready": st.sampled_from([True, True, True, False]),
            "serving": st.booleans(),
            "terminating": st.booleans(),
            "zones": some(["zone-a", "zone-b"]),
            "nodes": some([HERE, THERE]),
        },
    )
    return st.builds(
        lambda address, node, extra: endpoint(address, node, **extra),
        st.sampled_from(pool.pods + pool.node[:1]),
        st.sampled_from([None, HERE, THERE]),
        flags,
    )


@st.composite
def slices(draw: st.DrawFn, owner: str | None = None) -> EndpointSlice:
    """A slice with any conditions and hints; it mostly has the ports that Services have."""
    pool = draw(st.sampled_from([FOUR, FOUR, FOUR, SIX]))
    ports = draw(st.sampled_from([PORTS, PORTS, PORTS, PORTS[:1], PORTS[2:]]))
    return slice_of(
        *draw(st.lists(_endpoints(pool), min_size=1, max_size=4)),
        service=owner or draw(st.sampled_from(NAMES)),
        name=draw(st.sampled_from(["1", "2"])),
        ports=[
            {"name": name, "protocol": protocol, "port": draw(st.sampled_from([8080, 8080, 8080, 9090, 9090, None]))}
            for name, protocol, _ in ports
        ],
        family=str(pool.family),
    )


@st.composite
def worlds(draw: st.DrawFn) -> list[Service | EndpointSlice]:
    """Several Services that claim one another's frontends, most with endpoints."""
    names = draw(st.sampled_from([NAMES[:1], NAMES[:2], NAMES]))
    rows: list[Service | EndpointSlice] = [draw(services(name)) for name in names]
    for name in names:
        rows += draw(st.lists(slices(name), min_size=draw(st.sampled_from([1, 2, 2, 0])), max_size=3))
    return rows


@st.composite
def views(draw: st.DrawFn, family: Family | None = None) -> NodeView:
    """A node with any detector, node port addresses and service ranges."""
    family = family or draw(st.sampled_from([Family.IPV4, Family.IPV4, Family.IPV4, Family.IPV6]))
    pool = FOUR if family is Family.IPV4 else SIX
    parsed = {text: Address.parse(text) for text in (*pool.node, pool.loopback)}
    detectors = [
        Detector(),
        Detector(DetectLocal.PREFIXES, prefixes=tuple(map(Prefix.parse, draw(some(pool.pod_ranges, 3))))),
        Detector(DetectLocal.INTERFACE, interface="cbr0"),
        Detector(DetectLocal.INTERFACE_PREFIX, interface="veth"),
    ]
    return NodeView(
        name=draw(st.sampled_from([HERE, HERE, ""])),
        family=family,
        zone=draw(st.sampled_from(["", "zone-a"])),
        addresses=tuple(parsed.values()),
        primary=draw(st.sampled_from([None, parsed[pool.node[0]]])),
        node_port_addresses=tuple(sorted(parsed[text] for text in set(draw(some([*pool.node, pool.loopback], 3))))),
        detector=draw(st.sampled_from(detectors)),
        masquerade_all=draw(st.booleans()),
        service_cidrs=tuple(sorted({Prefix.parse(text) for text in draw(some(pool.service_ranges))})),
    )


@st.composite
def packets(draw: st.DrawFn, family: Family, frontends: Sequence[FrontendKey] = ()) -> Packet:
    """A packet from anywhere to a frontend, or to anything that may be one, or nearly one."""
    pool = FOUR if family is Family.IPV4 else SIX
    sources = [*pool.pods, *pool.node, pool.loopback, *pool.outside]
    targets = [*pool.cluster, *pool.external, *pool.node, pool.loopback, *pool.pods[:1]]
    if frontends and draw(st.integers(0, 3)):
        address, protocol, number = draw(st.sampled_from(frontends))
    else:
        address, protocol = Address.parse(draw(st.sampled_from(targets))), draw(st.sampled_from(Protocol))
        number = draw(st.sampled_from(NUMBERS))
    source = Address.parse(draw(st.sampled_from(sources)))
    return Packet(source, address, protocol, number, draw(st.sampled_from(["", "cbr0", "veth7", "eth0"])))
