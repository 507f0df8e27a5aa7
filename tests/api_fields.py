"""Odd values for each field of an object, one at a time: of the wrong kind of text, empty, doubled, too large, gone.

The fields are those of the type, so that a field that the object does not have gets its turn too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from fairway.apiserver.schema import TypeNode

Json = dict[str, Any]

_TEXTS = (
    *("", "Bad_", "a b", "a" * 64, "a" * 300, "a.b", "x/y", "-a", "5", "*.a.b", "/x", "../x", "x:y", "$(A)", "ä", " "),
    *(
        "nope",
        "10.0.0.1",
        "10.0.0.01",
        "127.0.0.1",
        "fd00::1",
        "::ffff:1.2.3.4",
        "10.0.0.0/8",
        "None",
        "Always",
        "http",
    ),
)
_NUMBERS = (0, -1, 1, 31, 65536, 2147483647)
_EITHER = (0, -1, "", "Bad_", "80", "http", "10%", "101%", "a" * 16, 70000, "-5%", "a b", "ab--c", "1")
_AMOUNTS = ("0", "-1", "1.5", "100m", "x", "1Gi", "", "1e3", 1, "0.0001")
_TIMES = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000Z", "x", "")
_SCALARS: dict[str, tuple[Any, ...]] = {
    "s": _TEXTS,
    "i": _NUMBERS,
    "l": _NUMBERS,
    "b": (True, False),
    "intorstr": _EITHER,
    "quantity": _AMOUNTS,
    "time": _TIMES,
    "microtime": _TIMES,
    "y": ("", "YQ==", "*"),
}
_KEYED = ({"a b": "c"}, {"a": "b c"}, {"": ""}, {"x/y": "z"}, {"x/y/z": ""}, {"a": "b"})
_RESOURCES = ("cpu", "memory", "storage", "x/y", "bad_", "hugepages-2Mi", "pods", "ephemeral-storage")
_LEFT_OUT = frozenset({"kind", "apiVersion", "metadata", "status"})


class Odd(NamedTuple):
    """An object with one odd field."""

    path: str
    value: Any
    obj: Any


def _values(node: TypeNode) -> Iterator[Any]:
    """Odd values for a field that has this type."""
    elem = node.elem
    if node.code in _SCALARS:
        yield from _SCALARS[node.code]
    elif node.code == "struct":
        yield {}
    elif node.code == "list":
        assert elem is not None
        yield []
        yield from ([value] for value in _values(elem))
        if elem.code == "s":
            yield ["a", "a"]
    elif node.code == "map":
        assert elem is not None
        yield {}
        if elem.code == "s":
            yield from _KEYED
        elif elem.code == "quantity":
            yield from ({name: amount} for name in _RESOURCES for amount in ("1", "-1", "1.5"))


def odd_objects(node: TypeNode, obj: Json) -> Iterator[Odd]:
    """All of an object's, its name and status left alone."""
    for name, field in node.fields.items():
        if name not in _LEFT_OUT:
            yield from _of_field(name, name, field.type, obj)


def _of_field(name: str, path: str, node: TypeNode, holder: Json) -> Iterator[Odd]:
    if name in holder:
        yield Odd(path, "(gone)", {k: v for k, v in holder.items() if k != name})
        yield Odd(path, None, {**holder, name: None})
        for one in _inside(node, holder[name], path):
            yield Odd(one.path, one.value, {**holder, name: one.obj})
    for value in _values(node):
        if holder.get(name) != value:
            yield Odd(path, value, {**holder, name: value})


def _inside(node: TypeNode, value: Any, path: str) -> Iterator[Odd]:
    if node.code == "struct" and isinstance(value, dict):
        for name, field in node.fields.items():
            yield from _of_field(name, f"{path}.{name}", field.type, value)
    elif node.code == "list" and value:
        assert node.elem is not None
        yield Odd(path, "(doubled)", [*value, copy.deepcopy(value[0])])
        yield Odd(path, "(turned)", value[::-1])
        for i, item in enumerate(value):
            inner = _inside(node.elem, item, f"{path}[{i}]")
            plain = (Odd(f"{path}[{i}]", v, v) for v in _SCALARS.get(node.elem.code, ()))
            for one in (*inner, *plain):
                yield Odd(one.path, one.value, [*value[:i], one.obj, *value[i + 1 :]])
    elif node.code == "map" and isinstance(value, dict):
        assert node.elem is not None
        for key in value:
            yield Odd(f"{path}.{key}", "(gone)", {k: v for k, v in value.items() if k != key})
            for odd in _SCALARS.get(node.elem.code, ()):
                yield Odd(f"{path}.{key}", odd, {**value, key: odd})
