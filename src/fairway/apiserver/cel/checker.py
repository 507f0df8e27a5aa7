"""Types of every part of an expression, which overloads a call may mean, and what does not fit.

The rules and the words are those of cel-go's checker; macros are checked as what they expand to there.
"""

from __future__ import annotations

from typing import NamedTuple

from fairway.apiserver import regexes
from fairway.apiserver.cel import types
from fairway.apiserver.cel.declarations import Overload, Table
from fairway.apiserver.cel.errors import CompileError, Issue
from fairway.apiserver.cel.library import formatting
from fairway.apiserver.cel.syntax import Call, Fold, ListNode, Literal, MapNode, Name, Node, OptionalMap, Select
from fairway.apiserver.cel.types import BOOL, DYN, ERROR, INT, Bindings, Type, resolve
from fairway.apiserver.cel.values import NAMES, kind_of, parse_duration, parse_timestamp

_TYPE_NAMES = {
    **{t.kind: t for t in (BOOL, INT, types.UINT, types.DOUBLE, types.STRING, types.BYTES)},
    "list": Type("list", "list"),
    "map": Type("map", "map"),
    "type": Type("type", "type"),
    "null_type": Type("null", NAMES["null"]),
    types.DURATION.name: types.DURATION,
    types.TIMESTAMP.name: types.TIMESTAMP,
}


class Variable(NamedTuple):
    """A name in scope: its place in the frame and its type."""

    slot: int
    type: Type


class Checked(NamedTuple):
    """A tree with types, how many places its frame has, and the names that it uses."""

    root: Node
    slots: int
    used: frozenset[str]


def check(text: str, root: Node, variables: dict[str, Type], functions: Table) -> Checked:
    """Check a tree whose free names are `variables`, in the order of the frame's places; raises CompileError."""
    checker = _Checker(variables, functions)
    checker.check(root)
    if checker.issues:
        raise CompileError(text, checker.issues)
    return Checked(root, checker.slots, frozenset(checker.used))


