"""The `log` and `errors` plugins: lines about questions and failures, in CoreDNS' own form."""

from __future__ import annotations

import re
from collections.abc import Callable

from fairway.config.corefile_settings import ErrorsSettings, LogSettings
from fairway.config.go_regexp import compile_pattern
from fairway.dns.model import Handler, Reply, Request, Transport
from fairway.dns.small import address_text
from fairway.values.domain import longest_zone, to_text
from fairway.values.rrtypes import AA, AD, CD, QR, RA, RD, TC, Rcode, rcode_text, type_text

COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" '
    "{rcode} {>rflags} {rsize} {duration}"
)
_FIELD = re.compile(r"\{[^{}]+\}")
_FLAGS = ((QR, "qr"), (AA, "aa"), (TC, "tc"), (RD, "rd"), (RA, "ra"), (AD, "ad"), (CD, "cd"))


def log_class(reply: Reply) -> str:
    """success, denial or error."""
    if reply.rcode == Rcode.NOERROR and (reply.answer or not reply.authority):
        return "success"
    return "denial" if reply.rcode in {Rcode.NXDOMAIN, Rcode.NOERROR} else "error"


class Log:
    """Writes a line about each question of its zones."""

    def __init__(
        self, settings: LogSettings, write: Callable[[str], None], now: Callable[[], float], following: Handler
    ) -> None:
        self.settings = settings
        self._write = write
        self._now = now
        self.following = following

    async def serve(self, request: Request) -> Reply:
        rule = next((one for one in self.settings.rules if longest_zone(request.key, one.zones) is not None), None)
        start = self._now()
        reply = await self.following.serve(request)
        if rule is not None and rule.classes & {"all", log_class(reply)}:
            values = _values(request, reply, self._now() - start)
            self._write(_FIELD.sub(lambda field: values.get(field[0][1:-1], "-"), rule.format or COMMON))
        return reply


def _values(request: Request, reply: Reply, seconds: float) -> dict[str, str]:
    flags = QR | request.flags & (RD | CD)
    for bit, is_set in ((AA, reply.aa), (TC, reply.tc), (RA, reply.ra), (AD, reply.ad)):
        flags |= bit if is_set else 0
    records = (*reply.answer, *reply.authority, *reply.additional)
    size = 12 + len(request.name) + 4 + sum(len(r.rdata) + len(r.name) + 10 for r in records)
    return {
        "remote": _bracketed(address_text(request.client)),
        "port": str(request.client_port),
        "local": _bracketed(address_text(request.local)),
        ">id": str(request.id),
        "type": type_text(request.type),
        "class": {1: "IN", 3: "CH", 255: "ANY"}.get(request.rclass, str(request.rclass)),
        "name": to_text(request.name).lower(),
        "proto": "udp" if request.transport is Transport.UDP else "tcp",
        "size": str(request.size),
        ">do": "true" if request.wants_dnssec else "false",
        ">bufsize": str(request.limit),
        ">opcode": str(request.opcode),
        "rcode": rcode_text(reply.rcode),
        ">rflags": ",".join(word for bit, word in _FLAGS if flags & bit),
        "rsize": str(size),
        "duration": f"{seconds:.9f}s",
    }


def _bracketed(text: str) -> str:
    return f"[{text}]" if ":" in text else text


class Errors:
    """Writes a line about each question that failed; those that match a pattern are counted and said once a period."""

    def __init__(
        self,
        settings: ErrorsSettings,
        write: Callable[[str, str], None],
        now: Callable[[], float],
        following: Handler,
    ) -> None:
        self._patterns = [(p, compile_pattern(text), level, first) for p, text, level, first in settings.consolidate]
        self._counts: dict[int, tuple[int, float]] = {}
        self._write = write
        self._now = now
        self.following = following

    async def serve(self, request: Request) -> Reply:
        reply = await self.following.serve(request)
        if reply.cause:
            self._say(f"{reply.rcode} {to_text(request.name)} {type_text(request.type)}: {reply.cause}", reply.cause)
        self.flush()
        return reply

    def _say(self, line: str, cause: str) -> None:
        for i, (_period, pattern, level, shows_first) in enumerate(self._patterns):
            if pattern.search(cause):
                count, since = self._counts.get(i, (0, self._now()))
                self._counts[i] = (count + 1, since)
                if shows_first and not count:
                    self._write(f"[{level.upper()}] plugin/errors: {line}", level)
                return
        self._write(f"[ERROR] plugin/errors: {line}", "error")

    def flush(self) -> None:
        """Say what was counted over a period that has ended."""
        for i, (count, since) in list(self._counts.items()):
            period, pattern, level, shows_first = self._patterns[i]
            if self._now() - since >= period:
                del self._counts[i]
                if shows_first and count == 1:
                    continue
                mark = f"[{level.upper()}] plugin/errors:"
                self._write(f"{mark} {count} errors like '{pattern.pattern}' occurred in last {period:g}s", level)
