"""Which form of an answer a client accepts: the object, a Table, its metadata only; JSON or YAML."""

from __future__ import annotations

import enum
import functools
from typing import NamedTuple

from fairway.apiserver import errors

_PROTOBUF = "application/vnd.kubernetes.protobuf"
_TYPES = ("application/json", "application/yaml", _PROTOBUF)
_LISTED = ", ".join(_TYPES)
_STREAMS = ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"


class Form(enum.Enum):
    OBJECT = "object"
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"


class Shape(NamedTuple):
    """What to answer in; `version` is the apiVersion of Table and PartialObjectMetadata, `many` asks for a list."""

    form: Form
    content_type: str
    version: str = ""
    yaml: bool = False
    many: bool = False


PLAIN = Shape(Form.OBJECT, "application/json")
_FORMS = {
    "Table": Form.TABLE,
    "PartialObjectMetadata": Form.PARTIAL,
    "PartialObjectMetadataList": Form.PARTIAL,
}


class _Clause(NamedTuple):
    media: str
    parameters: tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=256)
def _clauses(header: str) -> tuple[_Clause, ...]:
    out: list[tuple[float, bool, int, _Clause]] = []
    for i, part in enumerate(header.split(",")):
        media, *raw = (p.strip() for p in part.split(";"))
        parameters = tuple((k.strip(), v.strip()) for k, _, v in (p.partition("=") for p in raw))
        weight = 1.0
        for key, value in parameters:
            if key == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        out.append((-weight, media.endswith("*"), i, _Clause(media.lower(), parameters)))
    return tuple(c for *_, c in sorted(out))


@functools.lru_cache(maxsize=256)
def negotiate(header: str | None, verb: str) -> Shape:
    """The first form that the server has; `verb` is get, list, watch or other (which takes no Table of a Status)."""
    if header is None or header.strip() in ("", "*/*"):
        return PLAIN
    clauses = _clauses(header)
    for clause in clauses:
        shape = _shape(clause, verb)
        if shape is not None:
            return shape
    if any(c.media in _TYPES for c in clauses):
        if verb == "watch":
            raise errors.not_acceptable(f"only the following media types are accepted: {_STREAMS[2:]}")
        raise not_listed()
    listed = _LISTED + (_STREAMS if verb in ("list", "watch") else "")
    raise errors.not_acceptable(f"406: Not Acceptable\n\nAvailable representations: {listed}", {})


def document(header: str | None, types: tuple[str, ...] = _TYPES, *, strict: bool = True) -> str:
    """The media type of an answer that is no resource; `strict` ones know no `application/*`."""
    if header is None or header.strip() in ("", "*/*"):
        return types[0]
    known = False
    for clause in _clauses(header):
        if clause.media == "*/*" or (clause.media == "application/*" and not strict):
            return types[0]
        known = known or clause.media in types
        if clause.media in types and clause.media != _PROTOBUF and "as" not in dict(clause.parameters):
            return clause.media
    if strict and not known:
        raise errors.not_acceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(types)}", {})
    raise not_listed()


def wants_aggregated(header: str) -> bool:
    """Whether any clause asks for aggregated discovery: then the others do not count (KEP-3352)."""
    wanted = {"as": "APIGroupDiscoveryList", "g": "apidiscovery.k8s.io", "v": "v2"}
    return any(c.media == "application/json" and wanted.items() <= dict(c.parameters).items() for c in _clauses(header))


def of_error(header: str | None) -> str:
    """Of a Status that tells an error: YAML if that is asked for first, else JSON."""
    for clause in _clauses(header or ""):
        if clause.media in ("*/*", "application/json"):
            break
        if clause.media == "application/yaml" and "as" not in dict(clause.parameters):
            return clause.media
    return "application/json"


def not_listed() -> errors.ApiError:
    """For a form that the kind cannot be shown in."""
    return errors.not_acceptable(f"only the following media types are accepted: {_LISTED}")


def _shape(clause: _Clause, verb: str) -> Shape | None:
    if clause.media == "*/*":
        return PLAIN
    if clause.media not in _TYPES or clause.media == _PROTOBUF:
        return None
    parameters = dict(clause.parameters)
    yaml = clause.media == "application/yaml"
    if yaml and verb == "watch":
        return None
    if parameters.keys().isdisjoint(("as", "g", "v")):
        return Shape(Form.OBJECT, clause.media, "", yaml)
    form = _FORMS.get(parameters.get("as", ""))
    group, version = parameters.get("g", ""), parameters.get("v", "")
    if form is None or group != "meta.k8s.io" or version not in ("v1", "v1beta1"):
        return None
    return Shape(form, clause.media, f"meta.k8s.io/{version}", yaml, parameters["as"].endswith("List"))
