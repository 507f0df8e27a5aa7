"""The nftables dataplane of one IP family: items with the numbers that their keys need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.items import node_items, port_items, service_items
from fairway.dataplanes.nftables.numbers import NftablesNumbers
from fairway.dataplanes.nftables.show import show_key, show_value
from fairway.plan.model import PlannedPort, PlannedService
from fairway.plan.view import NodeView
from fairway.reconcile.items import Container, Item
from fairway.values.names import ServicePortName


class NftablesDataplane:
    """See fairway.agents.dataplane.Dataplane."""

    def __init__(self) -> None:
        self._numbers = NftablesNumbers()

    @property
    def containers(self) -> Sequence[Container]:
        return layout.CONTAINERS

    @property
    def atomic_stages(self) -> int:
        return layout.ATOMIC_STAGES

    def port_items(self, port: PlannedPort) -> Sequence[Item]:
        return port_items(port, self._numbers)

    def service_items(self, service: PlannedService) -> Sequence[Item]:
        return service_items(service)

    def node_items(self, view: NodeView) -> Sequence[Item]:
        return node_items(view)

    def show(self, container: str, key: Any, value: Any) -> str:
        return f"{container}[{show_key(container, key)}] = {show_value(container, value)}"

    def forget(self, name: ServicePortName, now: PlannedPort | None) -> None:
        if now is None:
            self._numbers.release(name)
        else:
            self._numbers.keep_endpoints(now)

    def recover(self, known: Callable[[str], Mapping[Any, Any]]) -> None:
        self._numbers.recover(known(layout.COUNTS), known(layout.ENDPOINTS))

    def filled(self) -> None:
        self._numbers.release_recovered()
