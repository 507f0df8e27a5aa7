"""`rewrite` directives → rules. Names are brought into the form that CoreDNS compares: lower case, with a dot."""

from __future__ import annotations

import re
from dataclasses import replace

from fairway.config.corefile import Directive
from fairway.config.corefile_reader import Line
from fairway.config.corefile_settings import AnswerRule, EdnsRule, RewriteRule, RewriteSettings
from fairway.config.go_regexp import compile_pattern
from fairway.values.domain import Name
from fairway.values.errors import InvalidValueError
from fairway.values.rrtypes import CLASS_NUMBERS, Rcode, RRType

NAME_MATCHES = ("exact", "prefix", "suffix", "substring", "regex")
EDNS_ACTIONS = ("set", "append", "replace", "unset")
EDNS_CODES = {"nsid": 3, "subnet": 8}
VARIABLES = ("qname", "qtype", "client_ip", "client_port", "protocol", "server_ip", "server_port")
MAX_RCODE = 23
MAX_TTL = 2**32 - 1


def rewrite(directive: Directive, _zones: tuple[Name, ...]) -> RewriteSettings:
    """One directive, one rule. Raises ConfigError."""
    line, words = Line(directive), list(directive.args)
    if directive.block is not None:
        # `rewrite stop { name …; answer … }`: the block's lines are one rule.
        words += [word for one in directive.block for word in (one.name, *one.args)]
    is_continuing = False
    if words and words[0].lower() in {"continue", "stop"}:
        is_continuing = words.pop(0).lower() == "continue"
    if not words:
        line.fail("needs a field and what to rewrite it to")
    field, rest = words[0].lower(), words[1:]
    rule: RewriteRule | EdnsRule
    match field:
        case "name":
            rule = _name_rule(line, rest)
        case "ttl":
            rule = _ttl_rule(line, rest)
        case "rcode":
            rule = _rcode_rule(line, rest)
        case "type" | "class":
            what, to = _pair(line, rest)
            known = [t.name for t in RRType] if field == "type" else list(CLASS_NUMBERS)
            rule = RewriteRule(False, field, "exact", line.choice(what.upper(), known), line.choice(to.upper(), known))
        case "cname":
            rule = _cname_rule(line, rest)
        case "edns0":
            rule = _edns_rule(line, rest)
        case _:
            line.fail(f"unknown field {field!r} (known: class, cname, edns0, name, rcode, ttl, type)")
    return RewriteSettings((replace(rule, is_continuing=is_continuing),))


def _normal(text: str) -> str:
    return text.lower() if text.endswith(".") else f"{text.lower()}."


def _pair(line: Line, words: list[str]) -> tuple[str, str]:
    if len(words) != 2:
        line.fail(f"needs two values, not {' '.join(words) or 'none'}")
    return words[0], words[1]


def _matched(line: Line, kind: str, what: str) -> str:
    """What a rule compares names with."""
    if kind != "regex":
        return _normal(what)
    _compile(line, what)
    return what


def _compile(line: Line, pattern: str) -> re.Pattern[str]:
    try:
        return compile_pattern(pattern)
    except InvalidValueError as error:
        line.fail(str(error))


def _check_groups(line: Line, pattern: str, to: str) -> None:
    groups = _compile(line, pattern).groups
    used = {int(number) for number in re.findall(r"\{(\d+)\}", to)}
    if len(used) > groups:
        line.fail(f"{to!r} uses {len(used)} groups, {pattern!r} has {groups}")


def _name_rule(line: Line, words: list[str]) -> RewriteRule:
    kind = "exact"
    if len(words) > 2:
        kind = line.choice(words.pop(0).lower(), NAME_MATCHES)
    what, to = _pair(line, words[:2])
    if kind == "regex":
        _check_groups(line, what, to)
    rest, answers, is_auto = words[2:], [], False
    if rest and rest[0] != "answer":
        line.fail(f"{' '.join(rest)!r}: expected 'answer auto' or 'answer name|value FROM TO'")
    while rest:
        if rest[0] == "answer":
            rest.pop(0)
        match rest:
            case ["auto", *after]:
                is_auto, rest = True, after
            case [("name" | "value") as field, pattern, into, *after]:
                _check_groups(line, pattern, into)
                answers.append(AnswerRule(field, pattern, _normal(into)))
                rest = after
            case _:
                line.fail(f"{' '.join(rest)!r}: expected 'answer auto' or 'answer name|value FROM TO'")
    if is_auto and any(answer.field == "name" for answer in answers):
        line.fail("'answer auto' cannot stand beside 'answer name'")
    return RewriteRule(False, "name", kind, _matched(line, kind, what), _normal(to), tuple(answers), is_auto)


