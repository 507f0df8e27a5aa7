"""`/metrics`: what is stored, in Prometheus' text form and under kube-apiserver's names."""

from __future__ import annotations

from fairway.apiserver.context import Server

MEDIA = "text/plain; version=0.0.4; charset=utf-8"


def metrics(server: Server) -> bytes:
    """Objects of each kind, and the newest version."""
    counts = {
        f"{one.plural}.{one.group}" if one.group else one.plural: server.store.count(one.key) for one in server.registry
    }
    lines = [
        "# HELP apiserver_storage_objects Number of stored objects, by kind.",
        "# TYPE apiserver_storage_objects gauge",
        *(f'apiserver_storage_objects{{resource="{name}"}} {counts[name]}' for name in sorted(counts)),
        "# HELP fairway_storage_version The newest resourceVersion.",
        "# TYPE fairway_storage_version gauge",
        f"fairway_storage_version {server.store.version}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()
