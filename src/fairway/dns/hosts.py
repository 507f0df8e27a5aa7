"""The `hosts` plugin: answers from lines like those of /etc/hosts, both ways."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.config.corefile_settings import HostsSettings
from fairway.dns.model import Handler, Reply, Request
from fairway.dns.rows import packed
from fairway.values.domain import Name, from_text, longest_zone, reverse_address
from fairway.values.errors import InvalidValueError
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Record, a_or_aaaa


class Hosts:
    """Answers A, AAAA and PTR of the names in a file and in the block."""

    def __init__(self, settings: HostsSettings, following: Handler) -> None:
        self.settings = settings
        self.following = following
        self._forward: dict[Name, list[bytes]] = {}
        self._reverse: dict[bytes, list[Name]] = {}
        self.load("")

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
            self._reverse.setdefault(address, []).append(name)

    async def serve(self, request: Request) -> Reply:
        """Answer what is listed; what is not goes on, or is denied."""
        address = reverse_address(request.key) if self.settings.has_reverse else None
        if longest_zone(request.key, self.settings.zones) is None and (
            request.type != RRType.PTR or address not in self._reverse
        ):
            return await self.following.serve(request)
        answer = list(self._answer(request, address))
        if not answer and request.key not in self._forward:
            if longest_zone(request.key, self.settings.fallthrough) is not None:
                return await self.following.serve(request)
            return Reply(rcode=Rcode.NXDOMAIN, aa=True, source="hosts")
        return Reply(aa=True, answer=answer, source="hosts")

    def _answer(self, request: Request, address: bytes | None) -> Iterable[Record]:
        ttl = self.settings.ttl
        if request.type == RRType.PTR:
            names = dict.fromkeys(self._reverse.get(address, ())) if address is not None else {}
            return [Record(request.name, RRType.PTR, ttl, name) for name in names]
        width = {RRType.A: 4, RRType.AAAA: 16}.get(RRType(request.type)) if request.type in {1, 28} else None
        found = dict.fromkeys(self._forward.get(request.key, ()))
        return [a_or_aaaa(request.name, a, ttl) for a in found if len(a) == width]
