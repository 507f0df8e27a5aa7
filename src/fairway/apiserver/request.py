"""What comes in and what goes out: requests, responses, streams; and the effects that the core is handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Json = dict[str, Any]
BOOKMARK_SECONDS = 60.0


class User(NamedTuple):
    """Who asks, as an authenticator found out."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def info(self) -> Json:
        out: Json = {"username": self.name}
        if self.uid:
            out["uid"] = self.uid
        out["groups"] = list(self.groups)
        if self.extra:
            out["extra"] = {k: list(v) for k, v in self.extra}
        return out


class Environment(Protocol):
    """Clock and randomness."""

    def now(self) -> float:
        """Unix time."""

    def random(self, count: int) -> bytes:
        """Random bytes."""


@dataclass(slots=True)
class Request:
    """One HTTP request, headers in lower case, the path decoded."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""
    user: User = field(default_factory=lambda: User("system:anonymous", ("system:unauthenticated",)))
    warnings: list[str] = field(default_factory=list)

    def first(self, name: str, default: str = "") -> str:
        values = self.query.get(name)
        return values[0] if values else default


class Response(NamedTuple):
    """A whole answer."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class WatchStream:
    """An answer that goes on: `pull` gives what there is to send now, `attach` says whom to wake when there is more.

    After `timeout` seconds the stream ends well. `close` must be called in the end.
    """

    content_type: str
    timeout: float
    pull: Callable[[], bytes]
    attach: Callable[[Callable[[], None]], None]
    close: Callable[[], None]
    bookmark: Callable[[], bool]
    ended: Callable[[], bool]
    headers: tuple[tuple[str, str], ...] = ()


class Location(NamedTuple):
    """Where a request goes on. `path` is percent-encoded, with its query; `is_node` is a node's own API."""

    scheme: str
    host: str
    port: int
    path: str
    is_node: bool = False

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(slots=True)
class Upgrade:
    """A request that goes on as a stream to a pod or a node: `io/` finds out how the client speaks.

    The API server sends it on to `location` (None: there is nobody yet, and nothing to say); a node serves it itself.
    """

    kind: str  # exec, attach, portforward, log, proxy
    namespace: str
    name: str
    request: Request
    container: str = ""
    uid: str = ""
    location: Location | None = None
    prefix: str = ""
    """Of a proxied request: the path that leads to the other end's root."""


Answer = Response | WatchStream | Upgrade
