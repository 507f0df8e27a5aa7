"""A path of the API → what it names: group, version, resource, namespace, name, sub-resource."""

from __future__ import annotations

from typing import NamedTuple


class Route(NamedTuple):
    """The parts of a path below `/api/v1` or `/apis/GROUP/VERSION`."""

    group: str
    version: str
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watch: bool = False


def parse(path: str) -> Route | None:
    """None for what is not below an API version."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = bool(rest) and rest[0] == "watch"
    if watch:
        rest = rest[1:]
    namespace = ""
    if (len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize")) or (
        len(rest) > 3 and rest[0] == "namespaces"
    ):
        namespace, rest = rest[1], rest[2:]
    padded = [*rest, "", "", ""]
    return Route(group, version, padded[0], namespace, padded[1], padded[2], "/".join(rest[3:]), watch)
