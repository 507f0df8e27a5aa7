"""The proxy put together: which real parts stand behind the Protocols of the loops."""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairway.agents.family import FamilySync
from fairway.agents.node_view import NodeViews
from fairway.cli.logs import apply_logging
from fairway.config.proxy import Loaded, Mode, ProxySettings, load, serves_localhost
from fairway.dataplanes.nftables.dataplane import NftablesDataplane
from fairway.dataplanes.nftables.skeleton import PodInterface, PodRanges, SkeletonSettings
from fairway.io.netlink.nftables import NftablesKernel
from fairway.io.netlink.nftables_events import NftablesEvents
from fairway.plan.view import DetectLocal, NodeView
from fairway.reconcile.items import Item, Operation
from fairway.state.tables import State
from fairway.values.address import Family
from fairway.values.errors import ConfigError


class NftablesFamily:
    """fairway.agents.dataplane.Kernel over one family's table."""

    def __init__(self, family: Family, settings: ProxySettings) -> None:
        self._kernel = NftablesKernel(family)
        self.settings = settings

    def ensure(self, view: NodeView, items: Callable[[], Iterable[Item]]) -> Sequence[str]:
        return self._kernel.ensure_skeleton(skeleton_settings(self.settings, view), items)

    @property
    def port(self) -> int:
        """The netlink port that this family's transactions come from."""
        return self._kernel.port

    def events(self, own_ports: Iterable[int]) -> NftablesEvents:
        """What others than `own_ports` do to this family's table."""
        return NftablesEvents(self._kernel.family, own_ports)

    def check(self, view: NodeView) -> Sequence[str]:
        """What `ensure` would mend."""
        return self._kernel.check_skeleton(skeleton_settings(self.settings, view))

    def apply(self, operations: Sequence[Operation]) -> None:
        self._kernel.apply(operations)

    def dump(self, container: str) -> Iterator[Sequence[tuple[Any, Any]]]:
        return self._kernel.dump(container)

    def get(self, container: str, key: Any) -> Any | None:
        return self._kernel.get(container, key)

    def suspects(self, container: str, known: Mapping[Any, Any]) -> Iterator[Collection[Any]]:
        return self._kernel.suspects(container, known)


def skeleton_settings(settings: ProxySettings, view: NodeView) -> SkeletonSettings:
    """What the constant rules depend on."""
    detector = view.detector
    pods: PodRanges | PodInterface | None = None
    match detector.mode:
        case DetectLocal.PREFIXES:
            pods = PodRanges()
        case DetectLocal.INTERFACE | DetectLocal.INTERFACE_PREFIX:
            pods = PodInterface(detector.interface, detector.mode is DetectLocal.INTERFACE_PREFIX)
        case DetectLocal.NONE:
            pass
    return SkeletonSettings(
        family=view.family,
        pods=pods,
        drop_invalid=not settings.conntrack.tcp_be_liberal,
        guard_localhost=view.family is Family.IPV4 and serves_localhost(settings, view.primary),
    )


def load_settings(flags: Mapping[str, str], *, sets_logs: bool = False) -> Loaded:
    """The configuration file, if one is named, under the flags. Warnings go to the log; `sets_logs`: as it says."""
    path, text = flags.get("config"), None
    if path:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--config: {path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"--config: {path}: not UTF-8: {error}") from None
    loaded = load(text, flags, source=path or "", strict=flags.get("strict-config") == "true")
    if sets_logs:
        apply_logging(loaded.settings.logging)
    for warning in loaded.warnings:
        logging.getLogger("fairway").warning("config %s", warning)
    if loaded.settings.mode is not Mode.NFTABLES:
        raise ConfigError(f"mode: {loaded.settings.mode.value} is not there yet; nftables is")
    return loaded


def host_name() -> str:
    """The name that this machine calls itself."""
    return socket.gethostname()


def make_families(state: State, views: NodeViews, kernels: Mapping[Family, NftablesFamily]) -> dict[Family, FamilySync]:
    """The nftables dataplane on the real kernel, one a family."""
    return {
        family: FamilySync(state, views.view(family), NftablesDataplane(), kernel) for family, kernel in kernels.items()
    }


uniform = random.random
"""Randomness for back-off: nothing secret hangs on it."""
