"""Requests and answers of the small HTTP servers as values."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from fairway.values.address import Address

Headers = tuple[tuple[str, str], ...]
PLAIN = "text/plain; charset=utf-8"


class Request(NamedTuple):
    """What a client asks. Bodies are read and thrown away: nothing here takes one."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    local: tuple[Address, int]
    """The address and port that the client connected to."""

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str], local: tuple[Address, int]) -> Request:
        path, _, query = target.partition("?")
        return cls(method, path, {name: values[-1] for name, values in parse_qs(query).items()}, headers, local)


class Answer(NamedTuple):
    """What is sent back. Content-Length, Date and the sniffing guard are added."""

    status: int
    body: bytes
    content_type: str = PLAIN
    headers: Headers = ()

    @classmethod
    def text(cls, status: int, text: str) -> Answer:
        return cls(status, text.encode())

    @classmethod
    def json(cls, status: int, value: Any, headers: Headers = ()) -> Answer:
        return cls(status, json.dumps(value, separators=(",", ":")).encode(), "application/json", headers)


Handler = Callable[[Request], Answer | Awaitable[Answer]]

NOT_FOUND = Answer.text(404, "404 page not found\n")


def by_path(handlers: Mapping[str, Handler]) -> Handler:
    """One handler that sends each path to its own; a name ending in `/` takes what is below it."""
    below = sorted((path for path in handlers if path.endswith("/")), key=len, reverse=True)

    def handle(request: Request) -> Answer | Awaitable[Answer]:
        handler = handlers.get(request.path)
        if handler is None:
            handler = next((handlers[path] for path in below if request.path.startswith(path)), None)
        return NOT_FOUND if handler is None else handler(request)

    return handle
