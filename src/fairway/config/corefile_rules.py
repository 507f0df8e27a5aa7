"""The directives that forward or make answers → settings: forward, template, dns64."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from fairway.config.corefile import Directive
from fairway.config.corefile_plugins import Parser, Zones
from fairway.config.corefile_reader import MANY, Line, split_key
from fairway.config.corefile_rewrite import rewrite
from fairway.config.corefile_settings import (
    Dns64Settings,
    ForwardSettings,
    TemplateSettings,
)
from fairway.values.errors import InvalidValueError
from fairway.values.rrtypes import CLASS_NUMBERS, Rcode, RRType

MAX_UPSTREAMS = 15


def forward(directive: Directive, _zones: Zones) -> ForwardSettings:
    line = Line(directive)
    zone, *to = line.count(2, MANY)
    if len(to) > MAX_UPSTREAMS:
        line.fail(f"more than {MAX_UPSTREAMS} upstreams: {len(to)}")
    found = ForwardSettings(line.zone(zone), tuple(to), place=str(directive.place))

    def put(**values: object) -> None:
        nonlocal found
        found = replace(found, **values)  # type: ignore[arg-type]

    line.each(
        {
            "except": lambda li: put(excepted=li.zones(li.count(1, MANY))),
            "force_tcp": lambda li: put(force_tcp=not li.count(0)),
            "prefer_udp": lambda li: put(prefer_udp=not li.count(0)),
            "expire": lambda li: put(expire=li.duration(li.count(1)[0])),
            "max_fails": lambda li: put(max_fails=li.number(li.count(1)[0])),
            "tls": lambda li: put(tls_files=li.count(0, 3)),
            "tls_servername": lambda li: put(tls_server_name=li.count(1)[0]),
            "policy": lambda li: put(policy=li.choice(li.count(1)[0], ("random", "round_robin", "sequential"))),
            "health_check": lambda li: put(**_health_check(li)),
            "max_concurrent": lambda li: put(max_concurrent=li.number(li.count(1)[0])),
            "read_timeout": lambda li: put(read_timeout=li.duration(li.count(1)[0], 0.001)),
            "next": lambda li: put(next_rcodes=_rcodes(li)),
            "failover": lambda li: put(failover_rcodes=_rcodes(li)),
            "next_on_nodata": lambda li: put(next_on_nodata=not li.count(0)),
            "failfast_all_unhealthy_upstreams": lambda li: put(failfast=not li.count(0)),
            "max_age": lambda li: put(max_age=li.duration(li.count(1)[0])),
            "max_idle_conns": lambda li: put(max_idle=li.number(li.count(1)[0])),
            "max_connect_attempts": lambda li: put(max_connect_attempts=li.number(li.count(1)[0])),
            "resolver": lambda li: put(resolvers=tuple(li.host_port(text, 53) for text in li.count(1, MANY))),
            "source_address": lambda li: put(source=li.address(li.count(1)[0])),
        }
    )
    if found.max_age and found.max_age < found.expire:
        line.fail(f"max_age ({found.max_age:g}s) must not be less than expire ({found.expire:g}s)")
    if Rcode.NOERROR in found.failover_rcodes:
        line.fail("NOERROR cannot be used in failover")
    for text in to:
        _check_upstream(line, text, found.tls_server_name)
    return found


def _check_upstream(line: Line, text: str, server_name: str) -> None:
    """What can be seen of an upstream without the machine: whether a file or a host of that name exists cannot."""
    bare, percent, name = text.partition("%")
    try:
        scheme, host, port = split_key(bare + name[len(name.partition(":")[0]) :])
    except InvalidValueError as error:
        line.fail(str(error))
    if scheme not in {"", "dns", "tls"}:
        line.fail(f"{text}: {scheme}:// cannot be forwarded to (known: dns, tls)")
    if not host or (port and not 0 < int(port) < 65536):
        line.fail(f"{text!r} is not an address, a host or a file that names some")
    if scheme == "tls" and percent and server_name:
        line.fail(f"{text}: a server name stands here and in tls_servername ({server_name})")


def _health_check(line: Line) -> dict[str, object]:
    interval, *options = line.count(1, MANY)
    found: dict[str, object] = {"health_interval": line.duration(interval)}
    while options:
        option = line.choice(options.pop(0), ("no_rec", "domain"))
        if option == "no_rec":
            found["health_recursion"] = False
        elif not options:
            line.fail("'domain' needs a name")
        else:
            found["health_domain"] = line.zone(options.pop(0))
    return found


def _rcodes(line: Line) -> frozenset[int]:
    known = [r.name for r in Rcode]
    return frozenset(int(Rcode[line.choice(text.upper(), known)]) for text in line.count(1, MANY))


# -- template and dns64


def template(directive: Directive, zones: Zones) -> TemplateSettings:
    line = Line(directive)
    rclass, rtype, *names = line.count(2, MANY)
    number = RRType[line.choice(rtype.upper(), [t.name for t in RRType])]
    found = TemplateSettings(
        CLASS_NUMBERS[line.choice(rclass.upper(), tuple(CLASS_NUMBERS))],
        int(number),
        line.zones(names, zones),
        place=str(directive.place),
    )

    def put(**values: object) -> None:
        nonlocal found
        found = replace(found, **values)  # type: ignore[arg-type]

    matches: list[str] = []

    def match(line: Line) -> None:
        matches.extend(map(line.pattern, line.count(1, MANY)))
        put(matches=tuple(matches))

    def var(line: Line) -> None:
        name, *words = line.count(2, MANY)
        put(variables=(*found.variables, (name, " ".join(words))))

    def ederror(line: Line) -> None:
        code, *text = line.count(1, MANY)
        put(ederror=(line.number(code, 0, 65535), " ".join(text)))

    known = [r.name for r in Rcode]
    line.each(
        {
            "match": match,
            "answer": lambda li: put(answer=(*found.answer, *li.count(1, MANY))),
            "additional": lambda li: put(additional=(*found.additional, *li.count(1, MANY))),
            "authority": lambda li: put(authority=(*found.authority, *li.count(1, MANY))),
            "var": var,
            "expr": lambda li: put(conditions=(*found.conditions, " ".join(li.count(1, MANY)))),
            "rcode": lambda li: put(rcode=int(Rcode[li.choice(li.count(1)[0].upper(), known)])),
            "ederror": ederror,
            "fallthrough": lambda li: put(fallthrough=li.zones(li.args)),
            "upstream": lambda _li: None,
        }
    )
    return found


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
