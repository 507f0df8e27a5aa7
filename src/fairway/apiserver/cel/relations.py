"""== and + of lists with x-kubernetes-list-type: sets and maps do not know an order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.apiserver.cel.types import Type
from fairway.apiserver.cel.values import equal

Compare = Callable[[Any, Any], bool]


def compared(type_: Type) -> Compare | None:
    """How values of a type compare, or None where it is the plain way."""
    if not _related(type_):
        return None
    match type_.kind:
        case "list":
            return _list(type_, compared(type_.params[0]) or equal)
        case "map":
            value = compared(type_.params[1]) or equal
            return lambda a, b: a.keys() == b.keys() and all(value(v, b[k]) for k, v in a.items())
        case "optional":
            inner = compared(type_.params[0]) or equal
            return lambda a, b: len(a.held) == len(b.held) and (not a.held or inner(a.held[0], b.held[0]))
    fields = {f.json_name: compared(f.type) or equal for f in type_.fields.values()}
    return lambda a, b: a.keys() == b.keys() and all(fields.get(k, equal)(v, b[k]) for k, v in a.items())


def _related(type_: Type) -> bool:
    inside = [*type_.params, *(f.type for f in type_.fields.values())]
    return bool(type_.relation) or any(map(_related, inside))


def _key(item: Any, keys: tuple[str, ...]) -> str:
    """What a list-map's item is known by."""
    return repr([item.get(k) for k in keys])


def _list(type_: Type, element: Compare) -> Compare:
    if type_.relation == "map":
        return lambda a, b: len(a) == len(b) and _same_items(a, b, type_.keys, element)
    if type_.relation == "set":
        return lambda a, b: len(a) == len(b) and all(any(equal(x, y) for y in a) for x in b)
    return lambda a, b: len(a) == len(b) and all(map(element, a, b))


def _same_items(a: list[Any], b: list[Any], keys: tuple[str, ...], element: Compare) -> bool:
    known = {_key(item, keys): item for item in a}
    return all((k := _key(item, keys)) in known and element(known[k], item) for item in b)


def added(type_: Type) -> Callable[[list[Any], list[Any]], list[Any]] | None:
    """+ of sets (a union) and of list-maps (later items replace those of their keys), or None."""
    if type_.kind != "list" or not type_.relation:
        return None
    if type_.relation == "set":
        return lambda a, b: a + [x for i, x in enumerate(b) if x not in a and x not in b[:i]]

    def merged(a: list[Any], b: list[Any]) -> list[Any]:
        out = {_key(item, type_.keys): item for item in a}
        out.update({_key(item, type_.keys): item for item in b})
        return list(out.values())

    return merged
