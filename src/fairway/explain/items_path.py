"""One packet through nftables elements, wanted or dumped, as an explanation's path."""

from __future__ import annotations

from fairway.dataplanes.nftables.trace import Elements, Trace, trace
from fairway.explain.model import BackendAnswer, Layer, Origin, Path, Step, Verdict
from fairway.plan.view import NodeView
from fairway.values.packet import Packet


def items_path(packet: Packet, elements: Elements, view: NodeView, layer: Layer) -> Path:
    """Where these elements send the packet."""
    found = trace(packet, elements, view)
    return Path(Verdict(found.fate.value), _backends(found), tuple(_steps(found, layer)))


def _backends(found: Trace) -> tuple[BackendAnswer, ...]:
    return tuple(BackendAnswer(str(t.address), t.port, t.probability, t.masquerade) for t in found.targets)


def _steps(found: Trace, layer: Layer) -> list[Step]:
    steps = []
    for container, key, value, conclusion in found.steps:
        text = f"{container}[{key}] = {value}" + (f": {conclusion}" if conclusion else "")
        steps.append(Step(layer, text, Origin(map=container, key=key, value=value)))
    return steps
