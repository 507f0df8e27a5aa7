"""`--on NODE`: a command looks at a node of this machine's cluster, in its network, by its proxy's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fairway.values.errors import ConfigError

if TYPE_CHECKING:
    from fairway.cluster.settings import ClusterSettings
    from fairway.cluster.topology import ClusterNode

FLAG: Final = "--on"


def take_on(arguments: Sequence[str]) -> list[str]:
    """The words without the flag. With it, this thread goes to the node, and the node's configuration is named."""
    words = list(arguments)
    place = next((i for i, word in enumerate(words) if word == FLAG or word.startswith(f"{FLAG}=")), None)
    if place is None:
        return words
    word, equals, name = words.pop(place).partition("=")
    if not equals:
        if place >= len(words):
            raise ConfigError(f"{word} needs a node's name")
        name = words.pop(place)
    return ["--config", str(enter(name)), *words]


def enter(name: str) -> str:
    """Move this thread to a node; returns the path of its proxy's configuration."""
    from fairway.cli.clusters import find
    from fairway.cluster.settings import DEFAULT_NAME
    from fairway.io.host import netns

    cluster, _, own = name.rpartition("/")
    folder = find(FLAG, cluster or DEFAULT_NAME)
    node = node_of(folder.settings(), own)
    netns.enter(node.namespace)
    return str(folder.proxy_config(node.name))


def node_of(settings: ClusterSettings, name: str) -> ClusterNode:
    """Raises ConfigError when there is none of this name."""
    nodes = settings.topology.nodes
    found = next((one for one in nodes if one.name == name), None)
    if found is None:
        raise ConfigError(f"{name!r} is no node of this cluster (there is: {', '.join(one.name for one in nodes)})")
    return found
