"""A request's body → an object of the kind that is wanted: content types, kinds, strict errors and warnings."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import yaml

from fairway.apiserver import decode, errors
from fairway.apiserver.fielderrors import quote
from fairway.apiserver.kinds.base import Resource
from fairway.apiserver.messages import message_of
from fairway.apiserver.request import Json, Request
from fairway.apiserver.schema import builtin, kind_types
from fairway.wire import protobuf

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
_UNTYPED = "couldn't get version/kind; json parse error: "
_UNSUPPORTED = f"the body of the request was in an unknown format - accepted media types include: {_ACCEPTED}"


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def patch_type(request: Request) -> str:
    """The media type of a patch, for which upper case is another one."""
    return request.headers.get("content-type", "").split(";", 1)[0]


def go_kind(api_version: str, kind: str) -> str:
    """Go's text of a GroupVersionKind."""
    group, _, version = api_version.rpartition("/")
    return f"{group}/{version}, Kind={kind}"


def parse(request: Request, kind: str = "") -> Any:
    """The raw document; `kind` is what an error says was wanted."""
    media = media_type(request) or JSON
    if media == PROTOBUF:
        return _protobuf(request.body, kind)
    if media not in (JSON, YAML):
        raise errors.unsupported_media(_UNSUPPORTED)
    try:
        return parse_yaml(request.body) if media != JSON else decode.parse_json(request.body)
    except ValueError as error:
        wanted = f"the object provided is unrecognized (must be of type {kind}): " if kind else ""
        what = "" if isinstance(error, YamlError) else "couldn't get version/kind; json parse error: "
        raise errors.bad_request(f"{wanted}{what}{error}{_excerpt(request.body, kind)}") from None


def _excerpt(body: bytes, kind: str) -> str:
    """The beginning of a body that nobody understands; what is no JSON object is shown as bytes."""
    if not kind:
        return ""
    if not body:
        return " (<empty>)"
    more = " ..." if len(body) > 30 else ""
    return f" ({body[:30].decode('utf-8', 'replace') if body[:1] == b'{' else body[:30].hex()}{more})"


class _Loader(yaml.CSafeLoader):
    """YAML 1.1 as sigs.k8s.io/yaml reads it: times stay text."""


_Loader.yaml_implicit_resolvers = {
    k: [(t, r) for t, r in v if t != "tag:yaml.org,2002:timestamp"]
    for k, v in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


# Go's YAML takes single letters for booleans, too.
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))
_Loader.bool_values = {**yaml.CSafeLoader.bool_values, "y": True, "n": False}


def parse_yaml(body: bytes) -> Any:
    return decode.parse_json(body) if body.lstrip()[:1] == b"{" else load_yaml(body)


def load_yaml(body: bytes) -> Any:
    """A document of which JSON is only the quick form: what is wrong with it is told as of YAML."""
    if body.lstrip()[:1] == b"{":
        with contextlib.suppress(ValueError):
            return decode.parse_json(body)
    try:
        loaded = next(iter(yaml.load_all(body, _Loader)), None)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise YamlError(_yaml_words(error)) from None
    return _json_keys(loaded)


class YamlError(ValueError):
    """A document that is no YAML."""


def _yaml_words(error: Exception) -> str:
    """Go's words: the line of the context, or else of the problem; scanners count from one more."""
    if isinstance(error, yaml.reader.ReaderError):
        return "yaml: control characters are not allowed"
    if not isinstance(error, yaml.MarkedYAMLError):
        return "yaml: " + re.sub(r"\s+", " ", str(error))
    marks = (m.line for m in (error.context_mark, error.problem_mark) if m is not None and m.line)
    line = next(marks, 0)
    line += bool(line) and isinstance(error, yaml.scanner.ScannerError)
    return f"yaml: {f'line {line}: ' if line else ''}{error.problem}"


def doubled_keys(body: bytes) -> list[str]:
    """Keys that stand twice in one mapping of a YAML document, as Go's strict reader tells them."""
    out: list[str] = []
    nodes = [next(iter(yaml.compose_all(body, yaml.CSafeLoader)), None)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.SequenceNode):
            nodes += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    out.append(f"line {key.start_mark.line + 1}: key {quote(str(key.value))} already set in map")
                seen.add(str(key.value))
                nodes.append(value)
    return out


def unmarshal_errors(told: list[str]) -> str:
    return "yaml: unmarshal errors:\n  " + "\n  ".join(told)


