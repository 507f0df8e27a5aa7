"""One object's JSON, or the tree that YAML gave, to the small frozen struct of its kind.

This is the door: past it there are no dicts and no bare strings. Which objects matter to whom is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from fairway.kube import cluster, endpointslice, service
from fairway.kube.cluster import Namespace, Node, Pod, ServiceCIDR
from fairway.kube.endpointslice import EndpointSlice
from fairway.kube.meta import MALFORMED, schema_error
from fairway.kube.service import Service

W = TypeVar("W")
T = TypeVar("T")

Raw = bytes | bytearray | memoryview | msgspec.Raw | Mapping[str, Any]
"""JSON text of one object, or its tree."""


class Kind(NamedTuple, Generic[T]):
    """Where objects of a kind live in the API and how one is decoded."""

    name: str
    api_version: str
    plural: str
    is_namespaced: bool
    decode: Callable[[Raw], T]
    """Raises ObjectError naming object, field and value."""

    @property
    def path(self) -> str:
        """`/api/v1/services`, `/apis/discovery.k8s.io/v1/endpointslices`."""
        root = "/api" if "/" not in self.api_version else "/apis"
        return f"{root}/{self.api_version}/{self.plural}"


def _decoder(kind: str, wire: type[W], finish: Callable[[W], T]) -> Callable[[Raw], T]:
    json_decoder = msgspec.json.Decoder(wire)

    def decode(raw: Raw) -> T:
        try:
            parsed = msgspec.convert(raw, wire) if isinstance(raw, Mapping) else json_decoder.decode(raw)
        except MALFORMED as error:
            raise schema_error(kind, raw, error) from None
        return finish(parsed)

    return decode


SERVICE: Kind[Service] = Kind(
    "Service", "v1", "services", True, _decoder("Service", service.WireService, service.service_from_wire)
)
ENDPOINT_SLICE: Kind[EndpointSlice] = Kind(
    "EndpointSlice",
    "discovery.k8s.io/v1",
    "endpointslices",
    True,
    _decoder("EndpointSlice", endpointslice.WireEndpointSlice, endpointslice.slice_from_wire),
)
ENDPOINTS: Kind[tuple[EndpointSlice, ...]] = Kind(
    "Endpoints",
    "v1",
    "endpoints",
    True,
    _decoder("Endpoints", endpointslice.WireEndpoints, endpointslice.slices_from_endpoints),
)
NODE: Kind[Node] = Kind("Node", "v1", "nodes", False, _decoder("Node", cluster.WireNode, cluster.node_from_wire))
POD: Kind[Pod] = Kind("Pod", "v1", "pods", True, _decoder("Pod", cluster.WirePod, cluster.pod_from_wire))
NAMESPACE: Kind[Namespace] = Kind(
    "Namespace",
    "v1",
    "namespaces",
    False,
    _decoder("Namespace", cluster.WireNamespace, cluster.namespace_from_wire),
)
SERVICE_CIDR: Kind[ServiceCIDR] = Kind(
    "ServiceCIDR",
    "networking.k8s.io/v1",
    "servicecidrs",
    False,
    _decoder("ServiceCIDR", cluster.WireServiceCIDR, cluster.service_cidr_from_wire),
)
