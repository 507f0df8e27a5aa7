"""Which server blocks may be answered from finished answers, and how those must look.

A block qualifies when no plugin in front of `kubernetes`, or of `cache`, could answer, change or watch its questions
differently from one time to the next. Everything that does not qualify is answered by the plugins, always.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fairway.config import corefile_settings as config
from fairway.dns.cache import Cache
from fairway.dns.chain import Chain
from fairway.dns.kubernetes import Kubernetes
from fairway.values.domain import Name, is_subdomain, longest_zone

_HARMLESS = (
    config.ReloadSettings,
    config.ReadySettings,
    config.HealthSettings,
    config.PrometheusSettings,
    config.ErrorsSettings,
    config.AnySettings,
    config.ChaosSettings,
    config.NsidSettings,
    config.TransferSettings,
)
"""They answer or change only what the fast path leaves alone: other types and classes, options, other ports."""


class FastRules(NamedTuple):
    """How finished answers of one block must look."""

    plugin: Kubernetes
    shuffles: bool = False
    has_glue: bool = True
    max_edns: int = 0
    """Clients that can take more than this are answered by the plugins; 0 for no limit."""


def fast_rules(chain: Chain, other_zones: Sequence[Name]) -> FastRules | None:
    """What holds for a block, or None when it does not qualify.

    `other_zones` are those of the other blocks at the same address: one inside a cluster zone would be passed over.
    """
    if not chain.kubernetes:
        return None
    rules: FastRules | None = None
    shuffles, has_glue, max_edns = False, True, 0
    for settings in chain.settings.plugins:
        match settings:
            case config.KubernetesSettings():
                rules = FastRules(chain.kubernetes[0][1], shuffles, has_glue, max_edns)
                break
            case config.LoadbalanceSettings() if not settings.prefer and not settings.weights:
                shuffles = True
            case config.MinimalSettings():
                has_glue = False
            case config.BufsizeSettings():
                max_edns = settings.size
            case _ if _may_differ(settings, chain):
                return None
    if rules is None or any(is_subdomain(other, zone) for other in other_zones for zone in _zones(chain)):
        return None
    return rules


class KeptRules(NamedTuple):
    """How answers that a block's cache keeps must look when they are given without it."""

    cache: Cache
    shuffles: bool = False
    max_edns: int = 0


def kept_rules(chain: Chain) -> KeptRules | None:
    """What holds for a block's first cache; None without one, or when a plugin in front must see every question."""
    shuffles, max_edns = False, 0
    for settings in chain.settings.plugins:
        match settings:
            case config.CacheSettings():
                # An old answer that is better than a new denial takes a look at both: the plugin's part.
                chooses = settings.prefers_positive and settings.stale_for
                return None if chooses else KeptRules(chain.caches[-1], shuffles, max_edns)
            case config.LoadbalanceSettings() if not settings.prefer and not settings.weights:
                shuffles = True
            case config.BufsizeSettings():
                max_edns = settings.size
            case config.LocalSettings():
                pass  # it answers names of its own, which therefore no cache behind it keeps
            case _ if not isinstance(settings, _HARMLESS):
                return None
    return None


def _may_differ(settings: object, chain: Chain) -> bool:
    """A plugin in front could answer a name of the cluster, or the same name differently later."""
    match settings:
        case config.CacheSettings():
            return _cache_covers(settings, chain)
        case config.ExternalSettings() | config.HostsSettings():
            return not _is_apart(settings.zones, chain)
    return not isinstance(settings, _HARMLESS)


def _zones(chain: Chain) -> tuple[Name, ...]:
    return chain.kubernetes[0][0].zones


def _cache_covers(settings: config.CacheSettings, chain: Chain) -> bool:
    """Cached answers count their TTL down; a zone that is cached is therefore not answered from finished ones.

    Reverse zones are: there a Service's answer is not worth a second opinion, and its TTL starts anew.
    """
    for zone in _zones(chain)[:1]:
        if longest_zone(zone, settings.zones) is None:
            continue
        is_success_kept = longest_zone(zone, settings.no_success) is None
        is_denial_kept = longest_zone(zone, settings.no_denial) is None
        if is_success_kept or is_denial_kept:
            return True
    return False


def _is_apart(zones: tuple[Name, ...], chain: Chain) -> bool:
    """No zone of one list holds a zone of the other."""
    ours = _zones(chain)
    return not any(is_subdomain(a, b) or is_subdomain(b, a) for a in zones for b in ours)
