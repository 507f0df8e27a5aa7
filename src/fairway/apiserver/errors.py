"""Answers that are not what was asked for: a `Status` with code, reason, words and details as the API has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairway.apiserver.fielderrors import FieldError
from fairway.values.errors import FairwayError

Json = dict[str, Any]


class ApiError(FairwayError):
    """Ends a request with a Status. `headers` go out with it (Retry-After and the like)."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.list_meta: Json = {}  # a fresh continue token, of an expired one

    def status(self) -> Json:
        out: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.list_meta,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            out["reason"] = self.reason
        if self.details is not None:
            out["details"] = self.details
        out["code"] = self.code
        return out


class PlainError(FairwayError):
    """Ends a request with plain text, as the paths outside the API groups do."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def qualified(resource: str, group: str) -> str:
    """`deployments.apps`; core resources stand alone."""
    return f"{resource}.{group}" if group else resource


def _details(name: str, group: str, kind: str) -> Json:
    return {k: v for k, v in (("name", name), ("group", group), ("kind", kind)) if v}


def not_found(resource: str, group: str, name: str) -> ApiError:
    message = f'{qualified(resource, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(name, group, resource))


def already_exists(resource: str, group: str, name: str) -> ApiError:
    message = f'{qualified(resource, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(name, group, resource))


def conflict(resource: str, group: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(name, group, resource))


def stale(resource: str, group: str, name: str) -> ApiError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, group, name, why)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unknown_resource() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def internal(message: str) -> ApiError:
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})


def plain_internal(message: str) -> ApiError:
    """A Go error that carried no Status: 500 without a reason."""
    return ApiError(500, "", message)


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def service_unavailable(message: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)


def too_large_version(asked: int, current: int) -> ApiError:
    """A list from the future; clients wait a second and ask again."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        {"causes": [cause], "retryAfterSeconds": 1},
    )


def forbidden(resource: str, group: str, name: str, why: str) -> ApiError:
    shown = f'{qualified(resource, group)} "{name}"' if name else qualified(resource, group)
    message = f"{shown} is forbidden: {why}"
    return ApiError(403, "Forbidden", message, _details(name, group, resource))


def terminating(resource: str, group: str, name: str, namespace: str) -> ApiError:
    error = forbidden(
        resource,
        group,
        name,
        f"unable to create new content in namespace {namespace} because it is being terminated",
    )
    assert error.details is not None
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    error.details["causes"] = [cause]
    return error


def unsupported_media(message: str, details: Json | None = None) -> ApiError:
    return ApiError(415, "UnsupportedMediaType", message, details)


def not_acceptable(message: str, details: Json | None = None) -> ApiError:
    return ApiError(406, "NotAcceptable", message, details)


def invalid(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """A 422 with its causes. One error stands alone, several are listed; repeated ones count once (as in Go)."""
    texts = list(dict.fromkeys(str(e) for e in errors))
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    message = f'{qualified(kind, group)} "{name}" is invalid'
    details = _details(name, group, kind)
    if errors:
        message += f": {listed}"
        details["causes"] = [{"reason": e.reason, "message": e.body, "field": e.field} for e in errors]
    return ApiError(422, "Invalid", message, details)
