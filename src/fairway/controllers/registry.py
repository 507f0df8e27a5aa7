"""Every controller by its name, as kube-controller-manager calls them, and the grammar of `--controllers`.

Instances are made here from settings; which of them run, and how, is the caller's decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fairway.controllers.addresses import AddressRepairController, ServiceCIDRController
from fairway.controllers.addresspool import AddressPool
from fairway.controllers.clusterdns import ClusterDns, ClusterDnsController
from fairway.controllers.controller import Controller
from fairway.controllers.daemonsets import DaemonSetController
from fairway.controllers.deployments import DeploymentController
from fairway.controllers.endpoints import EndpointsController
from fairway.controllers.endpointslices import EndpointSliceController
from fairway.controllers.garbage import GarbageCollector
from fairway.controllers.loadbalancers import LoadBalancerController
from fairway.controllers.mirroring import MirroringController
from fairway.controllers.namespaces import NamespaceController, RootCaPublisher, ServiceAccountController
from fairway.controllers.networkpolicies import NetworkPolicyNotice
from fairway.controllers.nodelifecycle import NodeLifecycleController
from fairway.controllers.podgc import PodGarbageCollector, TaintEvictionController
from fairway.controllers.replicasets import ReplicaSetController
from fairway.controllers.scheduler import Scheduler
from fairway.controllers.statefulsets import StatefulSetController
from fairway.kube.objects import REPLICATION_CONTROLLER
from fairway.values.address import Address, Prefix
from fairway.values.errors import ConfigError


class Settings(NamedTuple):
    """What controllers have to be told."""

    root_ca: str = ""
    """The certificate (PEM) that clients in pods check the API server against; empty: not published."""
    node_grace_seconds: float = 50.0
    """node-monitor-grace-period: a node that gives no sign of life for so long is not ready."""
    balancer_ranges: tuple[Prefix, ...] = ()
    """Where addresses of Services of type LoadBalancer come from; empty: others give them."""
    balancer_reserved: tuple[Address, ...] = ()
    """Addresses of these ranges that no Service gets."""
    cluster_dns: ClusterDns | None = None
    """Where every node has a DNS server: the Service in front of them; None: others see to it."""


class Entry(NamedTuple):
    """One controller: its name, the names it had before Kubernetes 1.28 (some shared), and how it is made."""

    name: str
    make: Callable[[Settings], Controller | None]
    """None where the settings lack what it needs."""
    aliases: tuple[str, ...] = ()


ENTRIES: tuple[Entry, ...] = (
    Entry("endpoints-controller", lambda _: EndpointsController(), ("endpoint",)),
    Entry("endpointslice-controller", lambda _: EndpointSliceController(), ("endpointslice",)),
    Entry("endpointslice-mirroring-controller", lambda _: MirroringController(), ("endpointslicemirroring",)),
    Entry(
        "replicationcontroller-controller",
        lambda _: ReplicaSetController(REPLICATION_CONTROLLER),
        ("replicationcontroller",),
    ),
    Entry("replicaset-controller", lambda _: ReplicaSetController(), ("replicaset",)),
    Entry("deployment-controller", lambda _: DeploymentController(), ("deployment",)),
    Entry("statefulset-controller", lambda _: StatefulSetController(), ("statefulset",)),
    Entry("daemonset-controller", lambda _: DaemonSetController(), ("daemonset",)),
    Entry("scheduler", lambda _: Scheduler(), ("kube-scheduler", "default-scheduler")),
    Entry(
        "node-lifecycle-controller",
        lambda settings: NodeLifecycleController(settings.node_grace_seconds),
        ("nodelifecycle",),
    ),
    # Until Kubernetes 1.29 the life cycle of nodes and the eviction were one.
    Entry("taint-eviction-controller", lambda _: TaintEvictionController(), ("nodelifecycle",)),
    Entry("pod-garbage-collector-controller", lambda _: PodGarbageCollector(), ("podgc",)),
    Entry("service-cidr-controller", lambda _: ServiceCIDRController()),
    Entry("ipaddress-repair-controller", lambda _: AddressRepairController()),
    Entry("networkpolicy-notice-controller", lambda _: NetworkPolicyNotice(), ("networkpolicy-notice",)),
    Entry(
        "service-lb-controller",
        lambda settings: (
            LoadBalancerController(AddressPool(settings.balancer_ranges, settings.balancer_reserved))
            if settings.balancer_ranges
            else None
        ),
        ("service", "cloud-provider-service"),
    ),
    Entry(
        "cluster-dns-controller",
        lambda settings: ClusterDnsController(settings.cluster_dns) if settings.cluster_dns else None,
    ),
    Entry("garbage-collector-controller", lambda _: GarbageCollector(), ("garbagecollector",)),
    Entry("namespace-controller", lambda _: NamespaceController(), ("namespace",)),
    Entry("serviceaccount-controller", lambda _: ServiceAccountController(), ("serviceaccount",)),
    Entry(
        "root-ca-certificate-publisher-controller",
        lambda settings: RootCaPublisher(settings.root_ca) if settings.root_ca else None,
        ("root-ca-cert-publisher",),
    ),
)


def select_controllers(words: str | Sequence[str], entries: Iterable[Entry] = ENTRIES) -> tuple[str, ...]:
    """The names that a list like `*`, `*,-scheduler` or `none` switches on, in the registry's order.

    As in kube-controller-manager: a name or `-name` decides for itself, `*` for all that are not named. Raises
    ConfigError for a name that is not known.
    """
    listed = [one.strip() for one in (words.split(",") if isinstance(words, str) else words)]
    listed = [one for one in listed if one]
    if listed == ["none"]:
        return ()
    entries = tuple(entries)
    known: dict[str, list[str]] = {}
    for entry in entries:
        for name in (entry.name, *entry.aliases):
            known.setdefault(name, []).append(entry.name)
    decided: dict[str, bool] = {}
    for word in listed:
        if word == "*":
            continue
        names = known.get(word.removeprefix("-"))
        if names is None:
            all_names = ", ".join(sorted(entry.name for entry in entries))
            raise ConfigError(f"--controllers: {word!r} is not in the list of known controllers: {all_names}")
        for name in names:
            decided.setdefault(name, not word.startswith("-"))
    return tuple(entry.name for entry in entries if decided.get(entry.name, "*" in listed))


def make_controllers(names: Iterable[str], settings: Settings, entries: Iterable[Entry] = ENTRIES) -> list[Controller]:
    """Instances of the named controllers."""
    wanted = set(names)
    made = (entry.make(settings) for entry in entries if entry.name in wanted)
    return [one for one in made if one is not None]
