"""The table of kinds: one entry each. Custom resources are added and removed at run time."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.apiserver.kinds import (
    columns,
    configuration,
    crds,
    endpoints,
    limits,
    networking,
    podcolumns,
    pods,
    service,
    simple,
    storage,
    stored,
    workloads,
)
from fairway.apiserver.kinds.base import Resource
from fairway.apiserver.kinds.rows import Row, Views
from fairway.apiserver.schema import builtin

_LOGS = (
    "attach",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "exec",
    "log",
    "portforward",
    "proxy",
    "resize",
    "status",
)


_ALL = ("all",)
_STATUS = ("status",)
_SCALED = ("scale", "status")
TABLE: tuple[Row, ...] = (
    Row("core.ConfigMap", "configmaps", "", ("cm",), (), configuration.ConfigMapStrategy, columns.CONFIGMAP),
    Row("core.Endpoints", "endpoints", "", ("ep",), (), endpoints.EndpointsStrategy, columns.ENDPOINTS),
    Row("core.Event", "events", "", ("ev",), (), simple.EventStrategy, columns.EVENT),
    Row(
        "core.Namespace",
        "namespaces",
        "",
        ("ns",),
        (),
        simple.NamespaceStrategy,
        columns.NAMESPACE,
        False,
        ("finalize", "status"),
    ),
    Row("core.Node", "nodes", "", ("no",), (), simple.NodeStrategy, columns.NODE, False, ("proxy", "status")),
    Row(
        "core.PersistentVolume",
        "persistentvolumes",
        "",
        ("pv",),
        (),
        storage.PersistentVolumeStrategy,
        columns.PERSISTENTVOLUME,
        False,
        _STATUS,
    ),
    Row(
        "core.PersistentVolumeClaim",
        "persistentvolumeclaims",
        "",
        ("pvc",),
        (),
        storage.PersistentVolumeClaimStrategy,
        columns.PERSISTENTVOLUMECLAIM,
        True,
        _STATUS,
    ),
    Row("core.Pod", "pods", "", ("po",), _ALL, pods.PodStrategy, podcolumns.POD, True, _LOGS),
    Row(
        "core.ReplicationController",
        "replicationcontrollers",
        "",
        ("rc",),
        _ALL,
        workloads.ReplicationControllerStrategy,
        podcolumns.REPLICATIONCONTROLLER,
        True,
        _SCALED,
    ),
    Row("core.Secret", "secrets", "", (), (), configuration.SecretStrategy, columns.SECRET),
    Row(
        "core.ServiceAccount",
        "serviceaccounts",
        "",
        ("sa",),
        (),
        simple.ServiceAccountStrategy,
        columns.SERVICEACCOUNT,
        True,
        ("token",),
    ),
    Row(
        "core.Service",
        "services",
        "",
        ("svc",),
        _ALL,
        service.ServiceStrategy,
        columns.SERVICE,
        True,
        ("proxy", "status"),
    ),
    Row(
        "apps.ControllerRevision",
        "controllerrevisions",
        "apps",
        (),
        (),
        simple.ControllerRevisionStrategy,
        podcolumns.CONTROLLERREVISION,
    ),
    Row(
        "apps.DaemonSet",
        "daemonsets",
        "apps",
        ("ds",),
        _ALL,
        workloads.DaemonSetStrategy,
        podcolumns.DAEMONSET,
        True,
        _STATUS,
    ),
    Row(
        "apps.Deployment",
        "deployments",
        "apps",
        ("deploy",),
        _ALL,
        workloads.DeploymentStrategy,
        podcolumns.DEPLOYMENT,
        True,
        _SCALED,
    ),
    Row(
        "apps.ReplicaSet",
        "replicasets",
        "apps",
        ("rs",),
        _ALL,
        workloads.ReplicaSetStrategy,
        podcolumns.REPLICASET,
        True,
        _SCALED,
    ),
    Row(
        "apps.StatefulSet",
        "statefulsets",
        "apps",
        ("sts",),
        _ALL,
        workloads.StatefulSetStrategy,
        podcolumns.STATEFULSET,
        True,
        _SCALED,
    ),
    Row(
        "events.Event",
        "events",
        "events.k8s.io",
        ("ev",),
        (),
        simple.NewEventStrategy,
        columns.EVENT,
        views=Views("events", simple.event_to_core, simple.event_from_core),
    ),
    Row(
        "networking.IngressClass",
        "ingressclasses",
        "networking.k8s.io",
        (),
        (),
        networking.IngressClassStrategy,
        columns.INGRESSCLASS,
        False,
    ),
    Row(
        "networking.Ingress",
        "ingresses",
        "networking.k8s.io",
        ("ing",),
        (),
        networking.IngressStrategy,
        columns.INGRESS,
        True,
        _STATUS,
    ),
    Row(
        "networking.IPAddress",
        "ipaddresses",
        "networking.k8s.io",
        ("ip",),
        (),
        networking.IPAddressStrategy,
        columns.IPADDRESS,
        False,
    ),
    Row(
        "networking.NetworkPolicy",
        "networkpolicies",
        "networking.k8s.io",
        ("netpol",),
        (),
        networking.NetworkPolicyStrategy,
        columns.NETWORKPOLICY,
    ),
    Row(
        "networking.ServiceCIDR",
        "servicecidrs",
        "networking.k8s.io",
        (),
        (),
        networking.ServiceCIDRStrategy,
        columns.SERVICECIDR,
        False,
        _STATUS,
    ),
    Row(
        "apiextensions.CustomResourceDefinition",
        "customresourcedefinitions",
        "apiextensions.k8s.io",
        ("crd", "crds"),
        ("api-extensions",),
        crds.CrdStrategy,
        columns.CRD,
        False,
        _STATUS,
    ),
    Row("coordination.Lease", "leases", "coordination.k8s.io", (), (), simple.LeaseStrategy, columns.LEASE),
    Row(
        "discovery.EndpointSlice",
        "endpointslices",
        "discovery.k8s.io",
        (),
        (),
        endpoints.EndpointSliceStrategy,
        columns.ENDPOINTSLICE,
    ),
    *limits.ROWS,
    *stored.ROWS,
)

# Reviews and the like: kinds that are answered, never stored.
REVIEWS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "authentication.k8s.io": (
        ("selfsubjectreviews", "SelfSubjectReview", False),
        ("tokenreviews", "TokenReview", False),
    ),
    "authorization.k8s.io": (
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", True),
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
        ("subjectaccessreviews", "SubjectAccessReview", False),
    ),
}
# The order in which the real server lists groups.
GROUP_ORDER = (
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
)


def _resource(row: Row) -> Resource:
    strategy = row.strategy()
    strategy.columns = row.cells
    kind = row.type_key.split(".", 1)[1]
    views = row.views
    return Resource(
        row.group,
        row.version,
        row.plural,
        kind,
        builtin(row.type_key),
        strategy,
        row.namespaced,
        row.short,
        row.categories,
        subresources=row.subresources,
        storage=views.key if views else "",
        to_storage=views.to_storage if views else None,
        from_storage=views.from_storage if views else None,
        singular=kind.lower(),
    )


class Registry:
    """All kinds that the server knows now."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._versions: dict[str, list[str]] = {"": ["v1"], **{g: ["v1"] for g in GROUP_ORDER}}
        self._custom_groups: list[str] = []
        self.generation = 0
        for row in TABLE:
            self.add(_resource(row))

    def add(self, resource: Resource) -> None:
        self.generation += 1
        self._by_path[resource.group, resource.version, resource.plural] = resource
        if resource.group not in self._versions:
            self._custom_groups.append(resource.group)
        versions = self._versions.setdefault(resource.group, [])
        if resource.version not in versions:
            versions.append(resource.version)

    def remove(self, resource: Resource) -> None:
        self.generation += 1
        self._by_path.pop((resource.group, resource.version, resource.plural), None)
        left = [r.version for r in self if r.group == resource.group]
        if resource.group in self._custom_groups:
            self._versions[resource.group] = [v for v in self._versions[resource.group] if v in left]
            if not left:
                del self._versions[resource.group]
                self._custom_groups.remove(resource.group)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def __iter__(self) -> Iterator[Resource]:
        return iter(tuple(self._by_path.values()))

    def of(self, group: str, version: str) -> list[Resource]:
        return sorted((r for r in self if (r.group, r.version) == (group, version)), key=lambda r: r.plural)

    def groups(self) -> list[str]:
        """Named groups, in the real server's order, custom ones last."""
        return [*GROUP_ORDER, *sorted(self._custom_groups)]

    def is_custom(self, group: str) -> bool:
        """Whether a group has nothing but custom resources."""
        return group in self._custom_groups

    def versions(self, group: str) -> list[str]:
        return sorted(self._versions.get(group, []), key=_version_order)


def _version_order(version: str) -> tuple[int, int, int, str]:
    """v2, v1, v1beta2, v1beta1, v1alpha1, then others by name."""
    import re

    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)
