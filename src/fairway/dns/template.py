"""The `template` plugin: answers made from patterns of names. The language is `fairway.dns.go_template`'s business."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fairway.config.corefile_settings import TemplateSettings
from fairway.config.go_regexp import compile_pattern
from fairway.dns.expression import KEYWORDS, Expression
from fairway.dns.expression_functions import FUNCTIONS, PREDICATES, ExpressionError
from fairway.dns.go_template import GoTemplate
from fairway.dns.go_template_run import Fields, TemplateError
from fairway.dns.kubernetes import Resolver
from fairway.dns.metrics import Count, Labels
from fairway.dns.model import Handler, Reply, Request, Transport, refusal
from fairway.dns.records import Resolved
from fairway.dns.small import address_text
from fairway.values.domain import from_text, longest_zone, to_text
from fairway.values.errors import ConfigError, InvalidValueError
from fairway.values.rrtypes import CLASS_ANY, CLASS_NUMBERS, RD, Rcode, RRType, type_text
from fairway.wire.dns_message import Record

EDE = 15
"""The EDNS option for extended errors (RFC 8914)."""
DEFAULT_TTL = 3600
_CLASS_NAMES = {number: name for name, number in CLASS_NUMBERS.items()}


class Template:
    """Answers names of its zones that match one of its expressions. Raises ConfigError for a broken template."""

    def __init__(self, settings: TemplateSettings, following: Handler) -> None:
        self.settings = settings
        self.patterns = [compile_pattern(text) for text in settings.matches]
        self.following = following
        self.resolve: Resolver = _unresolved
        self._matches: dict[Labels, int] = {}
        try:
            self._answer = [GoTemplate(text) for text in settings.answer]
            self._additional = [GoTemplate(text) for text in settings.additional]
            self._authority = [GoTemplate(text) for text in settings.authority]
            self._variables = _compiled(settings.variables)
            names = [name for name, _ in self._variables]
            self._conditions = [Expression(text, names, _QUESTION) for text in settings.conditions]
        except (TemplateError, ExpressionError) as error:
            raise ConfigError(f"{settings.place}: template: {error}") from None

    async def serve(self, request: Request) -> Reply:
        settings = self.settings
        zone = longest_zone(request.key, settings.zones)
        is_typed = {RRType.ANY, request.type} & {settings.type} or request.type == RRType.ANY
        is_classed = {CLASS_ANY, request.rclass} & {settings.rclass} or request.rclass == CLASS_ANY
        if zone is None or not is_typed or not is_classed:
            return await self.following.serve(request)
        name = to_text(request.key)
        found = next((m for m in (p.search(name) for p in self.patterns) if m), None)
        if found is None:
            if longest_zone(request.key, settings.fallthrough) is not None:
                return await self.following.serve(request)
            return refusal(Rcode.SERVFAIL)
        values = self._values(request, to_text(zone), found)
        try:
            is_meant = self._is_meant(request, values)
        except ExpressionError:
            return refusal(Rcode.SERVFAIL)
        if not is_meant:
            goes_on = longest_zone(request.key, settings.fallthrough) is not None
            return await self.following.serve(request) if goes_on else refusal(Rcode.SERVFAIL)
        labels = (("zone", values["Zone"]), ("class", values["Class"]), ("type", values["Type"]))
        self._matches[labels] = self._matches.get(labels, 0) + 1
        if settings.rcode == Rcode.SERVFAIL:
            return refusal(Rcode.SERVFAIL)
        try:
            return await self._reply(request, values)
        except TemplateError as error:
            return refusal(Rcode.SERVFAIL, f"template: {error}")

    def counts(self) -> Iterator[Count]:
        """As `fairway.dns.metrics.Counting`."""
        for labels, number in self._matches.items():
            text = "Counter of template regex matches."
            yield Count("coredns_template_matches_total", text, labels, number, has_view=True)

    async def _reply(self, request: Request, values: dict[str, Any]) -> Reply:
        settings = self.settings
        reply = Reply(settings.rcode, aa=True, source="template")
        for one in self._answer:
            record = make_record(one, values)
            reply.answer.append(record)
            if record.type == RRType.CNAME and request.type in {RRType.A, RRType.AAAA}:
                further = await self.resolve(request, record.rdata, request.type)
                reply.answer += further.records
                reply.tc = further.is_truncated
        reply.additional = [make_record(one, values) for one in self._additional]
        reply.authority = [make_record(one, values) for one in self._authority]
        if settings.ederror is not None:
            code, words = settings.ederror
            reply.options = ((EDE, code.to_bytes(2, "big") + words.encode()),)
        return reply

    def _values(self, request: Request, zone: str, found: re.Match[str]) -> dict[str, Any]:
        rtype = self.settings.type if request.type == RRType.ANY else request.type
        rclass = self.settings.rclass if request.rclass == CLASS_ANY else request.rclass
        groups = [found[0], *(g or "" for g in found.groups())]
        question = Fields(Name=to_text(request.name), Qtype=request.type, Qclass=request.rclass)
        return {
            "Zone": zone,
            "Name": to_text(request.key),
            "Regex": found.re.pattern,
            "Type": type_text(rtype),
            "Class": _CLASS_NAMES.get(rclass, str(rclass)),
            "Remote": address_text(request.client),
            "Match": groups,
            "Group": {
                **{str(i): g for i, g in enumerate(groups)},
                **{k: v or "" for k, v in found.groupdict().items()},
            },
            "Question": question,
            "Message": Fields(
                Id=request.id,
                Opcode=request.opcode,
                RecursionDesired=bool(request.flags & RD),
                AuthenticatedData=request.authenticated_data,
                CheckingDisabled=request.checking_disabled,
                Question=[question],
            ),
            "Meta": lambda _name: "",  # as if no plugin had given any
            "Var": {},
        }

    def _is_meant(self, request: Request, values: dict[str, Any]) -> bool:
        """Give the variables their values; whether all conditions hold. Raises ExpressionError."""
        scope: dict[str, Any] = {name: partial(one, request) for name, one in _QUESTION.items()}
        scope["group"] = lambda name: values["Group"].get(str(name), "")
        for name, expression in self._variables:
            scope[name] = values["Var"][name] = expression(scope)
        return all(condition(scope) is True for condition in self._conditions)


def _in_block(_request: Request, address: str, block: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False)
    except ValueError as error:
        raise ExpressionError(str(error)) from None


_QUESTION: dict[str, Callable[..., Any]] = {
    "bufsize": lambda request: request.limit,
    "class": lambda request: _CLASS_NAMES.get(request.rclass, str(request.rclass)),
    "client_ip": lambda request: address_text(request.client),
    "do": lambda request: request.wants_dnssec,
    "group": lambda _request, _name: "",  # of the match: put in for each question
    "id": lambda request: request.id,
    "incidr": _in_block,
    "metadata": lambda _request, _name: "",
    "name": lambda request: to_text(request.key),
    "opcode": lambda request: request.opcode,
    "port": lambda request: str(request.client_port),
    "proto": lambda request: "udp" if request.transport is Transport.UDP else "tcp",
    "server_ip": lambda request: address_text(request.local),
    "server_port": lambda request: str(request.local_port),
    "size": lambda request: request.size,
    "type": lambda request: type_text(request.type),
}
"""What expressions may ask of a question, as in CoreDNS' `view`."""


