"""Raw JSON → an object as the server keeps it: known fields only, Go's zero values left out or put in.

Decides what is a type error (400), what is an unknown or duplicate field (strict error or warning), and what an
encoded object looks like. Refuses to know defaults and validity of values.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from fairway.apiserver import quantity
from fairway.apiserver.gotime import normal_micro_time, normal_time
from fairway.apiserver.schema import Field, Json, TypeNode, zero

_GO_NAMES = {"s": "string", "i": "int32", "l": "int64", "b": "bool", "f": "float64", "y": "[]uint8"}
_INT32, _INT64 = 1 << 31, 1 << 63


class TypeMismatch(Exception):  # noqa: N818 - a type mismatch is what it is
    """A value of the wrong JSON type; the words are those of Go's decoder, or of its converter of decoded values."""

    converted = ""


def json_name(value: Any) -> str:
    """Go's word for the JSON type of a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


# Where an empty one is refused, and the words show that it was not left out.
_SHOWN_EMPTY = frozenset({"spec.cidrs", "spec.rules", "spec.template.metadata.labels"})


class Decoder:
    """One pass over one object; afterwards `unknown` names the fields that no type has."""

    __slots__ = ("keys", "unknown")

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.keys = 0

    def decode(self, value: Json, node: TypeNode) -> Json:
        """The object as the server would encode it; raises TypeMismatch."""
        return self._struct(value, node, "", "")

    def _struct(self, value: Any, node: TypeNode, path: str, go_path: str) -> Json:
        fields = node.fields
        out: Json = {}
        self.keys += len(value)
        prefix = f"{path}." if path else ""
        go_prefix = f"{go_path}." if go_path else ""
        for name, raw in value.items():
            field = fields.get(name)
            if field is None:
                self.unknown.append(prefix + name)
                continue
            kept = self._field(raw, field, prefix + name, go_prefix + name)
            if kept is not None:
                out[name] = kept
        for field in node.required:
            if field.name not in out:
                out[field.name] = zero(field.type)
        return out

    def _field(self, raw: Any, field: Field, path: str, go_path: str) -> Any:
        """None means: left out of the encoding."""
        if raw is None:
            return None
        node = field.type
        kept = self._value(raw, node, path, go_path, field.owner)
        if field.flags & 2 and node.code not in ("list", "map", "y"):
            return kept
        if path in _SHOWN_EMPTY and kept is not None:
            return kept
        if kept or field.flags & 1 == 0:
            return kept if kept not in ([], {}) or node.code == "struct" else None
        return kept if node.code in ("struct", "intorstr", "quantity") and kept is not None else None

    def _value(self, raw: Any, node: TypeNode, path: str, go_path: str, owner: str) -> Any:
        code = node.code
        if code == "s":
            if type(raw) is str:
                return raw
        elif code == "struct":
            if type(raw) is dict:
                return self._struct(raw, node, path, go_path)
            raise _mismatch(raw, owner, go_path, f"{_package(node)}.{node.name}")
        elif code == "list":
            if type(raw) is list:
                elem = node.elem
                assert elem is not None
                return [self._item(item, elem, f"{path}[{i}]", go_path, owner) for i, item in enumerate(raw)]
        elif code == "map":
            if type(raw) is dict:
                return self._map(raw, node, path, go_path, owner)
        elif code == "json":
            self.keys += count_keys(raw)
            return raw
        else:
            return _scalar(raw, code, owner, go_path)
        raise _mismatch(raw, owner, go_path, go_type(node))

    def _item(self, raw: Any, elem: TypeNode, path: str, go_path: str, owner: str) -> Any:
        if raw is None:
            return zero(elem)
        return self._value(raw, elem, path, go_path, owner)

    def _map(self, raw: Json, node: TypeNode, path: str, go_path: str, owner: str) -> Json:
        self.keys += len(raw)
        elem = node.elem
        assert elem is not None
        if elem.code == "s":
            for item in raw.values():
                if type(item) is not str:
                    if item is None:
                        return self._map(
                            {k: v if v is not None else "" for k, v in raw.items()}, node, path, go_path, owner
                        )
                    raise _mismatch(item, owner, go_path, "string")
            return raw
        out = {k: self._item(v, elem, f"{path}.{k}", go_path, owner) for k, v in raw.items()}
        if elem.code == "quantity":  # SetDefaults_ResourceList
            return {k: quantity.to_thousandths(v) for k, v in out.items()}
        return out


def _package(node: TypeNode) -> str:
    return "v1" if node.name else ""


def go_type(node: TypeNode) -> str:
    """How Go would write the type."""
    if node.code == "struct":
        return f"v1.{node.name}"
    if node.code == "list":
        return "[]" + go_type(node.elem) if node.elem else "[]"
    if node.code == "map":
        return "map[string]" + go_type(node.elem) if node.elem else "map"
    return _GO_NAMES.get(node.code, node.code)


def _mismatch(raw: Any, owner: str, go_path: str, wanted: str) -> TypeMismatch:
    where = f"Go struct field {owner}.{go_path} of type {wanted}" if owner else f"Go value of type {wanted}"
    error = TypeMismatch(f"json: cannot unmarshal {json_name(raw)} into {where}")
    error.converted = _conversion(raw, wanted)
    return error


_KINDS = {str: "string", bool: "bool", int: "int64", float: "float64", list: "slice", dict: "map"}


def _conversion(raw: Any, wanted: str) -> str:
    """The same as the converter says it that strategic merge patches go through."""
    kind = _KINDS[type(raw)]
    if wanted.startswith("[]"):
        return f"cannot restore slice from {kind}"
    if wanted.startswith("map["):
        return f"cannot restore map from {kind}"
    if wanted.startswith("v1."):
        return f"cannot restore struct from: {kind}"
    if kind in ("int64", "float64") and wanted in ("string", "int32", "int64"):
        return f"cannot convert {kind} to {wanted}"
    return f"unrecognized type: {wanted}"


def _number(raw: Any, code: str, owner: str, go_path: str) -> int | float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise _mismatch(raw, owner, go_path, _GO_NAMES[code])
    if code == "f":
        return raw
    limit = _INT32 if code == "i" else _INT64
    if isinstance(raw, float) or not -limit <= raw < limit:
        shown = json.dumps(raw)
        error = TypeMismatch(
            f"json: cannot unmarshal number {shown} into Go struct field {owner}.{go_path} of type {_GO_NAMES[code]}"
        )
        error.converted = _conversion(raw, _GO_NAMES[code])
        raise error
    return raw


def _scalar(raw: Any, code: str, owner: str, go_path: str) -> Any:
    try:
        return _plain(raw, code, owner, go_path)
    except TypeMismatch as error:
        if code in ("intorstr", "time", "microtime", "duration"):  # these read JSON on their own
            error.converted = re.sub("into Go struct field .* of type", "into Go value of type", str(error))
        raise


def _plain(raw: Any, code: str, owner: str, go_path: str) -> Any:
    match code:
        case "i" | "l" | "f":
            return _number(raw, code, owner, go_path)
        case "b" if isinstance(raw, bool):
            return raw
        case "intorstr":
            if isinstance(raw, str):
                return raw
            if isinstance(raw, bool) or not isinstance(raw, int | float):
                raise _mismatch(raw, owner, go_path, "int32")
            return _number(raw, "i", owner, go_path)
        case "quantity":
            return _quantity(raw)
        case "time" | "microtime" | "duration" | "y" if isinstance(raw, str):
            return _text(raw, code)
    raise _mismatch(raw, owner, go_path, _GO_NAMES.get(code, "string"))


def _quantity(raw: Any) -> str:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise TypeMismatch(quantity.WRONG)
    try:
        return quantity.canonical(raw if isinstance(raw, str) else json.dumps(raw))
    except quantity.QuantityError as error:
        raise TypeMismatch(str(error)) from None


def _text(raw: str, code: str) -> str:
    if code == "y":
        return _base64(raw)
    if code == "duration":
        return raw
    try:
        return normal_micro_time(raw) if code == "microtime" else normal_time(raw)
    except ValueError as error:
        raise TypeMismatch(str(error)) from None


def _base64(raw: str) -> str:
    import binascii

    try:
        data = binascii.a2b_base64(raw.replace("\n", "").replace("\r", ""), strict_mode=True) if raw else b""
    except ValueError:  # binascii.Error is one
        at = next((i for i, c in enumerate(raw) if not (c.isalnum() or c in "+/=")), len(raw) // 4 * 4)
        error = TypeMismatch(f"illegal base64 data at input byte {at}")
        error.converted = f"error decoding from json: {error}"
        raise error from None
    return binascii.b2a_base64(data, newline=False).decode()


def count_keys(value: Any) -> int:
    """All keys of all objects below a value."""
    if type(value) is dict:
        return len(value) + sum(count_keys(v) for v in value.values())
    return sum(count_keys(v) for v in value) if type(value) is list else 0


def parse_json(body: bytes) -> Any:
    """A JSON document; raises ValueError with Go-like words."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(_go_words(body, str(error))) from None


