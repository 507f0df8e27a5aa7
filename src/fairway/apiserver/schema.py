"""The types of the API as data: what fields an object has, how they are read, left out and merged.

One `TypeNode` tree serves decoding, strict errors, patches, field ownership and protobuf; kinds of
CustomResourceDefinitions bring trees of their own. Refuses to know what values are *valid*.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any, NamedTuple

import msgspec

Json = dict[str, Any]

OMIT_EMPTY, POINTER, INLINE, OMIT_ZERO = 1, 2, 4, 8

SCALARS = frozenset({"s", "i", "l", "b", "f", "y", "time", "microtime", "duration", "quantity", "intorstr"})
_ZERO: Json = {
    "s": "",
    "i": 0,
    "l": 0,
    "b": False,
    "f": 0,
    "y": None,
    "time": None,
    "microtime": None,
    "duration": "0s",
    "quantity": "0",
    "intorstr": 0,
}


class TypeNode:
    """One type. `code` is a scalar's code, or `struct`, `list`, `map`, `json` (anything)."""

    __slots__ = (
        "atomic",
        "code",
        "elem",
        "fields",
        "keys",
        "loose",
        "merge",
        "merge_key",
        "name",
        "relation",
        "required",
    )

    def __init__(self, code: str, name: str = "") -> None:
        self.code = code
        self.name = name
        self.fields: dict[str, Field] = {}
        self.elem: TypeNode | None = None
        self.atomic = False
        self.relation = "atomic"  # of a list, for field ownership: atomic, set or map
        self.keys: tuple[str, ...] = ()
        self.merge = ""  # of a list or pointer, for strategic merge patches: merge, replace, retainKeys
        self.merge_key = ""
        self.required: list[Field] = []
        self.loose = False  # values come as clients sent them, and may not fit


class Field(NamedTuple):
    """One field of a struct; `inline` structs are flattened away at load, so none is left."""

    name: str
    go_name: str
    owner: str
    type: TypeNode
    flags: int
    number: int
    default: Any

    @property
    def omits_empty(self) -> bool:
        return bool(self.flags & OMIT_EMPTY)

    @property
    def is_pointer(self) -> bool:
        return bool(self.flags & POINTER)

    def always_present(self) -> bool:
        """A struct or value without omitempty is in every encoded object (Go's omitempty knows no empty struct)."""
        if self.flags & (OMIT_ZERO | POINTER):
            return False
        return self.type.code in ("struct", "time", "microtime") or not self.flags & OMIT_EMPTY


@functools.cache
def rows() -> dict[str, Json]:
    """The data file: key → fields."""
    text = resources.files("fairway.apiserver").joinpath("data/types.json").read_bytes()
    table: dict[str, Json] = msgspec.json.decode(text)
    return table


@functools.cache
def builtin(key: str) -> TypeNode:
    """The type of a key such as `core.Service`; struct types are shared, so a cyclic type is no trouble."""
    row = rows()[key]
    node = TypeNode("struct", key.split(".", 1)[1])
    node.atomic = row.get("atomic", False)
    for raw in row["fields"]:
        name, go_name, code, flags, number, merge, merge_key, relation, default = raw + [None] * (9 - len(raw))
        if flags & INLINE:
            node.fields.update(builtin(code[1:]).fields)
            continue
        field_type = _field_type(code, merge or "", merge_key or "", relation)
        node.fields[name] = Field(name, go_name, node.name, field_type, flags, number or 0, default)
    node.required = [f for f in node.fields.values() if f.always_present() and f.name not in ("kind", "apiVersion")]
    return node


def _field_type(code: str, merge: str, merge_key: str, relation: list[str] | None) -> TypeNode:
    base = _type(code)
    if not (merge or relation):
        return base
    node = TypeNode(base.code, base.name)
    node.fields, node.elem, node.atomic, node.required = base.fields, base.elem, base.atomic, base.required
    node.merge, node.merge_key = merge, merge_key
    if relation:
        node.relation, node.keys = relation[0], tuple(relation[1:])
        node.atomic = node.atomic or relation[0] == "atomic"
    return node


@functools.cache
def _type(code: str) -> TypeNode:
    if code[0] in "[{":
        node = TypeNode("list" if code[0] == "[" else "map")
        node.elem = _type(code[1:])
        return node
    if code[0] == "#":
        return builtin(code[1:])
    node = TypeNode(code)
    node.atomic = code == "json"  # what is embedded raw is owned as a whole
    return node


def zero(node: TypeNode) -> Any:
    """What Go encodes for an empty value of this type."""
    if node.code == "struct":
        return {f.name: zero(f.type) for f in node.required}
    return _ZERO.get(node.code)


_GROUPS = {
    "core": "v1",
    "admissionregistration": "admissionregistration.k8s.io/v1",
    "apiregistration": "apiregistration.k8s.io/v1",
    "autoscalingv2": "autoscaling/v2",
    "batch": "batch/v1",
    "certificates": "certificates.k8s.io/v1",
    "node": "node.k8s.io/v1",
    "scheduling": "scheduling.k8s.io/v1",
    "storage": "storage.k8s.io/v1",
    "apps": "apps/v1",
    "authentication": "authentication.k8s.io/v1",
    "authorization": "authorization.k8s.io/v1",
    "autoscaling": "autoscaling/v1",
    "coordination": "coordination.k8s.io/v1",
    "discovery": "discovery.k8s.io/v1",
    "events": "events.k8s.io/v1",
    "networking": "networking.k8s.io/v1",
    "policy": "policy/v1",
    "rbac": "rbac.authorization.k8s.io/v1",
    "apiextensions": "apiextensions.k8s.io/v1",
}


@functools.cache
def kind_types() -> dict[tuple[str, str], str]:
    """(apiVersion, kind) → key of the type, for every top-level kind of the data file."""
    found: dict[tuple[str, str], str] = {}
    for key, row in rows().items():
        package, name = key.split(".", 1)
        if package in _GROUPS and any(f[3] & INLINE and f[2] == "#meta.TypeMeta" for f in row["fields"]):
            found[_GROUPS[package], name] = key
    for group in _GROUPS.values():
        found[group, "DeleteOptions"] = "meta.DeleteOptions"
    return found
