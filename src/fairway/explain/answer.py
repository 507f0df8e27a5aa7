"""A question answered by all layers that can be asked, and compared.

The plan's answer is the answer; items and kernel either agree or the first difference is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from fairway.explain.items_path import items_path
from fairway.explain.model import Answer, BackendAnswer, Disagreement, Layer, Origin, Path, Step, Verdict
from fairway.explain.plan_path import plan_path
from fairway.explain.question import Question
from fairway.plan.planner import Planner
from fairway.state.tables import State
from fairway.values.address import Family
from fairway.values.names import ServicePortName


class Tables(Protocol):
    """Wanted and, on a live node, dumped elements of one family."""

    @property
    def wanted(self) -> Mapping[str, Mapping[bytes, bytes]]:
        """What the plan asks for."""
        ...

    @property
    def kernel(self) -> Mapping[str, Mapping[bytes, bytes]] | None:
        """What the kernel holds; None offline."""
        ...

    def remembered(self, holder: ServicePortName | None, question: Question) -> Step | None:
        """What session affinity remembers of the client, if it is asked for at all."""
        ...

    def tampered(self, holder: ServicePortName | None, question: Question) -> Sequence[Disagreement]:
        """Elements and rules that concern this packet or its service port, and are not as wanted."""
        ...


class Explainer:
    """Answers questions for one node."""

    def __init__(self, state: State, planners: Mapping[Family, Planner], tables: Mapping[Family, Tables]) -> None:
        self._state = state
        self._planners = planners
        self._tables = tables

    def answer(self, question: Question) -> Answer:
        """Ask every layer and compare."""
        packet = question.packet
        family = packet.destination.family
        if family not in self._planners:
            return _not_served(question)
        planner, tables = self._planners[family], self._tables[family]
        plan, holder = plan_path(packet, planner, self._state)
        items = items_path(packet, tables.wanted, planner.view, Layer.ITEMS)
        layers, paths = [Layer.PLAN, Layer.ITEMS], [plan, items]
        if tables.kernel is not None:
            layers.append(Layer.KERNEL)
            paths.append(items_path(packet, tables.kernel, planner.view, Layer.KERNEL))
        found = _first(_compare(layers, paths), tables.tampered(holder, question))
        steps = [step for path in paths for step in path.steps]
        remembered = tables.remembered(holder, question)
        return Answer(
            question=question.text,
            verdict=plan.verdict,
            backends=plan.backends,
            steps=(*steps, *((remembered,) if remembered else ()), *_reply(question, plan)),
            agrees=found is None,
            layers=tuple(layers),
            disagreement=found,
            service_port=str(holder) if holder else "",
            node=planner.view.name,
        )


def _not_served(question: Question) -> Answer:
    """Nothing of this family is ours."""
    origin = Origin(object="KubeProxyConfiguration", field="bindAddress", rule=2)
    step = Step(Layer.PLAN, f"this node serves no {question.packet.destination.family}: left to its routes", origin)
    return Answer(question.text, Verdict.UNTOUCHED, (), (step,), agrees=True, layers=(Layer.PLAN,))


def _first(*groups: Iterable[Disagreement]) -> Disagreement | None:
    return next((one for group in groups for one in group), None)


def _compare(layers: Sequence[Layer], paths: Sequence[Path]) -> Iterable[Disagreement]:
    """Each layer with the one above it."""
    for upper, lower, above, below in zip(layers, layers[1:], paths, paths[1:], strict=False):
        pair = (upper, lower)
        if lower is Layer.KERNEL:
            yield from _compare_steps(pair, above, below)
        if above.verdict is not below.verdict:
            yield Disagreement(pair, "verdict", above.verdict.value, below.verdict.value)
        for what, expected, found in _backend_differences(above, below):
            yield Disagreement(pair, what, expected, found)


def _compare_steps(pair: tuple[Layer, Layer], above: Path, below: Path) -> Iterable[Disagreement]:
    """Lookup by lookup: the first that the kernel answers otherwise is the cause."""
    for wanted, found in zip(above.steps, below.steps, strict=False):
        expected, seen = wanted.source, found.source
        if (expected.map, expected.key) != (seen.map, seen.key):
            yield Disagreement(pair, f"{seen.map}[{seen.key}]", "absent", seen.value)
            return
        if expected.value != seen.value:
            yield Disagreement(pair, f"{expected.map}[{expected.key}]", expected.value, seen.value)
            return


def _backend_differences(above: Path, below: Path) -> Iterable[tuple[str, str, str]]:
    upper, lower = _by_target(above), _by_target(below)
    for target in sorted(upper.keys() | lower.keys()):
        expected, found = upper.get(target), lower.get(target)
        if expected != found:
            yield f"backend {target}", expected or "absent", found or "absent"


def _by_target(path: Path) -> dict[str, str]:
    return {f"{b.address} port {b.port}": _shown(b) for b in path.backends}


def _shown(backend: BackendAnswer) -> str:
    return f"probability {backend.probability:.6f}, {'masqueraded' if backend.masquerade else 'source kept'}"


def _reply(question: Question, plan: Path) -> Iterable[Step]:
    """How the answer finds its way back."""
    packet = question.packet
    if plan.verdict is Verdict.FORWARD:
        rewritten = {b.masquerade for b in plan.backends}
        if rewritten == {True}:
            back = "the backend answers this node, which undoes the masquerade"
        elif rewritten == {False}:
            back = f"the backend answers {packet.source} itself"
        else:
            back = "the backend answers this node where masqueraded, else the client itself"
        undone = packet.destination.with_port(packet.port)
        yield Step(Layer.REPLY, f"{back}; connection tracking restores {undone} as the source of the reply")
    elif plan.verdict is Verdict.REJECT:
        yield Step(Layer.REPLY, "the client is told at once: port unreachable")
    elif plan.verdict is Verdict.DROP:
        yield Step(Layer.REPLY, "none: the client waits until its own time-out")
