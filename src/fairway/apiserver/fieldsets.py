"""Sets of field paths as server-side apply keeps them (`FieldsV1`), and how objects compare by field.

A path is a tuple of steps written as in FieldsV1: `f:name`, `k:{"port":80}`, `v:"x"`. The rules are those of
sigs.k8s.io/structured-merge-diff: containers that appear or vanish whole count as fields themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from fairway.apiserver.fielderrors import quote
from fairway.apiserver.patches import go_map
from fairway.apiserver.schema import Json, TypeNode

Path = tuple[str, ...]
FieldSet = frozenset[Path]
ANY = TypeNode("json")
_ANY_MAP = TypeNode("map")
_ANY_MAP.elem = ANY
_ANY_LIST = TypeNode("list")
_ANY_LIST.elem, _ANY_LIST.atomic = ANY, True


class DuplicateError(ValueError):
    """Two list items with one key: the list cannot be merged."""


# ---- FieldsV1 ---------------------------------------------------------------------------------------------------
def encode(paths: Iterable[Path]) -> Json:
    root: Json = {}
    inner: set[Path] = set()
    for path in sorted(paths):
        node = root
        for i, step in enumerate(path):
            node = node.setdefault(step, {})
            if i < len(path) - 1:
                inner.add(path[: i + 1])
    for path in paths:
        if path in inner:
            node = root
            for step in path:
                node = node[step]
            node["."] = {}
    return _sorted(root)


def _sorted(node: Json) -> Json:
    return {k: _sorted(node[k]) for k in sorted(node)}


def decode(tree: Json) -> FieldSet:
    out: set[Path] = set()
    stack: list[tuple[Path, Json]] = [((), tree)]
    while stack:
        path, node = stack.pop()
        if path and (not node or "." in node):
            out.add(path)
        for step, child in node.items():
            if step != ".":
                stack.append(((*path, step), child if isinstance(child, dict) else {}))
    return frozenset(out)


def show(path: Path) -> str:
    """As conflicts name it: `.spec.ports[port=80,protocol="TCP"].targetPort`."""
    out = ""
    for step in path:
        kind, rest = step[:2], step[2:]
        if kind == "f:":
            out += f".{rest}"
        elif kind == "k:":
            pairs = sorted(json.loads(rest).items())
            out += "[" + ",".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in pairs) + "]"
        elif kind == "v:":
            out += f"[={rest}]"
        else:
            out += f"[{rest}]"
    return out


# ---- walking ----------------------------------------------------------------------------------------------------
def resolve(node: TypeNode, value: Any) -> TypeNode:
    """The type of a value whose schema says nothing follows from its form."""
    if node.code == "json" and not node.atomic:
        if isinstance(value, dict):
            return _ANY_MAP
        return _ANY_LIST if isinstance(value, list) else ANY
    return node


def child(node: TypeNode, name: str) -> tuple[TypeNode, bool]:
    """The type below a field name, and whether it is a declared field (not a key of a map)."""
    if node.code == "struct":
        field = node.fields.get(name)
        if field is not None:
            return field.type, True
        return node.elem or ANY, False
    return node.elem or ANY, False


def item_step(node: TypeNode, item: Any) -> str:
    """The step that stands for one item of a set or of a list with keys."""
    if node.relation == "set":
        return "v:" + json.dumps(item, separators=(",", ":"), ensure_ascii=False)
    key: Json = {}
    for name in node.keys:
        value = item.get(name) if isinstance(item, dict) else None
        if value is None and node.elem is not None and name in node.elem.fields:
            value = node.elem.fields[name].default
        if value is not None:
            key[name] = value
    return "k:" + json.dumps(key, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def steps_of(node: TypeNode, items: list[Any]) -> list[str]:
    return [item_step(node, i) for i in items]


def is_leaf(node: TypeNode) -> bool:
    return (
        node.atomic or (node.code == "list" and node.relation == "atomic") or node.code not in ("struct", "map", "list")
    )


def to_set(value: Any, node: TypeNode) -> FieldSet:
    """All fields that an applied configuration names."""
    out: set[Path] = set()
    _collect(value, node, (), out)
    return frozenset(out)


def _collect(value: Any, node: TypeNode, path: Path, out: set[Path]) -> None:
    node = resolve(node, value)
    if is_leaf(node):
        out.add(path)
    elif isinstance(value, dict):
        for name, item in value.items():
            below = (*path, "f:" + name)
            kind, declared = child(node, name)
            _collect(item, kind, below, out)
            if item is None or item == {} or not declared:
                out.add(below)
    elif isinstance(value, list):
        for item in value:
            below = (*path, item_step(node, item))
            _collect(item, node.elem or ANY, below, out)
            out.add(below)


class Comparison(NamedTuple):
    """What differs between two objects, by field."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    def same(self) -> bool:
        return not (self.added or self.modified or self.removed)


