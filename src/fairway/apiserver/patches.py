"""Three ways to change a document: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch.

All return a new document and leave their input alone. Server-side apply is in `apply`.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from fairway.apiserver.decode import json_name
from fairway.apiserver.schema import TypeNode

Json = dict[str, Any]


class PatchError(ValueError):
    """The patch does not fit the document; `code` is the HTTP status that says so."""

    def __init__(self, message: str, code: int = 422) -> None:
        super().__init__(message)
        self.code = code


# ---- RFC 7386 ---------------------------------------------------------------------------------------------------
def merge_patch(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), value)
    return out


# ---- RFC 6902 ---------------------------------------------------------------------------------------------------
def json_patch(document: Json, operations: Any) -> Json:
    """Apply all operations, or raise PatchError at the first that fails."""
    out: Any = copy.deepcopy(document)
    for operation in operations:
        out = _operate(out, operation)
    if not isinstance(out, dict):
        raise PatchError("replace operation value must be object or array: %!w(<nil>)")
    return out


def _operate(document: Any, operation: Json) -> Any:
    kind, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise PatchError(f"{kind} operation failed to decode path: missing value")
    match kind:
        case "add":
            return _add(document, path, operation.get("value"), "add", "doc is missing path: ")
        case "remove":
            _remove(document, path, "remove", "doc is missing path: ", f"error in remove for path: '{path}'")
        case "replace":
            return _replace(document, path, operation.get("value"))
        case "move" | "copy":
            return _move(document, path, operation, kind)
        case "test":
            _test(document, path, operation.get("value"))
        case _:
            raise PatchError(f"Unexpected kind: {kind}")
    return document


def _steps(path: str) -> list[str]:
    return [p.replace("~1", "/").replace("~0", "~") for p in path.split("/")[1:]]


def _parent(document: Any, path: str, missing: str) -> tuple[Any, str]:
    """The container that a path ends in, and the last step."""
    steps = _steps(path)
    if not steps:
        return {"": document}, ""
    for step in steps[:-1]:
        try:
            document = document[int(step)] if isinstance(document, list) else document[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise PatchError(f"{missing}: missing value") from None
    if not isinstance(document, dict | list):
        raise PatchError(f"{missing}: missing value")
    return document, steps[-1]


def _index(step: str, size: int, *, words: str = "strconv.Atoi: parsing {}: invalid syntax") -> int:
    try:
        index = int(step)
    except ValueError:
        raise PatchError(words.format(json.dumps(step))) from None
    if not -size <= index < size:
        raise PatchError(f"Unable to access invalid index: {index}: invalid index referenced")
    return index + size if index < 0 else index


def _add(document: Any, path: str, value: Any, kind: str, missing: str) -> Any:
    shown = json.dumps(path) if kind == "add" else path
    parent, last = _parent(document, path, f"{kind} operation does not apply: {missing}{shown}")
    if not _steps(path):
        return value
    if isinstance(parent, dict):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    else:
        try:
            words = f"value was not a proper array index: '{last}': " + "strconv.Atoi: parsing {}: invalid syntax"
            parent.insert(_index(last, len(parent) + 1, words=words), value)
        except PatchError as error:
            raise PatchError(f"error in add for path: '{path}': {error}") from None
    return document


def _remove(document: Any, path: str, kind: str, missing: str, wrong: str) -> Any:
    shown = json.dumps(path) if kind == "remove" else path
    parent, last = _parent(document, path, f"{kind} operation does not apply: {missing}{shown}")
    if isinstance(parent, dict):
        if last not in parent:
            raise PatchError(f"{wrong}: Unable to remove nonexistent key: {last}: missing value")
        return parent.pop(last)
    try:
        return parent.pop(_index(last, len(parent)))
    except PatchError as error:
        raise PatchError(f"{wrong}: {error}") from None


def _replace(document: Any, path: str, value: Any) -> Any:
    if not path:
        return value
    parent, last = _parent(document, path, f"replace operation does not apply: doc is missing path: {path}")
    gone = PatchError(f"replace operation does not apply: doc is missing key: {path}: missing value")
    if isinstance(parent, dict):
        if last not in parent:
            raise gone
        parent[last] = value
        return document
    try:
        parent[_index(last, len(parent))] = value
    except PatchError:
        raise gone from None
    return document


def _move(document: Any, path: str, operation: Json, kind: str) -> Any:
    source = operation.get("from")
    if not isinstance(source, str):
        raise PatchError(f"{kind} operation failed to decode from: missing value")
    parent, last = _parent(document, source, f"{kind} operation does not apply: doc is missing from path: {source}")
    shown = last if kind == "move" else source
    what = f"error in {kind} for {'path' if kind == 'move' else 'from'}: '{shown}'"
    if isinstance(parent, dict):
        if last not in parent:
            raise PatchError(f"{what}: unable to get nonexistent key: {last}: missing value")
        value = parent[last]
    else:
        value = parent[_index(last, len(parent))]
    if kind == "move":
        _remove(document, source, "move", "doc is missing from path: ", what)
    return _add(document, path, copy.deepcopy(value), kind, "doc is missing destination path: ")


def _test(document: Any, path: str, value: Any) -> None:
    failed = PatchError(f"testing value {path} failed: test failed")
    parent, last = _parent(document, path, f"test operation does not apply: is missing path: {path}")
    if isinstance(parent, dict):
        if last not in parent and value is not None:
            raise PatchError(f"error in test for path: '{path}': unable to get nonexistent key: {last}: missing value")
        found = parent.get(last)
    else:
        try:
            found = parent[_index(last, len(parent))]
        except PatchError as error:
            raise PatchError(f"error in test for path: '{path}': {error}") from None
    if found != value or json_name(found) != json_name(value):
        raise failed


# ---- strategic merge --------------------------------------------------------------------------------------------
_DIRECTIVE, _DELETE_PRIMITIVE, _ORDER, _RETAIN = "$patch", "$deleteFromPrimitiveList", "$setElementOrder", "$retainKeys"


def strategic_patch(document: Json, patch: Json, node: TypeNode) -> Json:
    """kubectl's default: lists of a type with a merge key are merged by that key."""
    return _merge_struct(document, patch, node)


