"""Which request comes next when one kind is followed, and from which resourceVersion: every transition, no effects.

The rules are those of client-go's reflector (k8s.io/client-go/tools/cache/reflector.go), KEP-365 (paging), KEP-956
(bookmarks) and KEP-3157 (the list as a stream). How long to wait and what to do with objects is decided elsewhere.
"""

from __future__ import annotations

from enum import Enum

from fairway.kube.status import (
    ApiStatusError,
    ApiUnreachableError,
    CorruptAnswerError,
    GoneError,
    TooManyRequestsError,
    UnauthorizedError,
)
from fairway.values.errors import FairwayError

CORRUPT_LIMIT = 3
"""After so many unreadable answers from one version, the list is read anew: the fault may sit in that stretch."""


NOT_OLDER = "NotOlderThan"
NOTHING = "metadata.name=no.such.object"


class SilentStreamError(FairwayError):
    """A streamed list was begun, and its end never came: the server does not know `sendInitialEvents`."""


class Step(Enum):
    """The request that comes next."""

    LIST = "list"
    STREAM = "stream"  # a watch that begins with the whole list
    CHECK = "check"  # whether the server has reached the version at all
    WATCH = "watch"


class Progress:
    """Where one kind's following stands. `seen` and `listed` move it on, `failed` decides what to try instead."""

    def __init__(self, streams: bool = True) -> None:
        self._streams = streams
        self._list_from = "0"
        self._corrupt = 0
        self.step = Step.STREAM if streams else Step.LIST
        self.version = ""
        """The last resourceVersion that was heard: of a list, an event or a bookmark."""

    def query(self) -> dict[str, str]:
        """The parameters that the next request takes from where things stand."""
        match self.step:
            case Step.LIST:
                # "0": whatever the server has in memory will do, the watch catches up. Empty: the newest, from storage.
                return {"resourceVersion": self._list_from} if self._list_from else {}
            case Step.STREAM:
                return {
                    "watch": "1",
                    "allowWatchBookmarks": "true",
                    "sendInitialEvents": "true",
                    "resourceVersionMatch": NOT_OLDER,
                    **({"resourceVersion": self.version} if self.version and self._list_from else {}),
                }
            case Step.CHECK:
                return {"fieldSelector": NOTHING, "resourceVersion": self.version, "resourceVersionMatch": NOT_OLDER}
            case Step.WATCH:
                return {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": self.version}

    def listed(self, version: str) -> None:
        """The whole list is in; from here on a watch."""
        self.step = Step.WATCH
        self.version = version
        # A later list must not be older than what was seen: time would run backwards for the sinks.
        self._list_from = version or "0"
        self._corrupt = 0

    def seen(self, version: str) -> None:
        """An event or a bookmark came with this version."""
        if version:
            self.version = self._list_from = version
        self._corrupt = 0

    def checked(self) -> None:
        """The server has reached the version: a watch from it will be told of every change."""
        self.step = Step.WATCH

    def failed(self, error: FairwayError) -> None:
        """The present request failed, or the stream told an error; choose what to try next."""
        ahead = isinstance(error, ApiStatusError) and error.is_version_ahead
        if isinstance(error, CorruptAnswerError):
            self._corrupt += 1
        match self.step:
            case Step.LIST if ahead or isinstance(error, GoneError):
                self._list_from = ""
            case Step.STREAM if ahead or isinstance(error, GoneError):
                self._list_from = self.version = ""
            case Step.STREAM if _is_refusal(error) or self._corrupt >= CORRUPT_LIMIT:
                self._streams = False
                self.step = Step.LIST
            case Step.WATCH | Step.CHECK if ahead or isinstance(error, GoneError) or self._corrupt >= CORRUPT_LIMIT:
                self._relist(from_storage=ahead)
            case Step.WATCH if isinstance(error, ApiUnreachableError):
                # The server may come back with its storage put back from a backup. kube-apiserver (1.36, tried) keeps a
                # watch from a version that it has not reached open and silent, so it has to be asked in another way.
                self.step = Step.CHECK

    def _relist(self, *, from_storage: bool) -> None:
        self._corrupt = 0
        if from_storage:
            self._list_from = ""
        self.step = Step.STREAM if self._streams else Step.LIST


def _is_refusal(error: FairwayError) -> bool:
    """A server without streamed lists says so with 400 or 422, one whose etcd is too old in an ERROR event."""
    if isinstance(error, (UnauthorizedError, TooManyRequestsError)):
        return False
    return isinstance(error, (ApiStatusError, SilentStreamError))