class _Checker:
    def __init__(self, variables: dict[str, Type], functions: Table) -> None:
        self._functions = functions
        self._scope = {name: Variable(i, t) for i, (name, t) in enumerate(variables.items())}
        self._free = set(variables)
        self._bound: Bindings = {}
        self._fresh = 0
        self._mixed = False  # what `format` takes may be of any types
        self.slots = len(variables)
        self.used: set[str] = set()
        self.issues: list[Issue] = []

    # ---- helpers -----------------------------------------------------------------------------------------------
    def check(self, node: Node) -> Type:
        """The type of a node, which is also written on it."""
        match node:
            case Literal():
                found = Type(kind_of(node.value))
            case Name():
                found = self._name(node, node.name)
            case Select():
                found = self._select(node)
            case Call():
                found = self._call(node)
            case ListNode():
                found = self._list(node)
            case MapNode():
                found = self._map(node)
            case Fold():
                found = self._fold(node)
            case OptionalMap():
                found = self._optional_map(node)
            case _:
                raise TypeError(type(node))
        node.type = resolve(found, self._bound)
        return node.type

    def _wrong(self, place: int, words: str) -> Type:
        self.issues.append(Issue(place, words))
        return ERROR

    def _var(self) -> Type:
        self._fresh += 1
        return types.variable(f"_var{self._fresh}")

    def _enter(self, name: str, type_: Type) -> tuple[int, Variable | None]:
        """Bring a name into scope; what it hid comes back with `_leave`."""
        hidden = self._scope.get(name)
        self._scope[name] = Variable(self.slots, type_)
        self.slots += 1
        return self.slots - 1, hidden

    def _leave(self, name: str, hidden: Variable | None) -> None:
        if hidden is None:
            del self._scope[name]
        else:
            self._scope[name] = hidden

    # ---- names and fields --------------------------------------------------------------------------------------
    def _name(self, node: Name, name: str) -> Type:
        variable = self._scope.get(name)
        if variable is not None:
            node.slot = variable.slot
            if name in self._free and variable.slot < len(self._free):
                self.used.add(name)
            return variable.type
        if name in _TYPE_NAMES:
            node.constant = _TYPE_NAMES[name]
            return types.type_of(_TYPE_NAMES[name])
        return self._wrong(node.place, f"undeclared reference to '{name}' (in container '')")

    def _select(self, node: Select) -> Type:
        qualified = _qualified(node)
        if qualified in _TYPE_NAMES:
            node.json_name = ""
            node.operand = Name(node.place, qualified or "")
            node.operand.constant = _TYPE_NAMES[qualified or ""]
            node.field = ""
            return types.type_of(node.operand.constant)
        target = resolve(self.check(node.operand), self._bound)
        optional = target.kind == "optional"
        found = self._field(node, target.params[0] if optional else target)
        if node.test:
            return BOOL
        return types.optional_of(found) if optional or node.optional else found

    def _field(self, node: Select, target: Type) -> Type:
        match target.kind:
            case "map":
                node.json_name = node.field
                return target.params[1]
            case "object":
                field = target.fields.get(node.field) or target.fields.get(f"__{node.field}__")
                if field is None:
                    return self._wrong(node.place, f"undefined field '{node.field}'")
                node.json_name = field.json_name
                return field.type
            case "var":
                types.assignable(DYN, target, self._bound)
                return DYN
            case "dyn" | "error":
                return DYN
        self._wrong(node.place, f"type '{target}' does not support field selection")
        return DYN

    # ---- calls -------------------------------------------------------------------------------------------------
    def _call(self, node: Call) -> Type:
        qualified = f"{_qualified(node.args[0])}.{node.name}" if node.member else ""
        if qualified in self._functions:
            node.name, node.args, node.member = qualified, node.args[1:], False
        mixed, self._mixed = self._mixed, node.name == "format"
        given = tuple(self.check(a) for a in node.args)
        self._mixed = mixed
        found = self._functions.get(node.name)
        if node.name in ("_&&_", "_||_"):
            return self._logical(node.args, given)
        if node.name == "_?_:_":
            return self._conditional(node.place, given)
        if found is None:
            return self._wrong(node.place, f"undeclared reference to '{node.name}' (in container '')")
        node.overloads, result = self._resolved(found, given, member=node.member)
        if result is None:
            return self._unmatched(node.place, node.name, given, member=node.member)
        self._literal_argument(node)
        self._literal_format(node)
        return result

    def _resolved(
        self, found: tuple[Overload, ...], given: tuple[Type, ...], *, member: bool
    ) -> tuple[list[Overload], Type | None]:
        """The overloads that fit, and their result: dyn when they differ."""
        fits: list[Overload] = []
        result: Type | None = None
        for overload in found:
            if overload.member != member:
                continue
            wanted, returns = self._instance(overload)
            tried = types.all_assignable(wanted, given, self._bound)
            if tried is None:
                continue
            self._bound = tried
            fits.append(overload)
            this = resolve(returns, tried)
            result = this if result is None or result == this else DYN
        return fits, result

    def _instance(self, overload: Overload) -> tuple[tuple[Type, ...], Type]:
        """The signature with variables of its own."""
        fresh: Bindings = {}

        def renamed(type_: Type) -> Type:
            if type_.kind == "var":
                return fresh.setdefault(type_.name, self._var())
            if not type_.params:
                return type_
            return Type(type_.kind, type_.name, tuple(map(renamed, type_.params)))

        return tuple(map(renamed, overload.arguments)), renamed(overload.result)

    def _unmatched(self, place: int, name: str, given: tuple[Type, ...], *, member: bool) -> Type:
        shown = types.signature(given, member=member, bound=self._bound)
        return self._wrong(place, f"found no matching overload for '{name}' applied to '{shown}'")

    def _conditional(self, place: int, given: tuple[Type, ...]) -> Type:
        """`a ? b : c`."""
        var = self._var()
        tried = types.all_assignable((BOOL, var, var), given, self._bound)
        if tried is None:
            return self._unmatched(place, "_?_:_", given, member=False)
        self._bound = tried
        return _most_general(*(resolve(t, tried) for t in given[1:]))

    def _logical(self, nodes: list[Node], given: tuple[Type, ...]) -> Type:
        """&& and ||, also of the macros that are made of them."""
        result = BOOL
        for node, type_ in zip(nodes, given, strict=True):
            tried = dict(self._bound)
            if types.assignable(BOOL, type_, tried):
                self._bound = tried
            else:
                result = self._wrong(node.place, f"expected type 'bool' but found '{type_}'")
        return result

    def _literal_argument(self, node: Call) -> None:
        """Texts that can be seen to be no duration, instant or regular expression."""
        checks = {"duration": parse_duration, "timestamp": parse_timestamp}
        last = node.args[-1] if node.args else None
        if not isinstance(last, Literal) or not isinstance(last.value, str):
            return
        wrong = node.name in checks and not node.member and checks[node.name](last.value) is None
        if node.name == "matches" and len(node.args) == 2:
            try:
                regexes.compiled(last.value)
            except regexes.RegexError:
                wrong = True
        if wrong:
            self._wrong(last.place, f"invalid {node.name} argument")

    def _literal_format(self, node: Call) -> None:
        """Clauses of a literal pattern against the types of a literal list."""
        if node.name != "format" or not isinstance(node.args[0], Literal) or not isinstance(node.args[1], ListNode):
            return
        items = node.args[1].items
        kinds = [types.unbound_as_dyn(resolve(i.type, self._bound)) for i in items]
        for at, words in formatting.problems(node.args[0].value, [(k.kind, k.name or k.kind) for k in kinds]):
            self._wrong(node.place if at is None else items[at].place, words)

    # ---- literals ----------------------------------------------------------------------------------------------
    def _list(self, node: ListNode) -> Type:
        element: Type | None = None
        for i, item in enumerate(node.items):
            found = self._given(item, optional=i in node.optional)
            element = self._join(item, element, found)
        return types.list_of(element or self._var())

    def _map(self, node: MapNode) -> Type:
        key: Type | None = None
        value: Type | None = None
        for one, other, optional in node.entries:
            key = self._join(one, key, self.check(one))
            value = self._join(other, value, self._given(other, optional=optional))
        return types.map_of(key or self._var(), value or self._var())

    def _given(self, item: Node, *, optional: bool) -> Type:
        found = self.check(item)
        if not optional:
            return found
        if found.kind == "optional":
            return found.params[0]
        if found.kind not in ("dyn", "error"):
            self._wrong(item.place, f"expected type '{types.optional_of(found)}' but found '{found}'")
        return found

    def _join(self, node: Node, before: Type | None, this: Type) -> Type:
        if before is None:
            return this
        tried = dict(self._bound)
        if types.assignable(before, this, tried):
            self._bound = tried
            return _most_general(resolve(before, tried), resolve(this, tried))
        if self._mixed:
            return DYN
        return self._wrong(node.place, f"expected type '{before}' but found '{this}'")

    # ---- macros ------------------------------------------------------------------------------------------------
    def _fold(self, node: Fold) -> Type:
        over = resolve(self.check(node.range), self._bound)
        variables = self._iterated(node, over)
        hidden: list[tuple[str, Variable | None]] = []
        for name, type_ in zip(node.names, variables, strict=True):
            slot, before = self._enter(name, type_)
            node.slots.append(slot)
            hidden.append((name, before))
        steps = tuple(self.check(s) for s in node.steps)
        for name, before in reversed(hidden):
            self._leave(name, before)
        return self._folded(node, over, steps, variables)

    def _iterated(self, node: Fold, over: Type) -> list[Type]:
        """Types of the variables of a macro."""
        two = len(node.names) == 2
        match over.kind:
            case "list":
                return [INT, over.params[0]] if two else [over.params[0]]
            case "map":
                return list(over.params[: 2 if two else 1])
            case "dyn" | "error" | "var":
                types.assignable(DYN, over, self._bound)
                return [DYN] * len(node.names)
        words = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
        self._wrong(node.range.place, words)
        return [ERROR] * len(node.names)

    def _folded(self, node: Fold, over: Type, steps: tuple[Type, ...], variables: list[Type]) -> Type:
        made = {"map": steps[-1], "transformList": steps[-1], "filter": variables[0]}.get(node.kind)
        match node.kind:
            case "all" | "exists":
                self._logical(node.steps, steps)
                return BOOL
            case "exists_one":
                self._conditional(node.place, (steps[0], INT, INT))
                return BOOL
            case "sortBy":
                keys = types.list_of(steps[0])
                _, result = self._resolved(self._functions["isSorted"], (keys,), member=True)
                if result is None:
                    return self._unmatched(node.place, "@sortByAssociatedKeys", (over, keys), member=True)
                return over
            case "map" | "filter" | "transformList":
                out = types.list_of(made or DYN)
            case "transformMapEntry":
                out = steps[-1]
            case _:
                out = types.map_of(variables[0], steps[-1])
        if len(steps) == 2 or node.kind == "filter":
            self._conditional(node.place, (steps[0], out, out))
        return out

    def _optional_map(self, node: OptionalMap) -> Type:
        target = resolve(self.check(node.target), self._bound)
        if target.kind not in ("optional", "dyn", "error"):
            return self._unmatched(node.place, "hasValue", (target,), member=True)
        inner = target.params[0] if target.params else DYN
        node.slot, hidden = self._enter(node.name, inner)
        body = self.check(node.body)
        self._leave(node.name, hidden)
        return body if node.flat else types.optional_of(body)


def _most_general(first: Type, second: Type) -> Type:
    """Of two types that may stand for each other, the one that says less."""
    if "dyn" in (first.kind, second.kind):
        return DYN
    if first.kind in ("null", "error"):
        return second
    if first.params and first.kind == second.kind and len(first.params) == len(second.params):
        params = tuple(map(_most_general, first.params, second.params))
        return Type(first.kind, first.name, params, first.fields, first.relation, first.keys)
    return first


def _qualified(node: Node) -> str | None:
    """`a.b.c`, when a node is nothing but names."""
    if isinstance(node, Name):
        return node.name
    if isinstance(node, Select) and not node.test and not node.optional:
        before = _qualified(node.operand)
        return f"{before}.{node.field}" if before else None
    return None
