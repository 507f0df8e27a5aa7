"""What functions there are: signatures as text, each with what it does.

A signature is `name(string, list(A)) bool`, or `string:name(int) bool` for a method. Several of one name are overloads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fairway.apiserver.cel.types import Type, parse, split

Function = Callable[..., Any]


class Overload(NamedTuple):
    """One signature of a name; a method's target is the first argument."""

    member: bool
    arguments: tuple[Type, ...]
    result: Type
    run: Function


Table = Mapping[str, tuple[Overload, ...]]


def table(*parts: Mapping[str, Function]) -> Table:
    """Signatures with their functions, by name."""
    out: dict[str, list[Overload]] = {}
    for part in parts:
        for signature, run in part.items():
            name, overload = _overload(signature, run)
            out.setdefault(name, []).append(overload)
    return {name: tuple(found) for name, found in out.items()}


def _overload(signature: str, run: Function) -> tuple[str, Overload]:
    head, _, tail = signature.partition(" -> ")
    target, colon, rest = head.partition(":")
    if not colon:
        target, rest = "", head
    name, _, arguments = rest.partition("(")
    types = ([target] if colon else []) + split(arguments[:-1])
    return name, Overload(bool(colon), tuple(map(parse, types)), parse(tail), run)


@functools.cache
def library() -> Table:
    """All that Kubernetes gives to rules."""
    from fairway.apiserver.cel.library import formats, lists, network, quantities, standard, strings, times

    return table(
        standard.FUNCTIONS,
        times.FUNCTIONS,
        strings.FUNCTIONS,
        lists.FUNCTIONS,
        network.FUNCTIONS,
        quantities.FUNCTIONS,
        formats.FUNCTIONS,
    )