def _child(node: TypeNode | None, key: str) -> TypeNode | None:
    if node is None:
        return None
    if node.code == "struct":
        field = node.fields.get(key)
        return field.type if field else None
    return node.elem if node.code == "map" else None


def _merge_struct(original: Json, patch: Json, node: TypeNode | None) -> Json:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(f"unknown patch type found in patch data: {directive}")
    out = dict(original)
    if _RETAIN in patch:
        out = _retained(out, patch)
    for key, value in patch.items():
        if key == _DIRECTIVE or key.startswith((_DELETE_PRIMITIVE, _ORDER, _RETAIN)):
            continue
        if value is None:
            out.pop(key, None)
            continue
        if f"{_ORDER}/{key}" in patch and isinstance(value, list):
            _check_order(value, patch[f"{_ORDER}/{key}"], _child(node, key))
        if key not in out:  # nothing to merge with: keys are not asked for, doubles stay
            if not (isinstance(value, dict) and _DIRECTIVE in value):
                out[key] = _taken(value)
            continue
        out[key] = _merge_value(out[key], value, _child(node, key))
    _direct(out, patch, node)
    return out


def _taken(value: Any) -> Any:
    """A part of a patch as it is, without its nulls and what holds a directive."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if v is not None and not (isinstance(v, dict) and _DIRECTIVE in v)}
        return {k: _taken(v) for k, v in kept.items()}
    if isinstance(value, list):
        return [_taken(v) for v in value if not (isinstance(v, dict) and _DIRECTIVE in v)]
    return value


def _direct(out: Json, patch: Json, node: TypeNode | None) -> None:
    """What a patch says about whole lists, once they are merged."""
    for key, value in patch.items():
        name = key.partition("/")[2]
        if key.startswith(_DELETE_PRIMITIVE + "/"):
            if name in out and isinstance(value, list):
                out[name] = [v for v in out[name] or [] if v not in value]
        elif key.startswith(_ORDER + "/"):
            _order(out, name, value, node)


def _order(out: Json, name: str, order: Any, node: TypeNode | None) -> None:
    """`$setElementOrder`, once the list is merged."""
    if not isinstance(order, list):
        raise PatchError(f"expected a []interface {{}}, but received a {decoded_kind(order)}", 500)
    if node is not None and node.code == "struct" and name not in node.fields:
        raise PatchError(f'unable to find api field in struct {node.name} for the json field "{name}"', 500)
    if isinstance(out.get(name), list):
        out[name] = _ordered(out[name], order, _child(node, name))


def _check_order(patch: list[Any], order: Any, node: TypeNode | None) -> None:
    """What a patch lists has to stand in the order that the patch sets."""
    if not isinstance(order, list):
        raise PatchError(f"expected a []interface {{}}, but received a {decoded_kind(order)}", 500)
    key = node.merge_key if node is not None else ""

    def name(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = iter([name(o) for o in order])
    listed = [p for p in patch if not (isinstance(p, dict) and _DIRECTIVE in p)]
    if not all(any(name(p) == w for w in wanted) for p in listed):
        words = f"The order in patch list:\n{go_map(patch)}\n doesn't match {_ORDER} list:\n{go_map(order)}\n"
        raise PatchError(words, 500)


_KINDS = {str: "string", bool: "bool", int: "int64", float: "float64", list: "slice", dict: "map"}


def decoded_kind(value: Any) -> str:
    """Go's kind of a decoded JSON value."""
    return _KINDS.get(type(value), "<nil>")


def _retained(original: Json, patch: Json) -> Json:
    """Only the keys that the patch keeps; what it sets has to be among them."""
    kept = _list_of(patch[_RETAIN], "retainKeys")
    if any(v is not None and k not in kept and not k.startswith("$") for k, v in patch.items()):
        raise PatchError("invalid patch format of retainKeys", 400)
    return {k: v for k, v in original.items() if k in kept}


