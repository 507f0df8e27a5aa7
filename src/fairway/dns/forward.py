"""The `forward` plugin: picks an upstream, tries the next when one fails, and gives up in time.

Decides order, retries, limits and when an upstream counts as down. Sockets, TLS and time-outs of a single exchange are
behind `Upstream`; the clock and randomness are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fairway.config.corefile_settings import ForwardSettings
from fairway.dns.metrics import DURATIONS, Histogram
from fairway.dns.model import Handler, Reply, Request, refusal
from fairway.values.domain import ROOT, is_subdomain, longest_zone
from fairway.values.errors import FairwayError
from fairway.values.rrtypes import AA, AD, CD, CLASS_IN, QR, RA, RD, TC, Rcode, RRType, rcode_text
from fairway.wire.dns_message import Edns, Message, Question

GIVE_UP = 5.0
"""Seconds in all that one question may take."""
ATTEMPTS = 2
"""For each upstream, unless `max_connect_attempts` says how many in all."""
MAX_ATTEMPTS = 1000
"""When that says 0: until the time is over."""


class UpstreamError(FairwayError):
    """An upstream did not answer: time-out, refused, TLS, or an answer to something else."""


class Upstream(Protocol):
    """One server to ask."""

    @property
    def name(self) -> str:
        """`1.1.1.1:53`, for logs and metrics."""
        ...

    async def exchange(self, query: Message, *, stream: bool, seconds: float) -> Message:
        """Ask once. Raises UpstreamError."""
        ...


@dataclass(slots=True)
class Health:
    """What is known of one upstream."""

    upstream: Upstream
    fails: int = 0
    is_checking: bool = False
    healthcheck_failures: int = 0


@dataclass(slots=True)
class ForwardStatistics:
    """Counters, as CoreDNS names them."""

    max_concurrent_rejects: int = 0
    healthcheck_broken: int = 0
    durations: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    """Of answered requests, by upstream and response code."""


class Forward:
    """Asks upstreams for the names of one zone."""

    def __init__(
        self,
        settings: ForwardSettings,
        upstreams: Sequence[Upstream],
        following: Handler,
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.hosts = [Health(upstream) for upstream in upstreams]
        self.following = following
        self._now = now
        self._random = random
        self._turn = 0
        self.concurrent = 0
        self.statistics = ForwardStatistics()
        self.wake_checker: Callable[[Health], None] = lambda _host: None

    async def serve(self, request: Request) -> Reply:
        """Forward if the name is in the zone and not excepted."""
        settings = self.settings
        is_excepted = request.key != settings.zone and longest_zone(request.key, settings.excepted) is not None
        if not is_subdomain(request.key, settings.zone) or is_excepted:
            return await self.following.serve(request)
        if settings.max_concurrent and self.concurrent >= settings.max_concurrent:
            self.statistics.max_concurrent_rejects += 1
            return refusal(Rcode.REFUSED, f"concurrent queries exceeded maximum {settings.max_concurrent}")
        self.concurrent += 1
        try:
            reply = await self._ask(request)
        finally:
            self.concurrent -= 1
        goes_on = reply.rcode in settings.next_rcodes
        goes_on |= settings.next_on_nodata and reply.rcode == Rcode.NOERROR and not reply.answer
        if goes_on and not reply.is_refusal and isinstance(self.following, Forward):
            return await self.following.serve(request)
        return reply

    async def _ask(self, request: Request) -> Reply:
        query = _query(request)
        deadline = self._now() + GIVE_UP
        error = "no healthy proxies"
        failovers = 0
        for host in self._order():
            left = deadline - self._now()
            if left <= 0:
                break
            start = self._now()
            try:
                answer = await self._exchange(host, query, request, min(left, self.settings.read_timeout))
            except UpstreamError as failure:
                error = str(failure)
                self._failed(host)
                continue
            reply = _reply(answer, request)
            self._count(host, reply.rcode, self._now() - start)
            failovers += reply.rcode in self.settings.failover_rcodes
            if reply.rcode not in self.settings.failover_rcodes or failovers >= len(self.hosts):
                return reply
        return refusal(Rcode.SERVFAIL, error)

    async def _exchange(self, host: Health, query: Message, request: Request, seconds: float) -> Message:
        settings = self.settings
        stream = settings.force_tcp or (request.is_stream and not settings.prefer_udp)
        try:
            answer = await host.upstream.exchange(query, stream=stream, seconds=seconds)
            if answer.flags & TC and settings.prefer_udp and not settings.force_tcp:
                answer = await host.upstream.exchange(query, stream=True, seconds=seconds)
        except TimeoutError:
            raise UpstreamError(f"{host.upstream.name}: no answer in {seconds:g} s") from None
        return answer

    def _order(self) -> list[Health]:
        """Healthy upstreams by policy, each as often as may be; when none is healthy, random ones after all."""
        healthy = [h for h in self.hosts if not self.is_down(h)]
        attempts = self.settings.max_connect_attempts
        if attempts is None:
            attempts = ATTEMPTS * len(self.hosts)
        attempts = attempts or MAX_ATTEMPTS
        if not healthy:
            self.statistics.healthcheck_broken += 1
            if self.settings.failfast or not self.hosts:
                return []
            return [self.hosts[int(self._random() * len(self.hosts))] for _ in range(attempts)]
        start = 0
        match self.settings.policy:
            case "random":
                start = int(self._random() * len(healthy))
            case "round_robin":
                start, self._turn = self._turn % len(healthy), self._turn + 1
        ordered = healthy[start:] + healthy[:start]
        return [ordered[i % len(ordered)] for i in range(attempts)]

    def is_down(self, host: Health) -> bool:
        """Failed too many checks in a row."""
        return 0 < self.settings.max_fails <= host.fails

    def _failed(self, host: Health) -> None:
        if self.settings.max_fails:
            self.wake_checker(host)

    def check_query(self) -> Message:
        """The question that a health check asks; any answer at all is good."""
        flags = RD if self.settings.health_recursion else 0
        return Message(0, flags, Question(self.settings.health_domain or ROOT, RRType.NS, CLASS_IN))

    def checked(self, host: Health, *, is_alive: bool) -> None:
        """Take the outcome of a health check."""
        if is_alive:
            host.fails = 0
        else:
            host.fails += 1
            host.healthcheck_failures += 1

    def _count(self, host: Health, rcode: int, seconds: float) -> None:
        key = (host.upstream.name, rcode_text(rcode))
        if key not in self.statistics.durations:
            self.statistics.durations[key] = Histogram(DURATIONS)
        self.statistics.durations[key].add(seconds)


def _query(request: Request) -> Message:
    edns = request.edns
    if edns is not None:
        edns = Edns(max(edns.size, 512), edns.do, 0, edns.options)
    flags = request.flags & (RD | CD | AD)
    return Message(0, flags, Question(request.name, request.type, request.rclass), edns=edns)


def _reply(answer: Message, request: Request) -> Reply:
    flags = answer.flags
    assert flags & QR
    options = answer.edns.options if answer.edns is not None and request.edns is not None else None
    return Reply(
        answer.rcode,
        bool(flags & AA),
        bool(flags & RA),
        bool(flags & AD),
        bool(flags & TC),
        answer.answer,
        answer.authority,
        answer.additional,
        options,
        flags & (RD | CD),
        source="forward",
    )
