"""The `autopath` plugin: walks the client's search list for it, so that one question does for five."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fairway.dns.metrics import Count
from fairway.dns.model import Handler, Reply, Request, refusal
from fairway.values.domain import MAX_NAME, ROOT, Name, is_subdomain, longest_zone
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Record

SearchPath = Callable[[Request], Sequence[Name]]
"""What the client's resolver appends, in order, for the client that asks; empty when it is not known."""


class Autopath:
    """Answers the first name of a search list with the answer to the first that exists."""

    def __init__(self, zones: tuple[Name, ...], search: SearchPath, following: Handler) -> None:
        self.zones = zones
        self.search = search
        self.following = following
        self._successes = 0

    def counts(self) -> Iterator[Count]:
        """As `fairway.dns.metrics.Counting`."""
        yield Count("coredns_autopath_success_total", "Counter of requests that did autopath.", (), self._successes)

    async def serve(self, request: Request) -> Reply:
        """Walk the path if the question is its first step."""
        if longest_zone(request.key, self.zones) is None:
            return await self.following.serve(request)
        search = self.search(request)
        if not search or not is_subdomain(request.key, search[0]):
            return await self.following.serve(request)
        if request.key == search[0]:
            return refusal(Rcode.SERVFAIL, "the name is the search domain itself: nothing is left to complete")
        base = request.name[: len(request.name) - len(search[0])]
        first: Reply | None = None
        for suffix in (*search, ROOT):
            if len(base) + len(suffix) > MAX_NAME:
                continue
            reply = await self.following.serve(request.asking(base + suffix, request.type))
            first = first or reply
            if reply.is_refusal and reply.cause:
                return reply  # who could not be asked may know the name: to deny it now would be a guess
            if not reply.is_refusal and reply.rcode != Rcode.NXDOMAIN:
                self._successes += 1
                return _as_asked(reply, request)
        assert first is not None
        return first


def _as_asked(reply: Reply, request: Request) -> Reply:
    """Lead from the name that was asked to the one that answered, so that the client accepts it."""
    if reply.answer and reply.answer[0].name.lower() != request.key:
        owner = reply.answer[0]
        reply.answer = [Record(request.name, RRType.CNAME, owner.ttl, owner.name), *reply.answer]
    return reply
