"""What an API server keeps, for tests: objects with versions, a history that can be forgotten, pages, selectors.

Values only; `fake_api` puts HTTP around it. Objects are plain dicts, collections the paths of the API.
"""

from __future__ import annotations

import base64
import copy
import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fairway.kube.selector import LabelSelector
from fairway.values.errors import InvalidValueError

SERVICES = "/api/v1/services"
ENDPOINTS = "/api/v1/endpoints"
NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
NAMESPACES = "/api/v1/namespaces"
CONFIG_MAPS = "/api/v1/configmaps"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
SERVICE_CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
INGRESSES = "/apis/networking.k8s.io/v1/ingresses"

Object = dict[str, Any]
Key = tuple[str, str]


class Served(NamedTuple):
    """A kind that the server knows."""

    api_version: str
    kind: str
    is_namespaced: bool = True


KINDS: dict[str, Served] = {
    SERVICES: Served("v1", "Service"),
    ENDPOINTS: Served("v1", "Endpoints"),
    NODES: Served("v1", "Node", False),
    PODS: Served("v1", "Pod"),
    NAMESPACES: Served("v1", "Namespace", False),
    CONFIG_MAPS: Served("v1", "ConfigMap"),
    "/api/v1/events": Served("v1", "Event"),
    SLICES: Served("discovery.k8s.io/v1", "EndpointSlice"),
    SERVICE_CIDRS: Served("networking.k8s.io/v1", "ServiceCIDR", False),
    INGRESSES: Served("networking.k8s.io/v1", "Ingress"),
    "/apis/networking.k8s.io/v1/ingressclasses": Served("networking.k8s.io/v1", "IngressClass", False),
    "/apis/apps/v1/deployments": Served("apps/v1", "Deployment"),
    "/apis/coordination.k8s.io/v1/leases": Served("coordination.k8s.io/v1", "Lease"),
}


class Event(NamedTuple):
    """One change in the history."""

    version: int
    type: str
    collection: str
    object: Object
    before: Object | None


class Page(NamedTuple):
    """An answer to a list, or a part of one."""

    items: list[Object]
    version: int
    continue_token: str = ""
    remaining: int = 0


