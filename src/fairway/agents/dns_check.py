"""What can be said of a Corefile without serving it: whether it and the files that it names can be read."""

from __future__ import annotations

from typing import Protocol

from fairway.config import corefile_settings as config
from fairway.dns.chain import World, build_chain
from fairway.dns.state import ClusterState
from fairway.dns.zonefile import read_zone
from fairway.values.errors import ConfigError


class CheckedWorld(World, Protocol):
    """What of the outside is looked at."""

    def read_settings(self) -> tuple[str, config.CorefileSettings]:
        """Raises ConfigError."""
        ...

    def read_file(self, path: str, root: str) -> str:
        """Raises OSError."""
        ...


def check_corefile(world: CheckedWorld) -> None:
    """Raises ConfigError for the first mistake in the Corefile, its templates, upstreams, weights and zone files."""
    _version, settings = world.read_settings()
    for server in settings.servers:
        chain = build_chain(server, world, lambda _settings: ClusterState())
        for file, _ in chain.files:
            text = _text(world, file.file, server.root)
            for zone in file.zones:
                read_zone(text, zone, file.file)
        for balance in chain.balances:
            if balance.settings.weights:
                balance.load(_text(world, balance.settings.weights, server.root))


def _text(world: CheckedWorld, path: str, root: str) -> str:
    try:
        return world.read_file(path, root)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
