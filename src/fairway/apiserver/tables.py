"""Tables as `kubectl get` shows them: columns and cells of each kind, made by the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fairway.apiserver import errors, gotime
from fairway.apiserver.fielderrors import quote
from fairway.apiserver.request import Json

if TYPE_CHECKING:
    from fairway.apiserver.kinds.base import Resource

Cell = Callable[[Json, float], Any]


class Column(NamedTuple):
    """One column. `cell` gets the object and the time."""

    name: str
    cell: Cell
    type: str = "string"
    priority: int = 0
    description: str = ""
    format: str = ""
    hidden: bool = False  # a cell without a header (IPAddress's age)


def name_cell(obj: Json, _now: float) -> str:
    name: str = obj["metadata"].get("name", "")
    return name


def age_cell(obj: Json, now: float) -> str:
    return gotime.age(obj["metadata"].get("creationTimestamp"), now)


_NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
_AGE_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
NAME = Column("Name", name_cell, description=_NAME_TEXT, format="name")
AGE = Column("Age", age_cell, description=_AGE_TEXT)


def _created_at(obj: Json, _now: float) -> str:
    created: str = obj["metadata"].get("creationTimestamp", "")
    return created


DEFAULT = (
    NAME,
    Column("Created At", _created_at, type="date", description=_AGE_TEXT),
)


class TableForm(NamedTuple):
    """`include` says what stands beside the cells: Metadata, Object or None; `version` is the Table's apiVersion."""

    include: str = "Metadata"
    version: str = "meta.k8s.io/v1"


def table_form(asked: str, version: str) -> TableForm:
    """Raises ApiError for an includeObject that does not exist."""
    if asked not in ("", "Metadata", "Object", "None"):
        words = f"Invalid value: {quote(asked)}: must be 'Metadata', 'Object', 'None', or empty"
        raise errors.bad_request(f"Unable to convert to Table as requested: includeObject: {words}")
    return TableForm(asked or "Metadata", version)


def table_of(resource: Resource, objects: Iterable[Json], now: float, form: TableForm) -> Json:
    """columnDefinitions and rows."""
    return {"columnDefinitions": headers_of(resource), "rows": list(rows_of(resource, objects, now, form))}


def headers_of(resource: Resource) -> list[Json]:
    return [
        {"name": c.name, "type": c.type, "format": c.format, "description": c.description, "priority": c.priority}
        for c in _columns(resource)
        if not c.hidden
    ]


def rows_of(resource: Resource, objects: Iterable[Json], now: float, form: TableForm) -> Iterator[Json]:
    """One row an object, as it is asked for: a long list's rows need not stand side by side."""
    columns = _columns(resource)
    for obj in objects:
        shown = obj if resource.from_storage is None else resource.from_storage(obj)
        row: Json = {"cells": [c.cell(shown, now) for c in columns]}
        conditions = _row_conditions(resource, shown)
        if conditions:
            row["conditions"] = conditions
        row["object"] = _beside(resource, shown, form)
        yield row


def _columns(resource: Resource) -> Sequence[Column]:
    return resource.strategy.columns or DEFAULT


def _row_conditions(resource: Resource, obj: Json) -> list[Json]:
    """Finished pods say so: kubectl filters by it."""
    if resource.kind != "Pod" or obj.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
        return []
    phase = obj["status"]["phase"]
    words = "successfully" if phase == "Succeeded" else "with failure"
    return [
        {
            "type": "Completed",
            "status": "True",
            "reason": phase,
            "message": f"The pod has completed {words}." if phase == "Succeeded" else "The pod failed.",
        }
    ]


def _beside(resource: Resource, obj: Json, form: TableForm) -> Json | None:
    if form.include == "None":
        return None
    if form.include == "Object":
        return {"kind": resource.kind, "apiVersion": resource.api_version, **obj}
    return {"kind": "PartialObjectMetadata", "apiVersion": form.version, "metadata": obj["metadata"]}
