"""What all API objects share: names, labels that steer the proxy, and how a wrong object is reported."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fairway.values.address import Address, Prefix
from fairway.values.errors import InvalidValueError, ObjectError
from fairway.values.names import ObjectName

LABEL_SERVICE_NAME = "kubernetes.io/service-name"
LABEL_HEADLESS = "service.kubernetes.io/headless"
LABEL_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
LABEL_HOSTNAME = "kubernetes.io/hostname"
LABEL_ZONE = "topology.kubernetes.io/zone"
ANNOTATION_TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
TAINT_TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"


class WireMeta(msgspec.Struct, gc=False, rename="camel"):
    """ObjectMeta, cut down to what any reader here needs."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None

    def object_name(self) -> ObjectName:
        return ObjectName(self.namespace, self.name)


class WireHead(msgspec.Struct, gc=False, rename="camel"):
    """Enough of any object to say what it is."""

    api_version: str = ""
    kind: str = ""
    metadata: WireMeta = msgspec.field(default_factory=WireMeta)


def field_error(kind: str, name: ObjectName, path: str, problem: str) -> ObjectError:
    """`Service shop/web: spec.ports[0].port: 70000 is not a port`."""
    return ObjectError(f"{kind} {name}: {path}: {problem}")


def address_field(kind: str, name: ObjectName, path: str, text: str) -> Address:
    """Read an address, or say which field is wrong. IPv4-mapped ones are refused, as the API server refuses them."""
    try:
        address = Address.parse(text)
    except InvalidValueError as error:
        raise field_error(kind, name, path, str(error)) from None
    if address.is_ipv4_mapped:
        raise field_error(kind, name, path, f"{text!r} must not be an IPv4-mapped IPv6 address")
    return address


def prefix_field(kind: str, name: ObjectName, path: str, text: str) -> Prefix:
    """Read a CIDR block, blanks around it trimmed, or say which field is wrong."""
    try:
        return Prefix.parse(text.strip())
    except InvalidValueError as error:
        raise field_error(kind, name, path, str(error)) from None


_PATH = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on text that is not the object it should be: also text that is not UTF-8, or nested too deep."""


def schema_error(kind: str, raw: object, error: Exception) -> ObjectError:
    """Turn msgspec's words into ours: object, field path, value, what was expected."""
    match = _PATH.match(str(error))
    problem, path = (match["problem"], match["path"] or "") if match else (str(error), "")
    document = _as_document(raw)
    found = _value_at(document, path)
    shown = f" (found {found!r})" if path and found is not None and not isinstance(found, (dict, list)) else ""
    meta = document.get("metadata") if isinstance(document, dict) else None
    meta = meta if isinstance(meta, dict) else {}
    label = ObjectName(str(meta.get("namespace") or ""), str(meta.get("name") or "(without a name)"))
    words = problem[:1].lower() + problem[1:]
    return ObjectError(f"{kind} {label}: {path + ': ' if path else ''}{words}{shown}")


def _as_document(raw: object) -> object:
    if isinstance(raw, (bytes, bytearray, memoryview, msgspec.Raw)):
        try:
            return msgspec.json.decode(raw)
        except MALFORMED:
            return None
    return raw


def _value_at(document: object, path: str) -> Any:
    for name, index in _STEP.findall(path):
        if index and isinstance(document, list) and int(index) < len(document):
            document = document[int(index)]
        elif name and isinstance(document, dict):
            document = document.get(name)
        else:
            return None
    return document
