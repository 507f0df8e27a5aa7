"""Whether a custom resource fits its types, as field ownership asks: structured-merge-diff's checks, in its words."""

from __future__ import annotations

import json
from typing import Any

from fairway.apiserver import fieldsets
from fairway.apiserver.schema import TypeNode

_SCALARS = {
    "s": (str, "expected string, got {shown}"),
    "l": (int | float, "expected numeric (int or float), got {kind}"),
    "f": (int | float, "expected numeric (int or float), got {kind}"),
    "b": (bool, "expected boolean, got &{{{plain}}}"),
    "untyped": (str | int | float, "expected any scalar, got &{{{plain}}}"),
}


def mistyped(value: Any, node: TypeNode, path: str = "", *, doubled: bool = False) -> list[str]:
    """What does not fit the types of a custom resource, in structured-merge-diff's words; no value fits every type.

    `doubled` lets items of one key stand.
    """
    if value is None or node.code == "json":
        return []
    if node.code in _SCALARS:
        kind, words = _SCALARS[node.code]
        fits = isinstance(value, kind) and (node.code in ("b", "untyped") or not isinstance(value, bool))
        shown = f"&value.valueUnstructured{{Value:{_go(value)}}}"
        return [] if fits else [f"{path}: {words.format(shown=shown, plain=_plain(value), kind=_kind(value))}"]
    if node.code == "list":
        if not isinstance(value, list):
            return [f"{path}: expected list, got &{{{_plain(value)}}}"]
        keyed = node.relation in ("map", "set") and not node.atomic
        return (_mistyped_keyed if keyed else _mistyped_items)(value, node, path, doubled)
    if not isinstance(value, dict):
        return [f"{path}: expected map, got &{{{_plain(value)}}}"]
    out: list[str] = []
    for name, item in value.items():
        field = node.fields.get(name)
        if field is None and node.elem is None:
            out.append(f"{path}.{name}: field not declared in schema")
        else:
            kind_of = field.type if field else node.elem or fieldsets.ANY
            out += mistyped(item, kind_of, f"{path}.{name}", doubled=doubled)
    return out


def _mistyped_items(items: list[Any], node: TypeNode, path: str, doubled: bool) -> list[str]:
    found = (mistyped(v, node.elem or fieldsets.ANY, f"{path}[{i}]", doubled=doubled) for i, v in enumerate(items))
    return [words for one in found for words in one]


def _mistyped_keyed(items: list[Any], node: TypeNode, path: str, doubled: bool) -> list[str]:
    """Of a set or a list with keys."""
    out: list[str] = []
    seen: set[str] = set()
    for i, item in enumerate(items):
        wrong = _keyless(item, node)
        if wrong:
            return [*out, f"{path}: element {i}: {wrong}"]
        step = fieldsets.item_step(node, item)
        if step in seen and not doubled:
            out.append(f"{path}: duplicate entries for key {fieldsets.show((step,))}")
        seen.add(step)
        out += mistyped(item, node.elem or fieldsets.ANY, path + fieldsets.show((step,)), doubled=doubled)
    return out


def _keyless(item: Any, node: TypeNode) -> str:
    """Why an item cannot be found by its keys."""
    if node.relation == "set":
        return ""
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    fields = node.elem.fields if node.elem is not None else {}
    if all(item.get(k) is None and (k not in fields or fields[k].default is None) for k in node.keys):
        shown = " ".join(f'"{k}"' for k in node.keys)
        words = f"associative list with keys has an element that omits all key fields [{shown}]"
        return f"{words} (and doesn't have default values for any key fields)"
    return ""


def _kind(value: Any) -> str:
    """As Go's %T."""
    kinds: dict[type, str] = {bool: "bool", str: "string", dict: "map[string]interface {}", list: "[]interface {}"}
    return kinds.get(type(value), "interface {}")


def _go(value: Any) -> str:
    """As Go's %#v."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        inside = ", ".join(f"{json.dumps(k)}:{_go(value[k])}" for k in sorted(value))
        return f"map[string]interface {{}}{{{inside}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_go, value))}}}"
    return json.dumps(value, ensure_ascii=False) if value is not None else "interface {}(nil)"


def _plain(value: Any) -> str:
    """As Go's %v."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{k}:{_plain(value[k])}' for k in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_plain, value))}]"
    return _go(value) if not isinstance(value, str) else value