class StatusError(Exception):
    """The server says no, in the words of metav1.Status."""

    def __init__(self, code: int, reason: str, message: str, cause: str = "", retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status(code, reason, message, cause)
        self.retry_after = retry_after


class Storage:
    """Objects of many collections under one version, and the history of their changes."""

    def __init__(self, on_change: Callable[[Event], None]) -> None:
        self._on_change = on_change
        self._objects: dict[str, dict[Key, Object]] = {}
        self._uids = itertools.count(1)
        self._pages: dict[str, Page] = {}
        self.kinds = dict(KINDS)
        self.history: list[Event] = []
        self.forgotten = 0
        """Watches from before this version are refused."""
        self.version = 1

    def put(self, collection: str, one: Object) -> Object:
        """Create or replace an object."""
        served = self.kinds[collection]
        stored: Object = {"apiVersion": served.api_version, "kind": served.kind, **copy.deepcopy(one)}
        meta = stored.setdefault("metadata", {})
        if served.is_namespaced:
            meta.setdefault("namespace", "default")
        key = (meta.get("namespace", "") if served.is_namespaced else "", meta["name"])
        before = self._objects.setdefault(collection, {}).get(key)
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        meta["uid"] = before["metadata"]["uid"] if before else f"uid-{next(self._uids)}"
        meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self._objects[collection][key] = stored
        self._record("MODIFIED" if before else "ADDED", collection, stored, before)
        return stored

    def delete(self, collection: str, key: Key) -> Object:
        """Delete an object; StatusError 404 when it is not there."""
        gone = copy.deepcopy(self.get(collection, key))
        del self._objects[collection][key]
        self.version += 1
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._record("DELETED", collection, gone, gone)
        return gone

    def _record(self, kind: str, collection: str, one: Object, before: Object | None) -> None:
        event = Event(self.version, kind, collection, one, before)
        self.history.append(event)
        self._on_change(event)

    def get(self, collection: str, key: Key) -> Object:
        """One object; StatusError 404 when it is not there."""
        found = self._objects.get(collection, {}).get(key)
        if found is None:
            plural = collection.rpartition("/")[2]
            raise StatusError(404, "NotFound", f'{plural} "{key[1]}" not found')
        return found

    def create(self, collection: str, namespace: str, one: Object) -> Object:
        """POST: StatusError 409 when it is there."""
        meta = one.setdefault("metadata", {})
        if "name" not in meta:
            meta["name"] = f"{meta.get('generateName', '')}{next(self._uids):05x}"
        if self.kinds[collection].is_namespaced:
            meta.setdefault("namespace", namespace or "default")
        key = (meta.get("namespace", ""), meta["name"])
        if key in self._objects.get(collection, {}):
            plural = collection.rpartition("/")[2]
            raise StatusError(409, "AlreadyExists", f'{plural} "{meta["name"]}" already exists')
        return self.put(collection, one)

    def update(self, collection: str, key: Key, one: Object) -> Object:
        """PUT: StatusError 409 when the object is another version by now."""
        present = self.get(collection, key)
        wanted = one.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != present["metadata"]["resourceVersion"]:
            raise StatusError(409, "Conflict", "the object has been modified")
        one.setdefault("metadata", {}).update({"name": key[1], **({"namespace": key[0]} if key[0] else {})})
        return self.put(collection, one)

    def patch(self, collection: str, key: Key, patch: Any) -> Object:
        """PATCH with a merge patch."""
        return self.put(collection, _merged(copy.deepcopy(self.get(collection, key)), patch))

    def select(self, collection: str, namespace: str, matches: Callable[[Object], bool]) -> list[Object]:
        """Objects that match, sorted by namespace and name."""
        stored = sorted(self._objects.get(collection, {}).items())
        return [one for (space, _), one in stored if namespace in ("", space) and matches(one)]

    def page(self, collection: str, namespace: str, query: dict[str, str]) -> Page:
        """One page of a list, as `limit`, `continue` and `resourceVersion` ask."""
        token = query.get("continue", "")
        if token:
            if token not in self._pages:
                raise StatusError(410, "Expired", "The provided continue parameter is too old")
            if query.get("resourceVersion"):
                raise StatusError(400, "BadRequest", "resourceVersion may not be set with continue")
            rest = self._pages.pop(token)
        else:
            if int(query.get("resourceVersion") or 0) > self.version:
                raise StatusError(504, "Timeout", "Too large resource version", cause="ResourceVersionTooLarge")
            rest = Page(self.select(collection, namespace, matcher(query)), self.version)
        limit = int(query.get("limit") or 0)
        if not limit or len(rest.items) <= limit:
            return rest
        token = base64.b64encode(f"{rest.version}:{next(self._uids)}".encode()).decode()
        self._pages[token] = Page(rest.items[limit:], rest.version)
        return Page(rest.items[:limit], rest.version, token, len(rest.items) - limit)

    def expire(self) -> None:
        """Forget the history and all pages."""
        self.history.clear()
        self._pages.clear()
        self.forgotten = self.version

    def restore(self, version: int) -> None:
        """Be empty, at an old version."""
        self._objects.clear()
        self.history.clear()
        self._pages.clear()
        self.version = version
        self.forgotten = 0


def status(code: int, reason: str, message: str, cause: str = "") -> Object:
    """A metav1.Status."""
    made: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if cause:
        made["details"] = {"causes": [{"reason": cause, "message": message}]}
    return made


def matcher(query: dict[str, str]) -> Callable[[Object], bool]:
    """What a request's selectors ask of an object."""
    try:
        labels = LabelSelector.parse(query.get("labelSelector", ""))
    except InvalidValueError as error:
        raise StatusError(400, "BadRequest", str(error)) from None
    fields = [_FIELD_TERM.fullmatch(part) for part in query.get("fieldSelector", "").split(",") if part]

    def matches(one: Object) -> bool:
        if not labels.matches(one["metadata"].get("labels") or {}):
            return False
        return all(term and (_field(one, term[1]) == term[3]) is (term[2] != "!=") for term in fields)

    return matches


_FIELD_TERM = re.compile(r"([^!=]+)(!=|==?)(.*)")


def _field(one: Any, path: str) -> str:
    for step in path.split("."):
        one = one.get(step, "") if isinstance(one, dict) else ""
    return str(one)


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
