"""Names of properties as identifiers of the language (k8s.io/apiserver/pkg/cel/escaping.go)."""

from __future__ import annotations

import re

RESERVED = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    }
)
_PARTS = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_BACK = {name.strip("_"): text for text, name in _PARTS.items()}


def escape(name: str) -> str | None:
    """The identifier of a property, or None when it can have none."""
    if not re.fullmatch(r"[A-Za-z_./-][A-Za-z0-9_./-]*", name):
        return None
    if name in RESERVED:
        return f"__{name}__"
    return re.sub(r"__|[-./]", lambda m: _PARTS[m[0]], name)


def unescape(name: str) -> str:
    """The property of an identifier; one that is not escaped is itself."""

    def back(found: re.Match[str]) -> str:
        inside = found[0][2:-2]
        return _BACK.get(inside, inside if inside in RESERVED else found[0])

    return re.sub(r"__[^_]+__", back, name)
