"""What the plan says: the vocabulary between the decision and the dataplanes.

A packet to a frontend is judged by where it comes from: a local *pod*, this *node* itself, or *outside* (anybody
else). Each of the three has a `Treatment`. When no local-traffic detector is configured a pod is an outsider, and
the plan says so by giving pods the outsider's treatment. Which kernel objects carry this out is not known here.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec

from fairway.plan.reasons import Reason
from fairway.values.address import Address, Family, Prefix
from fairway.values.names import ObjectName, ServicePortName
from fairway.values.protocol import Protocol


class Verdict(Enum):
    """What happens to a packet for a frontend. A packet that is not ours is *untouched* and has no plan."""

    FORWARD = "forward"
    REJECT = "reject"
    """Refused aloud: nothing usable exists anywhere."""
    DROP = "drop"
    """Discarded silently: something usable exists, but not on this node, and a Local policy forbids to go there."""


class Scope(Enum):
    """Which of a service port's two sets of backends."""

    CLUSTER = 0
    LOCAL = 1


class Source(Enum):
    """Where a packet for a frontend comes from."""

    POD = "pod"
    NODE = "node"
    OUTSIDE = "outside"


class FrontendKind(Enum):
    CLUSTER_IP = "cluster IP"
    EXTERNAL_IP = "external IP"
    LOAD_BALANCER_IP = "load balancer IP"
    NODE_PORT = "node port"


class Backend(msgspec.Struct, frozen=True, gc=False, order=True):
    """An endpoint selected for a frontend on this node."""

    address: Address
    port: int
    is_local: bool = False
    """Its nodeName is this node."""

    def __str__(self) -> str:
        return self.address.with_port(self.port)


class Treatment(NamedTuple):
    """What happens to a packet of one source. A flyweight: few exist, see `plan.treatments`."""

    verdict: Verdict
    scope: Scope
    """Whose backends, when the verdict is forward; otherwise the scope that was found empty."""
    masquerade: bool
    reasons: tuple[Reason, ...]


class Treatments(NamedTuple):
    """One treatment a source."""

    pod: Treatment
    node: Treatment
    outside: Treatment

    def of(self, source: Source) -> Treatment:
        match source:
            case Source.POD:
                return self.pod
            case Source.NODE:
                return self.node
            case Source.OUTSIDE:
                return self.outside


class FrontendKey(NamedTuple):
    """What a packet is matched by; at most one frontend of a node has it."""

    address: Address
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        return f"{self.address.with_port(self.port)}/{self.protocol}"


class Frontend(msgspec.Struct, frozen=True, gc=False):
    """An address, port and protocol that traffic is sent to."""

    key: FrontendKey
    kind: FrontendKind
    treatments: Treatments
    source_ranges: tuple[Prefix, ...] = ()
    """When not empty, a source outside all of them is dropped, whoever it is (loadBalancerSourceRanges)."""


class Selection(msgspec.Struct, frozen=True, gc=False):
    """The backends of one scope, sorted, without duplicates, and why these."""

    backends: tuple[Backend, ...]
    reason: Reason


class PlannedPort(msgspec.Struct, frozen=True, gc=False):
    """One service port on this node, in one IP family: what every dataplane makes its items of."""

    name: ServicePortName
    family: Family
    frontends: tuple[Frontend, ...]
    """Only those that this service port holds: claims lost to another Service are in `lost`."""
    cluster: Selection
    local: Selection
    affinity_seconds: int = 0
    """Session affinity by client address; 0 is none."""
    lost: tuple[tuple[FrontendKey, ServicePortName], ...] = ()
    """Frontends that an older Service claims, and who."""
    serving: tuple[tuple[Address, int], ...] = ()
    """Of a UDP service port: every endpoint whose flows may go on, whatever policies and topology say, sorted."""

    def backends(self, scope: Scope) -> tuple[Backend, ...]:
        return (self.cluster if scope is Scope.CLUSTER else self.local).backends


class HealthCheck(msgspec.Struct, frozen=True, gc=False):
    """A health check node port: answers 200 while this node has local ready endpoints (rule 19)."""

    service: ObjectName
    port: int
    local_endpoints: int


class PlannedService(msgspec.Struct, frozen=True, gc=False):
    """All that one Service means on this node."""

    name: ObjectName
    ports: tuple[PlannedPort, ...]
    cluster_ips: tuple[Address, ...] = ()
    """Their unknown ports are refused by dataplanes that can."""
    health_check: HealthCheck | None = None
