"""A server whose cache hands its answers over, asked by way of the table or by way of the plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dns.message

from dns_cases import query_bytes
from dns_world import MemoryServer, MemoryWorld, ScriptedUpstream
from fairway.agents.dns_kept import MAX_BYTES, KeptAnswers, Rows
from fairway.dns.answers import FastAnswers
from fairway.dns.fast_rules import kept_rules
from fairway.dns.server import read_request
from fairway.io.dns.fast import NativeTable, load
from fairway.wire.dns_message import Message

Answering = Callable[[Message], Message]


class AnsweringUpstream(ScriptedUpstream):
    """Answers by a function, which may change its mind."""

    def __init__(self, answer: Answering) -> None:
        super().__init__(())
        self.answer = answer

    async def exchange(self, query: Message, *, stream: bool, seconds: float) -> Message:
        await super().exchange(query, stream=stream, seconds=seconds)  # which notes it, or is dead
        return self.answer(query)


class KeptServer:
    """`path` is `fast` (the table first, the plugins for what it leaves) or `plugins`."""

    def __init__(
        self,
        plugins: str,
        upstream: ScriptedUpstream,
        path: str = "fast",
        objects: Iterable[Mapping[str, Any]] = (),
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.world = MemoryWorld(upstream)
        self.server = MemoryServer(f".:53 {{\n{plugins}\nforward . 192.0.2.53\n}}\n", objects, self.world)
        self.upstream = upstream
        self.is_fast = path == "fast"
        self.from_table = 0
        library = load()
        assert library is not None
        self.table = NativeTable(library)
        self.rows = Rows()
        chain = self.server.chains[0]
        rules = kept_rules(chain)
        self.kept = KeptAnswers(rules, chain.settings, [self.table], self.rows, max_bytes) if rules else None
        if rules is not None and self.is_fast:
            rules.cache.keeper = self.kept
            self.table.set_limit(rules.max_edns)
        self.table.refresh = self._refresh
        if objects:
            answers = FastAnswers(chain.kubernetes[0][1])
            self.table.put(answers.everything())
            for index, zone in enumerate(answers.zones):
                self.table.set_zone(index, zone, 1, 0)

    def _refresh(self, _row: int, query: bytes) -> None:
        request = read_request(query)
        assert request is not None
        self.server.chains[0].caches[-1].refresh(request)

    def ask_bytes(self, query: bytes) -> bytes:
        """The reply; what was left for the background is done after it."""
        reply, wants_refresh = b"", False
        if self.is_fast:
            reply, wants_refresh = self.table.answer_and_refresh(query, 7, self.world.time)
            self.from_table += bool(reply)
        if not reply:
            reply = self.server.ask(query)[0]
        if wants_refresh:
            self.table.refresh(0, query)
        self.world.run_background()
        return reply

    def ask(self, name: str, kind: str = "A", **more: Any) -> dns.message.Message:
        return dns.message.from_wire(self.ask_bytes(query_bytes({"qname": name, "qtype": kind, **more})))

    def warm(self, name: str, kind: str = "A", **more: Any) -> None:
        """Ask twice: then it is kept, and handed over."""
        for _ in range(2):
            self.ask(name, kind, **more)
