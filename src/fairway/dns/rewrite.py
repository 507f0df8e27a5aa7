"""The `rewrite` plugin: changes the question on its way in, and puts the names back on the way out.

Rules run in the order of the file; those for answers run backwards. Names are matched and replaced as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from fairway.config.corefile_rules import CLASSES, python_pattern
from fairway.config.corefile_settings import RewriteRule, RewriteSettings
from fairway.dns.model import Handler, Reply, Request
from fairway.values.domain import Name, from_text, to_text
from fairway.values.errors import InvalidValueError
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Edns, Record

Answered = Callable[[Reply], None]
_VALUE_AT: dict[int, int] = {RRType.CNAME: 0, RRType.NS: 0, RRType.PTR: 0, RRType.MX: 2, RRType.SRV: 6}


class Rewrite:
    """Applies rules to questions and answers."""

    def __init__(self, settings: RewriteSettings, following: Handler) -> None:
        self.rules = settings.rules
        self.following = following

    async def serve(self, request: Request) -> Reply:
        """Ask the next plugin with the question rewritten; the answer is for the question as it was."""
        asked, undo = request, list[Answered]()
        for rule in self.rules:
            changed = _apply(rule, asked, undo)
            if changed is None:
                continue
            asked = changed
            if not rule.is_continuing:
                break
        reply = await self.following.serve(asked)
        for put_back in reversed(undo):
            put_back(reply)
        return reply


def _apply(rule: RewriteRule, request: Request, undo: list[Answered]) -> Request | None:
    """The rewritten request, or None when the rule does not match."""
    match rule.field:
        case "type":
            return replace(request, type=int(RRType[rule.to])) if request.type == RRType[rule.what] else None
        case "class":
            return replace(request, rclass=CLASSES[rule.to]) if request.rclass == CLASSES[rule.what] else None
        case "name":
            return _rename(rule, request, undo)
        case "edns0":
            return _edns(rule, request)
    if rule.field == "cname":
        undo.append(lambda reply: _recname(rule, reply))
        return request
    if _renamed(rule.match, rule.what, "", to_text(request.key)) is None:
        return None
    if rule.field == "ttl":
        undo.append(lambda reply: _set_ttl(reply, rule.to))
    else:
        old, new = (_rcode(text) for text in rule.to.split())
        undo.append(lambda reply: _set_rcode(reply, old, new))
    return request


def _rename(rule: RewriteRule, request: Request, undo: list[Answered]) -> Request | None:
    renamed = _renamed(rule.match, rule.what, rule.to, to_text(request.key))
    if renamed is None:
        return None
    try:
        name = from_text(renamed)
    except InvalidValueError:
        return None
    original = request.name
    undo.append(lambda reply: _put_back(reply, rule, name.lower(), original))
    return request.asking(name, request.type)


def _renamed(kind: str, what: str, to: str, name: str) -> str | None:
    """The name after the rule, or None when it does not match. Names end in a dot."""
    bare, what = name.removesuffix("."), what.lower()
    match kind:
        case "exact":
            return to if bare == what.removesuffix(".") else None
        case "prefix":
            return to + name[len(what) :] if name.startswith(what) else None
        case "suffix":
            ending = what if what.endswith(".") else what + "."
            if not name.endswith(ending):
                return None
            return name[: len(name) - len(ending)] + (to if to.endswith(".") else to + ".")
        case "substring":
            return name.replace(what, to) if what in name else None
    found = re.search(python_pattern(what), name)
    return None if found is None else expand_groups(to, found)


def expand_groups(template: str, found: re.Match[str]) -> str:
    """`{1}` and `{name}` in a replacement become what the groups caught."""

    def group(reference: re.Match[str]) -> str:
        key = reference[1]
        try:
            return (found[int(key)] if key.isdigit() else found[key]) or ""
        except (IndexError, KeyError):
            return reference[0]

    return re.sub(r"\{(\w+)\}", group, template)


def _put_back(reply: Reply, rule: RewriteRule, asked: Name, original: Name) -> None:
    """The question's own name always comes back; others as the rule's answer clauses say."""

    def owner(name: Name) -> Name:
        if name.lower() == asked:
            return original
        return _with_answers(name, rule, "name")

    def record(one: Record) -> Record:
        at = _VALUE_AT.get(one.type)
        rdata = one.rdata if at is None else one.rdata[:at] + _value(one.rdata[at:], rule, asked, original)
        return one._replace(name=owner(one.name), rdata=rdata)

    reply.answer = [record(r) for r in reply.answer]
    reply.additional = [record(r) for r in reply.additional]
    if rule.is_auto or rule.answers:
        reply.authority = [record(r) for r in reply.authority]


def _value(name: Name, rule: RewriteRule, asked: Name, original: Name) -> Name:
    if rule.is_auto and name.lower() == asked:
        return original
    return _with_answers(name, rule, "value")


def _with_answers(name: Name, rule: RewriteRule, field: str) -> Name:
    text = to_text(name)
    if rule.is_auto and rule.match == "suffix":
        back = _renamed("suffix", rule.to, rule.what, text.lower())
        if back is not None:
            return from_text(back)
    for answer in rule.answers:
        found = re.search(python_pattern(answer.pattern), text)
        if answer.field == field and found is not None:
            return from_text(expand_groups(answer.replacement, found))
    return name


def _recname(rule: RewriteRule, reply: Reply) -> None:
    for i, record in enumerate(reply.answer):
        if record.type == RRType.CNAME:
            renamed = _renamed(rule.match, rule.what, rule.to, to_text(record.rdata).lower())
            if renamed is not None:
                reply.answer[i] = record._replace(rdata=from_text(renamed))


def _set_ttl(reply: Reply, text: str) -> None:
    """`30`, or a range `10-60`, `10-`, `-60`."""
    low, dash, high = text.partition("-")
    least = int(low or 0)
    most = int(high or 2**31 - 1) if dash else least
    reply.answer = [r._replace(ttl=min(max(r.ttl, least), most)) for r in reply.answer]


def _rcode(text: str) -> int:
    return int(text) if text.isdigit() else int(Rcode[text.upper()])


def _set_rcode(reply: Reply, old: int, new: int) -> None:
    if reply.rcode == old:
        reply.rcode = new


def _edns(rule: RewriteRule, request: Request) -> Request | None:
    edns = request.edns or Edns()
    code, data = _option(rule)
    has = any(c == code for c, _ in edns.options)
    if (rule.match == "append" and has) or (rule.match in {"replace", "unset"} and not has):
        return None
    options = tuple(o for o in edns.options if o[0] != code)
    if rule.match != "unset":
        options = (*options, (code, data))
    return replace(request, edns=edns._replace(options=options))


def _option(rule: RewriteRule) -> tuple[int, bytes]:
    if rule.what == "nsid":
        return 3, b""
    code, _, value = rule.to.partition(" ")
    number = int(code, 0) if code else 0
    return number, bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
