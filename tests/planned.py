"""A node without a kernel for tests: state, plan, items, difference and explanation of one family, joined as the proxy
joins them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.dataplane import NftablesDataplane
from fairway.explain.answer import Explainer
from fairway.explain.model import Answer, Disagreement
from fairway.explain.question import Question
from fairway.kube import decode
from fairway.plan.model import PlannedService
from fairway.plan.planner import Planner, ServiceChange
from fairway.plan.view import NodeView
from fairway.reconcile.difference import Difference
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Family
from fairway.values.names import ObjectName
from fairway.values.packet import Packet
from fairway.values.protocol import Protocol

Tree = Mapping[str, Any]


class Node:
    """One family of one node."""

    def __init__(self, state: State, view: NodeView) -> None:
        self.state = state
        self.writer = Writer(state)
        self.planner = Planner(state, view)
        self.dataplane = NftablesDataplane()
        self.difference = Difference(self.dataplane.containers)
        self.difference.set_wanted("node", self.dataplane.node_items(view))

    @classmethod
    def of(cls, state: State, view: NodeView) -> Node:
        """All Services of the state planned, one after the other."""
        node = cls(state, view)
        node.replan(list(state.service_names()))
        return node

    def replan(self, names: Iterable[ObjectName]) -> None:
        """As FamilySync does, without a kernel."""
        self.want(self.planner.replan(names))

    def set_view(self, view: NodeView) -> None:
        """This node changed."""
        self.difference.set_wanted("node", self.dataplane.node_items(view))
        self.want(self.planner.set_view(view))

    def want(self, changes: Iterable[ServiceChange]) -> None:
        """What FamilySync does with changes."""
        for change in changes:
            self.difference.set_wanted(change.name, self.dataplane.service_items(change.after) if change.after else ())
            for port in change.ports:
                self.difference.set_wanted(port.name, self.dataplane.port_items(port.after) if port.after else ())

    def sync(self) -> None:
        """Plan what the writer says has changed."""
        self.replan(self.writer.take_changes().services)

    def replace(self, before: Sequence[Tree], after: Sequence[Tree]) -> None:
        """From one set of objects to another: one event an object, then one plan."""
        kept = {_identity(tree) for tree in after}
        for tree in before:
            if _identity(tree) not in kept:
                self._remove(tree)
        for tree in after:
            match tree["kind"]:
                case "Service":
                    self.writer.put_service(decode.SERVICE.decode(tree))
                case "EndpointSlice":
                    self.writer.put_slice(decode.ENDPOINT_SLICE.decode(tree))
        self.sync()

    def _remove(self, tree: Tree) -> None:
        name = ObjectName(*_identity(tree)[1:])
        match tree["kind"]:
            case "Service":
                self.writer.remove_service(name)
            case "EndpointSlice":
                self.writer.remove_slice(name)

    def plan(self) -> dict[ObjectName, PlannedService]:
        """Everything planned, by Service."""
        return {planned.name: planned for planned in self.planner.all_planned()}

    @property
    def wanted(self) -> dict[str, dict[Hashable, Hashable]]:
        """Every wanted item: container to key to value."""
        return {c.name: dict(self.difference.wanted(c.name)) for c in layout.CONTAINERS}

    def answer(self, one: Packet) -> Answer:
        """What plan and items say of a packet."""
        return self.explainer().answer(Question(str(one), one))

    def explainer(self) -> Explainer:
        """Of what is planned now; for many questions."""
        family: Family = self.planner.view.family
        return Explainer(self.state, {family: self.planner}, {family: _Tables(self.wanted)})


class _Tables:
    """Wanted elements, no kernel."""

    kernel = None

    def __init__(self, wanted: Mapping[str, Mapping[Any, Any]]) -> None:
        self.wanted = wanted

    def remembered(self, *_: object) -> None: ...

    def tampered(self, *_: object) -> Sequence[Disagreement]:
        return ()


def _identity(tree: Tree) -> tuple[str, str, str]:
    meta = tree["metadata"]
    return tree["kind"], meta.get("namespace", "default"), meta["name"]


def packet(source: str, destination: str, port: int, protocol: str = "tcp", interface: str = "") -> Packet:
    """A packet from text."""
    return Packet(Address.parse(source), Address.parse(destination), Protocol.parse(protocol), port, interface)
