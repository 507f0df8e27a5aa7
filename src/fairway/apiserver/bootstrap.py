"""What a cluster has from its first moment: namespaces, the default ServiceCIDR, the Service `default/kubernetes`."""

from __future__ import annotations

import ipaddress

from fairway.apiserver import gotime
from fairway.apiserver.context import Server
from fairway.apiserver.kinds import crds
from fairway.apiserver.request import Json

_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_LABELS = {"component": "apiserver", "provider": "kubernetes"}


def _meta(server: Server, name: str, now: float, namespace: str = "") -> Json:
    import uuid

    meta: Json = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    uid = str(uuid.UUID(bytes=server.env.random(16), version=4))
    return {**meta, "uid": uid, "creationTimestamp": gotime.from_seconds(now)}


def bootstrap(server: Server) -> None:
    """Make what is missing; idempotent."""
    now = server.env.now()
    for name in _NAMESPACES:
        if server.store.get("namespaces", name) is None:
            meta = _meta(server, name, now) | {"labels": {"kubernetes.io/metadata.name": name}}
            server.write(
                "namespaces",
                name,
                {"metadata": meta, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}},
                now,
            )
    _service_cidr(server, now)
    _kubernetes_service(server, now)
    _kubernetes_endpoints(server, now)
    crds.restore(server)


def _service_cidr(server: Server, now: float) -> None:
    key = "servicecidrs.networking.k8s.io"
    if server.store.get(key, "kubernetes") is not None:
        return
    condition = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": gotime.from_seconds(now),
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
    }
    obj = {
        "metadata": _meta(server, "kubernetes", now),
        "spec": {"cidrs": list(server.settings.service_cidrs)},
        "status": {"conditions": [condition]},
    }
    server.write(key, "kubernetes", obj, now)


def _first(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr)[1])


def _kubernetes_service(server: Server, now: float) -> None:
    if server.store.get("services", "default/kubernetes") is not None:
        return
    address = _first(server.settings.service_cidrs[0])
    family = "IPv6" if ":" in address else "IPv4"
    parent = {"resource": "services", "namespace": "default", "name": "kubernetes"}
    labels = {"ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
    obj: Json = {"metadata": _meta(server, address, now) | {"labels": labels}, "spec": {"parentRef": parent}}
    if server.store.get("ipaddresses.networking.k8s.io", address) is None:
        server.write("ipaddresses.networking.k8s.io", address, obj, now)
    port = {"name": "https", "protocol": "TCP", "port": 443, "targetPort": server.settings.advertise[1]}
    spec = {
        "ports": [port],
        "clusterIP": address,
        "clusterIPs": [address],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": [family],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }
    meta = _meta(server, "kubernetes", now, "default") | {"labels": dict(_LABELS)}
    server.write(
        "services", "default/kubernetes", {"metadata": meta, "spec": spec, "status": {"loadBalancer": {}}}, now
    )


def _kubernetes_endpoints(server: Server, now: float) -> None:
    """Where the API server is reached; written anew when its address changed."""
    host, port = server.settings.advertise
    address = ipaddress.ip_address(host)
    if address.is_loopback or address.is_unspecified:
        return  # an address that no endpoint may have
    mirrored = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    subsets = [{"addresses": [{"ip": host}], "ports": ports}]
    _put(server, "endpoints", {"metadata": {"labels": mirrored}, "subsets": subsets}, now)
    endpoint = {"addresses": [host], "conditions": {"ready": True}}
    slice_: Json = {
        "metadata": {"labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv6" if address.version == 6 else "IPv4",
        "endpoints": [endpoint],
        "ports": ports,
    }
    _put(server, "endpointslices.discovery.k8s.io", slice_, now)


def _put(server: Server, resource: str, obj: Json, now: float) -> None:
    key = "default/kubernetes"
    old = server.read(resource, key)
    meta = old["metadata"] if old is not None else _meta(server, "kubernetes", now, "default")
    new = {**obj, "metadata": {**meta, **obj["metadata"]}}
    if new != old:
        server.write(resource, key, new, now)
