"""What a Corefile asks for, as frozen values: one class a plugin, with CoreDNS' defaults.

Zones are domain names in wire form and lower case; addresses are packed; times are seconds. Knows no syntax.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fairway import __version__
from fairway.values.domain import ROOT, Name

RESOLV_CONF = "/etc/resolv.conf"


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A zone that a server block serves, where it listens."""

    zone: Name = ROOT
    port: int = 53
    is_tls: bool = False


@dataclass(frozen=True, slots=True)
class BindSettings:
    """Addresses and interface names to listen on, instead of all."""

    names: tuple[str, ...] = ()
    excepted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    zones: tuple[Name, ...]
    endpoint: str = ""
    kubeconfig: str = ""
    context: str = ""
    tls: tuple[str, str, str] | None = None
    """Certificate, key, authority."""
    pods: str = "disabled"
    namespaces: frozenset[str] = frozenset()
    namespace_labels: str = ""
    labels: str = ""
    endpoint_pod_names: bool = False
    has_endpoints: bool = True
    ignore_empty_service: bool = False
    ttl: int = 5
    fallthrough: tuple[Name, ...] = ()
    multicluster: tuple[Name, ...] = ()
    zonal: bool = False
    startup_timeout: float = 5.0
    place: str = ""
    """File and line."""


def cluster_key(settings: object) -> object:
    """What of the settings decides which rows are kept: two plugins with the same share them."""
    assert isinstance(settings, KubernetesSettings)
    return (
        settings.endpoint,
        settings.kubeconfig,
        settings.context,
        settings.tls,
        settings.labels,
        settings.namespace_labels,
        settings.pods == "verified",
        settings.endpoint_pod_names,
        settings.has_endpoints,
        bool(settings.multicluster),
        settings.zonal,
    )


@dataclass(frozen=True, slots=True)
class ExternalSettings:
    """`k8s_external`."""

    zones: tuple[Name, ...]
    apex: str = "dns"
    ttl: int = 5
    headless: bool = False
    fallthrough: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Of one class of answers: how many, and between which seconds their TTL is kept."""

    capacity: int = 9984
    longest: int = 3600
    shortest: int = 5


@dataclass(frozen=True, slots=True)
class CacheSettings:
    zones: tuple[Name, ...]
    success: CacheLimits = CacheLimits()
    denial: CacheLimits = CacheLimits(longest=1800)
    servfail: float = 5.0
    prefetch_hits: int = 0
    prefetch_window: float = 60.0
    prefetch_percent: int = 10
    stale_for: float = 0.0
    """How long after its end an answer may still be given; 0 for not at all."""
    stale_verify: bool = False
    """Ask upstream first and give the stale answer only if that fails."""
    stale_wait: float = 0.0
    """How long to wait for upstream then; 0 for as long as it takes."""
    stale_ttl: int = 0
    """Of the records of a stale answer."""
    stale_recheck: float = 0.0
    """How long after a failed refresh the next may be tried."""
    prefers_positive: bool = False
    """`serve_stale_policy prefer_positive`: an old answer is better than a new denial."""
    no_success: tuple[Name, ...] = ()
    no_denial: tuple[Name, ...] = ()
    keep_ttl: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """One server to forward to."""

    host: str
    port: int
    is_tls: bool = False
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class ForwardSettings:
    zone: Name
    to: tuple[str, ...]
    """As written: addresses, or files like /etc/resolv.conf that name them."""
    excepted: tuple[Name, ...] = ()
    policy: str = "random"
    max_fails: int = 2
    health_interval: float = 0.5
    health_domain: Name = ROOT
    health_recursion: bool = True
    force_tcp: bool = False
    prefer_udp: bool = False
    expire: float = 10.0
    max_concurrent: int = 0
    tls_server_name: str = ""
    tls_files: tuple[str, ...] = ()
    read_timeout: float = 2.0
    next_rcodes: frozenset[int] = frozenset()
    next_on_nodata: bool = False
    failover_rcodes: frozenset[int] = frozenset()
    failfast: bool = False
    max_connect_attempts: int | None = None
    """None for two for each upstream, 0 for as many as the time allows."""
    resolvers: tuple[tuple[str, int], ...] = ()
    """Whom to ask for upstreams that are host names, with ports; empty for the machine's own."""
    source: str = ""
    """Address that questions leave from."""
    max_age: float = 0.0
    """Seconds after which a kept connection is not used any more; 0 for no limit."""
    max_idle: int = 0
    """Kept connections; 0 for the default."""
    place: str = ""
    """File and line."""


@dataclass(frozen=True, slots=True)
class HostsSettings:
    file: str = "/etc/hosts"
    zones: tuple[Name, ...] = (ROOT,)
    inline: tuple[str, ...] = ()
    ttl: int = 3600
    has_reverse: bool = True
    reload: float = 5.0
    fallthrough: tuple[Name, ...] = ()
    passes_other_types: bool = False
    """`fallthrough_unsupported`: questions for other types than A, AAAA and PTR go on too."""


@dataclass(frozen=True, slots=True)
class FileSettings:
    file: str
    zones: tuple[Name, ...]
    reload: float = 60.0
    fallthrough: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """How a rewritten name, or a record's value, is put back in the answer."""

    field: str
    """`name` or `value`."""
    pattern: str
    replacement: str


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """One `rewrite` line. Names are text in lower case with a dot at the end."""

    is_continuing: bool
    """Go on with the next rule after this one has matched."""
    field: str
    """name, type, class, ttl, rcode, cname."""
    match: str = "exact"
    """exact, prefix, suffix, substring, regex."""
    what: str = ""
    to: str = ""
    answers: tuple[AnswerRule, ...] = ()
    is_auto: bool = False


