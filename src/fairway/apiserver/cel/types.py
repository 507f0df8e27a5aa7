"""Types of expressions, and when a value of one may stand for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Type:
    """A type by its kind and name; `params` are element, key and value, or what an optional holds.

    `fields` are those of an object. `relation` and `keys` of a list come from `x-kubernetes-list-type`: they change
    what == and + mean, not what may be assigned.
    """

    kind: str
    name: str = ""
    params: tuple[Type, ...] = ()
    fields: Mapping[str, Field] = field(default_factory=dict, compare=False, hash=False)
    relation: str = field(default="", compare=False)
    keys: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        if self.kind == "null":
            return "null"
        if self.params:
            return f"{self.name or self.kind}({', '.join(map(str, self.params))})"
        return self.name or self.kind


class Field(NamedTuple):
    """A field of an object: its name in JSON, which an expression may have to escape, and its type."""

    json_name: str
    type: Type


DYN, BOOL, INT, UINT = Type("dyn"), Type("bool"), Type("int"), Type("uint")
DOUBLE, STRING, BYTES, NULL = Type("double"), Type("string"), Type("bytes"), Type("null")
DURATION = Type("duration", "google.protobuf.Duration")
TIMESTAMP = Type("timestamp", "google.protobuf.Timestamp")
ERROR = Type("error", "!error!")
_SIMPLE = {t.kind: t for t in (DYN, BOOL, INT, UINT, DOUBLE, STRING, BYTES, NULL, DURATION, TIMESTAMP)}
_OPAQUE = {
    "URL": "kubernetes.URL",
    "IP": "net.IP",
    "CIDR": "net.CIDR",
    "Quantity": "kubernetes.Quantity",
    "Format": "kubernetes.NamedFormat",
    "Semver": "kubernetes.Semver",
}


def list_of(element: Type, relation: str = "", keys: tuple[str, ...] = ()) -> Type:
    return Type("list", "list", (element,), relation=relation, keys=keys)


def map_of(key: Type, value: Type) -> Type:
    return Type("map", "map", (key, value))


def optional_of(inner: Type) -> Type:
    return Type("optional", "optional_type", (inner,))


def type_of(inner: Type) -> Type:
    return Type("type", "type", (inner,))


def variable(name: str) -> Type:
    return Type("var", name)


def parse(text: str) -> Type:
    """A type as declarations write it: `list(A)`, `map(string, dyn)`, `IP`. One capital letter is a variable."""
    head, _, rest = text.strip().partition("(")
    if rest:
        inner = tuple(parse(p) for p in split(rest[:-1]))
        match head:
            case "list":
                return list_of(inner[0])
            case "map":
                return map_of(inner[0], inner[1])
            case "optional":
                return optional_of(inner[0])
            case _:
                return type_of(inner[0])
    if head in _SIMPLE:
        return _SIMPLE[head]
    return Type("opaque", _OPAQUE[head]) if head in _OPAQUE else variable(head)


def split(text: str) -> list[str]:
    """Parts between the commas of the outermost level."""
    out, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            out.append(text[start:i])
            start = i + 1
    return [p for p in (*out, text[start:]) if p.strip()]


# ---- assignment -------------------------------------------------------------------------------------------------
Bindings = dict[str, Type]
_NULLABLE = ("object", "opaque", "optional", "duration", "timestamp")


def resolve(type_: Type, bound: Bindings) -> Type:
    """With every variable that is bound replaced; one that is not is dyn to whoever asks last."""
    while type_.kind == "var" and type_.name in bound:
        type_ = bound[type_.name]
    if not type_.params:
        return type_
    params = tuple(resolve(p, bound) for p in type_.params)
    return Type(type_.kind, type_.name, params, type_.fields, type_.relation, type_.keys)


def unbound_as_dyn(type_: Type) -> Type:
    if type_.kind == "var":
        return DYN
    if not type_.params:
        return type_
    params = tuple(map(unbound_as_dyn, type_.params))
    return Type(type_.kind, type_.name, params, type_.fields, type_.relation, type_.keys)


def assignable(wanted: Type, given: Type, bound: Bindings) -> bool:
    """Whether a value may stand where `wanted` is asked; binds variables of both sides on the way."""
    wanted, given = resolve(wanted, bound), resolve(given, bound)
    if wanted == given:
        return True
    if wanted.kind == "var":
        return _bind(wanted, given, bound)
    if given.kind == "var":
        return _bind(given, wanted, bound)
    if {wanted.kind, given.kind} & {"dyn", "error"}:
        return True
    if given.kind == "null":
        return wanted.kind in _NULLABLE
    if wanted.kind == "null":
        return given.kind in _NULLABLE
    if wanted.kind == "type" == given.kind:
        return True
    if (wanted.kind, wanted.name, len(wanted.params)) != (given.kind, given.name, len(given.params)):
        return False
    return bool(wanted.params) and all(
        assignable(w, g, bound) for w, g in zip(wanted.params, given.params, strict=True)
    )


def _bind(var: Type, other: Type, bound: Bindings) -> bool:
    if _occurs(var.name, other):
        return False
    if var.name in bound:
        return assignable(bound[var.name], other, bound)
    bound[var.name] = other
    return True


def _occurs(name: str, type_: Type) -> bool:
    return (type_.kind == "var" and type_.name == name) or any(_occurs(name, p) for p in type_.params)


def all_assignable(wanted: tuple[Type, ...], given: tuple[Type, ...], bound: Bindings) -> Bindings | None:
    """The bindings with which a list of arguments fits, or None."""
    if len(wanted) != len(given):
        return None
    tried: Bindings = dict(bound)
    return tried if all(assignable(w, g, tried) for w, g in zip(wanted, given, strict=True)) else None


def joined(first: Type, second: Type, bound: Bindings) -> Type:
    """The type of elements of both."""
    if first.kind in ("dyn", "error"):
        return first
    if second.kind in ("dyn", "error"):
        return second
    tried = dict(bound)
    if assignable(first, second, tried):
        bound.update(tried)
        return first if first.kind != "null" else second
    return DYN


def signature(arguments: tuple[Type, ...], *, member: bool, bound: Bindings) -> str:
    """Types of a call as errors show them."""
    shown = [str(unbound_as_dyn(resolve(a, bound))) for a in arguments]
    return f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