def json_words(body: bytes) -> str:
    """What is wrong with a text that has to be a JSON object, in Go's words; "" when nothing is."""
    try:
        value = parse_json(body)
    except ValueError as error:
        return str(error)
    if value is None or isinstance(value, dict):
        return ""
    kinds = {bool: "bool", str: "string", list: "array"}
    kind = kinds.get(type(value), "number")
    return f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"


def _go_words(body: bytes, otherwise: str) -> str:
    """Go's words for the first syntax error, as far as Python's decoder tells where it is."""
    text = body.decode("utf-8", "replace")
    if text.startswith("\ufeff"):  # Go looks at bytes
        return "invalid character 'ï' looking for beginning of value"
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            return "unexpected end of JSON input"
        if error.msg == "Expecting value" and text[error.pos] in _LITERALS:
            return _literal_words(text[error.pos :])
        where = {
            "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
            "Expecting value": "looking for beginning of value",
            "Expecting ':' delimiter": "after object key",
            "Expecting ',' delimiter": "after object key:value pair",
            "Extra data": "after top-level value",
        }.get(error.msg, "in string literal")
        return f"invalid character {quote_char(text[error.pos])} {where}"
    except RecursionError:
        return "exceeded max depth"
    return otherwise


_LITERALS = {"n": "null", "t": "true", "f": "false"}


