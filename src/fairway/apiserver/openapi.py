"""OpenAPI v3: the index with its hashes, and a document for each group version.

Documents of built-in kinds are data of the package; those of custom resources are made from their schemas.
"""

from __future__ import annotations

import functools
import hashlib
import zipfile
from importlib import resources
from typing import Any

import msgspec

from fairway.apiserver.request import Json


@functools.cache
def _archive() -> zipfile.ZipFile:
    stream = resources.files("fairway.apiserver").joinpath("data/openapi.zip").open("rb")
    return zipfile.ZipFile(stream)


@functools.cache
def _sizes() -> dict[str, str]:
    """Path of a built-in group version → a hash of its document."""
    return {
        i.filename.removesuffix(".json").replace("_", "/", 2): f"{i.CRC:08X}{i.file_size:08X}"
        for i in _archive().infolist()
    }


def index(custom: dict[str, bytes]) -> Json:
    """`/openapi/v3`."""
    hashes = {**_sizes(), **{p: hashlib.sha256(d).hexdigest().upper() for p, d in custom.items()}}
    return {"paths": {p: {"serverRelativeURL": f"/openapi/v3/{p}?hash={h}"} for p, h in sorted(hashes.items())}}


def document(path: str) -> bytes | None:
    """The document of a built-in group version, such as `apis/apps/v1`."""
    if path not in _sizes():
        return None
    return _archive().read(path.replace("/", "_", 2) + ".json")


# ---- version 2 --------------------------------------------------------------------------------------------------
GNOSTIC = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
GNOSTIC_ANSWER = GNOSTIC.replace("@", ".")
"""What clients ask for is no media type, so this is what they are told."""
_TITLE, _VERSION = b"Kubernetes", b"v1.36"


def swagger(custom: dict[str, bytes]) -> Json:
    """`/openapi/v2`: every kind's schema, without the operations."""
    definitions: Json = {}
    for one in (*(document(path) for path in sorted(_sizes())), *(custom[path] for path in sorted(custom))):
        text = (one or b"{}").replace(b"#/components/schemas/", b"#/definitions/")
        definitions |= msgspec.json.decode(text).get("components", {}).get("schemas", {})
    info = {"title": _TITLE.decode(), "version": _VERSION.decode()}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": definitions}


def empty_swagger() -> bytes:
    """The same for clients that want it as gnostic's protobuf, with no schemas: they leave validation to the server.

    Document {1: swagger, 2: Info {1: title, 2: version}, 8: paths} (gnostic, OpenAPIv2.proto).
    """
    info = b"\x0a%c%b\x12%c%b" % (len(_TITLE), _TITLE, len(_VERSION), _VERSION)
    return b"\x0a\x032.0\x12%c%b\x42\x00" % (len(info), info)


# ---- custom resources -------------------------------------------------------------------------------------------
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_VALIDATION = {"name": "fieldValidation", "in": "query", "schema": {"type": "string", "uniqueItems": True}}
_ACTIONS = {"get": "get", "put": "put", "delete": "delete", "patch": "patch"}


def definition_name(group: str, version: str, kind: str) -> str:
    return ".".join([*reversed(group.split(".")), version, kind])


def custom_document(kinds: list[Json]) -> bytes:
    """One group version of custom resources; each entry has group, version, kind, plural, namespaced, schema."""
    base = msgspec.json.decode(document("apis/discovery.k8s.io/v1") or b"{}")
    kept = {n: s for n, s in base["components"]["schemas"].items() if n.startswith("io.k8s.apimachinery.")}
    paths: Json = {}
    for kind in kinds:
        name = definition_name(kind["group"], kind["version"], kind["kind"])
        kept[name] = _with_meta(kind)
        paths |= _paths(kind, name)
    out = {"openapi": "3.0.0", "info": base["info"], "paths": paths, "components": {"schemas": kept}}
    return msgspec.json.encode(out)


def _gvk(kind: Json) -> Json:
    return {"group": kind["group"], "version": kind["version"], "kind": kind["kind"]}


def _with_meta(kind: Json) -> Json:
    schema: Json = dict(kind["schema"] or {"type": "object"})
    properties = dict(schema.get("properties") or {})
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {"allOf": [{"$ref": f"#/components/schemas/{_META}"}]}
    return {**schema, "properties": properties, "x-kubernetes-group-version-kind": [_gvk(kind)]}


def _paths(kind: Json, name: str) -> Json:
    root = f"/apis/{kind['group']}/{kind['version']}"
    base = f"{root}/namespaces/{{namespace}}/{kind['plural']}" if kind["namespaced"] else f"{root}/{kind['plural']}"
    content: Json = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}

    def operation(action: str) -> Any:
        return {
            "parameters": [_VALIDATION] if action in ("post", "put", "patch") else [],
            "responses": {"200": {"description": "OK", "content": content}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(kind),
        }

    many = {"get": operation("list"), "post": operation("post"), "delete": operation("deletecollection")}
    return {base: many, f"{base}/{{name}}": {m: operation(a) for m, a in _ACTIONS.items()}}
