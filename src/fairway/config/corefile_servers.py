"""Server blocks → `CorefileSettings`: keys, the order in which plugins are asked, and what may stand only once.

The order of plugins is CoreDNS' own (its plugin.cfg), whatever the order in the file.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from fairway.config.corefile import Directive, ReadFiles, ServerBlock, parse_corefile
from fairway.config.corefile_plugins import PLAIN
from fairway.config.corefile_reader import MANY, Line, normal_zones, split_key
from fairway.config.corefile_rules import RULES
from fairway.config.corefile_settings import (
    AclSettings,
    BindSettings,
    CorefileSettings,
    ForwardSettings,
    LogSettings,
    RewriteSettings,
    ServerKey,
    ServerSettings,
    TlsSettings,
    TransferSettings,
)
from fairway.values.errors import ConfigError, InvalidValueError

PARSERS = PLAIN | RULES
ORDER = (
    "reload", "nsid", "bufsize", "ready", "health", "prometheus", "errors", "log", "local", "dns64", "any", "chaos",
    "loadbalance", "rewrite", "autopath", "acl", "cache", "minimal", "template", "transfer", "hosts", "k8s_external",
    "kubernetes", "file", "loop", "forward", "whoami",
)  # fmt: skip
SERVER_WIDE = ("bind", "debug", "multisocket", "root", "tls")
REPEATABLE = frozenset({"file", "forward", "hosts", "rewrite", "template", "transfer", "acl", "log", "k8s_external"})
PORTS = {"": 53, "dns": 53, "tls": 853}


_Ruled = (AclSettings, LogSettings, RewriteSettings, TransferSettings)


def read_corefile(
    text: str, file: str, environ: Mapping[str, str], read_files: ReadFiles = lambda _pattern: []
) -> CorefileSettings:
    """Read a Corefile into settings. Raises ConfigError naming file, line and what is known instead."""
    files = [file]

    def read(pattern: str) -> list[tuple[str, str]]:
        found = read_files(pattern)
        files.extend(path for path, _ in found)
        return found

    blocks = parse_corefile(text, file, environ, read)
    if not blocks:
        # As CoreDNS does: an empty file is a server that answers who is asking.
        blocks = parse_corefile(".:53 {\n whoami\n log\n}\n", file, environ)
    servers = tuple(_server(block) for block in blocks)
    _refuse_doubles(servers)
    return CorefileSettings(servers, tuple(dict.fromkeys(files)))


def _server(block: ServerBlock) -> ServerSettings:
    keys = tuple(key for text in block.keys for key in _keys(block, text))
    zones = tuple(dict.fromkeys(key.zone for key in keys))
    found: dict[str, list[object]] = {}
    wide: dict[str, Directive] = {}
    for directive in block.directives:
        name = directive.name
        if name in SERVER_WIDE:
            wide[name] = directive
            continue
        parse = PARSERS.get(name)
        if parse is None:
            known = ", ".join(sorted((*PARSERS, *SERVER_WIDE, "import")))
            raise directive.place.error(f"unknown directive {name!r} (known: {known})")
        if name in found and name not in REPEATABLE:
            raise directive.error("stands twice in one server block")
        found.setdefault(name, []).append(parse(directive, zones))
    root = Line(wide["root"]).count(1)[0] if "root" in wide else ""
    return ServerSettings(
        keys,
        tuple(_rooted(settings, root) for name in ORDER for settings in _joined(found.get(name, []))),
        _bind(wide.get("bind")),
        root=root,
        tls=_tls(wide.get("tls"), root),
        is_debug=_debug(wide.get("debug")),
        sockets=_sockets(wide.get("multisocket")),
        place=str(block.place),
    )


def _joined(settings: list[object]) -> list[object]:
    """Rules of several lines are one list, of which the plugin chooses."""
    if len(settings) < 2 or not isinstance(settings[0], _Ruled):
        return settings
    rules = (rule for one in settings if isinstance(one, _Ruled) for rule in one.rules)
    return [replace(settings[0], rules=tuple(rules))]  # type: ignore[arg-type]


def _keys(block: ServerBlock, text: str) -> list[ServerKey]:
    try:
        scheme, _host, port = split_key(text)
        zones = normal_zones(text)
    except InvalidValueError as error:
        raise block.place.error(str(error)) from None
    if scheme not in PORTS:
        raise block.place.error(f"{text}: {scheme}:// is not served here (known: dns, tls)")
    number = int(port) if port else PORTS[scheme]
    if not 0 < number < 65536:
        raise block.place.error(f"{text}: {number} is not a port")
    return [ServerKey(zone, number, scheme == "tls") for zone in zones]


def _bind(directive: Directive | None) -> BindSettings:
    if directive is None:
        return BindSettings()
    line = Line(directive)
    excepted: list[str] = []
    names = line.count(1, MANY)

    def put(line: Line) -> None:
        excepted.extend(line.count(1, MANY))

    line.each({"except": put})
    return BindSettings(names, tuple(excepted))


def _tls(directive: Directive | None, root: str) -> TlsSettings | None:
    if directive is None:
        return None
    line = Line(directive)
    found = TlsSettings(tuple(posixpath.join(root, path) for path in line.count(2, 3)))

    def client_auth(line: Line) -> None:
        nonlocal found
        kind = line.count(1)[0]
        if kind in {"request", "require"}:
            line.fail(
                f"{kind!r}: nobody would verify the certificate (known: nocert, verify_if_given, require_and_verify)"
            )
        known = ("nocert", "verify_if_given", "require_and_verify")
        found = replace(found, client_auth=line.choice(kind, known))

    def key_log(line: Line) -> None:
        nonlocal found
        found = replace(found, key_log=posixpath.join(root, line.count(1)[0]))

    line.each({"client_auth": client_auth, "keylog": key_log})
    if found.client_auth != "nocert" and len(found.files) < 3:
        line.fail(f"client_auth {found.client_auth} needs the authority's certificate as a third file")
    return found


def _rooted(settings: object, root: str) -> object:
    """With the names of files below `root`, as far as the plugin's own part of the work does not do that."""
    if isinstance(settings, ForwardSettings) and settings.tls_files:
        return replace(settings, tls_files=tuple(posixpath.join(root, path) for path in settings.tls_files))
    return settings


def _debug(directive: Directive | None) -> bool:
    if directive is None:
        return False
    line = Line(directive)
    line.count(0)
    line.no_block()
    return True


def _sockets(directive: Directive | None) -> int:
    if directive is None:
        return 0
    line = Line(directive)
    line.no_block()
    numbers = line.count(0, 1)
    return line.number(numbers[0], 1, 1024) if numbers else -1


def _refuse_doubles(servers: tuple[ServerSettings, ...]) -> None:
    seen: dict[tuple[ServerKey, BindSettings], str] = {}
    for server in servers:
        for key in server.keys:
            first = seen.setdefault((key, server.bind), server.place)
            if first != server.place:
                raise ConfigError(f"{server.place}: the zone is already served by the block at {first}")