@dataclass(frozen=True, slots=True)
class EdnsRule:
    """One `rewrite edns0` line."""

    is_continuing: bool
    kind: str
    """local, nsid, subnet."""
    action: str
    """set, append, replace, unset."""
    code: int
    data: bytes = b""
    variable: str = ""
    """What of the question to send instead of data."""
    mask4: int = 0
    mask6: int = 0
    reverts: bool = False
    """The client is sent its own option back."""


@dataclass(frozen=True, slots=True)
class RewriteSettings:
    rules: tuple[RewriteRule | EdnsRule, ...] = ()


@dataclass(frozen=True, slots=True)
class TemplateSettings:
    rclass: int
    type: int
    zones: tuple[Name, ...]
    matches: tuple[str, ...] = (".*",)
    variables: tuple[tuple[str, str], ...] = ()
    """Names, and the expressions that they stand for."""
    conditions: tuple[str, ...] = ()
    """Expressions that must all be true."""
    answer: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()
    rcode: int = 0
    ederror: tuple[int, str] | None = None
    fallthrough: tuple[Name, ...] = ()
    place: str = ""
    """File and line."""


@dataclass(frozen=True, slots=True)
class LogRule:
    """What is written about questions in some zones; empty format for CoreDNS' common one."""

    zones: tuple[Name, ...] = (ROOT,)
    format: str = ""
    classes: frozenset[str] = frozenset({"all"})


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The first rule whose zone a question lies in decides."""

    rules: tuple[LogRule, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorsSettings:
    """Errors that match a pattern are counted over a period and said once."""

    consolidate: tuple[tuple[float, str, str, bool], ...] = ()
    """Period, pattern, level, and whether the first is said at once."""


@dataclass(frozen=True, slots=True)
class HealthSettings:
    address: str = ":8080"
    lameduck: float = 0.0


@dataclass(frozen=True, slots=True)
class ReadySettings:
    address: str = ":8181"
    is_continuous: bool = False


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    address: str = "localhost:9153"


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Ask ourselves a question that only a forwarding loop brings back."""


@dataclass(frozen=True, slots=True)
class ReloadSettings:
    interval: float = 30.0
    jitter: float = 15.0


@dataclass(frozen=True, slots=True)
class LoadbalanceSettings:
    """Order of the addresses in an answer."""

    weights: str = ""
    """File of the weights of `weighted`; empty for `round_robin`."""
    reload: float = 30.0
    """Seconds after which that file is read again; 0 for never."""
    prefer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AutopathSettings:
    zones: tuple[Name, ...] = (ROOT,)
    source: str = RESOLV_CONF
    """A resolv.conf, or `@kubernetes` for the search path of the asking pod."""
    place: str = ""
    """File and line."""


@dataclass(frozen=True, slots=True)
class TransferRule:
    zones: tuple[Name, ...]
    to: tuple[tuple[str, int], ...] = ()
    """Who may have the zones and is told of changes: addresses, with the ports where they listen."""
    is_open: bool = False
    """`*`: everybody else may have them, too, but is told nothing."""
    source: str = ""
    """Address that notifications leave from."""


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """The rule with the longest zone decides."""

    rules: tuple[TransferRule, ...] = ()


@dataclass(frozen=True, slots=True)
class AclRule:
    """allow, block, filter or drop; empty types and networks mean any."""

    zones: tuple[Name, ...]
    action: str
    types: frozenset[int] = frozenset()
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AclSettings:
    rules: tuple[AclRule, ...] = ()


@dataclass(frozen=True, slots=True)
class AnySettings:
    """Answer ANY with one HINFO record (RFC 8482)."""


@dataclass(frozen=True, slots=True)
class MinimalSettings:
    """Leave out authority and additional records that an answer does not need."""


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Answer localhost and 127.in-addr.arpa (RFC 6761)."""

    has_prefix: bool = True
    """Also names that begin with `localhost.`, which search lists make."""


@dataclass(frozen=True, slots=True)
class Dns64Settings:
    prefix: str = "64:ff9b::/96"
    translate_all: bool = False
    allow_ipv4: bool = False


@dataclass(frozen=True, slots=True)
class NsidSettings:
    """None takes the host's name."""

    data: str | None = None


@dataclass(frozen=True, slots=True)
class ChaosSettings:
    """What `version.bind` and its like say of the server (class CH)."""

    version: str = f"fairway-{__version__}"
    authors: tuple[str, ...] = ("The Fairway authors",)


@dataclass(frozen=True, slots=True)
class BufsizeSettings:
    size: int = 1232


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Certificate, key and perhaps the clients' authority for a `tls://` server block."""

    files: tuple[str, ...] = ()
    client_auth: str = "nocert"
    """nocert, verify_if_given, require_and_verify."""
    key_log: str = ""
    """File that the connections' secrets are written to, for those who read along; empty for none."""


@dataclass(frozen=True, slots=True)
class WhoamiSettings:
    """Answer with the client's own address."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """A server block: where it listens, and its plugins in the order in which they are asked."""

    keys: tuple[ServerKey, ...]
    plugins: tuple[object, ...] = ()
    bind: BindSettings = BindSettings()
    root: str = ""
    tls: TlsSettings | None = None
    is_debug: bool = False
    sockets: int = 0
    place: str = ""

    @property
    def zones(self) -> tuple[Name, ...]:
        return tuple(dict.fromkeys(key.zone for key in self.keys))


@dataclass(frozen=True, slots=True)
class CorefileSettings:
    """All server blocks."""

    servers: tuple[ServerSettings, ...] = ()
    files: tuple[str, ...] = field(default=())
    """Every file that was read: what `reload` watches."""
