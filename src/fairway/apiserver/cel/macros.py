"""Calls that are no functions: they bind names or look without touching."""

from __future__ import annotations

from fairway.apiserver.cel.syntax import Fold, Name, Node, OptionalMap, Select

_ONE_VARIABLE = {("all", 2), ("exists", 2), ("exists_one", 2), ("map", 2), ("map", 3), ("filter", 2)}
_TWO_VARIABLES = {
    ("all", 3),
    ("exists", 3),
    ("exists_one", 3),
    ("existsOne", 3),
    ("transformList", 3),
    ("transformList", 4),
    ("transformMap", 3),
    ("transformMap", 4),
    ("transformMapEntry", 3),
    ("transformMapEntry", 4),
}


class MacroError(Exception):
    """A macro that was not given what it needs."""

    def __init__(self, place: int, words: str) -> None:
        super().__init__(words)
        self.place = place


def plain(name: str, args: list[Node], place: int) -> Node | None:
    """`has(e.f)`, or None when the call is a function's."""
    if name != "has" or len(args) != 1:
        return None
    if not isinstance(args[0], Select) or args[0].test:
        raise MacroError(args[0].place, "invalid argument to has() macro")
    return Select(place, args[0].operand, args[0].field, test=True)


def member(target: Node, name: str, args: list[Node], place: int) -> Node | None:
    """A macro on a target, or None when the call is a method's."""
    if name in ("optMap", "optFlatMap") and len(args) == 2:
        variable = _name(args[0], "optMap() variable name must be a simple identifier")
        return OptionalMap(place, name == "optFlatMap", target, variable, args[1])
    if name == "sortBy" and len(args) == 2:
        return Fold(place, name, target, [_name(args[0])], args[1:])
    kind = "exists_one" if name == "existsOne" else name
    if (name, len(args)) in _ONE_VARIABLE:
        return Fold(place, kind, target, [_name(args[0])], args[1:])
    if (name, len(args)) in _TWO_VARIABLES:
        names = [_name(args[0]), _name(args[1])]
        if names[0] == names[1]:
            raise MacroError(args[1].place, f"duplicate variable name: {names[0]}")
        return Fold(place, kind, target, names, args[2:])
    return None


def _name(node: Node, words: str = "argument must be a simple name") -> str:
    if not isinstance(node, Name):
        raise MacroError(node.place, words)
    if node.name in ("__result__", "@result"):
        raise MacroError(node.place, "iteration variable overwrites accumulator variable")
    return node.name
