"""What stands outside the resources: discovery, OpenAPI, health, version, the keys of tokens."""

from __future__ import annotations

import hashlib

from fairway.apiserver import accept, discovery, errors, exposition, openapi
from fairway.apiserver.context import Server, encode
from fairway.apiserver.request import Json, Request, Response
from fairway.apiserver.versions import VERSION

_HEALTH = ("/healthz", "/livez", "/readyz")
_CHECKS = (
    "ping",
    "log",
    "etcd",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/bootstrap-controller",
)
_TEXT = "text/plain; charset=utf-8"
_KEY_SET = "application/jwk-set+json"
_LASTING = (("Cache-Control", "public, max-age=3600"),)


def special(server: Server, request: Request) -> Response:
    """Answer what names no resource; raises PlainError for what is nowhere."""
    path = request.path
    if path.startswith(_HEALTH):
        return _health(request, path)
    if path in ("/api", "/apis", "/api/", "/apis/"):
        return _groups(server, request, path.strip("/"))
    if path.startswith("/openapi/v3"):
        return _openapi(server, path)
    if path == "/openapi/v2":
        return _swagger(server, request)
    if path == "/metrics":
        return Response(200, exposition.metrics(server), exposition.MEDIA)
    if path == "/":
        return Response(200, encode(_paths(server)))
    if path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        return _tokens(server, request)
    parts = path.strip("/").split("/")
    body = VERSION if parts == ["version"] else _discovered(server, parts)
    if body is None:
        raise errors.unknown_resource() if parts[0] == "api" else errors.PlainError(404, "404 page not found\n")
    if body is VERSION:
        _only_get(request)
        return Response(200, encode(body), accept.document(request.headers.get("accept"), ("application/json",)))
    if len(parts) != 2 or parts[0] == "api":
        _only_get(request)
        return Response(200, encode(body), accept.document(request.headers.get("accept")))
    return Response(200, encode(body), accept.document(request.headers.get("accept"), strict=False))


def _only_get(request: Request) -> None:
    if request.method != "GET":
        raise errors.method_not_allowed()


def _discovered(server: Server, parts: list[str]) -> Json | None:
    """A group, or what a group version has."""
    registry = server.registry
    match parts:
        case ["api", "v1"]:
            return discovery.resource_list(registry, "", "v1")
        case ["apis", group] if group in registry.groups():
            return {"kind": "APIGroup", "apiVersion": "v1", **discovery.group(registry, group)}
        case ["apis", group, version] if group in registry.groups():
            if version not in registry.versions(group):
                if registry.is_custom(group):
                    return None
                raise errors.unknown_resource()
            return discovery.resource_list(registry, group, version)
    return None


def _tokens(server: Server, request: Request) -> Response:
    """How others check the tokens that this server signs."""
    _only_get(request)
    if request.path == "/openid/v1/jwks":
        media = accept.document(request.headers.get("accept"), (_KEY_SET,))
        return Response(200, encode(server.signer.keys()), media, _LASTING)
    host, port = server.settings.advertise
    body = {
        "issuer": server.signer.issuer,
        "jwks_uri": f"https://{host}:{port}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
    return Response(200, encode(body), accept.document(request.headers.get("accept"), ("application/json",)), _LASTING)


def _health(request: Request, path: str) -> Response:
    root, slash, check = path[1:].partition("/")
    if f"/{root}" not in _HEALTH or (slash and check not in _CHECKS):
        raise errors.PlainError(404, "404 page not found\n")
    text = "ok"
    if "verbose" in request.query and not check:
        text = "".join(f"[+]{c} ok\n" for c in _CHECKS) + f"{root} check passed\n"
    return Response(200, text.encode(), _TEXT)


def _paths(server: Server) -> Json:
    registry = server.registry
    paths = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/"]
    for group in registry.groups():
        paths += [f"/apis/{group}", *(f"/apis/{group}/{v}" for v in registry.versions(group))]
    paths += [*_HEALTH, *(f"{h}/{c}" for h in _HEALTH for c in _CHECKS), "/metrics", "/openapi/v2", "/openapi/v3"]
    paths += ["/openid/v1/jwks", "/version"]
    return {"paths": sorted(paths)}


def _groups(server: Server, request: Request, root: str) -> Response:
    if root == "api":
        _only_get(request)
    registry, header = server.registry, request.headers.get("accept")
    if accept.wants_aggregated(header or ""):
        names = [""] if root == "api" else registry.groups()
        return _tagged(request, encode(discovery.aggregated(registry, names)), discovery.AGGREGATED)
    media = accept.document(header, strict=root == "api")
    host, port = server.settings.advertise
    body = discovery.api_versions(f"{host}:{port}") if root == "api" else discovery.group_list(registry)
    return Response(200, encode(body), media)


def _tagged(request: Request, body: bytes, media: str) -> Response:
    tag = '"' + hashlib.sha512(body).hexdigest().upper() + '"'
    headers = (("ETag", tag), ("Vary", "Accept"), ("Cache-Control", "public"))
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", media, headers)
    return Response(200, body, media, headers)


def _openapi(server: Server, path: str) -> Response:
    custom = server.custom_documents()
    if path == "/openapi/v3":
        return Response(200, encode(openapi.index(custom)), _TEXT)
    rest = path.removeprefix("/openapi/v3/")
    document = custom.get(rest) or openapi.document(rest)
    return Response(200, document, "application/json") if document is not None else Response(404, b"", "")


def _swagger(server: Server, request: Request) -> Response:
    if openapi.GNOSTIC in request.headers.get("accept", ""):
        return Response(200, openapi.empty_swagger(), openapi.GNOSTIC_ANSWER)
    return Response(200, encode(openapi.swagger(server.custom_documents())))