def _by_step(node: TypeNode, items: list[Any]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for item in items:
        out.setdefault(item_step(node, item), []).append(item)
    return out


class _Compare:
    def __init__(self) -> None:
        self.added: set[Path] = set()
        self.modified: set[Path] = set()
        self.removed: set[Path] = set()

    def walk(self, old: Any, new: Any, node: TypeNode, path: Path) -> None:
        """Neither side is absent (None stands for null)."""
        if old is new:
            return
        node = resolve(node, new if new is not None else old)
        if is_leaf(node) or (not old and not new):
            if old != new or isinstance(old, bool) != isinstance(new, bool):
                self.modified.add(path)
        elif node.code == "list":
            self._lists(old or [], new or [], node, path)
        else:
            self._maps(old or {}, new or {}, node, path)

    def _maps(self, old: Json, new: Json, node: TypeNode, path: Path) -> None:
        for name in {**old, **new}:
            kind, _ = child(node, name)
            below = (*path, "f:" + name)
            if name not in old:
                self.one_sided(new[name], kind, below, self.added)
            elif name not in new:
                self.one_sided(old[name], kind, below, self.removed)
            else:
                self.walk(old[name], new[name], kind, below)

    def _lists(self, old: list[Any], new: list[Any], node: TypeNode, path: Path) -> None:
        before, after = _by_step(node, old), _by_step(node, new)
        elem = node.elem or ANY
        for step in {**before, **after}:
            below = (*path, step)
            if step not in before:
                self._items(after[step], elem, below, self.added)
            elif step not in after:
                self._items(before[step], elem, below, self.removed)
            elif len(before[step]) == len(after[step]) == 1:
                self.walk(before[step][0], after[step][0], elem, below)
            elif before[step] != after[step]:
                self.modified.add(below)
                self._inside(before[step], elem, below, self.removed)
                self._inside(after[step], elem, below, self.added)

    def _inside(self, items: list[Any], elem: TypeNode, path: Path, out: set[Path]) -> None:
        """Where a key comes to stand twice, or once again, what is below it goes or comes."""
        if len(items) == 1:
            inner: set[Path] = set()
            self.one_sided(items[0], elem, path, inner)
            out |= inner - {path}

    def _items(self, items: list[Any], elem: TypeNode, path: Path, out: set[Path]) -> None:
        """Of items with one key only the key is told: nobody can say which is which."""
        if len(items) == 1:
            self.one_sided(items[0], elem, path, out)
        else:
            out.add(path)

    def one_sided(self, value: Any, node: TypeNode, path: Path, out: set[Path]) -> None:
        node = resolve(node, value)
        out.add(path)
        if is_leaf(node):
            return
        if isinstance(value, dict):
            for name, item in value.items():
                self.one_sided(item, child(node, name)[0], (*path, "f:" + name), out)
        elif isinstance(value, list):
            for step, items in _by_step(node, value).items():
                self._items(items, node.elem or ANY, (*path, step), out)


def compare(old: Json, new: Json, node: TypeNode) -> Comparison:
    walker = _Compare()
    walker.walk(old, new, node, ())
    return Comparison(frozenset(walker.added), frozenset(walker.modified), frozenset(walker.removed))


# ---- merging ----------------------------------------------------------------------------------------------------
def merge(live: Any, applied: Any, node: TypeNode) -> Any:
    """The live object with everything that the applied configuration names."""
    node = resolve(node, applied if applied is not None else live)
    if is_leaf(node) or live is None:
        return applied
    if applied is None:  # as if it named nothing
        return live or None
    if node.code == "list":
        return _merge_lists(live, applied, node)
    out = dict(live)
    for name, value in applied.items():
        kind, _ = child(node, name)
        out[name] = merge(live.get(name), value, kind) if name in live else value
    return out


def _merge_lists(live: list[Any], applied: list[Any], node: TypeNode) -> list[Any]:
    """Applied items in their order; items of others keep their place among what was there."""
    right = steps_of(node, applied)
    wanted = dict(zip(right, applied, strict=True))
    if len(wanted) != len(applied):
        raise DuplicateError
    left = steps_of(node, live)
    have = dict(zip(left, live, strict=True))
    elem = node.elem or ANY
    shared = [step for step in right if step in have]
    out: list[Any] = []
    done: set[str] = set()
    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left) and left[i] not in wanted:
            out.append(live[i])
            i += 1
        elif i < len(left) and (left[i] in done or (j < len(right) and shared and shared[0] != left[i])):
            i += 1
        elif j < len(right):
            step = right[j]
            out.append(merge(have[step], wanted[step], elem) if step in have else wanted[step])
            done.add(step)
            if shared and shared[0] == step:
                shared.pop(0)
            j += 1
        else:
            i += 1
    return out


