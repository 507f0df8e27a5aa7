"""The `rewrite` plugin: changes the question on its way in, and puts things back on the way out.

Rules run in the order of the file, on each record of the answer backwards. Names are matched and replaced as text, in
lower case, as CoreDNS does it, so that the same lines give the same answers. EDNS options are
`fairway.dns.rewrite_edns`' part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from fairway.config.corefile_settings import EdnsRule, RewriteRule, RewriteSettings
from fairway.config.go_regexp import compile_pattern
from fairway.dns.kubernetes import Resolver
from fairway.dns.model import Handler, Reply, Request, refusal
from fairway.dns.records import Resolved
from fairway.dns.rewrite_edns import put_back_options, with_option
from fairway.values.domain import Name, from_text, to_text
from fairway.values.errors import InvalidValueError
from fairway.values.rrtypes import CLASS_NUMBERS, Rcode, RRType
from fairway.wire.dns_message import Record

_VALUE_AT: dict[int, int] = {
    RRType.CNAME: 0, RRType.NS: 0, RRType.PTR: 0, RRType.DNAME: 0, RRType.MX: 2, RRType.SRV: 6, RRType.SOA: 0,
}  # fmt: skip
"""Where the name stands in the data of a record."""
MAX_ALIASES = 8
MAX_TTL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Rename:
    """Owners of records, or the names in them."""

    is_value: bool
    rewrite: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Ttl:
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class _Code:
    old: int
    new: int


@dataclass(frozen=True, slots=True)
class _Alias:
    """Leads an alias elsewhere, and asks for what is there."""

    rule: RewriteRule
    request: Request


_PutBack: TypeAlias = _Rename | _Ttl | _Code | _Alias


class Rewrite:
    """Applies rules to questions and answers."""

    def __init__(self, settings: RewriteSettings, following: Handler) -> None:
        self.rules = settings.rules
        self.following = following
        self.resolve: Resolver = _unresolved

    async def serve(self, request: Request) -> Reply:
        """Ask the next plugin with the question rewritten; the answer is for the question as it was."""
        asked, undo, matched = request, list[_PutBack](), list[EdnsRule]()
        for rule in self.rules:
            try:
                changed = self._apply(rule, asked, undo)
            except InvalidValueError as error:
                return refusal(Rcode.SERVFAIL, f"invalid name after rewrite: {error}")
            if changed is None:
                continue
            asked = changed
            matched += [rule] if isinstance(rule, EdnsRule) else []
            if not rule.is_continuing:
                break
        reply = await self.following.serve(asked)
        if matched and request.edns is not None and asked.edns is not None and reply.options is None:
            reply.options = put_back_options(matched, asked.edns.options, request.edns.options)
        if undo:
            await self._put_back(reply, undo)
            reply.is_refusal = False
        return reply

    @staticmethod
    def _apply(rule: RewriteRule | EdnsRule, request: Request, undo: list[_PutBack]) -> Request | None:
        """The rewritten request, or None when the rule does not match."""
        if isinstance(rule, EdnsRule):
            return with_option(rule, request)
        match rule.field:
            case "type":
                return replace(request, type=int(RRType[rule.to])) if request.type == RRType[rule.what] else None
            case "class":
                if request.rclass != CLASS_NUMBERS[rule.what]:
                    return None
                return replace(request, rclass=CLASS_NUMBERS[rule.to])
            case "name":
                return _rename(rule, request, undo)
            case "cname":
                undo.append(_Alias(rule, request))
                return request
        if _renamed(rule.match, rule.what, "", to_text(request.key)) is None:
            return None
        undo.append(_ttl(rule.to) if rule.field == "ttl" else _Code(*map(int, rule.to.split())))
        return request

    async def _put_back(self, reply: Reply, undo: Sequence[_PutBack]) -> None:
        if not (reply.answer or reply.authority or reply.additional):
            for code in (one for one in reversed(undo) if isinstance(one, _Code)):
                _recode(reply, code)
            return
        reply.authority = [await self._record(r, reply, undo) for r in reply.authority]
        for i, record in enumerate(list(reply.answer)):
            changed = await self._record(record, reply, undo)
            if i < len(reply.answer) and reply.answer[i] is record:
                reply.answer[i] = changed
        reply.additional = [await self._record(r, reply, undo) for r in reply.additional]

    async def _record(self, record: Record, reply: Reply, undo: Sequence[_PutBack]) -> Record:
        for one in reversed(undo):
            match one:
                case _Rename():
                    record = _renamed_record(record, one)
                case _Ttl(least, most):
                    record = record._replace(ttl=min(max(record.ttl, least), most))
                case _Code():
                    _recode(reply, one)
                case _Alias() if record.type == RRType.CNAME:
                    await self._realias(record, reply, one)
        return record

    async def _realias(self, record: Record, reply: Reply, one: _Alias) -> None:
        text, rule = to_text(record.rdata), one.rule
        renamed = _renamed(rule.match, rule.what, rule.to, text)
        if renamed is None or one.request.depth > MAX_ALIASES or record not in reply.answer:
            return
        target = from_text(renamed)
        found = await self.resolve(one.request, target, one.request.type)
        kept = []
        for other in reply.answer:
            if other.type == RRType.CNAME:
                is_it = other.rdata == record.rdata
                kept.append(other._replace(rdata=target) if is_it else other)
                if is_it:
                    break
        reply.answer = [*kept, *found.records]
        reply.tc = found.is_truncated


def _rename(rule: RewriteRule, request: Request, undo: list[_PutBack]) -> Request | None:
    old = to_text(request.key)
    new = _renamed(rule.match, rule.what, rule.to, old)
    if new is None:
        return None
    asked = request.asking(from_text(new), request.type)
    undo += _answer_rules(rule, old, new)
    return asked


def _answer_rules(rule: RewriteRule, old: str, new: str) -> list[_PutBack]:
    """How a name rule puts names back: an exact one always, the others with `answer auto` or clauses of their own."""
    found: list[_PutBack] = []
    if rule.is_auto and rule.match == "suffix":

        def rewrite(text: str) -> str:
            return text[: len(text) - len(rule.to)] + rule.what if text.endswith(rule.to) else text

        found += [_Rename(is_value, rewrite) for is_value in (False, True)]
    elif rule.is_auto or rule.match == "exact":

        def rewrite(text: str) -> str:
            if text == new:
                return old
            return text[: len(text) - len(new)] + old if text.endswith("." + new) else text

        found += [_Rename(is_value, rewrite) for is_value in (False, True)]
    for answer in rule.answers:
        pattern, to = compile_pattern(answer.pattern), answer.replacement

        def substitute(text: str, pattern: re.Pattern[str] = pattern, to: str = to) -> str:
            match = pattern.search(text)
            return expand_groups(to, match) if match else text

        found.append(_Rename(answer.field == "value", substitute))
    return found


def _renamed(kind: str, what: str, to: str, name: str) -> str | None:
    """The name after the rule, or None when it does not match."""
    match kind:
        case "exact":
            return to if name == what else None
        case "prefix":
            return to + name[len(what) :] if name.startswith(what) else None
        case "suffix":
            return name[: len(name) - len(what)] + to if name.endswith(what) else None
        case "substring":
            return name.replace(what, to) if what in name else None
    found = compile_pattern(what).search(name)
    return None if found is None else expand_groups(to, found)


def expand_groups(template: str, found: re.Match[str]) -> str:
    """`{1}` in a replacement becomes what the group caught."""

    def group(reference: re.Match[str]) -> str:
        number = int(reference[1])
        return (found[number] or "") if number <= (found.re.groups or 0) else reference[0]

    return re.sub(r"\{(\d+)\}", group, template)


def _renamed_record(record: Record, one: _Rename) -> Record:
    if not one.is_value:
        return record._replace(name=_rewritten(record.name, one.rewrite))
    at = _VALUE_AT.get(record.type)
    if at is None:
        return record
    rest = record.rdata[at:]
    end = _name_end(rest)
    return record._replace(rdata=record.rdata[:at] + _rewritten(rest[:end], one.rewrite) + rest[end:])


def _rewritten(name: Name, rewrite: Callable[[str], str]) -> Name:
    text = to_text(name)
    new = rewrite(text)
    if new == text:
        return name
    try:
        return from_text(new)
    except InvalidValueError:
        return name


def _name_end(data: bytes) -> int:
    at = 0
    while data[at]:
        at += data[at] + 1
    return at + 1


def _ttl(text: str) -> _Ttl:
    """`30`, or a range `10-60`, `10-`, `-60`."""
    low, dash, high = text.partition("-")
    least = int(low or 0)
    return _Ttl(least, int(high or MAX_TTL) if dash else least)


def _recode(reply: Reply, code: _Code) -> None:
    if reply.rcode == code.old:
        reply.rcode = code.new


def known_options(settings: RewriteSettings) -> frozenset[int]:
    """EDNS options that the rules set: they are sent back, too."""
    return frozenset(rule.code for rule in settings.rules if isinstance(rule, EdnsRule) and rule.kind == "local")


async def _unresolved(_request: Request, _name: Name, _rtype: int) -> Resolved:
    return Resolved()
