"""What an explanation says: the schema of `fairway explain -o json`, documented in docs/explain.md.

Fields are only ever added within a version; a change of meaning raises `SCHEMA`.
"""

from __future__ import annotations

from enum import Enum

import msgspec

SCHEMA = "fairway.explain/v1"


class Layer(Enum):
    """Who says it."""

    QUESTION = "question"
    PLAN = "plan"
    ITEMS = "items"
    KERNEL = "kernel"
    REPLY = "reply"


class Verdict(Enum):
    FORWARD = "forward"
    REJECT = "reject"
    DROP = "drop"
    UNTOUCHED = "untouched"


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """What decided: an object and its field, with the number of the rule (docs/semantics.md), or a kernel entry."""

    object: str = ""
    field: str = ""
    rule: int = 0
    map: str = ""
    key: str = ""
    value: str = ""


class Step(msgspec.Struct, frozen=True):
    """One step of the packet's way."""

    layer: Layer
    text: str
    source: Origin = Origin()


class BackendAnswer(msgspec.Struct, frozen=True, order=True):
    """Where the packet may go."""

    address: str
    port: int
    probability: float
    masquerade: bool
    endpoint: str = ""
    """The slice that the endpoint is from."""
    node: str = ""


class Path(msgspec.Struct, frozen=True):
    """One layer's answer."""

    verdict: Verdict
    backends: tuple[BackendAnswer, ...] = ()
    steps: tuple[Step, ...] = ()


class Disagreement(msgspec.Struct, frozen=True):
    """The first place where two layers differ."""

    between: tuple[Layer, Layer]
    what: str
    expected: str
    found: str


class Answer(msgspec.Struct, frozen=True):
    """One question answered."""

    question: str
    verdict: Verdict
    backends: tuple[BackendAnswer, ...]
    steps: tuple[Step, ...]
    agrees: bool
    """Whether plan, items and, on a live node, the kernel say the same."""
    layers: tuple[Layer, ...]
    """Who was asked."""
    disagreement: Disagreement | None = None
    service_port: str = ""
    node: str = ""
    schema: str = SCHEMA
