"""The `template` plugin: answers made from patterns of names.

Of Go's templates it knows what CoreDNS' documentation uses: `.Name`, `.Zone`, `.Type`, `.Class`, `.Remote`, `.Group.x`,
`index .Match N` and `parseInt`; anything else is an error that the log names, not a wrong answer.
"""

from __future__ import annotations

import re
from typing import Any

import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.ttl

from fairway.config.corefile_rules import python_pattern
from fairway.config.corefile_settings import TemplateSettings
from fairway.dns.model import Handler, Reply, Request, refusal
from fairway.dns.small import address_text
from fairway.values.domain import from_text, longest_zone, to_text
from fairway.values.errors import FairwayError, InvalidValueError
from fairway.values.rrtypes import CLASS_ANY, Rcode, RRType, type_text
from fairway.wire.dns_message import Record

EDE = 15
"""The EDNS option for extended errors (RFC 8914)."""
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")


class TemplateError(FairwayError):
    """A template makes no record; the message says which."""


class Template:
    """Answers names of its zones that match one of its expressions."""

    def __init__(self, settings: TemplateSettings, following: Handler) -> None:
        self.settings = settings
        self.patterns = [re.compile(python_pattern(text)) for text in settings.matches]
        self.following = following

    async def serve(self, request: Request) -> Reply:
        settings = self.settings
        zone = longest_zone(request.key, settings.zones)
        is_typed = settings.type in {RRType.ANY, request.type}
        if zone is None or not is_typed or settings.rclass not in {CLASS_ANY, request.rclass}:
            return await self.following.serve(request)
        name = to_text(request.key)
        found = next((m for m in (p.search(name) for p in self.patterns) if m), None)
        if found is None:
            if longest_zone(request.key, settings.fallthrough) is not None:
                return await self.following.serve(request)
            return refusal(Rcode.SERVFAIL, f"template: {name} matches none of its expressions")
        values = _values(request, to_text(zone), found)
        try:
            return self._reply(values)
        except TemplateError as error:
            return refusal(Rcode.SERVFAIL, f"template: {error}")

    def _reply(self, values: dict[str, Any]) -> Reply:
        settings = self.settings
        reply = Reply(settings.rcode, aa=True, source="template")
        reply.answer = [make_record(text, values) for text in settings.answer]
        reply.additional = [make_record(text, values) for text in settings.additional]
        reply.authority = [make_record(text, values) for text in settings.authority]
        if settings.ederror is not None:
            code, words = settings.ederror
            reply.options = ((EDE, code.to_bytes(2, "big") + words.encode()),)
        return reply


def _values(request: Request, zone: str, found: re.Match[str]) -> dict[str, Any]:
    return {
        "Zone": zone,
        "Name": to_text(request.key),
        "Type": type_text(request.type),
        "Class": {1: "IN", 3: "CH"}.get(request.rclass, str(request.rclass)),
        "Remote": address_text(request.client),
        "Match": [found[0], *(g or "" for g in found.groups())],
        "Group": {
            **{str(i): g or "" for i, g in enumerate((found[0], *found.groups()))},
            **{k: v or "" for k, v in found.groupdict().items()},
        },
    }


def expand(template: str, values: dict[str, Any]) -> str:
    """Fill a template in. Raises TemplateError."""
    return _ACTION.sub(lambda action: str(_evaluate(action[1], values)), template)


def _evaluate(expression: str, values: dict[str, Any]) -> object:
    words = re.findall(r'"[^"]*"|\([^()]*\)|\S+', expression)
    match words:
        case [single]:
            return _value(single, values)
        case ["index", source, key]:
            try:
                return _value(source, values)[_value(key, values)]  # type: ignore[index]
            except (LookupError, TypeError):
                raise TemplateError(f"{expression}: no such group") from None
        case ["parseInt", text, base, _bits]:
            try:
                return int(str(_value(text, values)), int(str(_value(base, values))))
            except ValueError as error:
                raise TemplateError(f"{expression}: {error}") from None
    raise TemplateError(f"{{{{ {expression} }}}}: not known here")


def _value(word: str, values: dict[str, Any]) -> object:
    if word.startswith('"'):
        return word[1:-1]
    if word.startswith("("):
        return _evaluate(word[1:-1], values)
    if word.isdigit():
        return int(word)
    found: Any = values
    for part in word.removeprefix(".").split("."):
        if not word.startswith(".") or not isinstance(found, dict) or part not in found:
            raise TemplateError(f"{word}: not known here")
        found = found[part]
    return found


def make_record(template: str, values: dict[str, Any]) -> Record:
    """One line of a zone file, filled in. Raises TemplateError."""
    text = expand(template, values)
    words = text.split(None, 1)
    try:
        name, rest = from_text(words[0]), words[1].split()
        ttl = 0
        if rest[0][0].isdigit():
            ttl = dns.ttl.from_text(rest.pop(0))
        if rest[0].upper() in {"IN", "CH", "HS"}:
            rest.pop(0)
        if rest[0][0].isdigit():
            ttl = dns.ttl.from_text(rest.pop(0))
        rtype = dns.rdatatype.from_text(rest.pop(0))
        rdata = dns.rdata.from_text(dns.rdataclass.IN, rtype, " ".join(rest))
    except (IndexError, InvalidValueError, dns.exception.DNSException, ValueError) as error:
        raise TemplateError(f"{text!r} is not a record: {error}") from None
    return Record(name, int(rtype), ttl, rdata.to_wire() or b"")
