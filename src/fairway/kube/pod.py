"""Pod as controllers read it: membership of Services and owners, readiness, and what a scheduler asks.

The pod's template stays an opaque tree (`fairway.kube.workloads`): controllers copy it, they do not read it.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import msgspec

from fairway.kube.objectmeta import Condition, LabelSelector, ObjectMeta, Requirement, condition_of


class PodPhase(Enum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


TERMINAL_PHASES = (PodPhase.SUCCEEDED, PodPhase.FAILED)


class ContainerPort(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    container_port: int
    name: str | None = None
    protocol: str | None = None
    host_port: int | None = None
    host_ip: str | None = msgspec.field(name="hostIP", default=None)


class Resources(msgspec.Struct, frozen=True, gc=False):
    requests: dict[str, str | int | float] | None = None


class Container(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    name: str = ""
    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str | None = None
    resources: Resources | None = None

    @property
    def is_sidecar(self) -> bool:
        """An init container that keeps running (KEP-753)."""
        return self.restart_policy == "Always"


class Toleration(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    toleration_seconds: int | None = None


class NodeSelectorTerm(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    match_expressions: tuple[Requirement, ...] | None = None
    match_fields: tuple[Requirement, ...] | None = None


class NodeSelector(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class PreferredTerm(msgspec.Struct, frozen=True, gc=False):
    weight: int
    preference: NodeSelectorTerm


class NodeAffinity(msgspec.Struct, frozen=True, gc=False):
    required: NodeSelector | None = msgspec.field(name="requiredDuringSchedulingIgnoredDuringExecution", default=None)
    preferred: tuple[PreferredTerm, ...] | None = msgspec.field(
        name="preferredDuringSchedulingIgnoredDuringExecution", default=None
    )


class PodAffinityTerm(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    topology_key: str
    label_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] | None = None


class PodAffinity(msgspec.Struct, frozen=True, gc=False):
    required: tuple[PodAffinityTerm, ...] | None = msgspec.field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=None
    )


class Affinity(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class SpreadConstraint(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    max_skew: int
    topology_key: str
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: LabelSelector | None = None


class SchedulingGate(msgspec.Struct, frozen=True, gc=False):
    name: str


class PodSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    node_name: str | None = None
    hostname: str | None = None
    subdomain: str | None = None
    host_network: bool | None = None
    scheduler_name: str | None = None
    restart_policy: str | None = None
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: tuple[Toleration, ...] | None = None
    topology_spread_constraints: tuple[SpreadConstraint, ...] | None = None
    scheduling_gates: tuple[SchedulingGate, ...] | None = None


class PodIP(msgspec.Struct, frozen=True, gc=False):
    ip: str = ""


class ContainerStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    restart_count: int = 0


class PodStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    phase: PodPhase | None = None
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(name="podIPs", default=None)
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None
    nominated_node_name: str | None = None


class Pod(msgspec.Struct, frozen=True, gc=False):
    """One pod."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def phase(self) -> PodPhase:
        return self.status.phase or PodPhase.PENDING

    @property
    def is_terminal(self) -> bool:
        """All containers have ended for good."""
        return self.phase in TERMINAL_PHASES

    @property
    def is_active(self) -> bool:
        """Neither ended nor being deleted."""
        return not self.is_terminal and not self.metadata.is_leaving

    @property
    def ready_condition(self) -> Condition | None:
        return condition_of(self.status.conditions, "Ready")

    @property
    def is_ready(self) -> bool:
        """Condition Ready is True; absent, False and Unknown are not ready."""
        condition = self.ready_condition
        return condition is not None and condition.status == "True"

    @property
    def node(self) -> str:
        return self.spec.node_name or ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Address texts as stored, in the pod's order."""
        ips = self.status.pod_ips
        return tuple(one.ip for one in ips if one.ip) if ips else (self.status.pod_ip,) if self.status.pod_ip else ()

    @property
    def restarts(self) -> int:
        """The highest restart count of its containers, sidecars included."""
        statuses = (*(self.status.container_statuses or ()), *(self.status.init_container_statuses or ()))
        return max((one.restart_count for one in statuses), default=0)

    def is_available(self, min_ready_seconds: int, now: datetime) -> bool:
        """Ready for at least that long."""
        condition = self.ready_condition
        if condition is None or condition.status != "True":
            return False
        since = condition.last_transition_time
        return min_ready_seconds == 0 or (since is not None and (now - since).total_seconds() >= min_ready_seconds)

    def seconds_to_availability(self, min_ready_seconds: int, now: datetime) -> float | None:
        """How long a ready pod still has to stay ready; None when it is not ready or counts already."""
        condition = self.ready_condition
        if not self.is_ready or condition is None or condition.last_transition_time is None:
            return None
        left = min_ready_seconds - (now - condition.last_transition_time).total_seconds()
        return left if left > 0 else None
