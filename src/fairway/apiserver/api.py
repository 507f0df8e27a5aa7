"""The front of the API: authenticates, finds what a path names, runs the verb, and turns errors into Statuses."""

from __future__ import annotations

import logging

import yaml

from fairway.apiserver import (
    accept,
    discovery,
    errors,
    exposition,
    openapi,
    reading,
    reviews,
    routes,
    subresources,
    watching,
    writing,
)
from fairway.apiserver.bodies import media_type, object_of
from fairway.apiserver.context import Call, Server, decode, encode
from fairway.apiserver.deleting import delete, delete_collection, options_of
from fairway.apiserver.kinds.base import Resource
from fairway.apiserver.kinds.registry import REVIEWS
from fairway.apiserver.managed import Manager
from fairway.apiserver.options import flag, list_options, write_options
from fairway.apiserver.request import Answer, Json, Request, Response, User
from fairway.apiserver.routes import Route
from fairway.apiserver.tokens import Authenticator
from fairway.apiserver.versions import VERSION
from fairway.apiserver.writing import Update

_log = logging.getLogger(__name__)
_STREAMS = ("attach", "exec", "log", "portforward", "proxy")
_ENDPOINTS_WARNING = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
_HEALTH = ("/healthz", "/livez", "/readyz")
_CHECKS = (
    "ping",
    "log",
    "etcd",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/bootstrap-controller",
)


