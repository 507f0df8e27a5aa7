"""Which form of an answer a client accepts: the object, a Table, its metadata only; JSON or YAML."""

from __future__ import annotations

import enum
import functools
from typing import NamedTuple

from fairway.apiserver import errors

_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_LISTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
_STREAMS = ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"


class Form(enum.Enum):
    OBJECT = "object"
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"


class Shape(NamedTuple):
    """What to answer in; `version` is the apiVersion of Table and PartialObjectMetadata."""

    form: Form
    content_type: str
    version: str = ""
    yaml: bool = False


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
    out: list[tuple[float, int, _Clause]] = []
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
        out.append((-weight, i, _Clause(media.lower(), parameters)))
    return tuple(c for _, _, c in sorted(out))


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
    if any("as" in dict(c.parameters) for c in clauses):
        raise not_listed()
    raise errors.not_acceptable(f"406: Not Acceptable\n\nAvailable representations: {_LISTED}{_STREAMS}", {})


def not_listed() -> errors.ApiError:
    """For a form that the kind cannot be shown in."""
    return errors.not_acceptable(f"only the following media types are accepted: {_LISTED}")


def _shape(clause: _Clause, verb: str) -> Shape | None:
    if clause.media == "*/*":
        return PLAIN
    if clause.media not in _TYPES or clause.media == "application/vnd.kubernetes.protobuf":
        return None
    parameters = dict(clause.parameters)
    yaml = clause.media == "application/yaml"
    if "as" not in parameters:
        return Shape(Form.OBJECT, clause.media, "", yaml)
    form = _FORMS.get(parameters["as"])
    group, version = parameters.get("g", ""), parameters.get("v", "")
    if form is None or group != "meta.k8s.io" or version not in ("v1", "v1beta1"):
        return None
    return Shape(form, clause.media, f"meta.k8s.io/{version}", yaml)
