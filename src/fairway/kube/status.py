"""What an API server answers when it does not do what it was asked: `Status` objects as exceptions by reason.

Knows the wire form and the reasons; what to do about each (retry, list again, give up) is the caller's decision.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairway.values.errors import FairwayError


class ApiUnreachableError(FairwayError):
    """No answer could be had: refused, no route, time-out, TLS failure, stream cut. Ends a command with exit code 3."""


class CorruptAnswerError(ApiUnreachableError):
    """The server answered with something that is not what the protocol promises (broken JSON, a truncated list)."""


class ApiStatusError(FairwayError):
    """The server answered, and the answer is no. `code` and `reason` as in metav1.Status."""

    def __init__(self, status: WireStatus, request: str = "") -> None:
        self.code = status.code
        self.reason = status.reason
        self.text = status.message
        self.causes = tuple(c.reason for c in status.details.causes or ()) if status.details else ()
        self.retry_after = status.details.retryAfterSeconds if status.details else 0
        """Seconds that the server asks to wait; 0 when it does not say."""
        said = status.message or status.reason or "no message"
        super().__init__(f"{request}: {said} (HTTP {status.code} {status.reason})" if request else said)

    @property
    def is_version_ahead(self) -> bool:
        """The server has not reached the asked resourceVersion: it lags, or its storage was put back."""
        return "ResourceVersionTooLarge" in self.causes or "Too large resource version" in self.text


class BadRequestError(ApiStatusError):
    """400."""


class UnauthorizedError(ApiStatusError):
    """401: the credentials are not accepted."""


class ForbiddenError(ApiStatusError):
    """403: known, and not allowed."""


class NotFoundError(ApiStatusError):
    """404: no such object, or no such kind."""


class MethodNotAllowedError(ApiStatusError):
    """405: the resource does not do that."""


class AlreadyExistsError(ApiStatusError):
    """409 AlreadyExists."""


class ConflictError(ApiStatusError):
    """409: the object was changed by someone else meanwhile."""


class GoneError(ApiStatusError):
    """410 (Expired, Gone): the resourceVersion or the continue token is too old; list again."""


class InvalidError(ApiStatusError):
    """422: the object or the request did not pass validation."""


class TooManyRequestsError(ApiStatusError):
    """429: asked to slow down; see `retry_after`."""


class ServerError(ApiStatusError):
    """5xx: the server's own trouble."""


class _WireCause(msgspec.Struct):
    reason: str = ""


class _WireDetails(msgspec.Struct):
    causes: list[_WireCause] | None = None
    retryAfterSeconds: int = 0  # noqa: N815 - the wire's name


class WireStatus(msgspec.Struct):
    """The part of metav1.Status that matters here."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: _WireDetails | None = None


_decoder: Final = msgspec.json.Decoder(WireStatus)

_BY_CODE: Final[dict[int, type[ApiStatusError]]] = {
    400: BadRequestError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
    429: TooManyRequestsError,
}


def status_error(body: bytes | msgspec.Raw, http_code: int = 0, request: str = "") -> ApiStatusError:
    """The exception for a Status object; a body that is none (a proxy's page) still gives one, by the HTTP code."""
    try:
        status = _decoder.decode(body)
    except msgspec.MsgspecError:
        status = WireStatus(message=bytes(body[:200]).decode("utf-8", "replace").strip())
    if http_code:
        status.code = http_code
    if status.reason == "AlreadyExists":
        return AlreadyExistsError(status, request)
    # Some servers answer an expired watch with another code and the right reason.
    if status.reason in ("Expired", "Gone"):
        return GoneError(status, request)
    fallback = ServerError if status.code >= 500 or not status.code else ApiStatusError
    return _BY_CODE.get(status.code, fallback)(status, request)