def _compiled(variables: tuple[tuple[str, str], ...]) -> list[tuple[str, Expression]]:
    """Each may use those before it. Raises ExpressionError."""
    found: list[tuple[str, Expression]] = []
    for name, text in variables:
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
            raise ExpressionError(f"var {name}: not a name")
        if name in {*KEYWORDS, *FUNCTIONS, *PREDICATES, *_QUESTION}:
            raise ExpressionError(f"var {name}: the name has a meaning already")
        found.append((name, Expression(text, [one for one, _ in found], _QUESTION)))
    return found


def make_record(template: GoTemplate, values: dict[str, Any]) -> Record:
    """One line of a zone file, filled in. Raises TemplateError."""
    import dns.exception  # 3 MiB that only those pay who have templates
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    text = template.expand(values)
    words = text.split(None, 1)
    try:
        name, rest = from_text(words[0]), words[1]
        ttl, rest = _time(DEFAULT_TTL, rest)
        first, _, after = rest.partition(" ")
        if first.upper() in {"IN", "CH", "HS"}:
            rest = after.strip()
        ttl, rest = _time(ttl, rest)
        kind, _, data = rest.partition(" ")
        rtype = dns.rdatatype.from_text(kind)
        rdata = dns.rdata.from_text(dns.rdataclass.IN, rtype, data)
    except (IndexError, InvalidValueError, dns.exception.DNSException, ValueError) as error:
        raise TemplateError(f"{text!r} is not a record: {error}") from None
    return Record(name, int(rtype), ttl, rdata.to_wire() or b"")


def _time(ttl: int, rest: str) -> tuple[int, str]:
    import dns.ttl

    first, _, after = rest.strip().partition(" ")
    return (dns.ttl.from_text(first), after.strip()) if first[:1].isdecimal() else (ttl, rest.strip())


async def _unresolved(_request: Request, _name: bytes, _rtype: int) -> Resolved:
    return Resolved()
