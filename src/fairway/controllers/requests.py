"""Writes and questions as requests of the Kubernetes API: method, path, query and body. Pure; sending is the loop's."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

from fairway.controllers.writes import (
    AnyKind,
    Create,
    Delete,
    DeleteAll,
    Lookup,
    Patch,
    Post,
    Question,
    Tree,
    Write,
)
from fairway.values.names import ObjectName

MERGE_PATCH = "application/merge-patch+json"
JSON = "application/json"


class Request(NamedTuple):
    method: str
    path: str
    body: Tree | None = None
    content_type: str = JSON


def collection_path(kind: AnyKind, namespace: str = "") -> str:
    """`/apis/apps/v1/namespaces/shop/deployments`; of all namespaces when none is named."""
    root, _, plural = kind.path.rpartition("/")
    return f"{root}/namespaces/{quote(namespace, safe='')}/{plural}" if namespace else kind.path


def object_path(kind: AnyKind, name: ObjectName, subresource: str = "") -> str:
    """`…/deployments/web/status`."""
    path = f"{collection_path(kind, name.namespace)}/{quote(name.name, safe='')}"
    return f"{path}/{subresource}" if subresource else path


def request_for(write: Write) -> Request:
    """The request that makes a write. Records are not sent as they are (see `events`)."""
    match write:
        case Create():
            return Request("POST", collection_path(write.kind, write.namespace), write.body)
        case Patch():
            path = object_path(write.kind, write.name, write.subresource)
            return Request("PATCH", path, write.body, MERGE_PATCH)
        case Delete():
            return Request("DELETE", object_path(write.kind, write.name), _delete_options(write))
        case DeleteAll():
            body: Tree = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
            return Request("DELETE", collection_path(write.kind, write.namespace), body)
        case Post():
            return Request(write.method, object_path(write.kind, write.name, write.subresource), write.body)
    raise TypeError(f"{type(write).__name__} is no request")


def question_request(question: Question) -> Request:
    """The request that answers a question."""
    if isinstance(question, Lookup):
        return Request("GET", object_path(question.kind, question.name))
    return Request("GET", collection_path(question.kind, question.namespace))


def _delete_options(delete: Delete) -> Tree:
    options: Tree = {"apiVersion": "v1", "kind": "DeleteOptions"}
    conditions: dict[str, Any] = {"uid": delete.uid, "resourceVersion": delete.resource_version}
    if known := {key: value for key, value in conditions.items() if value}:
        options["preconditions"] = known
    if delete.propagation is not None:
        options["propagationPolicy"] = delete.propagation.value
    if delete.grace is not None:
        options["gracePeriodSeconds"] = delete.grace
    return options