def _json_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(k): _json_keys(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_json_keys(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"error converting YAML to JSON: value of type {type(value).__name__}")


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _protobuf(body: bytes, kind: str) -> Json:
    try:
        return protobuf.decode_object(body, message_of)
    except protobuf.ProtobufError as error:
        wanted = (
            f"the object provided is unrecognized (must be of type {kind}): " if kind else "couldn't get version/kind; "
        )
        raise errors.bad_request(f"{wanted}{error}{_excerpt(body, kind)}") from None


def object_of(request: Request, resource: Resource, validation: str) -> Json:
    """The decoded object of a create or update, without apiVersion and kind."""
    raw = parse(request, resource.kind)
    if raw is None:
        raw = {}
    check_object(raw, resource.kind, request.body)
    check_kind(raw, resource, request.body)
    found = Strict(validation)
    if media_type(request) == YAML and validation != "Ignore":
        found.doubled = doubled_keys(request.body)
    obj = typed(raw, resource, found, request.body if media_type(request) in (JSON, "") else b"")
    found.finish(
        request, f"{resource.kind} in version {quote(resource.version)} cannot be handled as a {resource.kind}: "
    )
    return obj


def check_object(raw: Any, resource_kind: str, body: bytes) -> None:
    """A document must be an object; `resource_kind` is what the error says was wanted."""
    if isinstance(raw, dict):
        return
    head = f"the object provided is unrecognized (must be of type {resource_kind}): " if resource_kind else ""
    raise errors.bad_request(
        f"{head}{_UNTYPED}json: cannot unmarshal {decode.json_name(raw)} into Go value of type struct "
        '{ APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        f"{_excerpt(body, resource_kind)}"
    )


def check_texts(raw: Json, resource_kind: str, body: bytes) -> None:
    """apiVersion and kind must be texts."""
    head = f"the object provided is unrecognized (must be of type {resource_kind}): " if resource_kind else ""
    for what in ("apiVersion", "kind"):
        if not isinstance(raw.get(what), str | None):
            told = f"json: cannot unmarshal {decode.json_name(raw[what])} into Go struct field .{what} of type string"
            raise errors.bad_request(f"{head}{_UNTYPED}{told}{_excerpt(body, resource_kind)}")


def check_kind(raw: Json, resource: Resource, body: bytes = b"") -> None:
    """The document must say nothing about its kind, or the right thing."""
    check_texts(raw, resource.kind, body)
    api_version, kind = raw.get("apiVersion") or resource.api_version, raw.get("kind") or resource.kind
    if api_version.count("/") > 1:
        head = f"the object provided is unrecognized (must be of type {resource.kind}): "
        told = f"unexpected GroupVersion string: {api_version}"
        raise errors.bad_request(f"{head}{told}{_excerpt(body, resource.kind)}")
    api_version = api_version.removeprefix("/")
    if (api_version, kind) == (resource.api_version, resource.kind):
        return
    version = api_version.rpartition("/")[2]
    head = f"{kind} in version {quote(version)} cannot be handled as a {resource.kind}: "
    if kind == resource.kind and (_is_known(api_version, kind) or _is_version_of(api_version, resource)):
        raise errors.bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    if _is_known(api_version, kind):
        hub = "core" if not resource.group else resource.group.split(".")[0]
        raise errors.bad_request(f"{head}converting ({version}.{kind}) to ({hub}.{resource.kind}): unknown conversion")
    raise errors.bad_request(f"{head}no kind {quote(kind)} is registered for version {quote(api_version)}")


def _is_version_of(api_version: str, resource: Resource) -> bool:
    """A definition may have versions that nobody knows beforehand."""
    return resource.custom and api_version.rpartition("/")[0] == resource.group


# What kube-apiserver can still read, though it serves it no more, and what it reads on other paths (k8s.io/api).
_OLDER: dict[str, str] = {
    "authentication.k8s.io/v1beta1": "SelfSubjectReview TokenReview",
    "authorization.k8s.io/v1beta1": (
        "LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview"
    ),
    "apps/v1beta1": "ControllerRevision Deployment Scale StatefulSet",
    "apps/v1beta2": "ControllerRevision DaemonSet Deployment ReplicaSet Scale StatefulSet",
    "batch/v1beta1": "CronJob",
    "coordination.k8s.io/v1beta1": "Lease LeaseCandidate",
    "discovery.k8s.io/v1beta1": "EndpointSlice",
    "events.k8s.io/v1beta1": "Event",
    "extensions/v1beta1": "DaemonSet Deployment Ingress NetworkPolicy ReplicaSet Scale",
    "networking.k8s.io/v1beta1": "IPAddress Ingress IngressClass ServiceCIDR",
    "policy/v1beta1": "Eviction PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1alpha1": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "rbac.authorization.k8s.io/v1beta1": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "v1": (
        "APIGroup APIGroupList APIResourceList APIVersions Binding ComponentStatus List NodeProxyOptions "
        "PodAttachOptions PodExecOptions PodLogOptions PodPortForwardOptions PodProxyOptions PodTemplate "
        "RangeAllocation SerializedReference ServiceProxyOptions Status WatchEvent"
    ),
}


def _is_known(api_version: str, kind: str) -> bool:
    """Whether the real server has a Go type for it."""
    if api_version.startswith(("apiextensions.", "apiregistration.")):
        return False
    known = kind_types()
    if (api_version, kind) in known or (api_version, kind.removesuffix("List")) in known:
        return True
    return kind in _OLDER.get(api_version, "").split()


class Strict:
    """Unknown and duplicate fields of one body, and what becomes of them."""

    def __init__(self, validation: str, *, nulls: bool = False, converts: bool = False) -> None:
        self.validation = validation
        self.nulls = nulls  # whether a custom resource keeps nulls where its schema has none
        self.converts = converts  # of a strategic patch, which is decoded before
        self.found: list[str] = []
        self.doubled: list[str] = []  # keys that stand twice in a YAML document

    def finish(self, request: Request, head: str) -> None:
        if not (self.found or self.doubled) or self.validation == "Ignore":
            return
        if self.validation == "Strict":
            told = [unmarshal_errors(self.doubled), *self.found] if self.doubled else self.found
            raise errors.bad_request(f"{head}strict decoding error: {', '.join(told)}")
        request.warnings.extend(w for w in (*self.doubled, *self.found) if w not in request.warnings)


def typed(raw: Json, resource: Resource, strict: Strict, body: bytes) -> Json:
    """Decode a raw document as a resource's type, noting unknown and (with `body`) duplicate fields."""
    if resource.custom:
        return _custom(raw, resource, strict, body)
    decoder = decode.Decoder()
    document = {k: v for k, v in raw.items() if k not in ("kind", "apiVersion")}
    metadata = document.get("metadata")
    if metadata is None:
        document["metadata"] = {}
    elif isinstance(metadata, dict) and metadata.get("managedFields") == []:
        document["metadata"] = {**metadata, "managedFields": [{}]}  # both say: forget who owns what
    try:
        obj = decoder.decode(document, resource.type)
    except decode.TypeMismatch as error:
        head = f"{resource.kind} in version {quote(resource.version)} cannot be handled as a {resource.kind}: "
        raise errors.bad_request(f"{head}{error.converted if strict.converts and error.converted else error}") from None
    if strict.validation != "Ignore":
        if body and body.count(b'":') != decode.count_keys(raw):
            strict.found += decode.strict_errors(body, decoder.unknown)
        else:
            strict.found += [f'unknown field "{u}"' for u in decoder.unknown]
    return obj


def _custom(raw: Json, resource: Resource, strict: Strict, body: bytes) -> Json:
    """A custom resource: metadata as everywhere, the rest as its schema says."""
    from fairway.apiserver.kinds.custom import CustomStrategy
    from fairway.apiserver.structural import embedded

    assert isinstance(resource.strategy, CustomStrategy)
    decoder = decode.Decoder()
    try:
        metadata = decoder.decode(raw.get("metadata") or {}, builtin("meta.ObjectMeta"))
    except (decode.TypeMismatch, AttributeError) as error:
        raise errors.bad_request(
            f"{resource.kind} in version {quote(resource.version)} cannot be handled as a {resource.kind}: {error}"
        ) from None
    rest = {k: v for k, v in raw.items() if k not in ("kind", "apiVersion", "metadata")}
    unknown: list[str] = []
    kept = resource.strategy.pruned(rest, unknown, nulls=strict.nulls)
    unknown.sort()
    try:
        embedded.coerce(kept, resource.strategy.schema, "", unknown)
    except embedded.EmbeddedError as error:
        head = f"{resource.kind} in version {quote(resource.version)} cannot be handled as a {resource.kind}"
        raise errors.bad_request(f"{head}: {error}") from None
    if strict.validation != "Ignore":
        unknown = [*(f"metadata.{u}" for u in decoder.unknown), *unknown]
        if body and body.count(b'":') != decode.count_keys(raw):
            strict.found += decode.strict_errors(body, unknown)
        else:
            strict.found += [f'unknown field "{u}"' for u in unknown]
    return {"metadata": metadata, **kept}