def _literal_words(text: str) -> str:
    """Of a word that begins as a literal does, and is none."""
    literal = _LITERALS[text[0]]
    at = next((i for i, (got, want) in enumerate(zip(text, literal, strict=False)) if got != want), len(text))
    if at >= len(text):
        return "unexpected end of JSON input"
    return f"invalid character {quote_char(text[at])} in literal {literal} (expecting {quote_char(literal[at])})"


def quote_char(char: str) -> str:
    """A character as Go's %q writes it."""
    return {"'": r"'\''", "\n": r"'\n'", "\t": r"'\t'", "\r": r"'\r'", "\\": r"'\\'"}.get(char, f"'{char}'")


def strict_errors(body: bytes, unknown: list[str]) -> list[str]:
    """Doubled and unknown fields of a JSON body in the order in which they stand in it (the last of a key wins)."""
    out: list[str] = []
    _walk_pairs(json.loads(body, object_pairs_hook=_Pairs), "", frozenset(unknown), out)
    return out


_OPERATION = frozenset({"op", "from", "path", "value"})


def operation_errors(body: bytes) -> list[str]:
    """What is doubled or unknown in the operations of a JSON patch."""
    out: list[str] = []
    for i, operation in enumerate(json.loads(body, object_pairs_hook=_Pairs)):
        seen: set[str] = set()
        for key, _ in operation:
            if key in seen:
                out.append(f'json patch duplicate field "[{i}].{key}"')
            elif key not in _OPERATION:
                out.append(f'json patch unknown field "[{i}].{key}"')
            seen.add(key)
    return out


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its keys."""


def _walk_pairs(value: Any, path: str, unknown: frozenset[str], out: list[str]) -> None:
    if isinstance(value, _Pairs):
        prefix = f"{path}." if path else ""
        seen: set[str] = set()
        for key, item in value:
            at = prefix + key
            if at in unknown:
                if key not in seen:
                    out.append(f'unknown field "{at}"')
                seen.add(key)
                continue
            if key in seen:
                out.append(f'duplicate field "{at}"')
            seen.add(key)
            _walk_pairs(item, at, unknown, out)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _walk_pairs(item, f"{path}[{i}]", unknown, out)
