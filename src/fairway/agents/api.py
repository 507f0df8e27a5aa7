"""The Kubernetes API as the loops need it: raw JSON in and out, refusals as exceptions of `fairway.kube.status`.

`fairway.io.kube.client.ApiClient` is the real one. Paths are those of the API (`Kind.path`); what a query means is the
caller's knowledge, how bytes travel the client's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

Query = Mapping[str, str]
"""Parameters of a request, as in the API reference (`labelSelector`, `resourceVersion` …)."""


class WatchEvent(msgspec.Struct):
    """One line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, and the object's bytes, not decoded yet."""

    type: str
    object: msgspec.Raw


class ListStream(Protocol):
    """One answer to a list, in pieces as they arrive. The properties hold once the pieces are used up."""

    def __aiter__(self) -> AsyncIterator[list[msgspec.Raw]]:
        """Objects, not decoded yet, in the server's order. Do not keep them: they hold the piece they came in."""
        ...

    @property
    def resource_version(self) -> str:
        """Of the whole list: where a watch goes on from."""
        ...

    @property
    def continue_token(self) -> str:
        """Names the next page; empty on the last."""
        ...


class ApiReader(Protocol):
    """Lists and watches."""

    def open_list(self, path: str, query: Query) -> AbstractAsyncContextManager[ListStream]:
        """Ask for a list, or one page of it."""
        ...

    def open_watch(self, path: str, query: Query) -> AbstractAsyncContextManager[AsyncIterator[list[WatchEvent]]]:
        """Ask for a watch; events that arrived together come together. Ends when the server closes it."""
        ...
