"""The constant part of the fairway table: sets, chains and rules, as data (docs/nftables.md).

Nothing here grows with the number of Services: all that is per Service is an element of a map or set. Chains for
affinity timeouts and rules for prefix lengths exist for those values that are in use. What the register programs
do is decided in `rules`; how any of it is written to a kernel is not known here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import Enum, IntEnum
from typing import NamedTuple

from fairway.dataplanes.nftables import layout, rules
from fairway.dataplanes.nftables.expressions import (
    Bitwise,
    Chain,
    ChainKind,
    Code,
    Compare,
    Comparison,
    Ct,
    CtKey,
    Decide,
    Dispatch,
    Expression,
    Hook,
    HookPoint,
    Lookup,
    Masquerade,
    Reject,
    Rule,
    Verdict,
)
from fairway.dataplanes.nftables.layout import Flag, Policy
from fairway.values.address import Family

TABLE_COMMENT = "Fairway: Kubernetes Services. The rules are not what they read as: see docs/nftables.md"

NAT_PRIORITY = -100
"""prerouting and output: dstnat"""
MASQUERADE_PRIORITY = 100
"""postrouting: srcnat"""
LOCALHOST_PRIORITY = -110
"""before dstnat, so that addresses are still those of the wire"""
INVALID_PRIORITY = 0
"""forward: filter"""

RANGES_CHAIN = "source-range"
_STATUS_DNAT = (0x20).to_bytes(4, sys.byteorder)
_STATE_INVALID = (1).to_bytes(4, sys.byteorder)


class PodRanges(NamedTuple):
    """Local pods are the sources inside PODS (detectLocalMode ClusterCIDR and NodeCIDR)."""


class PodInterface(NamedTuple):
    """Local pods are what comes in by this interface (BridgeInterface), or by one whose name starts so."""

    name: str
    is_prefix: bool


class SkeletonSettings(NamedTuple):
    """All that the skeleton depends on."""

    family: Family
    pods: PodRanges | PodInterface | None = None
    """How local pods are told apart; None when there is no detector: then nobody is a pod."""
    drop_invalid: bool = True
    """Drop forwarded packets that conntrack calls invalid; not with tcpBeLiberal."""
    guard_localhost: bool = False
    """Drop packets to 127.0.0.0/8 that came in by an interface: route_localnet lets them in (localhost node ports)."""
    affinity_size: int = 1 << 20
    """How many pairs of service port and client are remembered at most, at some 120 bytes each."""


class Field(Enum):
    """A field of a key or of data: nft's type number, and bytes (0: an address of the table's family)."""

    ADDRESS = (0, 0)
    ADDRESS6 = (8, 16)
    NUMBER = (7, 4)
    """Big-endian; listed by nft as an IPv4 address, since it knows no nameless number: N = 3 is 0.0.0.3."""
    PROTOCOL = (12, 1)
    PORT = (13, 2)
    WORD = (19, 4)
    """Listed by nft as a mark."""

    def width(self, family: Family) -> int:
        return self.value[1] or family.width

    def number(self, family: Family) -> int:
        return self.value[0] or (7 if family is Family.IPV4 else 8)


class SetKind(IntEnum):
    """How the kernel keeps elements."""

    HASH = 0
    INTERVAL = 4
    DYNAMIC = 0x10 | 0x20


class SetSpec(NamedTuple):
    """A set, or with `data` a map, or with `leads` a map to verdicts."""

    name: str
    key: tuple[Field, ...]
    data: tuple[Field, ...] = ()
    kind: SetKind = SetKind.HASH
    leads: bool = False
    size: int = 0
    comment: str = ""

    def key_width(self, family: Family) -> int:
        return _width(self.key, family)

    def data_width(self, family: Family) -> int:
        return _width(self.data, family)


class Skeleton(NamedTuple):
    """What must stand in the kernel besides the elements of layout.CONTAINERS."""

    family: Family
    sets: dict[str, SetSpec]
    chains: dict[str, Chain]
    verdicts: dict[str, dict[bytes, Verdict]]
    """Elements of the verdict maps."""


def _width(fields: tuple[Field, ...], family: Family) -> int:
    if len(fields) == 1:
        return fields[0].width(family)
    return sum((field.width(family) + 3) // 4 * 4 for field in fields)


_A, _W = Field.ADDRESS, Field.WORD
_FRONTEND = (Field.ADDRESS, Field.PROTOCOL, Field.PORT)
_DISPATCH = (_W, _W, _W, _W)
_BACKEND = (Field.ADDRESS, Field.PORT)

SETS = (
    SetSpec(layout.FRONTENDS, _FRONTEND, _DISPATCH, comment="0 . svc . policy . flags"),
    SetSpec(layout.INSIDE, _FRONTEND, _DISPATCH, comment="for pods and the node: 0 . svc . policy . flags"),
    SetSpec(layout.GUARDED, _FRONTEND, _DISPATCH, comment="once past the source ranges: 0 . svc . policy . flags"),
    SetSpec(layout.COUNTS, (_W,), (_W, Field.NUMBER), comment="svc : 0 . N, listed as an address"),
    SetSpec(
        layout.SHARES,
        (Field.ADDRESS6,),
        (_W, _W),
        SetKind.INTERVAL,
        comment="0 . 0 . N . random : 0 . place; equal shares for each N",
    ),
    SetSpec(layout.BACKENDS, (_W, _W), _BACKEND, comment="place . svc : backend"),
    SetSpec(layout.BACKEND_IDS, (_W, _W), (_W, _W), comment="place . svc : 0 . id, where there is affinity"),
    SetSpec(layout.ENDPOINTS, (_W, _W), _BACKEND, comment="id . svc : backend, where there is affinity"),
    SetSpec(
        layout.AFFINITY,
        (_W, _A),
        (_W, _W),
        SetKind.DYNAMIC,
        comment="svc . client : 0 . id of its backend",
    ),
    SetSpec(layout.SOURCE_RANGES, (_W, _A, _W), comment="svc . network . prefix length"),
    SetSpec(layout.HAIRPIN, (_A, _A), comment="backends that may be their own client"),
    SetSpec(layout.CLUSTER_IPS, (_A,), comment="their unknown ports are refused"),
    SetSpec(layout.SERVICE_CIDRS, (_A,), kind=SetKind.INTERVAL, comment="unowned addresses inside are dropped"),
    SetSpec(layout.PODS, (_A,), kind=SetKind.INTERVAL, comment="sources that are local pods"),
    SetSpec(layout.POLICIES, (_W,), leads=True, comment="policy of a frontend : what to do"),
    SetSpec(layout.GUARDED_POLICIES, (_W,), leads=True, comment="policy once past the source ranges : what to do"),
    SetSpec(layout.OUTSIDE_POLICIES, (_W,), leads=True, comment="policy of an outsider, above the flags : what to do"),
    SetSpec(layout.INSIDE_POLICIES, (_W,), leads=True, comment="policy for pods and the node : what to do"),
    SetSpec(layout.MASQUERADES, (_W,), leads=True, comment="flags of a frontend : which sources are masqueraded"),
)


def build_skeleton(settings: SkeletonSettings, timeouts: Iterable[int] = (), lengths: Iterable[int] = ()) -> Skeleton:
    """The whole skeleton, with chains for these affinity timeouts and rules for these prefix lengths."""
    seconds = sorted(timeouts)
    chains = (
        *_base_chains(settings),
        _services(settings),
        *_policy_chains(settings),
        *_guard_chains(settings, sorted(lengths, reverse=True)),
        *(chain for each in seconds for chain in _affinity_chains(settings, each)),
        *_masquerade_chains(settings),
    )
    return Skeleton(
        settings.family,
        {spec.name: _sized(spec, settings) for spec in SETS},
        {chain.name: chain for chain in chains},
        {
            layout.POLICIES: _policies(seconds, {Policy.GUARD: "guard", layout.LOCAL: "local"}),
            layout.GUARDED_POLICIES: _policies(seconds, {layout.LOCAL: "local-guarded"}),
            layout.OUTSIDE_POLICIES: _policies(seconds, {}, shift=layout.OUTSIDE_SHIFT),
            layout.INSIDE_POLICIES: _inside_policies(seconds),
            layout.MASQUERADES: _masquerades(),
        },
    )


def _sized(spec: SetSpec, settings: SkeletonSettings) -> SetSpec:
    return spec._replace(size=settings.affinity_size) if spec.kind is SetKind.DYNAMIC else spec


def affinity_timeout(chain: str) -> int | None:
    """The timeout that this chain exists for; None if it is another chain."""
    prefix, _, seconds = chain.rpartition("-")
    return int(seconds) if prefix == "affinity" and seconds.isascii() and seconds.isdigit() else None


def range_length(rule: Rule) -> int | None:
    """The prefix length that this rule of RANGES_CHAIN checks; None if it is another rule."""
    for expression in rule.expressions:
        if isinstance(expression, Bitwise) and len(expression.mask) == 4 and expression.mask == bytes(4):
            return layout.unpack_number_key(expression.xor)
    return None


def _base_chains(settings: SkeletonSettings) -> tuple[Chain, ...]:
    jump = (Rule((Decide(Verdict(Code.JUMP, "services")),), "packets to Services"),)
    chains = [
        Chain("prerouting", jump, Hook(ChainKind.NAT, HookPoint.PREROUTING, NAT_PRIORITY)),
        Chain("output", jump, Hook(ChainKind.NAT, HookPoint.OUTPUT, NAT_PRIORITY)),
        Chain("postrouting", _postrouting(settings), Hook(ChainKind.NAT, HookPoint.POSTROUTING, MASQUERADE_PRIORITY)),
    ]
    if settings.drop_invalid:
        rule = Rule(
            (
                Ct(CtKey.STATE, 0),
                Bitwise(0, 0, _STATE_INVALID, bytes(4)),
                Compare(0, Comparison.NOT_EQUAL, bytes(4)),
                _drop(),
            ),
            "else a late packet would reach the client untranslated and reset its connection",
        )
        chains.append(Chain("forward", (rule,), Hook(ChainKind.FILTER, HookPoint.FORWARD, INVALID_PRIORITY)))
    if settings.guard_localhost and settings.family is Family.IPV4:
        address = rules.destination(rules.Registers.of(settings.family), 0)
        rule = Rule(
            (
                *rules.comes_by("lo", is_prefix=False, inverted=True),
                address._replace(length=1),
                Compare(0, Comparison.EQUAL, b"\x7f"),
                _drop(),
            ),
            "route_localnet, needed for localhost node ports, would let these in",
        )
        hook = Hook(ChainKind.FILTER, HookPoint.PREROUTING, LOCALHOST_PRIORITY)
        chains.append(Chain("localhost", (rule,), hook))
    return tuple(chains)


def _services(settings: SkeletonSettings) -> Chain:
    r = rules.Registers.of(settings.family)
    address = rules.destination(r, 0)
    return Chain(
        "services",
        (
            Rule(
                (*rules.find_frontend(r, layout.FRONTENDS, r.policy), Dispatch(layout.POLICIES, r.policy)),
                "frontends by address, protocol and port; their policy says what to do",
            ),
            Rule((address, Lookup(layout.CLUSTER_IPS, 0), _goto("refuse")), "unknown ports of cluster IPs"),
            Rule((address, Lookup(layout.SERVICE_CIDRS, 0), _drop()), "addresses that no Service has"),
        ),
    )


def _policy_chains(settings: SkeletonSettings) -> tuple[Chain, ...]:
    r = rules.Registers.of(settings.family)
    again = "the same again: the first may have met a change half way"
    refuse = _refusal(settings.family, "no valid backend was found: never onward")
    chains = [Chain("refuse", (_refusal(settings.family, "no endpoints, or unknown port"),))]
    for prefix, container in (("", layout.FRONTENDS), ("inside-", layout.INSIDE)):
        any_backend = rules.pick(r, container)
        by_id = rules.pick_by_id(r, container)
        body = (
            Rule(any_backend, "N = counts[svc]; place = shares[N . random]; dnat to backends[place . svc]"),
            Rule(any_backend, again),
            Rule(rules.pick_first(r, container), "dnat to backends[0 . svc], which is there if any is"),
            refuse,
        )
        chains.append(Chain(f"{prefix}pick", body))
        body = (
            Rule(by_id, "id = backend-ids[place . svc]; dnat to endpoints[id . svc]"),
            Rule(by_id, again),
            Rule(rules.pick_first_by_id(r, container), "id = backend-ids[0 . svc]; dnat to endpoints[id . svc]"),
            refuse,
        )
        chains.append(Chain(f"{prefix}pick-by-id", body))
    find = (*rules.find_frontend(r, layout.GUARDED, r.policy), Dispatch(layout.GUARDED_POLICIES, r.policy))
    chains.append(Chain("guarded", (Rule(find, "past the source ranges"), refuse)))
    find = (*rules.find_frontend(r, layout.INSIDE, r.policy), Dispatch(layout.INSIDE_POLICIES, r.policy))
    chains.append(Chain("inside", (Rule(find, "for pods and the node"), refuse)))
    chains.append(_local_chain(settings, "local", layout.FRONTENDS))
    chains.append(_local_chain(settings, "local-guarded", layout.GUARDED))
    return tuple(chains)


def _local_chain(settings: SkeletonSettings, name: str, container: str) -> Chain:
    r = rules.Registers.of(settings.family)
    insiders = [Rule((*rules.is_node(r), _goto("inside")), "the node itself")]
    if settings.pods is not None:
        insiders.append(Rule((*_is_pod(settings), _goto("inside")), "local pods"))
    find = (*rules.find_outside_policy(r, container), Dispatch(layout.OUTSIDE_POLICIES, r.flags))
    refuse = _refusal(settings.family, "no such policy: never onward")
    return Chain(name, (*insiders, Rule(find, "anybody else: the policy above the flags"), refuse))


def _is_pod(settings: SkeletonSettings, *, inverted: bool = False) -> tuple[Expression, ...]:
    match settings.pods:
        case PodInterface(name, is_prefix):
            return rules.comes_by(name, is_prefix=is_prefix, inverted=inverted)
        case _:
            r = rules.Registers.of(settings.family)
            return (rules.source(r, 0), Lookup(layout.PODS, 0, None, inverted))


def _guard_chains(settings: SkeletonSettings, lengths: list[int]) -> tuple[Chain, Chain]:
    r = rules.Registers.of(settings.family)
    allowed = tuple(
        Rule((*rules.in_source_range(r, length), Decide(Verdict(Code.RETURN))), f"source ranges of length {length}")
        for length in lengths
    )
    check = Rule((Decide(Verdict(Code.JUMP, RANGES_CHAIN)),), "comes back from there if the source is in a range")
    return (
        Chain("guard", (check, Rule((_goto("guarded"),), "past the source ranges"))),
        Chain(RANGES_CHAIN, (*allowed, Rule((_drop(),), "outside all source ranges"))),
    )


def _affinity_chains(settings: SkeletonSettings, seconds: int) -> tuple[Chain, ...]:
    r = rules.Registers.of(settings.family)
    chains = []
    for prefix, container in (("", layout.FRONTENDS), ("inside-", layout.INSIDE)):
        follow = rules.follow_affinity(r, container, seconds)
        start = rules.start_affinity(r, container, seconds)
        body = (
            Rule(follow, "id = affinity[svc . client]; dnat to endpoints[id . svc]"),
            Rule(start, "id = backend-ids[place . svc]; dnat to endpoints[id . svc], remembered in affinity"),
            Rule((_goto(f"{prefix}pick-by-id"),), "affinity is full, or a change was met half way"),
        )
        chains.append(Chain(f"{prefix}affinity-{seconds}", body))
    return tuple(chains)


def _postrouting(settings: SkeletonSettings) -> tuple[Rule, ...]:
    r = rules.Registers.of(settings.family)
    untranslated = (
        Ct(CtKey.STATUS, 0),
        Bitwise(0, 0, _STATUS_DNAT, bytes(4)),
        Compare(0, Comparison.EQUAL, bytes(4)),
        Decide(Verdict(Code.RETURN)),
    )
    hairpin = (
        rules.source(r, 0),
        rules.destination(r, r.width),
        Lookup(layout.HAIRPIN, 0),
        *rules.find_original_frontend(r, layout.FRONTENDS),
        Masquerade(),
    )
    by_flags = (
        *rules.find_masquerade_flags(r),
        Dispatch(layout.MASQUERADES, r.flags),
    )
    return (
        Rule(untranslated, "not sent to a Service"),
        Rule(hairpin, "a backend that is its own client"),
        Rule(by_flags, "the flags of the frontend that the packet was sent to say whom to masquerade"),
    )


def _masquerade_chains(settings: SkeletonSettings) -> tuple[Chain, ...]:
    r = rules.Registers.of(settings.family)
    outside = (
        ()
        if settings.pods is None
        else (Rule((*_is_pod(settings, inverted=True), Masquerade()), "the source is no local pod"),)
    )
    node = (Rule((*rules.is_node(r), Masquerade()), "the source is the node"),)
    return (
        Chain("masquerade-always", (Rule((Masquerade(),), "whoever the source is"),)),
        Chain("masquerade-outside", outside),
        Chain("masquerade-node", node),
        Chain("masquerade-outside-node", (*outside, *node)),
    )


def _policies(timeouts: list[int], more: dict[int, str], *, shift: int = 0) -> dict[bytes, Verdict]:
    chains = {Policy.PICK: "pick", Policy.REJECT: "refuse"} | more
    chains |= {Policy.affinity(each): f"affinity-{each}" for each in timeouts}
    found = {layout.svc_key(policy << shift): Verdict(Code.GOTO, chain) for policy, chain in chains.items()}
    found[layout.svc_key(Policy.DROP << shift)] = Verdict(Code.DROP)
    return found


def _inside_policies(timeouts: list[int]) -> dict[bytes, Verdict]:
    found = {
        layout.svc_key(Policy.PICK): Verdict(Code.GOTO, "inside-pick"),
        layout.svc_key(Policy.REJECT): Verdict(Code.GOTO, "refuse"),
        layout.svc_key(Policy.DROP): Verdict(Code.DROP),
    }
    for each in timeouts:
        found[layout.svc_key(Policy.affinity(each))] = Verdict(Code.GOTO, f"inside-affinity-{each}")
    return found


def _masquerades() -> dict[bytes, Verdict]:
    found: dict[bytes, Verdict] = {}
    for number in range(1, 8):
        flags = Flag(number)
        if Flag.MASQUERADE_ALWAYS in flags:
            chain = "masquerade-always"
        elif flags == Flag.MASQUERADE_OUTSIDE | Flag.MASQUERADE_NODE:
            chain = "masquerade-outside-node"
        else:
            chain = "masquerade-outside" if Flag.MASQUERADE_OUTSIDE in flags else "masquerade-node"
        found[layout.svc_key(number)] = Verdict(Code.GOTO, chain)
    return found


def _refusal(family: Family, comment: str) -> Rule:
    return Rule((Reject(3 if family is Family.IPV4 else 4),), comment)


def _goto(chain: str) -> Decide:
    return Decide(Verdict(Code.GOTO, chain))


def _drop() -> Decide:
    return Decide(Verdict(Code.DROP))