def with_fields(paths: FieldSet, node: TypeNode) -> FieldSet:
    """The set and every declared field that something of the set is below (not map keys nor list items)."""
    out: set[Path] = set(paths)
    for path in paths:
        at = node
        for depth, step in enumerate(path, 1):
            if step.startswith("f:"):
                at, declared = child(at, step[2:])
                if declared:
                    out.add(path[:depth])
            else:
                at = at.elem or ANY
    return frozenset(out)


class _Gone:
    """Paths to take away, as a tree: which steps go, and what goes below the others."""

    __slots__ = ("below", "here")

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.below: dict[str, _Gone] = {}


def remove(value: Any, node: TypeNode, gone: FieldSet) -> Any:
    """The object without the fields at these paths; a container that something was taken from and that is empty is
    None."""
    root = _Gone()
    for path in gone:
        if not path:
            continue
        at = root
        for step in path[:-1]:
            at = at.below.setdefault(step, _Gone())
        at.here.add(path[-1])
    return _remove(value, node, root) if gone else value


def _remove(value: Any, node: TypeNode, gone: _Gone) -> Any:
    node = resolve(node, value)
    if is_leaf(node):
        return value
    if isinstance(value, dict):
        fields: Json = {}
        for name, item in value.items():
            step = "f:" + name
            if step in gone.here:
                continue
            deeper = gone.below.get(step)
            fields[name] = item if deeper is None else _remove(item, child(node, name)[0], deeper)
        return fields or None
    if isinstance(value, list):
        items: list[Any] = []
        for item in value:
            step = item_step(node, item)
            if step in gone.here:
                continue
            deeper = gone.below.get(step)
            items.append(item if deeper is None else _remove(item, node.elem or ANY, deeper))
        return items or None
    return value


def undeclared(value: Any, node: TypeNode, path: str = "") -> list[str]:
    """What is wrong with the form of a configuration: unknown fields, wrong types, list items with one key."""
    if value is None:
        return []
    wrong = _wrong_type(value, node)
    if wrong:
        return [f"{path}: {wrong}"]
    if isinstance(value, dict) and node.code == "struct":
        out: list[str] = []
        for name, item in value.items():
            field = node.fields.get(name)
            if field is None and node.elem is None:
                return [*out, f"{path}.{name}: field not declared in schema"]  # the real one looks no further, either
            out += undeclared(item, field.type if field else node.elem or ANY, f"{path}.{name}")
        return out
    if isinstance(value, dict) and node.code == "map" and node.elem is not None:
        return [p for k, v in value.items() for p in undeclared(v, node.elem, f"{path}.{k}")]
    if isinstance(value, list) and node.code == "list" and node.elem is not None:
        return _undeclared_items(value, node, node.elem, path)
    return []


_GO_TYPES = {str: "string", bool: "bool", int: "int64", float: "float64", list: "[]interface {}"}
_TEXTS = ("s", "y", "duration")  # times are of no type in the schemas


def _wrong_type(value: Any, node: TypeNode) -> str:
    """In the words of structured-merge-diff's validation."""
    code = node.code
    if code in ("struct", "map"):
        return "" if isinstance(value, dict) else f"expected map, got &{{{go_map(value)}}}"
    if code == "list":
        return "" if isinstance(value, list) else f"expected list, got &{{{go_map(value)}}}"
    if code in _TEXTS and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{_go_literal(value)}}}"
    if code in ("i", "l", "f") and (isinstance(value, bool) or not isinstance(value, int | float)):
        return f"expected numeric (int or float), got {_GO_TYPES.get(type(value), 'map[string]interface {}')}"
    if code == "b" and not isinstance(value, bool):
        return f"expected boolean, got &{{{go_map(value)}}}"
    return ""


def _go_literal(value: Any) -> str:
    """Go's %#v of a decoded JSON value."""
    if isinstance(value, dict):
        inner = ", ".join(f"{quote(k)}:{_go_literal(v)}" for k, v in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_go_literal, value))}}}"
    return quote(value) if isinstance(value, str) else go_map(value)


def _undeclared_items(items: list[Any], node: TypeNode, elem: TypeNode, path: str) -> list[str]:
    out: list[str] = []
    seen: set[str] = set()
    doubled: list[str] = []
    for i, item in enumerate(items):
        place = f"[{i}]"
        if node.relation == "map" and not node.atomic and not isinstance(item, dict):
            return [*out, f"{path}: element {i}: associative list with keys may not have non-map elements"]
        if node.relation in ("map", "set") and not node.atomic:
            step = item_step(node, item)
            place = show((step,))
            if step in seen:
                doubled.append(f"{path}: duplicate entries for key {place}")
            seen.add(step)
        out += undeclared(item, elem, path + (place if node.relation != "set" else f"[{i}]"))
    return out + doubled
