"""The front of the API: authenticates, finds what a path names, runs the verb, and turns errors into Statuses."""

from __future__ import annotations

import logging

from fairway.apiserver import (
    accept,
    applying,
    documents,
    errors,
    identity,
    managed,
    reading,
    reviews,
    routes,
    subresources,
    watching,
    writing,
)
from fairway.apiserver.bodies import object_of
from fairway.apiserver.context import Call, Server, encode
from fairway.apiserver.deleting import delete, delete_collection, options_of
from fairway.apiserver.godurations import duration_error
from fairway.apiserver.gotime import from_seconds
from fairway.apiserver.kinds.base import Resource
from fairway.apiserver.kinds.registry import REVIEWS
from fairway.apiserver.managed import Manager
from fairway.apiserver.options import flag, list_options, write_options
from fairway.apiserver.request import Answer, Request, Response, User
from fairway.apiserver.routes import Route
from fairway.apiserver.tokens import Authenticator
from fairway.apiserver.writing import Update

_log = logging.getLogger(__name__)
_STREAMS = ("attach", "exec", "log", "portforward", "proxy")
_ENDPOINTS_WARNING = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"


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
            answer = _failure(error, request)
        except errors.PlainError as error:
            nosniff = (("X-Content-Type-Options", "nosniff"),)
            answer = Response(error.code, error.text.encode(), "text/plain; charset=utf-8", nosniff)
        except RecursionError:
            answer = _failure(errors.bad_request("the request is nested too deeply"), request)
        except Exception:
            _log.exception("request failed method=%s path=%s", request.method, request.path)
            answer = _failure(errors.internal("the server met an error of its own; its log has more"), request)
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
        if "timeout" in request.query:
            self._check_timeout(request)
        route = routes.parse(path)
        request.user = identity.impersonated(request) or request.user
        identity.check(request, route)
        if route is None or not route.plural:
            return documents.special(self.server, request)
        resource = self.server.registry.find(route.group, route.version, route.plural)
        if resource is None:
            return self._unknown(request, route)
        self._check_scope(resource, route)
        if resource.key == "endpoints" and resource.group == "" and request.method != "OPTIONS":
            request.warnings.append(_ENDPOINTS_WARNING)
        if resource.strategy.deprecated:
            request.warnings.append(resource.strategy.deprecated)
        if route.name in (".", "..") and request.method != "POST":
            raise errors.bad_request(f"Name parameter invalid: \"{route.name}\": may not be '{route.name}'")
        call = Call(self.server, request, resource, route.namespace, self.server.env.now())
        if route.subresource:
            return self._subresource(call, route)
        return self._verb(call, route)

    def _check_timeout(self, request: Request) -> None:
        """The limit that a client gives itself; watches have another one and do not look at this."""
        wrong = duration_error(request.first("timeout")) if request.first("timeout") else ""
        if wrong and not flag(request, "watch"):
            raise errors.bad_request(f"invalid timeout specified in the request URL - {wrong}")

    def _check_scope(self, resource: Resource, route: Route) -> None:
        if resource.namespaced and not route.namespace and route.name:
            raise errors.unknown_resource()
        if not resource.namespaced and route.namespace:
            raise errors.unknown_resource()

    def _unknown(self, request: Request, route: Route) -> Answer:
        if (route.group, route.version, route.plural) == ("", "v1", "bindings") and route.namespace:
            return self._bindings(request, route)
        registry = self.server.registry
        plurals = {p: (k, n) for p, k, n in REVIEWS.get(route.group, ())}
        if route.plural in plurals and route.version == "v1":
            return self._review(request, route, *plurals[route.plural])
        if route.group and (route.group not in registry.groups() or registry.is_custom(route.group)):
            raise errors.PlainError(404, "404 page not found\n")
        raise errors.unknown_resource()

    def _bindings(self, request: Request, route: Route) -> Response:
        if request.method != "POST" or route.name:
            raise errors.method_not_allowed()
        pods = self.server.registry.find("", "v1", "pods")
        assert pods is not None
        return subresources.bindings(Call(self.server, request, pods, route.namespace, self.server.env.now()))

    # ---- reviews ----------------------------------------------------------------------------------------------
    def _review(self, request: Request, route: Route, kind: str, namespaced: bool) -> Response:
        if route.name:
            raise errors.unknown_resource()
        if request.method != "POST":
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
        if namespaced:
            writing.check_namespace(Call(self.server, request, resource, route.namespace, now), obj)
        else:
            obj["metadata"].pop("namespace", None)
        manager = Manager(options.manager, "Update", api_version)
        managed.record(obj, managed.updated(None, obj, resource.type, manager, from_seconds(now)))
        answer = reviews.review(kind, obj, request, now, self.authenticator)
        if kind == "SelfSubjectReview":
            answer["metadata"] = {"creationTimestamp": from_seconds(now)}
        return Response(201, encode({"kind": kind, "apiVersion": api_version, **answer}))

    # ---- verbs ------------------------------------------------------------------------------------------------
    def _verb(self, call: Call, route: Route) -> Answer:
        method, request = call.request.method, call.request
        if not route.name:
            if method == "GET":
                return self._list(call, route)
            if method == "POST" and (route.namespace or not call.resource.namespaced):
                return self._create(call)
            if method == "DELETE" and self._may_delete_many(call, route):
                return self._delete_collection(call, route)
            raise errors.method_not_allowed()
        if method == "GET":
            if route.watch:
                return self._list(call, route)
            if flag(request, "export"):
                words = "the export parameter, deprecated since v1.14, is no longer supported"
                raise errors.bad_request(words)
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
            if call.resource.custom and call.resource.from_storage is not None:
                obj = call.resource.from_storage(obj)
        return reading.one(call, encode(obj), shape, 201 if written.created else 200)

    def _replace(self, call: Call, name: str, part: str = "") -> Response:
        request, resource = call.request, call.resource
        shape = accept.negotiate(request.headers.get("accept"), "other")
        options = write_options(request, "UpdateOptions")
        call.dry_run = options.dry_run
        obj = object_of(request, resource, options.validation)
        resource.strategy.default(obj)
        manager = Manager(options.manager, "Update", resource.api_version, part)
        return self._written(call, writing.replace(call, obj, Update(name, options, part), manager), shape)

    def _patch(self, call: Call, name: str, part: str = "") -> Response:
        shape = accept.negotiate(call.request.headers.get("accept"), "other")
        apply = writing.is_apply(call)
        options = write_options(call.request, "PatchOptions", apply=apply)
        call.dry_run = options.dry_run
        change = applying.apply if apply else writing.patch
        return self._written(call, change(call, Update(name, options, part)), shape)

    def _delete(self, call: Call, name: str) -> Response:
        shape = accept.negotiate(call.request.headers.get("accept"), "other")
        options = options_of(call.request)
        call.dry_run = options.dry_run
        written, gone = delete(call, name, options)
        if not gone or call.resource.strategy.returns_deleted:
            return self._written(call, written, shape)
        meta = written.obj["metadata"]
        details = {"name": name, "group": call.resource.group, "kind": call.resource.plural, "uid": meta.get("uid")}
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Response(200, encode({**body, "details": {k: v for k, v in details.items() if v}}))

    def _delete_collection(self, call: Call, route: Route) -> Response:
        shape = accept.negotiate(call.request.headers.get("accept"), "other")
        options = options_of(call.request)
        call.dry_run = options.dry_run
        listed = list_options(call.request, watch=False)
        page = reading.page_of(call, listed, reading.selection(call.resource, listed), route.namespace)
        delete_collection(call, options, page)
        reading.check_many(call.resource, shape)
        return reading.show_page(call, page, shape)

    # ---- sub-resources ----------------------------------------------------------------------------------------
    def _subresource(self, call: Call, route: Route) -> Answer:
        resource, method, name = call.resource, call.request.method, route.subresource
        if name not in resource.subresources:
            call.request.warnings.clear()
            raise _no_part(resource, route)
        if name == "status" or name in resource.strategy.parts:
            return self._part(call, route)
        if name in _STREAMS:
            return self._stream(call, route)
        methods, handler = subresources.HANDLERS.get(name, ((), None))
        if handler is None or method not in methods:
            raise errors.method_not_allowed()
        return handler(call, route.name)

    def _part(self, call: Call, route: Route) -> Answer:
        """A sub-resource that is the object itself, of which a write changes one part."""
        method, part = call.request.method, route.subresource
        if part == "finalize" and method != "PUT":
            raise errors.method_not_allowed()
        match method:
            case "GET":
                return reading.get(call, route.name, accept.negotiate(call.request.headers.get("accept"), "get"))
            case "PUT":
                return self._replace(call, route.name, part)
            case "PATCH":
                return self._patch(call, route.name, part)
        raise errors.method_not_allowed()

    def _stream(self, call: Call, route: Route) -> Answer:
        from fairway.apiserver.streams import open_stream

        return open_stream(call, route)


def _no_part(resource: Resource, route: Route) -> errors.ApiError:
    """A sub-resource that a kind does not have."""
    if resource.custom:
        return errors.not_found(resource.plural, resource.group, route.name)
    return errors.unknown_resource()


def _failure(error: errors.ApiError, request: Request) -> Response:
    headers: tuple[tuple[str, str], ...] = ()
    if error.details and error.details.get("retryAfterSeconds"):
        headers = (("Retry-After", str(error.details["retryAfterSeconds"])),)
    return Response(error.code, encode(error.status()), accept.of_error(request.headers.get("accept")), headers)


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
