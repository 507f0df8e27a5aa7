"""A configuration file's text and the command line's flags → settings, each value with its origin.

Flags win over the file, and the file over the defaults. (kube-proxy ignores most flags when it has a file.) Every
error is reported, not the first alone. What the file is called and how it is read is the caller's matter.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from fairway.config.document import Document, join_path, read_documents
from fairway.config.proxy.fields import API_VERSION, BY_PATH, FIELDS, KIND, NO_DELAY, SECTIONS, Field
from fairway.config.proxy.flags import FLAGS, PORT, Flag
from fairway.config.proxy.settings import (
    ClientConnection,
    Conntrack,
    DetectLocal,
    Iptables,
    Ipvs,
    LocalMode,
    Logging,
    Mode,
    Nftables,
    ProxySettings,
    SocketAddress,
    Winkernel,
)
from fairway.values.errors import ConfigError, InvalidValueError


class Source(Enum):
    """Who said a value."""

    DEFAULT = "default"
    FILE = "file"
    FLAG = "flag"


class Origin(NamedTuple):
    """Where a value came from."""

    source: Source
    name: str = ""
    """The file, or the flag without dashes."""
    line: int = 0
    """Of the file, when known."""

    def __str__(self) -> str:
        match self.source:
            case Source.DEFAULT:
                return "default"
            case Source.FILE:
                return f"{self.name}:{self.line}" if self.line else self.name
            case Source.FLAG:
                return f"--{self.name}"


class Problem(NamedTuple):
    """One thing that is wrong."""

    origin: Origin
    path: str
    text: str

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin.source is not Source.DEFAULT else ""
        return f"{where}{self.path}: {self.text}" if self.path else f"{where}{self.text}"


class InvalidConfigError(ConfigError):
    """All that is wrong with a configuration, one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.origin.source.value, p.origin.name, p.origin.line)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Loaded(NamedTuple):
    """Settings, and what to tell about them."""

    settings: ProxySettings
    origins: Mapping[str, Origin]
    """Field path → where its value came from; every field is there."""
    warnings: tuple[str, ...]


_DEFAULT = Origin(Source.DEFAULT)


def load(text: str | None, flags: Mapping[str, str] | None = None, *, source: str = "", strict: bool = False) -> Loaded:
    """Settings from a file's text (None: no file) and flags as `parse_flags` gives them.

    `source` names the file in messages. With `strict` an unknown field or a key given twice is an error, not a
    warning. Flags that stand for no field (`--cleanup`, `--master` …) are left to the caller.

    Raises InvalidConfigError, or ConfigError when the text is not YAML at all.
    """
    return _Load(source or "configuration", dict(flags or {})).run(text, strict)


