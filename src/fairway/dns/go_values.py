"""Values as Go's fmt prints them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

NO_VALUE = "<no value>"


def go_text(value: Any) -> str:
    """What `%v` makes of a value."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return _float_text(value)
        case Mapping():
            return "map[" + " ".join(f"{k}:{go_text(v)}" for k, v in sorted(value.items())) + "]"
        case list() | tuple():
            return "[" + " ".join(map(go_text, value)) + "]"
    return str(value)


def _float_text(value: float) -> str:
    """The shortest that reads back as the same; an exponent only for very large and very small ones."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    return re.sub(r"e([+-])(\d)$", r"e\g<1>0\2", text)


def go_printf(form: str, *values: Any) -> str:
    """`printf`, with Go's words for what does not fit."""
    given, used = list(values), 0

    def put(verb: re.Match[str]) -> str:
        nonlocal used
        flags, letter = verb[1], verb[2]
        if letter == "%":
            return "%"
        if used >= len(given):
            return f"%!{letter}(MISSING)"
        value = given[used]
        used += 1
        return _formatted(flags, letter, value)

    text = re.sub(r"%([-+# 0]*\d*(?:\.\d+)?)([a-zA-Z%])", put, form)
    if used < len(given):
        text += "%!(EXTRA " + ", ".join(f"{_type(v)}={go_text(v)}" for v in given[used:]) + ")"
    return text


def _formatted(flags: str, letter: str, value: Any) -> str:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    match letter:
        case "v":
            return f"%{flags if is_whole else flags.replace('0', '')}s" % go_text(value)
        case "s" if isinstance(value, str):
            return f"%{flags}s" % value
        case "q" if isinstance(value, str):
            return f"%{flags}s" % quoted(value)
        case "t" if isinstance(value, bool):
            return go_text(value)
        case "b" if is_whole:
            return format(value, f"{flags}b" if flags.strip("-+# ") else "b")
        case "c" if is_whole:
            return chr(value)
        case "x" | "X" if isinstance(value, str):
            return f"%{flags}s" % (value.encode().hex().upper() if letter == "X" else value.encode().hex())
        case "d" | "x" | "X" | "o" if is_whole:
            return str(f"%{flags}{letter}" % value)
        case "e" | "f" | "g" if isinstance(value, float):
            return str(f"%{flags}{letter}" % value)
    return f"%!{letter}({_type(value)}={go_text(value)})"


def quoted(text: str) -> str:
    """A Go string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


def _type(value: Any) -> str:
    names = {bool: "bool", int: "int", float: "float64", str: "string", list: "[]string"}
    return names.get(type(value), type(value).__name__)