def _list_of(value: Any, what: str) -> list[Any]:
    """The value of a directive."""
    if not isinstance(value, list):
        raise PatchError(f"invalid patch format of {what}", 400)
    return value


def _merge_value(original: Any, value: Any, node: TypeNode | None) -> Any:
    if isinstance(value, dict):
        if (node is not None and node.merge == "replace") or not isinstance(original, dict | None):
            return value
        return _merge_struct(original or {}, value, node)
    merges = isinstance(value, list) and node is not None and node.code == "list" and "merge" in node.merge
    if merges and isinstance(original, list | None):
        assert node is not None
        return _merge_list(original or [], value, node)
    return value


def _merge_list(original: list[Any], patch: list[Any], node: TypeNode) -> list[Any]:
    if not node.merge_key:
        if any(isinstance(v, list | dict) for v in patch):
            return patch  # of the wrong type, which decoding tells
        both = [*original, *(v for v in patch if v not in original)]
        return _interleave(both, list(dict.fromkeys(patch)), set(original), "")
    key = node.merge_key
    if len({type(v) for v in (*original, *patch)}) > 1:
        raise PatchError(f"list element types are not identical: [{go_map(original)} {go_map(patch)}]", 500)
    if not all(isinstance(p, dict) and not isinstance(p.get(key), list | dict) for p in patch):
        return patch  # of the wrong type, which decoding tells
    items = [dict(i) for i in original]
    replaced = any(isinstance(p, dict) and p.get(_DIRECTIVE) == "replace" for p in patch)
    if replaced:
        return [p for p in patch if not (isinstance(p, dict) and _DIRECTIVE in p)]
    named: list[Any] = []
    for change in patch:
        if not isinstance(change, dict) or key not in change:
            raise PatchError(f"map: {go_map(change)} does not contain declared merge key: {key}", 500)
        found = next((i for i in items if i.get(key) == change[key]), None)
        directive = change.get(_DIRECTIVE)
        if directive == "delete":
            items = [i for i in items if i.get(key) != change[key]]
            continue
        if directive not in (None, "merge"):
            raise PatchError(f"unknown patch type: {directive} in map: {go_map(change)}", 500)
        if found is None:
            items.append(change)
        else:
            items[items.index(found)] = _merge_struct(found, change, node.elem)
        named.append(change[key])
    first = sorted((i for i in items if i.get(key) in named), key=lambda i: named.index(i.get(key)))
    if len(first) == len(items):
        return first
    return _interleave(items, first, {i.get(key) for i in original}, key)


def _interleave(items: list[Any], first: list[Any], known: set[Any], key: str) -> list[Any]:
    """Items that the patch names stand in its order; others of the server keep their place among what was there."""

    def name(item: Any) -> Any:
        return item.get(key) if key else item

    names = [name(i) for i in first]
    rest = [i for i in items if name(i) not in names]
    order = [name(i) for i in items]
    out: list[Any] = []
    while first or rest:
        patched = name(first[0]) if first else None
        if first and (not rest or patched not in known or order.index(patched) < order.index(name(rest[0]))):
            out.append(first.pop(0))
        else:
            out.append(rest.pop(0))
    return out


def _ordered(items: list[Any], order: list[Any], node: TypeNode | None) -> list[Any]:
    """`$setElementOrder`: what the list names stands in its order, the rest where it was."""
    key = node.merge_key if node is not None else ""
    if key and not all(isinstance(i, dict) and not isinstance(i.get(key), list | dict) for i in items):
        return items
    wanted = [o.get(key) if key and isinstance(o, dict) else o for o in order]
    if not key:
        listed = sorted((i for i in items if i in wanted), key=wanted.index)
        return listed + [i for i in items if i not in wanted]
    first = sorted((i for i in items if i.get(key) in wanted), key=lambda i: wanted.index(i.get(key)))
    return _interleave(items, first, {i.get(key) for i in items}, key)


def go_map(value: Any) -> str:
    """Go's %v of a decoded JSON value."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{go_map(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_map(v) for v in value) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def go_ordered(value: Any, patch: Any, node: TypeNode | None) -> Any:
    """A patched document with its keys as Go writes them: sorted in what the patch looked into, else as declared."""
    if isinstance(patch, list):
        patch = _opened(patch) if all(isinstance(o, dict) for o in patch) else None
    if not isinstance(value, dict):
        return value
    if not isinstance(patch, dict):
        known = list(node.fields) if node is not None and node.code == "struct" else sorted(value)
        names = [*(k for k in known if k in value), *sorted(value.keys() - known)]
        return {k: go_ordered(value[k], None, _child(node, k)) for k in names}
    return {k: go_ordered(value[k], patch.get(k), _child(node, k)) for k in sorted(value)}


def _opened(operations: list[Json]) -> Json:
    """The objects that a JSON patch looks into."""
    out: Json = {}
    for operation in operations:
        at = out
        for step in _steps(str(operation.get("path", "")))[:-1]:
            at = at.setdefault(step, {})
    return out