class _Load:
    """One run of `load`: gathers values and problems in the order of the table."""

    def __init__(self, source: str, flags: dict[str, str]) -> None:
        self._source = source
        self._flags = flags
        self._document = Document({}, {}, ())
        self._given: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._origins: dict[str, Origin] = {}
        self._problems: list[Problem] = []
        self._warnings: list[str] = []

    def run(self, text: str | None, strict: bool) -> Loaded:
        if text is not None:
            self._document = self._pick(read_documents(text, self._source))
            violations = self._flatten(self._document.root, "")
            self._report_violations([*self._document.duplicates, *sorted(violations)], strict)
        flags = self._flags_by_path()
        for field in FIELDS:
            self._take(field, flags.get(field.path))
        self._apply_old_port_flags()
        self._check_together()
        if self._problems:
            raise InvalidConfigError(self._problems)
        settings = build(self._values)
        self._note_unused(settings)
        return Loaded(settings, self._origins, tuple(self._warnings))

    def _pick(self, documents: list[Document]) -> Document:
        """The document of our kind: kubeadm's files hold several kinds."""
        ours = [d for d in documents if isinstance(d.root, dict) and d.root.get("kind") == KIND]
        if len(ours) == 1 and ours[0].root.get("apiVersion") == API_VERSION:
            return ours[0]
        if len(ours) > 1:
            self._fail(_file(self._source), "kind", f"{len(ours)} documents of kind {KIND}; one is wanted")
        elif ours:
            found = ours[0].root.get("apiVersion")
            self._fail(self._at("apiVersion", ours[0]), "apiVersion", f"{found!r} is not known; wanted: {API_VERSION}")
        else:
            kinds = ", ".join(repr(d.root.get("kind")) if isinstance(d.root, dict) else "no mapping" for d in documents)
            found = f"found {kinds}" if kinds else "the file is empty"
            self._fail(_file(self._source), "kind", f"{found}; wanted: {KIND}, with apiVersion {API_VERSION}")
        raise InvalidConfigError(self._problems)

    def _flatten(self, node: dict[str, Any], path: str) -> list[str]:
        """Sort the file's values by field path; what no field is called is returned, in Kubernetes' words."""
        violations = []
        for key, value in node.items():
            at = join_path(path, key)
            if at in BY_PATH:
                self._given[at] = value
            elif at not in SECTIONS:
                if at not in {"apiVersion", "kind"}:
                    violations.append(f'unknown field "{at}"{_suggest(at)}')
            elif isinstance(value, dict):
                violations += self._flatten(value, at)
            elif value is not None:
                what = "a list" if isinstance(value, list) else repr(value)
                self._fail(self._at(at), at, f"{what} is not a mapping")
        return violations

    def _report_violations(self, violations: list[str], strict: bool) -> None:
        if violations and strict:
            for violation in violations:
                self._fail(_file(self._source), "", f"strict decoding error: {violation}")
        elif violations:
            said = f"strict decoding error: {', '.join(violations)}"
            self._warnings.append(f"{self._source}: Using lenient decoding as strict decoding failed: {said}")

    def _flags_by_path(self) -> dict[str, Flag]:
        """Which flag sets which field; a few depend on the mode, so the mode is read first."""
        given = [flag for flag in FLAGS if flag.path and flag.name in self._flags]
        mode = self._flags.get("proxy-mode") or self._given.get("mode") or Mode.NFTABLES.value
        section = "nftables" if mode == Mode.NFTABLES.value else "iptables"
        return {flag.path.format(section=section): flag for flag in given}

    def _take(self, field: Field, flag: Flag | None) -> None:
        value, origin = None, _DEFAULT
        if field.path in self._given:
            value, origin = self._read(field, self._given[field.path], self._at(field.path))
        if flag is not None:
            below = value
            value, origin = self._read_flag(field, flag)
            if field.path == "featureGates" and below and value:
                value = tuple(sorted((dict(below) | dict(value)).items()))
        self._values[field.path] = field.default_after(self._values) if value is None else value
        self._origins[field.path] = _DEFAULT if value is None else origin

    def _read(self, field: Field, value: Any, origin: Origin) -> tuple[Any, Origin]:
        try:
            return field.read(value), origin
        except InvalidValueError as error:
            self._fail(origin, field.path, f"{error}; wanted: {field.kind.wanted}")
            return None, origin

    def _read_flag(self, field: Field, flag: Flag) -> tuple[Any, Origin]:
        origin, text = Origin(Source.FLAG, flag.name), self._flags[flag.name]
        if not text and field.path in {"healthzBindAddress", "metricsBindAddress"}:
            return SocketAddress(field.default_after(self._values).address, 0), origin
        if not text and field.zero_is_unset:
            return None, origin
        try:
            value = flag.value_kind.read_flag(text)
        except InvalidValueError as error:
            self._problems.append(Problem(origin, "", f"{error}; wanted: {flag.value_kind.wanted}"))
            return None, origin
        if field.path.endswith(".minSyncPeriod") and value == 0:
            value = NO_DELAY
        return value, origin

    def _apply_old_port_flags(self) -> None:
        """--healthz-port and --metrics-port, deprecated: 0 stops the server, else they fill in a port not given."""
        for name, path in (("healthz-port", "healthzBindAddress"), ("metrics-port", "metricsBindAddress")):
            if name not in self._flags:
                continue
            origin = Origin(Source.FLAG, name)
            try:
                port = PORT.read_flag(self._flags[name])
            except InvalidValueError as error:
                self._problems.append(Problem(origin, "", f"{error}; wanted: {PORT.wanted}"))
                continue
            self._warnings.append(f"--{name} is deprecated: use --{name.removesuffix('-port')}-bind-address")
            if port == 0 or self._origins[path] == _DEFAULT:
                self._values[path] = self._values[path]._replace(port=port)
                self._origins[path] = origin

    def _check_together(self) -> None:
        """Fields that only make sense with one another."""
        mode, local = self._values["mode"], self._values["detectLocalMode"]
        for needs, path in (
            (LocalMode.BRIDGE_INTERFACE, "detectLocal.bridgeInterface"),
            (LocalMode.INTERFACE_NAME_PREFIX, "detectLocal.interfaceNamePrefix"),
        ):
            if local is needs and not self._values[path]:
                origin = self._origins["detectLocalMode"]
                self._fail(origin, path, f"'' is not allowed with detectLocalMode {needs.value}; wanted: a name")
        section = mode.value if mode in {Mode.NFTABLES, Mode.IPVS} else "iptables"
        period, least = f"{section}.syncPeriod", f"{section}.minSyncPeriod"
        if self._values[least] > self._values[period]:
            origin = self._origins[least] if self._origins[period] == _DEFAULT else self._origins[period]
            both = f"{BY_PATH[period].kind.write(self._values[period])} is less than {least}"
            self._fail(
                origin, period, f"{both}, {BY_PATH[least].kind.write(self._values[least])}; wanted: at least that"
            )

    def _note_unused(self, settings: ProxySettings) -> None:
        """One warning that lists what was said without effect."""
        idle = [f"--{flag.name}" for flag in FLAGS if flag.is_ignored and flag.name in self._flags]
        for field in FIELDS:
            said = self._origins[field.path].source is not Source.DEFAULT
            harmless = (field.default_after(self._values), *field.done_anyway)
            if said and self._values[field.path] not in harmless and settings.mode not in field.modes:
                idle.append(field.path)
        if idle:
            self._warnings.append(f"without effect in {settings.mode.value} mode, and ignored: {', '.join(idle)}")

    def _at(self, path: str, document: Document | None = None) -> Origin:
        return _file(self._source, (document or self._document).lines.get(path, 0))

    def _fail(self, origin: Origin, path: str, text: str) -> None:
        self._problems.append(Problem(origin, path, text))


