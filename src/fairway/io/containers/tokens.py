"""Service account tokens for the volumes of pods: asked for once, renewed before they expire."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from fairway.kube.podspec import NodePod
from fairway.pods.volumes import TokenWish, token_wishes

RENEW_AFTER: Final = 0.8
"""Of its time (kubelet's token manager)."""
LONGEST_USE: Final = 24 * 3600.0


class TokenSource(Protocol):
    """Makes tokens."""

    async def token(self, pod: NodePod, audience: str, seconds: int) -> tuple[str, float]:
        """A token, and when it expires (seconds since 1970)."""


class _Token(NamedTuple):
    text: str
    renew_at: float


class TokenKeeper:
    """Tokens of the pods of one node."""

    def __init__(self, source: TokenSource, wall: Callable[[], float] = time.time) -> None:
        self._source, self._wall = source, wall
        self._held: dict[str, dict[TokenWish, _Token]] = {}

    async def tokens(self, pod: NodePod) -> dict[tuple[str, str], str]:
        """By volume and path. Raises MissingReferenceError."""
        held = self._held.setdefault(pod.metadata.uid, {})
        found = {}
        for volume, wish in token_wishes(pod):
            token = held.get(wish)
            now = self._wall()
            if token is None or now >= token.renew_at:
                text, expires = await self._source.token(pod, wish.audience, wish.seconds)
                token = held[wish] = _Token(text, now + min((expires - now) * RENEW_AFTER, LONGEST_USE))
            found[volume, wish.path] = token.text
        return found

    def forget(self, uid: str) -> None:
        self._held.pop(uid, None)
