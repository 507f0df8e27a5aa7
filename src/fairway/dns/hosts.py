"""The `hosts` plugin: answers from lines like those of /etc/hosts, both ways.

A name that is not listed is SERVFAIL, not NXDOMAIN: such a file has no SOA record, so nobody says for how long the name
does not exist (as CoreDNS argues).
"""

from __future__ import annotations

from collections.abc import Iterator

from fairway.config.corefile_settings import HostsSettings
from fairway.dns.metrics import Count
from fairway.dns.model import Handler, Reply, Request, refusal
from fairway.dns.rows import packed
from fairway.values.domain import Name, from_text, longest_zone, parent, reverse_address
from fairway.values.errors import InvalidValueError
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Record, a_or_aaaa

_WIDTH: dict[int, int] = {RRType.A: 4, RRType.AAAA: 16}
_STAR = b"\x01*"


class Hosts:
    """Answers A, AAAA and PTR of the names in a file and in the block."""

    def __init__(self, settings: HostsSettings, following: Handler) -> None:
        self.settings = settings
        self.following = following
        self._forward: dict[Name, list[bytes]] = {}
        self._reverse: dict[bytes, list[Name]] = {}
        self.loaded_at = 0.0
        """When the file was last read anew, seconds since 1970."""
        self.load("")

    def counts(self) -> Iterator[Count]:
        """As `fairway.dns.metrics.Counting`."""
        listed = sum(map(len, self._forward.values()))
        text, labels = "The combined number of entries in hosts and Corefile.", (("hostsfile", self.settings.file),)
        yield Count("coredns_hosts_entries", text, labels, listed, has_server=False, kind="gauge")
        text = "The timestamp of the last reload of hosts file."
        yield Count("coredns_hosts_reload_timestamp_seconds", text, (), self.loaded_at, has_server=False, kind="gauge")

    def load(self, text: str) -> None:
        """Take the file's present text; the block's own lines stay."""
        self._forward, self._reverse = {}, {}
        for line in (*text.splitlines(), *self.settings.inline):
            self._take(line.partition("#")[0].split())

    def _take(self, words: list[str]) -> None:
        address = packed(words[0].partition("%")[0]) if len(words) > 1 else None
        if address is None:
            return
        for word in words[1:]:
            try:
                name = from_text(word).lower()
            except InvalidValueError:
                continue
            if longest_zone(name, self.settings.zones) is None:
                continue
            self._forward.setdefault(name, []).append(address)
            if self.settings.has_reverse and not name.startswith(_STAR):
                self._reverse.setdefault(address, []).append(name)

    async def serve(self, request: Request) -> Reply:
        """Answer what is listed; what is not goes on, or fails."""
        key, settings = request.key, self.settings
        if request.type == RRType.PTR:
            return await self._pointers(request)
        if longest_zone(key, settings.zones) is None:
            return await self.following.serve(request)
        goes_on = longest_zone(key, settings.fallthrough) is not None
        if request.type not in _WIDTH and settings.passes_other_types and goes_on:
            return await self.following.serve(request)
        listed = list(self.addresses(key))
        if not listed:
            return await self.following.serve(request) if goes_on else refusal(Rcode.SERVFAIL)
        width = _WIDTH.get(request.type, 0)
        return _found([a_or_aaaa(key, address, settings.ttl) for address in listed if len(address) == width])

    async def _pointers(self, request: Request) -> Reply:
        address = reverse_address(request.key)
        names = self._reverse.get(address, []) if address is not None else []
        if not names:
            return await self.following.serve(request)
        return _found([Record(request.key, RRType.PTR, self.settings.ttl, name) for name in names])

    def addresses(self, key: Name) -> Iterator[bytes]:
        """Those of a name; of its wildcard (the first label alone) for a family of which it has none."""
        own = self._forward.get(key, [])
        wild = self._forward.get(_STAR + parent(key), []) if key[0] else []
        for width in (4, 16):
            listed = [a for a in own if len(a) == width] or [a for a in wild if len(a) == width]
            yield from listed


def _found(answer: list[Record]) -> Reply:
    return Reply(aa=True, answer=answer, source="hosts")
