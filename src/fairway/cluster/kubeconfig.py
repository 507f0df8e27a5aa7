"""A cluster's entry in a kubeconfig: made, merged into what a user has, taken out again. Trees in, trees out.

As kind does it: cluster, user and context of one name, the context made current; what others wrote stays as it is.
"""

from __future__ import annotations

import copy
import posixpath
from typing import Any, NamedTuple

from fairway.values.errors import ConfigError

Tree = dict[str, Any]
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_LISTS = {"clusters": "cluster", "users": "user", "contexts": "context"}


class Access(NamedTuple):
    """How a cluster is reached, in the words of a kubeconfig."""

    cluster: Tree
    user: Tree


def single(name: str, access: Access) -> Tree:
    """A kubeconfig of this cluster alone."""
    return merged({}, name, access)


def merged(old: Tree, name: str, access: Access) -> Tree:
    """The user's kubeconfig with the cluster in it, current. Raises ConfigError when it is not shaped like one."""
    tree = without(old, name)
    entries = {"clusters": access.cluster, "users": access.user, "contexts": {"cluster": name, "user": name}}
    for plural, entry in entries.items():
        tree[plural] = [*(tree.get(plural) or []), {"name": name, _LISTS[plural]: entry}]
    return {"apiVersion": "v1", "kind": "Config", **tree, "current-context": name}


def without(old: Tree, name: str) -> Tree:
    """The user's kubeconfig without the cluster; nothing is current when it was."""
    tree = copy.deepcopy(old)
    for plural in _LISTS:
        listed = tree.get(plural)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise ConfigError(f"{plural}: a list of named entries is expected")
        tree[plural] = [one for one in listed if one.get("name") != name]
    if tree.get("current-context") == name:
        tree["current-context"] = ""
    return tree


def access_of(tree: Tree, context: str = "") -> Access:
    """What a context (the current one, when none is named) says. Raises ConfigError, naming what is missing."""
    name = context or tree.get("current-context") or ""
    chosen = _find(tree, "contexts", name)
    return Access(_find(tree, "clusters", chosen.get("cluster", "")), _find(tree, "users", chosen.get("user", "")))


def anchored(access: Access, folder: str) -> Access:
    """The same from anywhere: files are named relative to the kubeconfig that names them."""
    trees = [
        {key: posixpath.join(folder, value) if key in _FILES and value else value for key, value in tree.items()}
        for tree in access
    ]
    return Access(*trees)


def _find(tree: Tree, plural: str, name: str) -> Tree:
    for one in tree.get(plural) or []:
        if one.get("name") == name and isinstance(one.get(_LISTS[plural]), dict):
            return dict(one[_LISTS[plural]])
    raise ConfigError(f"{plural}: {name!r} is not defined")


def is_empty(tree: Tree) -> bool:
    """Nothing is left that anybody put there."""
    return not any(tree.get(plural) for plural in _LISTS)
