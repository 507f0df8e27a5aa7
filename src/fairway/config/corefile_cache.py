"""`cache` directives → settings, with CoreDNS' defaults and limits."""

from __future__ import annotations

from dataclasses import replace

from fairway.config.corefile import Directive
from fairway.config.corefile_reader import MANY, Line
from fairway.config.corefile_settings import CacheLimits, CacheSettings
from fairway.values.domain import Name

MAX_FAILURE = 300.0
"""Seconds for which a failure may be remembered (RFC 2308, section 7)."""


class _Reader:
    """Takes the lines of one block, one after the other."""

    def __init__(self, found: CacheSettings) -> None:
        self.found = found

    def put(self, **values: object) -> None:
        self.found = replace(self.found, **values)  # type: ignore[arg-type]

    def success(self, line: Line) -> None:
        self.put(success=_limits(line, self.found.success))

    def denial(self, line: Line) -> None:
        self.put(denial=_limits(line, self.found.denial))

    def prefetch(self, line: Line) -> None:
        hits, *rest = line.count(1, 3)
        window = line.duration(rest[0]) if rest else 60.0
        if len(rest) > 1 and not rest[1].endswith("%"):
            line.fail(f"{rest[1]!r} is not a percentage, like 20%")
        percent = line.number(rest[1].removesuffix("%"), 10, 90) if len(rest) > 1 else 10
        self.put(prefetch_hits=line.number(hits), prefetch_window=window, prefetch_percent=percent)

    def serve_stale(self, line: Line) -> None:
        # serve_stale [UP_TO [immediate [TTL [RECHECK]] | verify [WAIT [TTL [RECHECK]]]]]
        args = list(line.count(0, 5))
        self.put(stale_for=line.duration(args.pop(0)) if args else 3600.0)
        mode = line.choice(args.pop(0).lower(), ("immediate", "verify")) if args else "immediate"
        self.put(stale_verify=mode == "verify")
        if mode == "verify" and args:
            self.put(stale_wait=line.duration(args.pop(0)))
        if args:
            self.put(stale_ttl=int(line.duration(args.pop(0))))
        if args:
            self.put(stale_recheck=line.duration(args.pop(0)))
        if args:
            line.fail(f"{args[0]!r} is one argument too many")
        if self.found.stale_recheck > MAX_FAILURE:
            line.fail("the pause after a failure cannot exceed 5m")

    def policy(self, line: Line) -> None:
        line.choice(line.count(1)[0].lower(), ("prefer_positive",))
        self.put(prefers_positive=True)

    def servfail(self, line: Line) -> None:
        self.put(servfail=line.duration(line.count(1)[0]))
        if self.found.servfail > MAX_FAILURE:
            line.fail("RFC 2308 forbids to keep SERVFAIL for more than 5m")

    def disable(self, line: Line) -> None:
        kind, *names = line.count(1, MANY)
        self.put(**{f"no_{line.choice(kind, ('success', 'denial'))}": line.zones(names)})

    def keepttl(self, line: Line) -> None:
        line.count(0)
        self.put(keep_ttl=True)


def cache(directive: Directive, zones: tuple[Name, ...]) -> CacheSettings:
    """`cache [TTL] [ZONE…] { … }`. Raises ConfigError."""
    line, args = Line(directive), list(directive.args)
    ttl = line.number(args.pop(0), 1) if args and args[0].lstrip("-").isdecimal() else 0
    success, denial = CacheLimits(), CacheLimits(longest=1800)
    if ttl:
        success, denial = replace(success, longest=ttl), replace(denial, longest=ttl)
    reader = _Reader(CacheSettings(line.zones(args, zones), success, denial))
    line.each(
        {
            "success": reader.success,
            "denial": reader.denial,
            "prefetch": reader.prefetch,
            "serve_stale": reader.serve_stale,
            "serve_stale_policy": reader.policy,
            "servfail": reader.servfail,
            "disable": reader.disable,
            "keepttl": reader.keepttl,
        }
    )
    if reader.found.prefers_positive and not reader.found.stale_for:
        line.fail("serve_stale_policy needs serve_stale")
    return reader.found


def _limits(line: Line, now: CacheLimits) -> CacheLimits:
    numbers = line.count(1, 3)
    capacity = line.number(numbers[0])
    longest = line.number(numbers[1], 1) if len(numbers) > 1 else now.longest
    return CacheLimits(capacity, longest, line.number(numbers[2]) if len(numbers) > 2 else now.shortest)
