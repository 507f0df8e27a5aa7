"""The flow cases of tests/flows/cases/proxy_flows.json: objects, this node, and where each packet must go.

The one loader for all tests that use them, pure or on a real kernel. The file's own `defaults` explain its fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairway.agents.node_view import build_view
from fairway.config.proxy.load import load
from fairway.kube import decode
from fairway.plan.view import NodeView
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Family
from fairway.values.packet import Packet
from fairway.values.protocol import Protocol

Tree = Mapping[str, Any]
"""An API object or a configuration as JSON gives it."""

_FILE = Path(__file__).parent / "flows" / "cases" / "proxy_flows.json"
_DATA: Tree = json.loads(_FILE.read_text())
DEFAULTS: Tree = _DATA["defaults"]
NODE_ADDRESSES: Sequence[str] = DEFAULTS["node"]["localIPs"]


class Flow(NamedTuple):
    """One new connection, and what must become of it."""

    name: str
    packet: Packet
    verdict: str
    """`to`, `drop`, `reject` or `untouched`."""
    targets: frozenset[str]
    """With `to`: every backend that it may reach, each as likely as the others, as `address:port`."""
    masquerade: bool
    raw: Tree


class Round(NamedTuple):
    """A set of objects in force together, and flows to try."""

    objects: Sequence[Tree]
    flows: Sequence[Flow]


class Case(NamedTuple):
    """One scenario; later rounds replace all objects of the earlier."""

    name: str
    settings: Tree
    """The case's settings, defaults filled in; as `defaults.config` of the file names them."""
    rounds: Sequence[Round]

    @property
    def family(self) -> Family:
        return Family.IPV4 if self.settings["ipFamily"] == "IPv4" else Family.IPV6

    @property
    def primary_address(self) -> str:
        return str(DEFAULTS["node"]["primaryIP"][self.settings["ipFamily"]])

    def configuration(self, mode: str = "nftables") -> Tree:
        """The KubeProxyConfiguration that means these settings."""
        settings = self.settings
        of_mode = {"masqueradeAll": settings["masqueradeAll"], "minSyncPeriod": "0s"}
        everywhere = ["0.0.0.0/0", "::/0"] if mode == "nftables" and settings["backend"] != "nftables" else []
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": mode,
            "hostnameOverride": settings["nodeName"],
            "clusterCIDR": settings["clusterCIDR"],
            "detectLocalMode": "ClusterCIDR" if settings["clusterCIDR"] else "",
            "bindAddress": "0.0.0.0" if self.family is Family.IPV4 else "::",
            "nodePortAddresses": settings["nodePortAddresses"] or everywhere,
            "iptables": {**of_mode, "localhostNodePorts": settings["localhostNodePorts"]},
            "nftables": of_mode,
        }

    def node(self) -> Tree:
        """The Node object of the node under test."""
        name = self.settings["nodeName"]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {**self.settings["nodeLabels"], "kubernetes.io/hostname": name}},
            "status": {"addresses": [{"type": "InternalIP", "address": self.primary_address}]},
        }

    def service_cidrs(self) -> Sequence[Tree]:
        """The ServiceCIDR object, when the case has any."""
        cidrs = self.settings["serviceCIDRs"]
        meta = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}}
        return [{**meta, "spec": {"cidrs": cidrs}}] if cidrs else []

    def view(self) -> NodeView:
        """The node as the plan sees it: the real way, from configuration, Node object and interface addresses."""
        settings = load(json.dumps(self.configuration())).settings
        cidrs = [cidr for tree in self.service_cidrs() for cidr in decode.SERVICE_CIDR.decode(tree).cidrs]
        addresses = [Address.parse(text) for text in NODE_ADDRESSES]
        return build_view(settings, self.family, decode.NODE.decode(self.node()), addresses, cidrs)


def cases() -> list[Case]:
    """All cases, except those that switch off a feature gate that is locked on today."""
    return [case for case in map(_case, _DATA["cases"]) if not _needs_old_gate(case)]


def _needs_old_gate(case: Case) -> bool:
    return not all(case.settings["featureGates"].values())


def _case(raw: Tree) -> Case:
    rounds = [raw, *raw.get("steps", ())]
    return Case(
        name=raw["id"],
        settings={**DEFAULTS["config"], **raw["config"]},
        rounds=[Round(one["objects"], [_flow(f) for f in one["flows"]]) for one in rounds],
    )


def _flow(raw: Tree) -> Flow:
    expect = raw["expect"]
    packet = Packet(
        Address.parse(raw["src"]), Address.parse(raw["dst"]), Protocol.parse(raw["proto"]), raw["dport"], ""
    )
    verdict = "to" if "to" in expect else next(v for v in ("drop", "reject", "untouched", "accept") if expect.get(v))
    return Flow(
        name=raw["name"],
        packet=packet,
        verdict="untouched" if verdict == "accept" else verdict,
        targets=frozenset(expect.get("to", ())),
        masquerade=bool(expect.get("masq")),
        raw=raw,
    )


def nftables_flows(case: Case, one: Round) -> Iterator[Flow]:
    """The flows that nftables mode has, of the case's family."""
    for flow in one.flows:
        if flow.packet.destination.family is case.family and not flow.raw.get("iptables_only"):
            yield flow


def is_guarded(case: Case, flow: Flow) -> bool:
    """An iptables case calls packets to unknown ports and addresses of the service range untouched; nftables mode
    refuses or drops them, as kube-proxy's does."""
    in_range = str(flow.packet.destination).startswith("172.30.")
    return case.settings["backend"] == "iptables" and flow.verdict == "untouched" and in_range


def state_of(objects: Sequence[Tree]) -> State:
    """The state that holds exactly these Services and slices."""
    state = State()
    writer = Writer(state)
    for tree in objects:
        match tree["kind"]:
            case "Service":
                writer.put_service(decode.SERVICE.decode(tree))
            case "EndpointSlice":
                writer.put_slice(decode.ENDPOINT_SLICE.decode(tree))
    return state
