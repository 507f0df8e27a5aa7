"""The cluster's DNS as objects: Service `kube-dns`, its Corefile, and an endpoint on every ready node.

Each node answers its own pods: an endpoint carries a hint for its node alone (`forNodes`), so a proxy that heeds hints
sends a query nowhere else, and one that does not still finds a server. Objects that are there are never overwritten:
an administrator's Corefile and labels stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from fairway.config.corefile_default import default_corefile
from fairway.controllers.controller import Key, Turn
from fairway.controllers.view import View
from fairway.controllers.writes import AnyKind, Create, Outcome, Patch, Tree, Write, controlled_by, versioned
from fairway.kube.administration import ClusterNode
from fairway.kube.discovery import SelectorService, SliceObject
from fairway.kube.meta import LABEL_SERVICE_NAME, LABEL_ZONE
from fairway.kube.objectmeta import to_tree
from fairway.kube.objects import CONFIG_MAP, ENDPOINT_SLICE, NODE, SERVICE
from fairway.values.address import Address, Family
from fairway.values.errors import InvalidValueError
from fairway.values.names import ObjectName

NAMESPACE: Final = "kube-system"
NAME: Final = ObjectName(NAMESPACE, "kube-dns")
COREFILE: Final = ObjectName(NAMESPACE, "coredns")
MANAGER: Final = "cluster-dns.fairway"
METRICS_PORT: Final = 9153
_PORTS: Final = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("metrics", "TCP", METRICS_PORT))


class ClusterDns(NamedTuple):
    """What has to be decided once for a cluster."""

    addresses: tuple[Address, ...]
    """The Service's cluster IPs, of the primary family first: by custom the tenth of each range."""
    domain: str = "cluster.local"


class ClusterDnsController:
    """Keeps the Service and its endpoints; makes the Corefile's ConfigMap at the start."""

    name = "cluster-dns-controller"
    component = "cluster-dns-controller"
    kinds: tuple[AnyKind, ...] = (NODE, SERVICE, ENDPOINT_SLICE)
    follows_everything = False

    def __init__(self, settings: ClusterDns) -> None:
        self._settings = settings

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is not NODE:
            name = (new or old).metadata.object_name
            return (NAME,) if name == NAME or name in self._slice_names else ()
        return (NAME,) if _state(old) != _state(new) else ()

    @property
    def _slice_names(self) -> dict[ObjectName, Family]:
        families = [one.family for one in self._settings.addresses]
        return {ObjectName(NAMESPACE, f"{NAME.name}-{family}".lower()): family for family in families}

    def sync(self, turn: Turn, view: View) -> Outcome:
        writes: list[Write] = []
        if turn.memory is None:
            data = {"Corefile": default_corefile(self._settings.domain)}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": COREFILE.name}, "data": data}
            writes.append(Create(CONFIG_MAP, NAMESPACE, body, may_exist=True))
        service = view.get(SERVICE, NAME)
        if service is None:
            writes.append(Create(SERVICE, NAMESPACE, _service(self._settings), may_exist=True))
        elif not service.metadata.is_leaving:
            nodes = sorted(view.all(NODE), key=lambda node: node.metadata.name)
            for name, family in self._slice_names.items():
                endpoints = [one for node in nodes for one in _endpoints(node, family)]
                writes += _write_slice(name, family, endpoints, service, view.get(ENDPOINT_SLICE, name))
        return Outcome(tuple(writes), memory=True)


def _state(node: ClusterNode | None) -> object:
    """What of a node matters here."""
    if node is None:
        return None
    return node.is_ready, node.internal_ips, node.metadata.label_map.get(LABEL_ZONE)


def _endpoints(node: ClusterNode, family: Family) -> Iterable[Tree]:
    """One for a ready node that has an address of the family."""
    address = next((text for text in node.internal_ips if _family(text) is family), None)
    if address is None or not node.is_ready:
        return
    name, zone = node.metadata.name, node.metadata.label_map.get(LABEL_ZONE)
    yield {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": name,
        **({"zone": zone} if zone else {}),
        "hints": {**({"forZones": [{"name": zone}]} if zone else {}), "forNodes": [{"name": name}]},
    }


def _write_slice(
    name: ObjectName, family: Family, endpoints: list[Tree], service: SelectorService, held: SliceObject | None
) -> Iterable[Write]:
    if held is None:
        labels = {LABEL_SERVICE_NAME: NAME.name, "endpointslice.kubernetes.io/managed-by": MANAGER}
        body: Tree = {
            "apiVersion": ENDPOINT_SLICE.api_version,
            "kind": ENDPOINT_SLICE.name,
            "metadata": {
                "name": name.name,
                "labels": labels,
                "ownerReferences": [to_tree(controlled_by(SERVICE, service))],
            },
            "addressType": str(family),
            "ports": [{"name": port, "protocol": protocol, "port": number} for port, protocol, number in _PORTS],
            "endpoints": endpoints,
        }
        yield Create(ENDPOINT_SLICE, NAMESPACE, body, may_exist=True)
    elif [to_tree(one) for one in held.members] != endpoints:
        yield Patch(ENDPOINT_SLICE, name, versioned(held, {"endpoints": endpoints}))


def _service(settings: ClusterDns) -> Tree:
    """As kubeadm makes it; without a selector, since nodes are the endpoints, not pods."""
    ips = [str(one) for one in settings.addresses]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME.name,
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
            "annotations": {"prometheus.io/port": str(METRICS_PORT), "prometheus.io/scrape": "true"},
        },
        "spec": {
            "clusterIP": ips[0],
            "clusterIPs": ips,
            "ipFamilies": [str(one.family) for one in settings.addresses],
            "ipFamilyPolicy": "RequireDualStack" if len(ips) > 1 else "SingleStack",
            "ports": [
                {"name": name, "protocol": protocol, "port": number, "targetPort": number}
                for name, protocol, number in _PORTS
            ],
        },
    }


def _family(text: str) -> Family | None:
    try:
        return Address.parse(text).family
    except InvalidValueError:
        return None