def _ttl_rule(line: Line, words: list[str]) -> RewriteRule:
    kind = line.choice(words.pop(0).lower(), NAME_MATCHES) if len(words) == 3 else "exact"
    what, to = _pair(line, words)
    low, dash, high = to.partition("-")
    is_good = all(not part or part.isdecimal() for part in (low, high)) and (low or high)
    if not is_good or (dash and low and high and int(low) > int(high)) or max(int(low or 0), int(high or 0)) > MAX_TTL:
        line.fail(f"{to!r} is not a TTL or a range of them")
    return RewriteRule(False, "ttl", kind, _matched(line, kind, what), to)


def _rcode_rule(line: Line, words: list[str]) -> RewriteRule:
    # rcode [match] NAME FROM TO
    kind = line.choice(words.pop(0).lower(), NAME_MATCHES) if len(words) == 4 else "exact"
    if len(words) != 3:
        line.fail("rcode needs a name and two codes")
    codes = " ".join(str(_rcode(line, text)) for text in words[1:])
    return RewriteRule(False, "rcode", kind, _matched(line, kind, words[0]), codes)


def _rcode(line: Line, text: str) -> int:
    if text.isdecimal() and int(text) <= MAX_RCODE:
        return int(text)
    return int(Rcode[line.choice(text.upper(), [r.name for r in Rcode])])


def _cname_rule(line: Line, words: list[str]) -> RewriteRule:
    kind = line.choice(words.pop(0).lower(), NAME_MATCHES) if len(words) == 3 else "exact"
    what, to = (text.lower() for text in _pair(line, words))
    if kind == "exact":
        what, to = _normal(what), _normal(to)
    elif kind == "regex":
        _compile(line, what)
    return RewriteRule(False, "cname", kind, what, to)


def _edns_rule(line: Line, words: list[str]) -> EdnsRule:
    if len(words) < 2:
        line.fail("edns0 needs 'local|nsid|subnet' and 'set|append|replace|unset'")
    kind = line.choice(words[0].lower(), ("local", "nsid", "subnet"))
    action, rest = line.choice(words[1].lower(), EDNS_ACTIONS), words[2:]
    reverts = action != "unset" and rest[-1:] == ["revert"]
    if reverts:
        rest.pop()
    rule = EdnsRule(False, kind, action, EDNS_CODES.get(kind, 0), reverts=reverts)
    match kind, rest:
        case "nsid", []:
            return rule
        case "subnet", [] if action == "unset":
            return rule
        case "subnet", [four, six]:
            return replace(rule, mask4=line.number(four, 0, 32), mask6=line.number(six, 0, 128))
        case "local", [code] if action == "unset":
            return replace(rule, code=_code(line, code))
        case "local", [code, data] if action != "unset":
            return _local_data(line, replace(rule, code=_code(line, code)), data)
    return line.fail(f"edns0 {kind} {action}: not with {' '.join(rest) or 'nothing more'}")


def _code(line: Line, text: str) -> int:
    try:
        code = int(text, 0)
    except ValueError:
        line.fail(f"{text!r} is not the number of an EDNS option")
    if not 0 <= code < 65536:
        line.fail(f"{text} is not in the range [0, 65535]")
    return code


def _local_data(line: Line, rule: EdnsRule, data: str) -> EdnsRule:
    if data.startswith("{") and data.endswith("}"):
        return replace(rule, variable=line.choice(data[1:-1], VARIABLES))
    if not data.startswith("0x"):
        return replace(rule, data=data.encode())
    try:
        return replace(rule, data=bytes.fromhex(data[2:]))
    except ValueError:
        line.fail(f"{data!r} is not hexadecimal")