def build(values: Mapping[str, Any]) -> ProxySettings:
    """Settings from a value for every field path."""
    top: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    for field in FIELDS:
        section, dot, name = field.place.rpartition(".")
        (sections.setdefault(section, {}) if dot else top)[name] = values[field.path]
    return ProxySettings(
        **top,
        client_connection=ClientConnection(**sections["client_connection"]),
        logging=Logging(**sections["logging"]),
        detect_local=DetectLocal(**sections["detect_local"]),
        conntrack=Conntrack(**sections["conntrack"]),
        iptables=Iptables(**sections["iptables"]),
        ipvs=Ipvs(**sections["ipvs"]),
        nftables=Nftables(**sections["nftables"]),
        winkernel=Winkernel(**sections["winkernel"]),
    )


def node_name(settings: ProxySettings, host_name: str) -> str:
    """This node's name: hostnameOverride, else the host's; blanks off, in lower case, as Kubernetes does it."""
    name = (settings.hostname_override or host_name).strip().lower()
    if not name:
        raise ConfigError(f"hostnameOverride: {settings.hostname_override!r} is empty; wanted: the name of this node")
    return name


def _file(source: str, line: int = 0) -> Origin:
    return Origin(Source.FILE, source, line)


def _suggest(path: str) -> str:
    lower = {known.lower(): known for known in [*BY_PATH, *SECTIONS]}
    close = difflib.get_close_matches(path.lower(), lower, 1, 0.8)
    return f" (did you mean {lower[close[0]]}?)" if close else ""
