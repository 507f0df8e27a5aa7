"""The kinds that controllers read and write, decoded whole enough for both (`Kind`, as in `fairway.kube.decode`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from fairway.kube import administration as admin
from fairway.kube import discovery, workloads
from fairway.kube import pod as pods
from fairway.kube.decode import Kind, Raw
from fairway.kube.meta import schema_error

T = TypeVar("T")


def _decoder(kind: str, wanted: type[T]) -> Callable[[Raw], T]:
    json_decoder = msgspec.json.Decoder(wanted)

    def decode(raw: Raw) -> T:
        try:
            return msgspec.convert(raw, wanted) if isinstance(raw, Mapping) else json_decoder.decode(raw)
        except msgspec.MsgspecError as error:
            raise schema_error(kind, raw, error) from None

    return decode


def _kind(name: str, api_version: str, plural: str, wanted: type[T], *, is_namespaced: bool = True) -> Kind[T]:
    return Kind(name, api_version, plural, is_namespaced, _decoder(name, wanted))


_read_replication_controller = _decoder("ReplicationController", workloads.WireReplicationController)


def _replication_controller(raw: Raw) -> workloads.ReplicaSet:
    return workloads.replica_set_from_controller(_read_replication_controller(raw))


POD = _kind("Pod", "v1", "pods", pods.Pod)
SERVICE = _kind("Service", "v1", "services", discovery.SelectorService)
ENDPOINTS = _kind("Endpoints", "v1", "endpoints", discovery.EndpointsObject)
ENDPOINT_SLICE = _kind("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", discovery.SliceObject)
NODE = _kind("Node", "v1", "nodes", admin.ClusterNode, is_namespaced=False)
NAMESPACE = _kind("Namespace", "v1", "namespaces", admin.NamespaceObject, is_namespaced=False)
SERVICE_ACCOUNT = _kind("ServiceAccount", "v1", "serviceaccounts", admin.ServiceAccount)
CONFIG_MAP = _kind("ConfigMap", "v1", "configmaps", admin.ConfigMap)
LEASE = _kind("Lease", "coordination.k8s.io/v1", "leases", admin.Lease)
SERVICE_CIDR = _kind(
    "ServiceCIDR", "networking.k8s.io/v1", "servicecidrs", admin.ServiceCIDRObject, is_namespaced=False
)
IP_ADDRESS = _kind("IPAddress", "networking.k8s.io/v1", "ipaddresses", admin.IPAddress, is_namespaced=False)
REPLICA_SET = _kind("ReplicaSet", "apps/v1", "replicasets", workloads.ReplicaSet)
REPLICATION_CONTROLLER: Kind[workloads.ReplicaSet] = Kind(
    "ReplicationController", "v1", "replicationcontrollers", True, _replication_controller
)
DEPLOYMENT = _kind("Deployment", "apps/v1", "deployments", workloads.Deployment)
STATEFUL_SET = _kind("StatefulSet", "apps/v1", "statefulsets", workloads.StatefulSet)
DAEMON_SET = _kind("DaemonSet", "apps/v1", "daemonsets", workloads.DaemonSet)
CONTROLLER_REVISION = _kind("ControllerRevision", "apps/v1", "controllerrevisions", workloads.ControllerRevision)
VOLUME_CLAIM = _kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims", admin.OwnedObject)
NETWORK_POLICY = _kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", admin.OwnedObject)
EVENT = _kind("Event", "v1", "events", admin.OwnedObject)


def owned_kind(name: str, api_version: str, plural: str, *, is_namespaced: bool) -> Kind[admin.OwnedObject]:
    """Any kind that a server serves, read for its owners only."""
    return _kind(name, api_version, plural, admin.OwnedObject, is_namespaced=is_namespaced)
