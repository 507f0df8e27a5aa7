"""The directives that forward or change messages → settings: forward, rewrite, template, dns64."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace

from fairway.config.corefile import Directive
from fairway.config.corefile_plugins import Parser, Zones
from fairway.config.corefile_reader import MANY, Line
from fairway.config.corefile_settings import (
    AnswerRule,
    Dns64Settings,
    ForwardSettings,
    RewriteRule,
    RewriteSettings,
    TemplateSettings,
)
from fairway.values.rrtypes import CLASS_ANY, CLASS_CH, CLASS_IN, Rcode, RRType

CLASSES = {"IN": CLASS_IN, "CH": CLASS_CH, "HS": 4, "ANY": CLASS_ANY}
MAX_UPSTREAMS = 15
NAME_MATCHES = ("exact", "prefix", "suffix", "substring", "regex")
EDNS_ACTIONS = ("set", "append", "replace", "unset")


def forward(directive: Directive, _zones: Zones) -> ForwardSettings:
    line = Line(directive)
    zone, *to = line.count(2, MANY)
    if len(to) > MAX_UPSTREAMS:
        line.fail(f"more than {MAX_UPSTREAMS} upstreams: {len(to)}")
    found = ForwardSettings(line.zone(zone), tuple(to))

    def put(**values: object) -> None:
        nonlocal found
        found = replace(found, **values)  # type: ignore[arg-type]

    def health_check(line: Line) -> None:
        interval, *options = line.count(1, MANY)
        put(health_interval=line.duration(interval))
        while options:
            option = line.choice(options.pop(0), ("no_rec", "domain"))
            if option == "no_rec":
                put(health_recursion=False)
            elif not options:
                line.fail("'domain' needs a name")
            else:
                put(health_domain=line.zone(options.pop(0)))

    def rcodes(line: Line) -> frozenset[int]:
        known = [r.name for r in Rcode]
        return frozenset(int(Rcode[line.choice(text.upper(), known)]) for text in line.count(1, MANY))

    def unused(line: Line) -> None:
        line.count(1)

    def tls(line: Line) -> None:
        put(tls_files=line.count(0, 3))

    line.each(
        {
            "except": lambda li: put(excepted=li.zones(li.count(1, MANY))),
            "force_tcp": lambda li: put(force_tcp=not li.count(0)),
            "prefer_udp": lambda li: put(prefer_udp=not li.count(0)),
            "expire": lambda li: put(expire=li.duration(li.count(1)[0])),
            "max_fails": lambda li: put(max_fails=li.number(li.count(1)[0])),
            "tls": tls,
            "tls_servername": lambda li: put(tls_server_name=li.count(1)[0]),
            "policy": lambda li: put(policy=li.choice(li.count(1)[0], ("random", "round_robin", "sequential"))),
            "health_check": health_check,
            "max_concurrent": lambda li: put(max_concurrent=li.number(li.count(1)[0])),
            "read_timeout": lambda li: put(read_timeout=li.duration(li.count(1)[0], 0.001)),
            "next": lambda li: put(next_rcodes=rcodes(li)),
            "failover": lambda li: put(failover_rcodes=rcodes(li)),
            "failfast_all_unhealthy_upstreams": lambda li: put(failfast=not li.count(0)),
            "max_age": unused,
            "max_idle_conns": unused,
            "max_connect_attempts": unused,
        }
    )
    return found


# -- rewrite


def rewrite(directive: Directive, _zones: Zones) -> RewriteSettings:
    line, words = Line(directive), list(directive.args)
    if directive.block is not None:
        # `rewrite stop { name …; answer … }`: the block's lines are one rule.
        words += [word for one in directive.block for word in (one.name, *one.args)]
    is_continuing = False
    if words and words[0] in {"continue", "stop"}:
        is_continuing = words.pop(0) == "continue"
    if not words:
        line.fail("needs a field and what to rewrite it to")
    field, rest = words[0].lower(), words[1:]
    match field:
        case "name":
            rule = _name_rule(line, rest)
        case "ttl":
            kind = rest.pop(0) if len(rest) == 3 else "exact"
            rule = RewriteRule(False, "ttl", line.choice(kind, NAME_MATCHES), *_pair(line, rest))
        case "rcode":
            rule = _rcode_rule(line, rest)
        case "type" | "class":
            what, to = _pair(line, rest)
            known = [t.name for t in RRType] if field == "type" else list(CLASSES)
            rule = RewriteRule(False, field, "exact", line.choice(what.upper(), known), line.choice(to.upper(), known))
        case "cname":
            kind = rest.pop(0) if len(rest) == 3 else "exact"
            rule = RewriteRule(False, "cname", line.choice(kind, NAME_MATCHES), *_pair(line, rest))
        case "edns0":
            rule = _edns_rule(line, rest)
        case _:
            line.fail(f"unknown field {field!r} (known: class, cname, edns0, name, rcode, ttl, type)")
    _check_pattern(line, rule)
    return RewriteSettings((replace(rule, is_continuing=is_continuing),))


def _pair(line: Line, words: list[str]) -> tuple[str, str]:
    if len(words) != 2:
        line.fail(f"needs two values, not {' '.join(words) or 'none'}")
    return words[0], words[1]


def _name_rule(line: Line, words: list[str]) -> RewriteRule:
    kind = "exact"
    if len(words) > 2 and words[0].lower() in NAME_MATCHES:
        kind = words.pop(0).lower()
    what, to = _pair(line, words[:2])
    answers: list[AnswerRule] = []
    rest, is_auto = words[2:], False
    while rest:
        if rest[:2] == ["answer", "auto"]:
            is_auto, rest = True, rest[2:]
        elif rest[0] == "answer" and len(rest) >= 4 and rest[1] in {"name", "value"}:
            answers.append(AnswerRule(rest[1], rest[2], rest[3]))
            rest = rest[4:]
        elif rest[0] == "answer" and len(rest) == 3:
            answers.append(AnswerRule("name", rest[1], rest[2]))
            rest = rest[3:]
        else:
            line.fail(f"{' '.join(rest)!r}: expected 'answer auto' or 'answer name|value FROM TO'")
    for answer in answers:
        _compile(line, answer.pattern)
    return RewriteRule(False, "name", kind, what, to, tuple(answers), is_auto)


def _rcode_rule(line: Line, words: list[str]) -> RewriteRule:
    # rcode [match] NAME FROM TO
    kind = words.pop(0).lower() if len(words) == 4 else "exact"
    if len(words) != 3:
        line.fail("rcode needs a name and two codes")
    known = [r.name for r in Rcode]
    codes = [text if text.isdigit() else line.choice(text.upper(), known) for text in words[1:]]
    return RewriteRule(False, "rcode", line.choice(kind, NAME_MATCHES), words[0], " ".join(codes))


def _edns_rule(line: Line, words: list[str]) -> RewriteRule:
    if len(words) < 2:
        line.fail("edns0 needs 'local|nsid' and 'set|append|replace|unset'")
    kind, action, *rest = words
    line.choice(kind, ("local", "nsid", "subnet"))
    line.choice(action, EDNS_ACTIONS)
    return RewriteRule(False, "edns0", action, kind, " ".join(rest))


def _check_pattern(line: Line, rule: RewriteRule) -> None:
    if rule.match == "regex":
        _compile(line, rule.what)


def _compile(line: Line, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        line.fail(f"{pattern!r} is not a regular expression: {error}")


# -- template and dns64


def template(directive: Directive, zones: Zones) -> TemplateSettings:
    line = Line(directive)
    rclass, rtype, *names = line.count(2, MANY)
    number = RRType[line.choice(rtype.upper(), [t.name for t in RRType])]
    found = TemplateSettings(
        CLASSES[line.choice(rclass.upper(), tuple(CLASSES))], int(number), line.zones(names, zones)
    )

    def put(**values: object) -> None:
        nonlocal found
        found = replace(found, **values)  # type: ignore[arg-type]

    matches: list[str] = []

    def match(line: Line) -> None:
        for pattern in line.count(1, MANY):
            _compile(line, python_pattern(pattern))
            matches.append(pattern)
        put(matches=tuple(matches))

    def ederror(line: Line) -> None:
        code, *text = line.count(1, MANY)
        put(ederror=(line.number(code, 0, 65535), " ".join(text)))

    known = [r.name for r in Rcode]
    line.each(
        {
            "match": match,
            "answer": lambda li: put(answer=(*found.answer, " ".join(li.count(1, MANY)))),
            "additional": lambda li: put(additional=(*found.additional, " ".join(li.count(1, MANY)))),
            "authority": lambda li: put(authority=(*found.authority, " ".join(li.count(1, MANY)))),
            "rcode": lambda li: put(rcode=int(Rcode[li.choice(li.count(1)[0].upper(), known)])),
            "ederror": ederror,
            "fallthrough": lambda li: put(fallthrough=li.zones(li.args)),
            "upstream": lambda _li: None,
        }
    )
    return found


def python_pattern(pattern: str) -> str:
    """A Go regular expression as Python reads it: `(?P<name>` is the same, `\\z` and `\\pL` classes are not."""
    return pattern.replace("\\z", "\\Z")


def dns64(directive: Directive, _zones: Zones) -> Dns64Settings:
    line = Line(directive)
    found = Dns64Settings()

    def prefix(line: Line, text: str) -> None:
        nonlocal found
        try:
            network = ipaddress.IPv6Network(text)
        except ValueError:
            line.fail(f"{text!r} is not an IPv6 prefix")
        if network.prefixlen not in {32, 40, 48, 56, 64, 96}:
            line.fail(f"{text}: the prefix length must be 32, 40, 48, 56, 64 or 96")
        found = replace(found, prefix=str(network))

    def put(**values: object) -> None:
        nonlocal found
        found = replace(found, **values)  # type: ignore[arg-type]

    for text in line.count(0, 1):
        prefix(line, text)
    line.each(
        {
            "prefix": lambda li: prefix(li, li.count(1)[0]),
            "translate_all": lambda li: put(translate_all=not li.count(0)),
            "allow_ipv4": lambda li: put(allow_ipv4=not li.count(0)),
        }
    )
    return found


RULES: dict[str, Parser] = {"dns64": dns64, "forward": forward, "rewrite": rewrite, "template": template}
