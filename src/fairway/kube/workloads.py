"""The workload kinds (ReplicaSet, Deployment, StatefulSet …) and ControllerRevision as controllers read them.

Pod templates stay opaque trees: they are compared, hashed and copied, never understood.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairway.kube.objectmeta import Condition, LabelSelector, ObjectMeta

Template = dict[str, Any]
"""A PodTemplateSpec's tree; never changed in place."""

IntOrPercent = int | str


class ReplicaSetSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    selector: LabelSelector = LabelSelector()
    template: Template = msgspec.field(default_factory=dict)
    replicas: int | None = None
    min_ready_seconds: int = 0


class ReplicaSetStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int | None = None
    observed_generation: int = 0
    conditions: tuple[Condition, ...] | None = None


class ReplicaSet(msgspec.Struct, frozen=True, gc=False):
    """A ReplicaSet, or a ReplicationController read as one."""

    metadata: ObjectMeta
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()

    @property
    def replicas(self) -> int:
        """The wanted number; 1 when not given."""
        return 1 if self.spec.replicas is None else self.spec.replicas


class _ReplicationControllerSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    selector: dict[str, str] | None = None
    template: Template | None = None
    replicas: int | None = None
    min_ready_seconds: int = 0


class WireReplicationController(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: _ReplicationControllerSpec = _ReplicationControllerSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


def replica_set_from_controller(wire: WireReplicationController) -> ReplicaSet:
    """The same rules hold for both kinds; only the selector's form differs."""
    spec = wire.spec
    selector = LabelSelector(match_labels=spec.selector)
    return ReplicaSet(
        wire.metadata, ReplicaSetSpec(selector, spec.template or {}, spec.replicas, spec.min_ready_seconds), wire.status
    )


class RollingUpdate(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Of Deployments, DaemonSets and StatefulSets; each kind knows some of the fields."""

    max_surge: IntOrPercent | None = None
    max_unavailable: IntOrPercent | None = None
    partition: int | None = None


class Strategy(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None

    @property
    def rolling(self) -> RollingUpdate:
        return self.rolling_update or RollingUpdate()


class DeploymentSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    selector: LabelSelector = LabelSelector()
    template: Template = msgspec.field(default_factory=dict)
    replicas: int | None = None
    strategy: Strategy = Strategy()
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None
    paused: bool = False
    progress_deadline_seconds: int | None = None


class DeploymentStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int | None = None
    collision_count: int | None = None
    conditions: tuple[Condition, ...] | None = None


class Deployment(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()

    @property
    def replicas(self) -> int:
        """The wanted number; 1 when not given."""
        return 1 if self.spec.replicas is None else self.spec.replicas


class Ordinals(msgspec.Struct, frozen=True, gc=False):
    start: int = 0


class ClaimRetention(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    when_deleted: str = "Retain"
    when_scaled: str = "Retain"


class StatefulSetSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    selector: LabelSelector = LabelSelector()
    template: Template = msgspec.field(default_factory=dict)
    replicas: int | None = None
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    update_strategy: Strategy = Strategy()
    revision_history_limit: int | None = None
    min_ready_seconds: int = 0
    ordinals: Ordinals | None = None
    volume_claim_templates: tuple[dict[str, Any], ...] | None = None


class StatefulSetStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int | None = None
    conditions: tuple[Condition, ...] | None = None


class StatefulSet(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()

    @property
    def replicas(self) -> int:
        """The wanted number; 1 when not given."""
        return 1 if self.spec.replicas is None else self.spec.replicas


class DaemonSetSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    selector: LabelSelector = LabelSelector()
    template: Template = msgspec.field(default_factory=dict)
    update_strategy: Strategy = Strategy()
    revision_history_limit: int | None = None
    min_ready_seconds: int = 0


class DaemonSetStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    observed_generation: int = 0
    current_number_scheduled: int = 0
    number_misscheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    collision_count: int | None = None
    conditions: tuple[Condition, ...] | None = None


class DaemonSet(msgspec.Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()


class ControllerRevision(msgspec.Struct, frozen=True, gc=False):
    """One remembered state of a StatefulSet's or DaemonSet's template."""

    metadata: ObjectMeta
    revision: int = 0
    data: dict[str, Any] | None = None