class Api:
    """Everything behind one port."""

    def __init__(self, server: Server, authenticator: Authenticator) -> None:
        self.server = server
        self.authenticator = authenticator

    def handle(self, request: Request) -> Answer:
        """Answer a request. Never raises: what is wrong becomes a Status, what is our fault a 500 without details."""
        try:
            answer = self._route(request)
        except errors.ApiError as error:
            answer = _failure(error)
        except errors.PlainError as error:
            answer = Response(error.code, error.text.encode(), "text/plain; charset=utf-8")
        except RecursionError:
            answer = _failure(errors.bad_request("the request is nested too deeply"))
        except Exception:
            _log.exception("request failed method=%s path=%s", request.method, request.path)
            answer = _failure(errors.internal("the server met an error of its own; its log has more"))
        return _with_warnings(answer, request.warnings)

    # ---- who --------------------------------------------------------------------------------------------------
    def authenticate(self, request: Request, certificate: User | None) -> User:
        """Certificate, else bearer token; nobody else is let in."""
        header = request.headers.get("authorization", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            user = self.authenticator.token(token.strip(), self.server.env.now())
            if user is None:
                raise errors.unauthorized()
            return user
        if certificate is None:
            raise errors.unauthorized()
        return certificate

    # ---- where ------------------------------------------------------------------------------------------------
    def _route(self, request: Request) -> Answer:
        path = request.path
        route = routes.parse(path)
        if route is None or not route.plural:
            return self._special(request, path)
        resource = self.server.registry.find(route.group, route.version, route.plural)
        if resource is None:
            return self._unknown(request, route)
        self._check_scope(resource, route)
        if resource.key == "endpoints" and resource.group == "" and request.method != "OPTIONS":
            request.warnings.append(_ENDPOINTS_WARNING)
        call = Call(self.server, request, resource, route.namespace, self.server.env.now())
        if route.subresource:
            return self._subresource(call, route)
        return self._verb(call, route)

    def _check_scope(self, resource: Resource, route: Route) -> None:
        if resource.namespaced and not route.namespace and route.name:
            raise errors.unknown_resource()
        if not resource.namespaced and route.namespace:
            raise errors.unknown_resource()

    def _unknown(self, request: Request, route: Route) -> Answer:
        plurals = {p: (k, n) for p, k, n in REVIEWS.get(route.group, ())}
        if route.plural in plurals and route.version == "v1":
            return self._review(request, route, *plurals[route.plural])
        if route.group and route.group not in self.server.registry.groups():
            raise errors.PlainError(404, "404 page not found\n")
        raise errors.unknown_resource()

    def _special(self, request: Request, path: str) -> Answer:
        if path.startswith(_HEALTH):
            return self._health(request, path)
        if path in ("/api", "/apis", "/api/", "/apis/"):
            return self._groups(request, path.strip("/"))
        if path.startswith("/openapi/v3"):
            return self._openapi(path)
        if path == "/openapi/v2":
            return self._swagger(request)
        if path == "/metrics":
            return Response(200, exposition.metrics(self.server), exposition.MEDIA)
        body = self._discovered(path.strip("/").split("/")) or self._single(path)
        if body is None:
            raise errors.PlainError(404, "404 page not found\n")
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        return Response(200, encode(body))

    def _discovered(self, parts: list[str]) -> Json | None:
        """A group, or what a group version has."""
        registry = self.server.registry
        match parts:
            case ["api", "v1"]:
                return discovery.resource_list(registry, "", "v1")
            case ["apis", group] if group in registry.groups():
                return {"kind": "APIGroup", "apiVersion": "v1", **discovery.group(registry, group)}
            case ["apis", group, version] if group in registry.groups():
                if version not in registry.versions(group):
                    raise errors.unknown_resource()
                return discovery.resource_list(registry, group, version)
        return None

    def _single(self, path: str) -> Json | None:
        """Documents that stand alone."""
        match path:
            case "/":
                return self._paths()
            case "/version":
                return VERSION
            case "/.well-known/openid-configuration":
                return self._issuer()
            case "/openid/v1/jwks":
                return self.server.signer.keys()
        return None

    def _issuer(self) -> Json:
        host, port = self.server.settings.advertise
        return {
            "issuer": self.server.signer.issuer,
            "jwks_uri": f"https://{host}:{port}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def _health(self, request: Request, path: str) -> Response:
        root, _, check = path.strip("/").partition("/")
        if f"/{root}" not in _HEALTH or (check and check not in _CHECKS):
            raise errors.PlainError(404, "404 page not found\n")
        text = "ok"
        if "verbose" in request.query and not check:
            text = "".join(f"[+]{c} ok\n" for c in _CHECKS) + f"{root} check passed\n"
        return Response(200, text.encode(), "text/plain; charset=utf-8")

    def _paths(self) -> Json:
        registry = self.server.registry
        paths = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/"]
        for group in registry.groups():
            paths += [f"/apis/{group}", *(f"/apis/{group}/{v}" for v in registry.versions(group))]
        paths += [
            *_HEALTH,
            *(f"{h}/{c}" for h in _HEALTH for c in _CHECKS),
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/version",
        ]
        return {"paths": sorted(paths)}

    def _groups(self, request: Request, root: str) -> Response:
        registry = self.server.registry
        version = discovery.wants_aggregated(request.headers.get("accept", ""))
        if version:
            names = [""] if root == "api" else registry.groups()
            media = discovery.AGGREGATED if version == "v2" else discovery.AGGREGATED_BETA
            return _tagged(request, encode(discovery.aggregated(registry, names, version)), media)
        host, port = self.server.settings.advertise
        body = discovery.api_versions(f"{host}:{port}") if root == "api" else discovery.group_list(registry)
        return Response(200, encode(body))

    def _openapi(self, path: str) -> Response:
        custom = self.server.custom_documents()
        rest = path.removeprefix("/openapi/v3").strip("/")
        if not rest:
            return Response(200, encode(openapi.index(custom)), "text/plain; charset=utf-8")
        document = custom.get(rest) or openapi.document(rest)
        if document is None:
            raise errors.PlainError(404, "404 page not found\n")
        return Response(200, document, "application/json")

    def _swagger(self, request: Request) -> Response:
        if openapi.GNOSTIC in request.headers.get("accept", ""):
            return Response(200, openapi.empty_swagger(), openapi.GNOSTIC_ANSWER)
        return Response(200, encode(openapi.swagger(self.server.custom_documents())))

    # ---- reviews ----------------------------------------------------------------------------------------------
    def _review(self, request: Request, route: Route, kind: str, namespaced: bool) -> Response:
        if request.method != "POST" or route.name:
            raise errors.method_not_allowed()
        from fairway.apiserver.kinds.base import Strategy
        from fairway.apiserver.schema import builtin, kind_types

        shape = accept.negotiate(request.headers.get("accept"), "other")
        if shape.form is not accept.Form.OBJECT:
            raise accept.not_listed()
        options = write_options(request, "CreateOptions")
        api_version = f"{route.group}/{route.version}"
        resource = Resource(
            route.group,
            route.version,
            route.plural,
            kind,
            builtin(kind_types()[api_version, kind]),
            Strategy(),
            namespaced,
        )
        obj = object_of(request, resource, options.validation)
        obj.pop("status", None)
        now = self.server.env.now()
        answer = reviews.review(kind, obj, request, now, self.authenticator)
        if kind == "SelfSubjectReview":
            from fairway.apiserver.gotime import from_seconds

            answer["metadata"]["creationTimestamp"] = from_seconds(now)
        return Response(201, encode({"kind": kind, "apiVersion": api_version, **answer}))

    # ---- verbs ------------------------------------------------------------------------------------------------
    def _verb(self, call: Call, route: Route) -> Answer:
        method, request = call.request.method, call.request
        if not route.name:
            if method in ("GET", "HEAD"):
                return self._list(call, route)
            if method == "POST" and (route.namespace or not call.resource.namespaced):
                return self._create(call)
            if method == "DELETE" and self._may_delete_many(call, route):
                return self._delete_collection(call, route)
            raise errors.method_not_allowed()
        if method in ("GET", "HEAD"):
            if route.watch:
                return self._list(call, route)
            return reading.get(call, route.name, accept.negotiate(request.headers.get("accept"), "get"))
        if method == "PUT":
            return self._replace(call, route.name)
        if method == "PATCH":
            return self._patch(call, route.name)
        if method == "DELETE":
            return self._delete(call, route.name)
        raise errors.method_not_allowed()

    def _may_delete_many(self, call: Call, route: Route) -> bool:
        if call.resource.key == "namespaces":
            return False
        return bool(route.namespace) or not call.resource.namespaced

    def _list(self, call: Call, route: Route) -> Answer:
        watch = route.watch or (not route.name and flag(call.request, "watch"))
        options = list_options(call.request, watch=watch)
        shape = accept.negotiate(call.request.headers.get("accept"), "watch" if watch else "list")
        if watch:
            return watching.watch(call, options, shape, route.namespace, route.name)
        return reading.list_objects(call, options, shape, route.namespace)

    def _create(self, call: Call) -> Response:
        request, resource = call.request, call.resource
        shape = accept.negotiate(request.headers.get("accept"), "other")
        options = write_options(request, "CreateOptions")
        call.dry_run = options.dry_run
        obj = object_of(request, resource, options.validation)
        resource.strategy.default(obj)
        manager = Manager(options.manager, "Update", resource.api_version)
        return self._written(call, writing.create(call, obj, manager=manager), shape)

    def _written(self, call: Call, written: writing.Written, shape: accept.Shape) -> Response:
        if call.dry_run and written.created:
            written.obj["metadata"].pop("resourceVersion", None)
        obj = written.obj
        if call.resource.to_storage is not None:
            obj = call.resource.to_storage(obj)
        return reading.one(call, encode(obj), shape, 201 if written.created else 200)

    def _replace(self, call: Call, name: str, *, status: bool = False) -> Response:
        request, resource = call.request, call.resource
        shape = accept.negotiate(request.headers.get("accept"), "other")
        options = write_options(request, "UpdateOptions")
        call.dry_run = options.dry_run
        obj = object_of(request, resource, options.validation)
        resource.strategy.default(obj)
        manager = Manager(options.manager, "Update", resource.api_version, "status" if status else "")
        return self._written(call, writing.replace(call, obj, Update(name, options, status), manager), shape)

    def _patch(self, call: Call, name: str, *, status: bool = False) -> Response:
        shape = accept.negotiate(call.request.headers.get("accept"), "other")
        apply = media_type(call.request) == "application/apply-patch+yaml"
        options = write_options(call.request, "PatchOptions", apply=apply)
        call.dry_run = options.dry_run
        return self._written(call, writing.patch(call, Update(name, options, status)), shape)

    def _delete(self, call: Call, name: str) -> Response:
        shape = accept.negotiate(call.request.headers.get("accept"), "other")
        options = options_of(call.request, call.resource)
        call.dry_run = options.dry_run
        written, gone = delete(call, name, options)
        if not gone or call.resource.strategy.returns_deleted:
            return self._written(call, written, shape)
        meta = written.obj["metadata"]
        details = {"name": name, "group": call.resource.group, "kind": call.resource.plural, "uid": meta.get("uid")}
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Response(200, encode({**body, "details": {k: v for k, v in details.items() if v}}))

    def _delete_collection(self, call: Call, route: Route) -> Response:
        options = options_of(call.request, call.resource, many=True)
        call.dry_run = options.dry_run
        version = call.store.version
        deleted = delete_collection(call, options, list_options(call.request, watch=False), route.namespace)
        resource = call.resource
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        meta = {"resourceVersion": str(version)}
        return Response(200, encode({**head, "metadata": meta, "items": deleted}))

    # ---- sub-resources ----------------------------------------------------------------------------------------
    def _subresource(self, call: Call, route: Route) -> Answer:
        resource, method, name = call.resource, call.request.method, route.subresource
        if name not in resource.subresources:
            call.request.warnings.clear()
            raise errors.unknown_resource()
        if name == "status":
            return self._status(call, route)
        if name in _STREAMS:
            return self._stream(call, route)
        methods, handler = subresources.HANDLERS.get(name, ((), None))
        if handler is None or method not in methods:
            raise errors.method_not_allowed()
        return handler(call, route.name)

    def _status(self, call: Call, route: Route) -> Answer:
        match call.request.method:
            case "GET" | "HEAD":
                return reading.get(call, route.name, accept.negotiate(call.request.headers.get("accept"), "get"))
            case "PUT":
                return self._replace(call, route.name, status=True)
            case "PATCH":
                return self._patch(call, route.name, status=True)
        raise errors.method_not_allowed()

    def _stream(self, call: Call, route: Route) -> Answer:
        from fairway.apiserver.streams import open_stream

        return open_stream(call, route)


def _failure(error: errors.ApiError) -> Response:
    headers: tuple[tuple[str, str], ...] = ()
    if error.details and error.details.get("retryAfterSeconds"):
        headers = (("Retry-After", str(error.details["retryAfterSeconds"])),)
    return Response(error.code, encode(error.status()), "application/json", headers)


def _tagged(request: Request, body: bytes, media: str) -> Response:
    import hashlib

    tag = '"' + hashlib.sha512(body).hexdigest().upper() + '"'
    headers = (("ETag", tag), ("Vary", "Accept"), ("Cache-Control", "public"))
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", media, headers)
    return Response(200, body, media, headers)


def _with_warnings(answer: Answer, warnings: list[str]) -> Answer:
    if not warnings:
        return answer
    headers = tuple(("Warning", f"299 - {quoted(w)}") for w in dict.fromkeys(warnings))
    if isinstance(answer, Response):
        return answer._replace(headers=(*answer.headers, *headers))
    if hasattr(answer, "headers"):
        answer.headers = (*answer.headers, *headers)
    return answer


def quoted(text: str) -> str:
    """A quoted string of RFC 9110, without line breaks."""
    plain = "".join(" " if c in "\r\n\t" else c for c in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def as_yaml(response: Response) -> Response:
    """A JSON answer as YAML, for clients that asked for it."""
    text = yaml.safe_dump(decode(response.body), default_flow_style=False, allow_unicode=True)
    return response._replace(body=text.encode(), content_type="application/yaml")
