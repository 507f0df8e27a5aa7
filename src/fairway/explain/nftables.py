"""The fairway table of one IP family as an explanation asks for it: wanted, dumped, and where the two differ.

Only what concerns the packet or its service port counts as a difference of the answer; the rest is `proxy status`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.show import show_key, show_value
from fairway.explain.model import Disagreement, Layer, Origin, Step
from fairway.explain.question import Question
from fairway.reconcile.difference import Difference
from fairway.reconcile.items import Item
from fairway.values.names import ServicePortName

_PAIR = (Layer.ITEMS, Layer.KERNEL)
_BY_SVC = (layout.COUNTS, layout.BACKENDS, layout.BACKEND_IDS, layout.ENDPOINTS, layout.SOURCE_RANGES)
_BY_FRONTEND = (layout.FRONTENDS, layout.INSIDE, layout.GUARDED)
_WHOLE = (layout.PODS, layout.SERVICE_CIDRS)


class NftablesTables(NamedTuple):
    """fairway.explain.answer.Tables over a difference that was loaded from a dump, or offline never was."""

    difference: Difference
    skeleton: Sequence[str] = ()
    """What is wrong with the constant rules, one line each."""
    is_live: bool = True
    ask: Callable[[str, Any], Any | None] | None = None
    """Asks the kernel for one element; None offline."""

    @property
    def wanted(self) -> Mapping[str, Mapping[Any, Any]]:
        return {c.name: self.difference.wanted(c.name) for c in layout.CONTAINERS}

    @property
    def kernel(self) -> Mapping[str, Mapping[Any, Any]] | None:
        if not self.is_live:
            return None
        return {c.name: self.difference.known(c.name) for c in layout.CONTAINERS}

    def tampered(self, holder: ServicePortName | None, question: Question) -> Sequence[Disagreement]:
        """Elements and rules that concern this packet or its service port, and are not as wanted."""
        if not self.is_live:
            return ()
        items = self.difference.owned(holder) if holder is not None else ()
        return [
            *(Disagreement(_PAIR, "rules", "as the skeleton has them", line) for line in self.skeleton),
            *self._changed(items),
            *self._added(items, question),
        ]

    def remembered(self, holder: ServicePortName | None, question: Question) -> Step | None:
        """What session affinity remembers of the client; None when the service port has none, or offline."""
        items = self.difference.owned(holder) if holder is not None else ()
        numbers = [_svc_of(item.container, item.key) for item in items if item.container == layout.BACKEND_IDS]
        if self.ask is None or not numbers:
            return None
        svc, client = numbers[0], question.packet.source
        data = self.ask(layout.AFFINITY, layout.affinity_key(svc, client))
        key = f"svc {svc & ~1} . {client}"
        if data is None:
            origin = Origin(map=layout.AFFINITY, key=key, value="no element")
            return Step(
                Layer.KERNEL, f"affinity[{key}] = no element: this client is new, any backend may be drawn", origin
            )
        number = layout.unpack_id(data)
        ends = (self.difference.known(layout.ENDPOINTS).get(layout.place_key(number, n)) for n in set(numbers))
        kept = next((show_value(layout.ENDPOINTS, end) for end in ends if end is not None), "")
        origin = Origin(map=layout.AFFINITY, key=key, value=f"id {number}")
        said = f"this client keeps {kept}" if kept else "its backend is gone, another will be drawn"
        return Step(Layer.KERNEL, f"affinity[{key}] = id {number}: {said}", origin)

    def _changed(self, items: Sequence[Item]) -> Iterator[Disagreement]:
        """What the service port wants, and the kernel has not or has otherwise."""
        for container, key, value in items:
            found = self.difference.known(container).get(key)
            if found != value:
                yield _disagreement(container, key, value, found)

    def _added(self, items: Sequence[Item], question: Question) -> Iterator[Disagreement]:
        """What the kernel has beyond what anybody wants, near this packet."""
        packet = question.packet
        numbers = {_svc_of(item.container, item.key) for item in items if item.container in _BY_SVC}
        frontend = layout.frontend_key(packet.destination, packet.protocol, packet.port)
        for container in layout.CONTAINERS:
            name = container.name
            wanted = self.difference.wanted(name)
            for key, found in self._near(name, numbers, frontend, bytes(packet.destination)):
                if key not in wanted:
                    yield _disagreement(name, key, None, found)

    def _near(
        self, container: str, numbers: set[int], frontend: bytes, destination: bytes
    ) -> Iterator[tuple[Any, Any]]:
        known = self.difference.known(container)
        if container in _BY_SVC:
            yield from ((k, v) for k, v in known.items() if _svc_of(container, k) in numbers)
        elif container in _BY_FRONTEND or container == layout.CLUSTER_IPS:
            key = frontend if container in _BY_FRONTEND else destination
            if key in known:
                yield key, known[key]
        elif container in _WHOLE:
            yield from known.items()


def _svc_of(container: str, key: Any) -> int:
    if container in (layout.COUNTS, layout.SOURCE_RANGES):
        return layout.unpack_svc_key(key[:4])
    return layout.unpack_place_key(key)[1]


def _disagreement(container: str, key: Any, wanted: Any, found: Any) -> Disagreement:
    name = f"{container}[{show_key(container, key)}]"
    return Disagreement(_PAIR, name, show_value(container, wanted), show_value(container, found))
