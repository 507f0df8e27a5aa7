"""Random Services, slices and nodes, as API objects: what hypothesis feeds to plan, items and kernel.

Small pools make the interesting things frequent: two Services that want one address, an endpoint in two slices, one
that is its own client, external addresses that the node has itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from flow_cases import Tree

NODE, ZONE = "test-node", "zone-a"
PODS = tuple(f"10.0.1.{n}" for n in range(1, 7))
PORTS = (80, 443, 678)
BACKEND_PORTS = (80, 8080)
NODE_PORTS = (0, 3001, 3002)
EXTERNAL = ("192.168.99.22", "192.168.1.2", "1.2.3.4")
SOURCES = ("10.0.0.2", PODS[0], "192.168.0.2", "203.0.113.2", "5.6.7.8")
"""A pod, a pod that may be a backend, the node, somebody outside, a load balancer address (rule 14)."""
BALANCERS = ("5.6.7.8", "1.2.3.4")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_NUMBERS = st.tuples(st.sampled_from(PORTS), st.sampled_from(_PROTOCOLS))
_RANGES = ([], ["203.0.113.0/25"], ["10.0.0.0/8", "192.168.0.0/24"])
_maybe = st.sampled_from((None, True, False))


class Cluster(NamedTuple):
    """Everything that a proxy is told."""

    configuration: Tree
    node: Tree
    objects: Sequence[Tree]


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True))
    services = [draw(_services(name, f"172.30.0.{n}")) for n, name in enumerate(names, 1)]
    slices = [tree for name in names for tree in draw(_slices(name))]
    cidr = draw(st.sampled_from(("", "10.0.0.0/8")))
    configuration = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE,
        "clusterCIDR": cidr,
        "detectLocalMode": "ClusterCIDR" if cidr else "",
        "bindAddress": "0.0.0.0",
        "nodePortAddresses": draw(st.sampled_from(([], ["primary"], ["0.0.0.0/0"], ["192.168.1.0/24"]))),
        "nftables": {"masqueradeAll": draw(st.booleans())},
    }
    labels = {"topology.kubernetes.io/zone": draw(st.sampled_from((ZONE, "zone-b")))}
    address = {"type": "InternalIP", "address": "192.168.0.2"}
    meta = {"name": NODE, "labels": labels}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": {"addresses": [address]}}
    return Cluster(configuration, node, [*services, *slices])


@st.composite
def _services(draw: st.DrawFn, name: str, cluster_ip: str) -> Tree:
    kind = draw(st.sampled_from(("ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer")))
    numbers = draw(
        st.lists(st.tuples(st.sampled_from(PORTS), st.sampled_from(_PROTOCOLS)), min_size=1, max_size=2, unique=True)
    )
    ports = []
    for name_of_port, (number, protocol) in zip("pq", numbers, strict=False):
        port: dict[str, Any] = {"name": name_of_port, "port": number, "protocol": protocol}
        if kind != "ClusterIP":
            port["nodePort"] = draw(st.sampled_from(NODE_PORTS))
        ports.append(port)
    spec: dict[str, Any] = {
        "type": kind,
        "clusterIP": cluster_ip,
        "clusterIPs": [cluster_ip],
        "ports": ports,
        "internalTrafficPolicy": draw(st.sampled_from(("Cluster", "Local"))),
        "externalTrafficPolicy": draw(st.sampled_from(("Cluster", "Local"))),
        "externalIPs": draw(st.lists(st.sampled_from(EXTERNAL), max_size=2, unique=True)),
    }
    ingress = []
    if kind == "LoadBalancer":
        ingress = [
            {"ip": ip} for ip in draw(st.lists(st.sampled_from(("5.6.7.8", "1.2.3.4")), max_size=2, unique=True))
        ]
        spec["loadBalancerSourceRanges"] = draw(
            st.sampled_from(([], ["203.0.113.0/25"], ["10.0.0.0/8", "192.168.0.0/24"]))
        )
    created = f"2026-01-0{draw(st.integers(1, 3))}T00:00:00Z"
    meta = {"namespace": "ns", "name": name, "creationTimestamp": created}
    status = {"loadBalancer": {"ingress": ingress}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, "status": status}


@st.composite
def _slices(draw: st.DrawFn, service: str) -> list[Tree]:
    return [draw(_slice(service, number)) for number in range(draw(st.sampled_from((1, 0, 1, 2))))]


@st.composite
def _slice(draw: st.DrawFn, service: str, number: int) -> Tree:
    ports = [
        {"name": name, "port": draw(st.sampled_from(BACKEND_PORTS)), "protocol": protocol}
        for name in "pq"
        for protocol in _PROTOCOLS
    ]
    labels = {"kubernetes.io/service-name": service}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "ns", "name": f"{service}-{number}", "labels": labels},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": draw(st.lists(_endpoint(), min_size=1, max_size=4)),
    }


@st.composite
def _endpoint(draw: st.DrawFn) -> Tree:
    conditions = {name: draw(_maybe) for name in ("ready", "serving", "terminating")}
    endpoint: dict[str, Any] = {
        "addresses": [draw(st.sampled_from(PODS))],
        "conditions": {name: value for name, value in conditions.items() if value is not None},
    }
    node = draw(st.sampled_from((None, NODE, "other")))
    if node:
        endpoint["nodeName"] = node
    zones = draw(st.sampled_from(((), (ZONE,), ("zone-b",))))
    if zones:
        endpoint["hints"] = {"forZones": [{"name": zone} for zone in zones]}
        if draw(st.booleans()):
            endpoint["hints"]["forNodes"] = [{"name": draw(st.sampled_from((NODE, "other")))}]
    return endpoint
