"""Which ConfigMaps and Secrets a pod names. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fairway.kube.podspec import Container, NodePod, Volume


class Named(NamedTuple):
    """Names in the pod's own namespace."""

    config_maps: frozenset[str]
    secrets: frozenset[str]


def references(pod: NodePod) -> Named:
    """All that its containers' environments and its volumes name."""
    found = [
        *(one for container in pod.all_containers for one in _of_container(container)),
        *(one for volume in pod.spec.volumes or () for one in _of_volume(volume)),
    ]
    maps, secrets = (frozenset(name for kind, name in found if kind == wanted and name) for wanted in ("map", "secret"))
    return Named(maps, secrets)


def _of_container(container: Container) -> Iterator[tuple[str, str]]:
    for origin in container.env_from or ():
        if origin.config_map_ref is not None:
            yield "map", origin.config_map_ref.name
        if origin.secret_ref is not None:
            yield "secret", origin.secret_ref.name
    for one in container.env or ():
        source = one.value_from
        if source is not None and source.config_map_key_ref is not None:
            yield "map", source.config_map_key_ref.name
        if source is not None and source.secret_key_ref is not None:
            yield "secret", source.secret_key_ref.name


def _of_volume(volume: Volume) -> Iterator[tuple[str, str]]:
    if volume.config_map is not None:
        yield "map", volume.config_map.name
    if volume.secret is not None:
        yield "secret", volume.secret.secret_name
    for source in (volume.projected.sources or ()) if volume.projected is not None else ():
        if source.config_map is not None:
            yield "map", source.config_map.name
        if source.secret is not None:
            yield "secret", source.secret.name
