"""The text of a manifest file to API objects as trees, each with its place: file, document, line, item of a list.

Decides what is one object and what is an error, so that one broken document harms no other. Does not know which kinds
anybody wants, nor whether an object's fields are right.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from fairway.kube.yaml import YAMLError, read_yaml
from fairway.values.errors import InvalidValueError
from fairway.values.names import ObjectName

LIST_DEPTH: Final = 8
"""Lists within lists; `kubectl get -o yaml` makes one level."""


class Place(NamedTuple):
    """Where an object stands: the file's name, the number of the document in it and its first line, from 1."""

    file: str
    document: int
    line: int
    item: str = ""
    """`items[3]` within a list."""

    def __str__(self) -> str:
        item = f": {self.item}" if self.item else ""
        return f"{self.file}: document {self.document} (line {self.line}){item}"


@dataclass(frozen=True, slots=True)
class ManifestObject:
    """One object of a manifest, not decoded yet."""

    place: Place
    api_version: str
    kind: str
    name: ObjectName
    tree: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one file holds."""

    objects: tuple[ManifestObject, ...]
    errors: tuple[str, ...]
    """Each names the place and what is wrong there."""
    is_whole: bool
    """Whether every document could be read; if not, objects that are missing may stand in what could not."""


class _Problem(NamedTuple):
    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def read_manifest(
    file: str, data: bytes, wanted: Callable[[str, str], bool] = lambda _version, _kind: True
) -> Manifest:
    """Read a file of YAML documents, or of JSON values when its name ends so.

    Objects whose apiVersion and kind are not `wanted` are left out, unread: a folder may hold anything.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Manifest((), (f"{file}: not UTF-8 text: byte {error.start}: {error.reason}",), is_whole=False)
    objects: list[ManifestObject] = []
    errors: list[str] = []
    is_whole = True
    documents = _json_documents(file, text) if file.endswith(".json") else _yaml_documents(file, text)
    for place, tree in documents:
        if isinstance(tree, InvalidValueError):
            errors.append(f"{place}: {tree}")
            is_whole = False
            continue
        for one in _objects(place, tree, wanted):
            if isinstance(one, _Problem):
                errors.append(str(one))
                is_whole = False
            else:
                objects.append(one)
    return Manifest(tuple(objects), tuple(errors), is_whole)


# -- documents

_MARK: Final = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)


def _yaml_documents(file: str, text: str) -> Iterator[tuple[Place, object]]:
    """Cut at the marks, as kubectl does, and read each piece by itself: an error in one ends there."""
    cuts = [0, *(m.start() for m in _MARK.finditer(text)), len(text)]
    number = line = 0
    for start, end in itertools.pairwise(cuts):
        body = text[start:end].removeprefix("---")
        # A document without anything but comments and blanks is none.
        if body.strip() and (tree := _yaml_document(body, line)) is not None:
            number += 1
            blank = len(body) - len(body.lstrip())
            yield Place(file, number, line + body.count("\n", 0, blank) + 1), tree
        line += body.count("\n")


def _yaml_document(text: str, line: int) -> object:
    if text.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError):
            pass  # a flow mapping, or broken: YAML's message has line and column
    try:
        return read_yaml(text)
    except YAMLError as error:
        return YAMLError(error.problem, error.line + line if error.line else 0, error.column)


def _json_documents(file: str, text: str) -> Iterator[tuple[Place, object]]:
    """One value or several behind one another, as `kubectl get -o json` and logs write them."""
    if not text.strip():
        return
    try:
        yield Place(file, 1, 1), msgspec.json.decode(text)
        return
    except (msgspec.MsgspecError, RecursionError):
        pass
    decoder = json.JSONDecoder()
    at, number = 0, 0
    while (at := at + len(text[at:]) - len(text[at:].lstrip())) < len(text):
        number += 1
        place = Place(file, number, text.count("\n", 0, at) + 1)
        try:
            tree, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            yield place, YAMLError(error.msg[:1].lower() + error.msg[1:], error.lineno, error.colno)
            return
        except (RecursionError, ValueError) as error:
            yield place, YAMLError("nested too deeply" if isinstance(error, RecursionError) else str(error))
            return
        yield place, tree


# -- objects


def _objects(
    place: Place, tree: object, wanted: Callable[[str, str], bool], depth: int = 0
) -> Iterator[ManifestObject | _Problem]:
    if not isinstance(tree, dict):
        yield _Problem(place, f"an object is expected, not {_what(tree)}")
        return
    kind, version = tree.get("kind"), tree.get("apiVersion")
    for field, value in (("kind", kind), ("apiVersion", version)):
        if not isinstance(value, str) or not value:
            yield _Problem(place, f"{field}: {_no_text(value)}")
            return
    assert isinstance(kind, str)
    assert isinstance(version, str)
    if not kind.endswith("List") or "items" not in tree:
        if wanted(version, kind):
            yield _one(place, version, kind, tree)
        return
    items = tree["items"] or []
    if not isinstance(items, list) or depth >= LIST_DEPTH:
        yield _Problem(place, f"items: {'lists nested too deeply' if depth else 'a list is expected'}")
        return
    # A typed list (ServiceList) may leave the kind of its items unsaid, as the API server does.
    unsaid = {"apiVersion": version, "kind": kind.removesuffix("List")} if kind != "List" else {}
    for index, item in enumerate(items):
        inner = place._replace(item=f"{place.item}.items[{index}]".lstrip("."))
        yield from _objects(inner, {**unsaid, **item} if isinstance(item, dict) else item, wanted, depth + 1)


def _one(place: Place, version: str, kind: str, tree: dict[str, Any]) -> ManifestObject | _Problem:
    meta = tree.get("metadata")
    if not isinstance(meta, dict):
        return _Problem(place, f"{kind}: metadata: {'missing' if meta is None else 'an object is expected'}")
    name, namespace = meta.get("name"), meta.get("namespace")
    if not isinstance(name, str) or not name:
        return _Problem(place, f"{kind}: metadata.name: {_no_text(name)}")
    if namespace is not None and not isinstance(namespace, str):
        return _Problem(place, f"{kind} {name}: metadata.namespace: {_no_text(namespace)}")
    return ManifestObject(place, version, kind, ObjectName(namespace or "", name), tree)


def _no_text(value: object) -> str:
    match value:
        case None | "":
            return "missing"
        case bool():
            word, words = ("true", "y, yes, on") if value else ("false", "n, no, off")
            return f"text is expected, not {word} ({words} mean that too in YAML 1.1: quote them)"
    return f"text is expected, not {value!r}"


def _what(tree: object) -> str:
    match tree:
        case list():
            return "a list"
        case str():
            return f"text ({tree[:40]!r})"
    return repr(tree)
