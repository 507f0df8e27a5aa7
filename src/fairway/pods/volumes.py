"""The files of configMap, secret, downwardAPI and projected volumes, and where each volume is mounted. Pure.

Decides names, contents and modes. Tokens are asked for by whoever has the API (`TokenWish`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from fairway.kube.podspec import (
    Container,
    DownwardVolume,
    KeyToPath,
    NodePod,
    ProjectedVolume,
    TokenProjection,
    Volume,
)
from fairway.pods.environment import MissingReferenceError, NodeFacts, Sources, expand, field_value, resource_value

DEFAULT_MODE: Final = 0o644


class File(NamedTuple):
    """A file of a volume, by its path in it."""

    path: str
    data: bytes
    mode: int


class TokenWish(NamedTuple):
    """A service account token that belongs into a volume."""

    path: str
    audience: str
    seconds: int
    mode: int


class Content(NamedTuple):
    files: tuple[File, ...] = ()
    tokens: tuple[TokenWish, ...] = ()


def content(pod: NodePod, volume: Volume, sources: Sources, node: NodeFacts) -> Content:
    """What lies in a volume whose files the API holds. Raises MissingReferenceError."""
    if volume.config_map is not None:
        one = volume.config_map
        keys = _keys(sources.config_maps, "configmap", one.name, one.items, is_optional=bool(one.optional))
        return Content(tuple(_modes(keys, one.default_mode)))
    if volume.secret is not None:
        own = volume.secret
        keys = _keys(sources.secrets, "secret", own.secret_name, own.items, is_optional=bool(own.optional))
        return Content(tuple(_modes(keys, own.default_mode)))
    if volume.downward_api is not None:
        return Content(tuple(_downward(pod, volume.downward_api, volume.downward_api.default_mode, node)))
    if volume.projected is not None:
        return _projected(pod, volume.projected, sources, node)
    return Content()


def _projected(pod: NodePod, volume: ProjectedVolume, sources: Sources, node: NodeFacts) -> Content:
    """Later sources win where paths meet."""
    files: dict[str, File] = {}
    tokens: list[TokenWish] = []
    mode = volume.default_mode
    for source in volume.sources or ():
        found: Iterable[File] = ()
        if source.config_map is not None:
            one = source.config_map
            keys = _keys(sources.config_maps, "configmap", one.name, one.items, is_optional=bool(one.optional))
            found = _modes(keys, mode)
        elif source.secret is not None:
            own = source.secret
            keys = _keys(sources.secrets, "secret", own.name, own.items, is_optional=bool(own.optional))
            found = _modes(keys, mode)
        elif source.downward_api is not None:
            found = _downward(pod, source.downward_api, mode, node)
        elif source.service_account_token is not None:
            tokens.append(_token(source.service_account_token, mode))
        files |= {file.path: file for file in found}
    return Content(tuple(files[path] for path in sorted(files)), tuple(tokens))


def token_wishes(pod: NodePod) -> Iterable[tuple[str, TokenWish]]:
    """All tokens that a pod's volumes ask for, by the volume's name."""
    for volume in pod.spec.volumes or ():
        for source in (volume.projected.sources or ()) if volume.projected is not None else ():
            if source.service_account_token is not None:
                mode = volume.projected.default_mode if volume.projected is not None else None
                yield volume.name, _token(source.service_account_token, mode)


def _token(token: TokenProjection, mode: int | None) -> TokenWish:
    path = _inside(token.path)
    return TokenWish(path, token.audience or "", token.expiration_seconds, DEFAULT_MODE if mode is None else mode)


def _keys(
    table: Mapping[str, Mapping[str, str]],
    kind: str,
    name: str,
    items: tuple[KeyToPath, ...] | None,
    *,
    is_optional: bool,
) -> list[tuple[str, str, int | None]]:
    """Path, text and own mode of each key that is wanted."""
    data = table.get(name)
    if data is None:
        if is_optional:
            return []
        raise MissingReferenceError(f'{kind} "{name}" not found')
    if items is None:
        return [(key, data[key], None) for key in sorted(data)]
    found = []
    for item in items:
        if item.key in data:
            found.append((_inside(item.path), data[item.key], item.mode))
        elif not is_optional:
            raise MissingReferenceError(f"references non-existent {kind} key: {item.key}")
    return found


def _modes(keys: Iterable[tuple[str, str, int | None]], default: int | None) -> Iterable[File]:
    fallback = DEFAULT_MODE if default is None else default
    for path, text, mode in keys:
        yield File(path, text.encode("utf-8", "surrogateescape"), fallback if mode is None else mode)


def _downward(pod: NodePod, volume: DownwardVolume, default: int | None, node: NodeFacts) -> Iterable[File]:
    fallback = DEFAULT_MODE if default is None else default
    for item in volume.items or ():
        text = ""
        if item.field_ref is not None:
            text = field_value(pod, item.field_ref, node)
        elif item.resource_field_ref is not None and pod.spec.containers:
            text = resource_value(pod, pod.spec.containers[0], item.resource_field_ref, node)
        yield File(_inside(item.path), text.encode(), fallback if item.mode is None else item.mode)


def _inside(path: str) -> str:
    """A path that stays in its volume; the API checks this too, but a node writes as root."""
    if path.startswith("/") or ".." in path.split("/"):
        raise MissingReferenceError(f"path {path!r} leaves the volume")
    return posixpath.normpath(path)


class Placed(NamedTuple):
    """One mount of a container: a part of a volume at a path."""

    volume: str
    sub_path: str
    target: str
    is_read_only: bool


def placements(pod: NodePod, container: Container, env: Mapping[str, str]) -> tuple[Placed, ...]:
    """Where the container's volumes go. Volumes from the API are read-only, as kubelet mounts them."""
    volumes = {one.name: one for one in pod.spec.volumes or ()}
    found = []
    for mount in container.volume_mounts or ():
        volume = volumes.get(mount.name)
        if volume is None:
            raise MissingReferenceError(f'volume "{mount.name}" of a mount is not in spec.volumes')
        sub = _inside(expand(mount.sub_path_expr, env) if mount.sub_path_expr else mount.sub_path or ".")
        fixed = volume.empty_dir is None and volume.host_path is None
        found.append(Placed(mount.name, "" if sub == "." else sub, mount.mount_path, bool(mount.read_only) or fixed))
    return tuple(found)
