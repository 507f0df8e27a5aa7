"""The directives of a server block → settings, for all plugins but those that talk to upstreams or change messages.

Each parser reads one directive, with CoreDNS' defaults and limits; `zones` are those of the server block, for plugins
that serve these when none are named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fairway.config.corefile import Directive
from fairway.config.corefile_cache import cache
from fairway.config.corefile_reader import MANY, Line
from fairway.config.corefile_settings import (
    AclRule,
    AclSettings,
    AnySettings,
    AutopathSettings,
    BufsizeSettings,
    ChaosSettings,
    ErrorsSettings,
    ExternalSettings,
    FileSettings,
    HealthSettings,
    HostsSettings,
    KubernetesSettings,
    LoadbalanceSettings,
    LocalSettings,
    LogRule,
    LogSettings,
    LoopSettings,
    MinimalSettings,
    NsidSettings,
    PrometheusSettings,
    ReadySettings,
    ReloadSettings,
    TransferRule,
    TransferSettings,
    WhoamiSettings,
)
from fairway.values.domain import Name, is_reverse
from fairway.values.rrtypes import RRType

Zones = tuple[Name, ...]
Parser = Callable[[Directive, Zones], object]
MAX_TTL = 3600


def kubernetes(directive: Directive, zones: Zones) -> KubernetesSettings:
    line = Line(directive)
    found = KubernetesSettings(line.zones(line.args, zones), place=str(directive.place))

    def put(**values: object) -> None:
        nonlocal found
        found = replace(found, **values)  # type: ignore[arg-type]

    def kubeconfig(line: Line) -> None:
        file, *context = line.count(1, 2)
        put(kubeconfig=file, context=context[0] if context else "")

    def tls(line: Line) -> None:
        certificate, key, authority = line.count(3)
        put(tls=(certificate, key, authority))

    def ignore(line: Line) -> None:
        line.choice(line.count(1)[0], ("empty_service",))
        put(ignore_empty_service=True)

    line.each(
        {
            "endpoint": lambda li: put(endpoint=li.count(1, MANY)[0]),
            "kubeconfig": kubeconfig,
            "tls": tls,
            "pods": lambda li: put(pods=li.choice(li.count(1)[0], ("disabled", "insecure", "verified"))),
            "namespaces": lambda li: put(namespaces=frozenset(li.count(1, MANY))),
            "namespace_labels": lambda li: put(namespace_labels=" ".join(li.count(1, MANY))),
            "labels": lambda li: put(labels=" ".join(li.count(1, MANY))),
            "endpoint_pod_names": lambda li: put(endpoint_pod_names=not li.count(0)),
            "noendpoints": lambda li: put(has_endpoints=bool(li.count(0))),
            "ignore": ignore,
            "ttl": lambda li: put(ttl=li.number(li.count(1)[0], 0, MAX_TTL)),
            "fallthrough": lambda li: put(fallthrough=li.zones(li.args)),
            "multicluster": lambda li: put(multicluster=li.zones(li.count(1, MANY))),
            "zonal": lambda li: put(zonal=not li.count(0)),
            "startup_timeout": lambda li: put(startup_timeout=li.duration(li.count(1)[0])),
            # Nothing is held back here: the watches need four requests. What stands there is checked all the same.
            "apiserver_qps": lambda li: li.ignore(li.decimal(li.count(1)[0])),
            "apiserver_burst": lambda li: li.ignore(li.number(li.count(1)[0])),
            "apiserver_max_inflight": lambda li: li.ignore(li.number(li.count(1)[0])),
        }
    )
    return _checked_kubernetes(line, found)


def _checked_kubernetes(line: Line, found: KubernetesSettings) -> KubernetesSettings:
    if all(is_reverse(zone) for zone in found.zones):
        line.fail("non-reverse zone name must be used")
    if found.namespaces and found.namespace_labels:
        line.fail("namespaces and namespace_labels cannot both be set")
    if set(found.multicluster) - set(found.zones):
        line.fail("a multicluster zone must be one of the plugin's zones")
    if found.zonal and not found.has_endpoints:
        line.fail("zonal needs endpoints; remove noendpoints")
    return found


def k8s_external(directive: Directive, zones: Zones) -> ExternalSettings:
    line = Line(directive)
    found = ExternalSettings(line.zones(line.args, zones))

    def put(**values: object) -> None:
        nonlocal found
        found = replace(found, **values)  # type: ignore[arg-type]

    line.each(
        {
            "apex": lambda li: put(apex=li.count(1)[0]),
            "ttl": lambda li: put(ttl=li.number(li.count(1)[0], 0, MAX_TTL)),
            "headless": lambda li: put(headless=not li.count(0)),
            "fallthrough": lambda li: put(fallthrough=li.zones(li.args)),
        }
    )
    return found


def hosts(directive: Directive, zones: Zones) -> HostsSettings:
    line = Line(directive)
    file, *names = line.args or ("/etc/hosts",)
    found = HostsSettings(file, line.zones(names, zones))
    inline: list[str] = []
    options: dict[str, Callable[[Line], dict[str, object]]] = {
        "ttl": lambda li: {"ttl": li.number(li.count(1)[0], 1, 65535)},
        "no_reverse": lambda li: {"has_reverse": bool(li.count(0))},
        "reload": lambda li: {"reload": li.duration(li.count(1)[0])},
        "fallthrough": lambda li: {"fallthrough": li.zones(li.args)},
        "fallthrough_unsupported": lambda li: {"passes_other_types": not li.count(0)},
    }
    for one in directive.block or ():
        read = options.get(one.name)
        if read is not None:
            found = replace(found, **read(Line(one)))  # type: ignore[arg-type]
        elif one.args and (one.name[0].isdecimal() or ":" in one.name):
            inline.append(" ".join((one.name, *one.args)))
        else:
            known = ", ".join(sorted(options))
            raise one.place.error(f"hosts: unknown property {one.name!r} (known: {known}, or an address and names)")
    if found.passes_other_types and not found.fallthrough:
        line.fail("fallthrough_unsupported needs fallthrough")
    return replace(found, inline=tuple(inline))


def file(directive: Directive, zones: Zones) -> FileSettings:
    line = Line(directive)
    path, *names = line.count(1, MANY)
    found = FileSettings(path, line.zones(names, zones))

    def put(**values: object) -> None:
        nonlocal found
        found = replace(found, **values)  # type: ignore[arg-type]

    line.each(
        {
            "reload": lambda li: put(reload=li.duration(li.count(1)[0])),
            "fallthrough": lambda li: put(fallthrough=li.zones(li.args)),
            "upstream": lambda _li: None,
            # What counts is whether the text has changed, with its serial or without: so it does here anyway.
            "reload_by_mtime": Line.flag,
        }
    )
    return found


def log(directive: Directive, _zones: Zones) -> LogSettings:
    line = Line(directive)
    names, form = list(line.args), ""
    if len(names) > 1 and "{" in names[-1]:
        form = names.pop().replace("{combined}", _COMBINED).replace("{common}", _COMMON)
    classes: set[str] = set()

    def put(line: Line) -> None:
        classes.update(line.choice(c, ("success", "denial", "error", "all")) for c in line.count(1, MANY))

    line.each({"class": put})
    return LogSettings((LogRule(line.zones(names), form, frozenset(classes or {"all"})),))


_COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" '
    "{rcode} {>rflags} {rsize} {duration}"
)
_COMBINED = f'{_COMMON} "{{>opcode}}"'


def errors(directive: Directive, _zones: Zones) -> ErrorsSettings:
    line, found = Line(directive), []

    def consolidate(line: Line) -> None:
        period, pattern, *rest = line.count(2, 4)
        shows_first = rest[-1:] == ["show_first"]
        levels = rest[: len(rest) - shows_first] or ["error"]
        if len(levels) > 1:
            line.fail(f"more than one level: {' '.join(levels)}")
        chosen = line.choice(levels[0], ("warning", "error", "info", "debug"))
        found.append((line.duration(period), line.pattern(pattern), chosen, shows_first))

    if line.count(0, 1) not in {(), ("stdout",)}:
        line.fail(f"{line.args[0]!r}: errors go to the standard output and nowhere else")
    line.each({"consolidate": consolidate, "stacktrace": Line.flag})
    return ErrorsSettings(tuple(found))


def health(directive: Directive, _zones: Zones) -> HealthSettings:
    line = Line(directive)
    found = HealthSettings()
    for address in line.count(0, 1):
        found = replace(found, address=line.place_to_listen(address))

    def lameduck(line: Line) -> None:
        nonlocal found
        found = replace(found, lameduck=line.duration(line.count(1)[0]))

    line.each({"lameduck": lameduck})
    return found


def ready(directive: Directive, _zones: Zones) -> ReadySettings:
    line = Line(directive)
    found = ReadySettings()
    for address in line.count(0, 1):
        found = replace(found, address=line.place_to_listen(address))

    def monitor(line: Line) -> None:
        nonlocal found
        mode = line.choice(line.count(1)[0], ("until-ready", "continuously"))
        found = replace(found, is_continuous=mode == "continuously")

    line.each({"monitor": monitor})
    return found


def prometheus(directive: Directive, _zones: Zones) -> PrometheusSettings:
    line = Line(directive)
    # Those of the process are shown anyway.
    line.each({"runtime_metrics": Line.flag})
    return PrometheusSettings(*map(line.place_to_listen, line.count(0, 1)))


def reload(directive: Directive, _zones: Zones) -> ReloadSettings:
    line = Line(directive)
    line.no_block()
    times = [line.duration(text) for text in line.count(0, 2)]
    interval = times[0] if times else 30.0
    if interval < 2:
        line.fail("the interval must be 2s or longer")
    jitter = times[1] if len(times) > 1 else interval / 2
    if times[1:] and 0 < jitter < 1:
        line.fail("the jitter must be 1s or longer, or 0 for none")
    return ReloadSettings(interval, min(jitter, interval / 2))


def loadbalance(directive: Directive, _zones: Zones) -> LoadbalanceSettings:
    line = Line(directive)
    policy, *files = line.count(0, 2) or ("round_robin",)
    if line.choice(policy, ("round_robin", "weighted")) == "weighted" and not files:
        line.fail("weighted needs the file of the weights")
    if policy == "round_robin" and files:
        line.fail(f"round_robin takes no file: {files[0]}")
    found = LoadbalanceSettings(files[0] if files else "")

    def prefer(line: Line) -> None:
        nonlocal found
        found = replace(found, prefer=(*found.prefer, *(line.network(text) for text in line.count(1, MANY))))

    def reload(line: Line) -> None:
        nonlocal found
        found = replace(found, reload=line.duration(line.count(1)[0]))

    line.each({"prefer": prefer, "reload": reload} if files else {"prefer": prefer})
    return found


def autopath(directive: Directive, zones: Zones) -> AutopathSettings:
    line = Line(directive)
    line.no_block()
    *names, source = line.count(1, MANY)
    if source.startswith("@") and source != "@kubernetes":
        line.fail(f"{source!r}: only @kubernetes or a resolv.conf can give the search path")
    return AutopathSettings(line.zones(names, zones), source, str(directive.place))


def transfer(directive: Directive, zones: Zones) -> TransferSettings:
    line = Line(directive)
    found = TransferRule(line.zones(line.args, zones))

    def put_to(line: Line) -> None:
        nonlocal found
        words = line.count(1, MANY)
        named = tuple(line.host_port(text, 53) for text in words if text != "*")
        found = replace(found, to=(*found.to, *named), is_open=found.is_open or "*" in words)

    def put_source(line: Line) -> None:
        nonlocal found
        if found.source:
            line.fail("stands twice")
        found = replace(found, source=line.address(line.count(1)[0]))

    line.each({"to": put_to, "source": put_source})
    if not found.to and not found.is_open:
        line.fail("needs a line 'to ADDRESS…'")
    return TransferSettings((found,))


def acl(directive: Directive, zones: Zones) -> AclSettings:
    line, rules = Line(directive), []
    chosen = line.zones(line.args, zones)

    def rule(line: Line) -> None:
        kinds: list[str] = []
        networks: list[str] = []
        into: list[str] | None = None
        for word in line.args:
            if word in {"type", "net"}:
                into = kinds if word == "type" else networks
            elif into is None:
                line.fail(f"{word!r}: expected 'type' or 'net'")
            else:
                into.append(word)
        for word, tokens in (("type", kinds), ("net", networks)):
            if word in line.args and not tokens:
                line.fail(f"nothing stands after {word!r}")  # it would stand for all of them
        types = frozenset(_types(line, kinds))
        nets = () if "*" in networks else tuple(line.network(text) for text in networks)
        rules.append(AclRule(chosen, line.name, types, nets))

    line.each(dict.fromkeys(("allow", "block", "filter", "drop"), rule))
    return AclSettings(tuple(rules))


def _types(line: Line, texts: list[str]) -> list[int]:
    if "*" in texts:
        return []
    for text in texts:
        line.choice(text.upper(), [t.name for t in RRType])
    return [int(RRType[text.upper()]) for text in texts]


def local(directive: Directive, _zones: Zones) -> LocalSettings:
    line = Line(directive)
    line.count(0)
    found = LocalSettings()

    def put(line: Line) -> None:
        nonlocal found
        found = LocalSettings(has_prefix=line.choice(line.count(1)[0], ("on", "off")) == "on")

    line.each({"localhost_prefix": put})
    return found


def nsid(directive: Directive, _zones: Zones) -> NsidSettings:
    Line(directive).no_block()
    return NsidSettings(" ".join(directive.args) if directive.args else None)


def chaos(directive: Directive, _zones: Zones) -> ChaosSettings:
    line = Line(directive)
    line.no_block()
    version, *authors = line.args or ("",)
    found = ChaosSettings(version) if version else ChaosSettings()
    return replace(found, authors=tuple(sorted(set(authors)))) if authors else found


def bufsize(directive: Directive, _zones: Zones) -> BufsizeSettings:
    line = Line(directive)
    line.no_block()
    sizes = line.count(0, 1)
    return BufsizeSettings(line.number(sizes[0], 512, 4096) if sizes else 1232)


def _plain(settings: Callable[[], object]) -> Parser:
    def parse(directive: Directive, _zones: Zones) -> object:
        line = Line(directive)
        line.count(0)
        line.no_block()
        return settings()

    return parse


PLAIN: dict[str, Parser] = {
    "acl": acl,
    "any": _plain(AnySettings),
    "autopath": autopath,
    "bufsize": bufsize,
    "cache": cache,
    "chaos": chaos,
    "errors": errors,
    "file": file,
    "health": health,
    "hosts": hosts,
    "k8s_external": k8s_external,
    "kubernetes": kubernetes,
    "loadbalance": loadbalance,
    "local": local,
    "log": log,
    "loop": _plain(LoopSettings),
    "minimal": _plain(MinimalSettings),
    "nsid": nsid,
    "prometheus": prometheus,
    "ready": ready,
    "reload": reload,
    "transfer": transfer,
    "whoami": _plain(WhoamiSettings),
}
