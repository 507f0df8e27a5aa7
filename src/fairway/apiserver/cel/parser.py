"""Tokens to a tree: recursive descent, with macros expanded on the way."""

from __future__ import annotations

from fairway.apiserver.cel import lexer, macros
from fairway.apiserver.cel.errors import CompileError, Issue
from fairway.apiserver.cel.escaping import RESERVED
from fairway.apiserver.cel.lexer import Token
from fairway.apiserver.cel.syntax import Call, ListNode, Literal, MapNode, Name, Node, Select

_RESERVED = RESERVED - {"true", "false", "null", "in"}
_RELATIONS = ("<", "<=", ">", ">=", "==", "!=", "in")
_DEPTH = 250


class _Stop(Exception):  # noqa: N818
    """Parsing cannot go on; the issue is recorded."""


def parse(text: str) -> Node:
    """The tree of an expression; raises CompileError."""
    found, issues = lexer.tokens(text)
    parser = _Parser(found, issues)
    try:
        node = parser.whole()
    except _Stop:
        node = Literal(0)
    except macros.MacroError as error:
        parser.issues.append(Issue(error.place, str(error)))
        node = Literal(0)
    if parser.issues:
        raise CompileError(text, parser.issues)
    return node


class _Parser:
    def __init__(self, found: list[Token], issues: list[Issue]) -> None:
        self._tokens = found
        self._at = 0
        self._depth = 0
        self.issues = issues

    # ---- tokens ------------------------------------------------------------------------------------------------
    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _accept(self, *texts: str) -> Token | None:
        token = self._peek()
        return self._next() if token.kind in ("op", "name") and token.value is None and token.text in texts else None

    def _expect(self, text: str) -> Token:
        return self._accept(text) or self._fail(self._peek(), f"expecting '{text}'")

    def _fail(self, token: Token, why: str = "") -> Token:
        words = f"Syntax error: mismatched input '{token.text}'" + (f" {why}" if why else "")
        self.issues.append(Issue(token.place, words))
        raise _Stop

    # ---- operators ---------------------------------------------------------------------------------------------
    def whole(self) -> Node:
        node = self._expression()
        if self._peek().kind != "end":
            token = self._peek()
            self.issues.append(Issue(token.place, f"Syntax error: extraneous input '{token.text}' expecting <EOF>"))
        return node

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > _DEPTH:
            self.issues.append(Issue(0, f"expression recursion limit exceeded: {_DEPTH}"))
            raise _Stop
        node = self._logical("||", "_||_")
        question = self._accept("?")
        if question is not None:
            first = self._logical("||", "_||_")
            self._expect(":")
            node = Call(question.place, "_?_:_", [node, first, self._expression()])
        self._depth -= 1
        return node

    def _logical(self, op: str, name: str) -> Node:
        """A chain of && or ||, as a balanced tree."""
        terms, ops = [self._below(op)], []
        while token := self._accept(op):
            ops.append(token.place)
            terms.append(self._below(op))
        return _balanced(name, terms, ops) if ops else terms[0]

    def _below(self, op: str) -> Node:
        return self._logical("&&", "_&&_") if op == "||" else self._relation()

    def _relation(self) -> Node:
        node = self._sum()
        while token := self._accept(*_RELATIONS):
            name = "@in" if token.text == "in" else f"_{token.text}_"
            node = Call(token.place, name, [node, self._sum()])
        return node

    def _sum(self) -> Node:
        node = self._product()
        while token := self._accept("+", "-"):
            node = Call(token.place, f"_{token.text}_", [node, self._product()])
        return node

    def _product(self) -> Node:
        node = self._unary()
        while token := self._accept("*", "/", "%"):
            node = Call(token.place, f"_{token.text}_", [node, self._unary()])
        return node

    def _unary(self) -> Node:
        token = self._accept("!", "-")
        if token is None:
            return self._member()
        count = 1
        while self._accept(token.text):
            count += 1
        follows = self._peek()
        if token.text == "-" and count == 1 and follows.kind == "literal" and type(follows.value) in (int, float):
            number = self._next()
            self._tokens[self._at - 1] = number._replace(value=-number.value)
            self._at -= 1
            return self._member()
        node = self._member() if self._peek().text not in ("!", "-") else self._unary()
        return Call(token.place, f"{token.text}_", [node]) if count % 2 else node

    # ---- members -----------------------------------------------------------------------------------------------
    def _member(self) -> Node:
        node = self._primary()
        while token := self._accept(".", "["):
            node = self._selected(node, token) if token.text == "." else self._indexed(node, token)
        return node

    def _selected(self, node: Node, dot: Token) -> Node:
        optional = self._accept("?") is not None
        name = self._next()
        if name.kind == "end":
            self.issues.append(Issue(name.place, "Syntax error: no viable alternative at input '.'"))
            raise _Stop
        if name.kind != "name":
            self._fail(name, "expecting IDENTIFIER")
        if optional:
            return Select(dot.place, node, name.text, optional=True)
        opened = self._accept("(")
        if opened is None:
            return Select(dot.place, node, name.text)
        args = self._arguments(")")
        return macros.member(node, name.text, args, opened.place) or self._called(node, name.text, args, opened.place)

    def _called(self, node: Node, name: str, args: list[Node], place: int) -> Node:
        return Call(place, name, [node, *args], member=True)

    def _indexed(self, node: Node, bracket: Token) -> Node:
        optional = self._accept("?") is not None
        index = self._expression()
        self._expect("]")
        return Call(bracket.place, "_[?_]" if optional else "_[_]", [node, index])

    def _arguments(self, end: str) -> list[Node]:
        out: list[Node] = []
        while not self._accept(end):
            if out:
                self._expect(",")
                if end != ")" and self._accept(end):
                    break
            out.append(self._expression())
        return out

    def _primary(self) -> Node:
        token = self._next()
        if token.kind == "literal":
            return self._literal(token)
        if token.kind == "name":
            return self._named(token)
        match token.text:
            case "(":
                node = self._expression()
                self._expect(")")
                return node
            case "[":
                return self._list(token)
            case "{":
                return self._map(token)
            case ".":
                return self._named(self._next())
        self._fail(
            token,
            "expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, "
            "NUM_UINT, STRING, BYTES, IDENTIFIER}",
        )
        raise _Stop

    def _literal(self, token: Token) -> Node:
        if type(token.value) is int and token.value >= 1 << 63:
            self.issues.append(Issue(token.place, "invalid int literal"))
        return Literal(token.place, token.value)

    def _named(self, token: Token) -> Node:
        constants = {"true": True, "false": False, "null": None}
        if token.text in constants:
            return Literal(token.place, constants[token.text])
        if token.text in _RESERVED:
            self.issues.append(Issue(token.place, f"reserved identifier: {token.text}"))
        if token.text == "in" or token.kind != "name":
            self._fail(token)
        opened = self._accept("(")
        if opened is None:
            return Name(token.place, token.text)
        args = self._arguments(")")
        return macros.plain(token.text, args, opened.place) or Call(opened.place, token.text, args)

    def _list(self, bracket: Token) -> Node:
        items: list[Node] = []
        optional: set[int] = set()
        while not self._accept("]"):
            if items:
                self._expect(",")
                if self._accept("]"):
                    break
            if self._accept("?"):
                optional.add(len(items))
            items.append(self._expression())
        return ListNode(bracket.place, items, frozenset(optional))

    def _map(self, brace: Token) -> Node:
        entries: list[tuple[Node, Node, bool]] = []
        while not self._accept("}"):
            if entries:
                self._expect(",")
                if self._accept("}"):
                    break
            optional = self._accept("?") is not None
            key = self._expression()
            self._expect(":")
            entries.append((key, self._expression(), optional))
        return MapNode(brace.place, entries)


def _balanced(name: str, terms: list[Node], ops: list[int]) -> Node:
    """As cel-go's balancer: the middle operator is the root."""

    def tree(low: int, high: int) -> Node:
        middle = (low + high + 1) // 2
        left = terms[middle] if middle == low else tree(low, middle - 1)
        right = terms[middle + 1] if middle == high else tree(middle + 1, high)
        return Call(ops[middle], name, [left, right])

    return tree(0, len(ops) - 1)
