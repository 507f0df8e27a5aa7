"""A checked tree as a closure: `run([budget-free values…])`.

The frame is a list: the free variables first, then a place for each variable of a macro. Nothing is looked up by name
when an expression runs. A macro counts its turns against a `Budget`, so that no rule holds up the server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from fairway.apiserver import regexes
from fairway.apiserver.cel import parser
from fairway.apiserver.cel.checker import Checked, check
from fairway.apiserver.cel.declarations import Overload, library
from fairway.apiserver.cel.errors import CompileError, EvaluationError, Issue
from fairway.apiserver.cel.escaping import unescape
from fairway.apiserver.cel.folds import fold, size
from fairway.apiserver.cel.frames import Budget, Frame, Run
from fairway.apiserver.cel.relations import added, compared
from fairway.apiserver.cel.syntax import Call, Fold, ListNode, Literal, MapNode, Name, Node, OptionalMap, Select
from fairway.apiserver.cel.types import Type, unbound_as_dyn
from fairway.apiserver.cel.values import NONE, Optional, kind_of, some
from fairway.values.errors import FairwayError

_CONVERSIONS = frozenset({"bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint"})


class InstantiationError(FairwayError):
    """A conversion of a literal that can be seen to fail."""


class Program:
    """An expression that can be run many times; raises InstantiationError."""

    __slots__ = ("_run", "_slots", "result", "used")

    def __init__(self, checked: Checked) -> None:
        self.result = unbound_as_dyn(checked.root.type)
        self.used = checked.used
        self._run = _compiled(checked.root)
        self._slots = checked.slots

    def run(self, values: list[Any], budget: Budget) -> Any:
        """The value for these values of the free variables; raises EvaluationError, CostError."""
        frame = Frame(values)
        frame.extend([None] * (self._slots - len(values)))
        frame.budget = budget
        return self._run(frame)


def compile_text(text: str, variables: dict[str, Type]) -> Program:
    """Parse, check and compile; raises CompileError, InstantiationError."""
    try:
        return Program(check(text, parser.parse(text), variables, library()))
    except RecursionError:
        raise CompileError(text, [Issue(0, "expression is nested too deeply")]) from None


def _compiled(node: Node) -> Run:
    match node:
        case Literal():
            value = node.value
            return lambda _f: value
        case Name():
            return _name(node)
        case Select():
            return _select(node)
        case Call():
            return _call(node)
        case ListNode():
            return _list(node)
        case MapNode():
            return _map(node)
        case Fold():
            return fold(node, _compiled(node.range), [_compiled(s) for s in node.steps], size(node))
        case OptionalMap():
            return _optional_map(node)
    raise TypeError(type(node))


def _name(node: Name) -> Run:
    if node.slot < 0:
        constant = node.constant
        return lambda _f: constant
    slot = node.slot
    return lambda f: f[slot]


# ---- fields -----------------------------------------------------------------------------------------------------
def _select(node: Select) -> Run:
    operand = _compiled(node.operand)
    if not node.field:  # a type's qualified name
        return operand
    kind = unbound_as_dyn(node.operand.type).kind
    if kind == "optional" or node.optional:
        return _optional_select(node, operand)
    name = node.json_name or node.field
    if node.test:
        return _test(operand, name, kind)
    if kind == "object":
        return _object_field(operand, name, node.field)
    if kind == "map":
        return lambda f: _key(operand(f), name)
    return lambda f: _dynamic(operand(f), name)


def _object_field(operand: Run, name: str, shown: str) -> Run:
    words = f"no such key: {shown}"

    def run(f: Frame) -> Any:
        found = operand(f).get(name)
        if found is None:  # a null is as good as nothing
            raise EvaluationError(words)
        return found

    return run


def _key(value: dict[Any, Any], name: str) -> Any:
    if name in value:
        return value[name]
    raise EvaluationError(f"no such key: {name}")


def _dynamic(value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise EvaluationError("no such overload")
    return _key(value, name if name in value else unescape(name))


def _test(operand: Run, name: str, kind: str) -> Run:
    if kind == "object":
        return lambda f: operand(f).get(name) is not None
    if kind == "map":
        return lambda f: name in operand(f)
    return lambda f: _dynamic_test(operand(f), name)


def _dynamic_test(value: Any, name: str) -> bool:
    if not isinstance(value, dict):
        raise EvaluationError("no such overload")
    return name in value or unescape(name) in value


def _optional_select(node: Select, operand: Run) -> Run:
    name, test = node.json_name or node.field, node.test

    def run(f: Frame) -> Any:
        value = operand(f)
        if isinstance(value, Optional):
            if not value.held:
                return False if test else NONE
            value = value.held[0]
        found = value.get(name) if isinstance(value, dict) else None
        return found is not None if test else NONE if found is None else some(found)

    return run


# ---- calls ------------------------------------------------------------------------------------------------------
def _call(node: Call) -> Run:
    args = [_compiled(a) for a in node.args]
    match node.name:
        case "_&&_":
            return _logical(args[0], args[1], decided=False)
        case "_||_":
            return _logical(args[0], args[1], decided=True)
        case "_?_:_":
            return _conditional(*args)
    kinds = [unbound_as_dyn(a.type) for a in node.args]
    special = _by_relation(node.name, kinds)
    if special is not None:
        return _applied(special, args)
    if node.name in _CONVERSIONS and isinstance(node.args[0], Literal):
        return _converted(node.overloads[0], node.args[0].value)
    _check_pattern(node)
    loose = any(k.kind in ("dyn", "error") for k in kinds)
    if loose and not _takes_all(node.overloads):
        return _applied(_dispatch(node.overloads), args)
    return _applied(node.overloads[0].run, args)


def _converted(overload: Overload, value: Any) -> Run:
    """A conversion of a literal is done once."""
    try:
        found = overload.run(value)
    except EvaluationError as error:
        raise InstantiationError(str(error)) from None
    return lambda _f: found


def _check_pattern(node: Call) -> None:
    """A literal regular expression must be one."""
    if node.name in ("find", "findAll") and isinstance(node.args[1], Literal):
        try:
            regexes.compiled(node.args[1].value)
        except regexes.RegexError as error:
            raise InstantiationError(str(error)) from None


def _by_relation(name: str, kinds: list[Type]) -> Callable[..., Any] | None:
    """== and + of lists that are sets or maps (x-kubernetes-list-type)."""
    match name:
        case "_==_":
            return compared(kinds[0])
        case "_!=_":
            equals = compared(kinds[0])
            return None if equals is None else lambda a, b: not equals(a, b)
        case "_+_":
            return added(kinds[0])
    return None


def _applied(run: Callable[..., Any], args: list[Run]) -> Run:
    if len(args) == 1:
        first = args[0]
        return lambda f: run(first(f))
    if len(args) == 2:
        first, second = args
        return lambda f: run(first(f), second(f))
    return lambda f: run(*(a(f) for a in args))


def _takes_all(overloads: list[Overload]) -> bool:
    return len(overloads) == 1 and all(a.kind in ("var", "dyn") for a in overloads[0].arguments)


def _fits(overload: Overload, values: tuple[Any, ...]) -> bool:
    for wanted, value in zip(overload.arguments, values, strict=True):
        if wanted.kind in ("var", "dyn"):
            continue
        if wanted.kind != kind_of(value):
            return False
        if wanted.kind == "opaque" and wanted.name != value.type_name:
            return False
        if wanted.params and wanted.kind == "list" and value and not _element_fits(wanted.params[0], value[0]):
            return False
    return True


def _element_fits(wanted: Type, value: Any) -> bool:
    return wanted.kind in ("var", "dyn") or wanted.kind == kind_of(value)


def _dispatch(overloads: list[Overload]) -> Callable[..., Any]:
    """By what the values are, where the types do not tell."""

    def run(*values: Any) -> Any:
        for overload in overloads:
            if _fits(overload, values):
                return overload.run(*values)
        raise EvaluationError("no such overload")

    return run


def _logical(left: Run, right: Run, *, decided: bool) -> Run:
    """&& and ||: an error on one side does not matter when the other side decides."""
    undecided = not decided

    def run(f: Frame) -> Any:
        try:
            first = left(f)
        except EvaluationError:
            with contextlib.suppress(EvaluationError):
                if right(f) is decided:
                    return decided
            raise
        if first is decided:
            return decided
        second = right(f)
        if second is decided:
            return decided
        if first is undecided and second is undecided:
            return undecided
        raise EvaluationError("no such overload")

    return run


def _conditional(condition: Run, then: Run, otherwise: Run) -> Run:
    def run(f: Frame) -> Any:
        found = condition(f)
        if found is True:
            return then(f)
        if found is False:
            return otherwise(f)
        raise EvaluationError("no such overload")

    return run


# ---- literals ---------------------------------------------------------------------------------------------------
def _list(node: ListNode) -> Run:
    if not node.optional and all(isinstance(i, Literal) for i in node.items):
        constant = [i.value for i in node.items if isinstance(i, Literal)]
        return lambda _f: constant
    items = [(_compiled(item), i in node.optional) for i, item in enumerate(node.items)]

    def run(f: Frame) -> list[Any]:
        out: list[Any] = []
        for item, optional in items:
            value = item(f)
            if not optional:
                out.append(value)
            elif value.held:
                out.append(value.held[0])
        return out

    return run


def _map(node: MapNode) -> Run:
    entries = [(_compiled(k), _compiled(v), optional) for k, v, optional in node.entries]

    def run(f: Frame) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for key, value, optional in entries:
            name, found = key(f), value(f)
            if optional and not found.held:
                continue
            if name in out:
                raise EvaluationError(f"insert failed: key {name} already exists")
            out[name] = found.held[0] if optional else found
        return out

    return run


def _optional_map(node: OptionalMap) -> Run:
    target, body, slot, flat = _compiled(node.target), _compiled(node.body), node.slot, node.flat

    def run(f: Frame) -> Any:
        found = target(f)
        if not found.held:
            return NONE
        f[slot] = found.held[0]
        value = body(f)
        return value if flat else some(value)

    return run
