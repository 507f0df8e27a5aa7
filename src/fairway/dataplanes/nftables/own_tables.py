"""Small tables beside the fairway table, as data: the way out for pods, host ports, DNS without conntrack.

Each is constant rules; only host ports have maps that grow. They are tables of their own because they belong to other
parts than the proxy, and come and go without it. Written in nft's own idiom, so that any `nft` lists and loads them.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from typing import Final, NamedTuple

from fairway.dataplanes.nftables.expressions import (
    Base,
    Bitwise,
    Chain,
    ChainKind,
    Code,
    Compare,
    Comparison,
    Ct,
    CtKey,
    Decide,
    DestinationNat,
    Expression,
    Fib,
    FibFlag,
    Hook,
    HookPoint,
    Lookup,
    Masquerade,
    Meta,
    MetaKey,
    OneOf,
    Payload,
    Reject,
    Rule,
    Untracked,
    Verdict,
)
from fairway.dataplanes.nftables.rules import Registers, comes_by, destination, source
from fairway.dataplanes.nftables.skeleton import (
    INVALID_PRIORITY,
    LOCALHOST_PRIORITY,
    MASQUERADE_PRIORITY,
    NAT_PRIORITY,
    Field,
    SetSpec,
    Skeleton,
)
from fairway.values.address import LOOPBACK6, Address, Family, Prefix, mask
from fairway.values.protocol import Protocol

EGRESS: Final = "fw-egress"
HOST_PORTS: Final = "fw-hostports"
DNS: Final = "fw-dns"
BALANCERS: Final = "fw-balancers"

PORTS: Final = "ports"
"""address . protocol . port -> the pod's address . port"""
ANY_PORTS: Final = "any-ports"
"""protocol . port -> the pod's address . port, at every address of the node"""
HAIRPIN: Final = "hairpin"
"""address . address of each pod that has a host port, since it may use it itself"""

_IFNAMSIZ = 16
_RAW_PRIORITY = -300
_DNS_PORT = (53).to_bytes(2, "big")
_STATUS_DNAT = (0x20).to_bytes(4, sys.byteorder)
_STATE_NEW = (8).to_bytes(4, sys.byteorder)
_RTN_LOCAL = (2).to_bytes(4, sys.byteorder)


class OwnTable(NamedTuple):
    """A table: its name, what a person reads in its listing, and what stands in it."""

    name: str
    comment: str
    skeleton: Skeleton

    @property
    def family(self) -> Family:
        return self.skeleton.family


def egress_table(family: Family, inside: Iterable[Prefix], link: str, name: str = EGRESS) -> OwnTable:
    """On the host: what pods and nodes (`inside`) send out by another interface than their own `link` is masqueraded.

    Between ranges of the cluster nothing is: that traffic stays on the link.
    """
    rules = [
        Rule(
            (*_in(source(Registers.of(family), 0), prefix), *_leaves_by(link, inverted=True), Masquerade()),
            f"{prefix} to the outside",
        )
        for prefix in inside
        if prefix.family is family
    ]
    hook = Hook(ChainKind.NAT, HookPoint.POSTROUTING, MASQUERADE_PRIORITY)
    chains = (Chain("postrouting", tuple(rules), hook),)
    return _table(name, "Fairway: the cluster's way out", family, (), chains)


def host_ports_table(family: Family) -> OwnTable:
    """On a node: packets to host ports go to their pods; answers to the node itself and to the pod itself come back."""
    r = Registers.of(family)
    number = int(socket.AF_INET if family is Family.IPV4 else socket.AF_INET6)
    translate = DestinationNat(number, 0, r.width)
    is_known = (Meta(MetaKey.L4PROTO, 0), OneOf(0, frozenset(Protocol)))
    protocol_and_port = (Meta(MetaKey.L4PROTO, 0), Payload(Base.TRANSPORT, 2, 2, 1))
    exact = (
        *is_known,
        destination(r, 0),
        Meta(MetaKey.L4PROTO, r.width),
        Payload(Base.TRANSPORT, 2, 2, r.width + 1),
        Lookup(PORTS, 0, 0),
        translate,
    )
    anywhere = (*_is_own(r), *is_known, *protocol_and_port, Lookup(ANY_PORTS, 0, 0), translate)
    jump = (Rule((Decide(Verdict(Code.JUMP, "hostports")),), "packets to host ports"),)
    # Behind the proxy's chains: an address of a Service is never a host port's.
    priority = NAT_PRIORITY + 1
    chains = [
        Chain("prerouting", jump, Hook(ChainKind.NAT, HookPoint.PREROUTING, priority)),
        Chain("output", jump, Hook(ChainKind.NAT, HookPoint.OUTPUT, priority)),
        Chain("hostports", (Rule(exact, "at one address"), Rule(anywhere, "at every address of the node"))),
        _host_ports_postrouting(r),
    ]
    if family is Family.IPV4:
        guard = (*comes_by("lo", is_prefix=False, inverted=True), *_first_byte(r, 127), _drop())
        rule = Rule(guard, "route_localnet, needed for host ports at 127.0.0.1, would let these in")
        chains.append(Chain("localhost", (rule,), Hook(ChainKind.FILTER, HookPoint.PREROUTING, LOCALHOST_PRIORITY)))
    target = (Field.ADDRESS, Field.PORT)
    sets = (
        SetSpec(PORTS, (Field.ADDRESS, Field.PROTOCOL, Field.PORT), target, comment="at one address"),
        SetSpec(ANY_PORTS, (Field.PROTOCOL, Field.PORT), target, comment="at every address of the node"),
        SetSpec(HAIRPIN, (Field.ADDRESS, Field.ADDRESS), comment="pods that may use their own host port"),
    )
    return _table(HOST_PORTS, "Fairway: host ports of pods", family, sets, tuple(chains))


def _host_ports_postrouting(r: Registers) -> Chain:
    untranslated = (
        Ct(CtKey.STATUS, 0),
        Bitwise(0, 0, _STATUS_DNAT, bytes(4)),
        Compare(0, Comparison.EQUAL, bytes(4)),
        Decide(Verdict(Code.RETURN)),
    )
    hairpin = (source(r, 0), destination(r, r.width), Lookup(HAIRPIN, 0), Masquerade())
    rules = [
        Rule(untranslated, "not sent to a host port, nor to a Service"),
        Rule(hairpin, "a pod that uses its own host port"),
    ]
    if r.family is Family.IPV4:
        own = source(r, 0)._replace(length=1)
        localhost = (
            own,
            Compare(0, Comparison.EQUAL, b"\x7f"),
            *_leaves_by("lo", inverted=True),
            Masquerade(),
        )
        rules.append(Rule(localhost, "127.0.0.1 means somebody else to a pod"))
    return Chain("postrouting", tuple(rules), Hook(ChainKind.NAT, HookPoint.POSTROUTING, MASQUERADE_PRIORITY))


def balancers_table(family: Family, ranges: Iterable[Prefix]) -> OwnTable:
    """On a node: what is still for a load-balancer address when it would be forwarded is for no Service, and refused.

    The host routes these ranges to the nodes, and nodes would send it back. Answers to the host's own address in a
    range are no new connections.
    """
    is_new = (Ct(CtKey.STATE, 0), Bitwise(0, 0, _STATE_NEW, bytes(4)), Compare(0, Comparison.NOT_EQUAL, bytes(4)))
    port_unreachable = Reject(3 if family is Family.IPV4 else 4)
    rules = [
        Rule((*_in(destination(Registers.of(family), 0), one), *is_new, port_unreachable), f"no Service has it: {one}")
        for one in ranges
        if one.family is family
    ]
    hook = Hook(ChainKind.FILTER, HookPoint.FORWARD, INVALID_PRIORITY)
    chains = (Chain("forward", tuple(rules), hook),)
    return _table(BALANCERS, "Fairway: load-balancer addresses that nobody has", family, (), chains)


def dns_table(family: Family, address: Address) -> OwnTable:
    """On a node: queries to its DNS server at this address, and the answers, get no conntrack entry.

    As NodeLocal DNSCache has it: no entry to be raced for by A and AAAA, none that outlives its server, no table that
    fills up (kubernetes #56903, #62628).
    """
    r = Registers.of(family)
    rules = {}
    for name, offset, place in (("queries", 2, destination(r, 0)), ("answers", 0, source(r, 0))):
        rules[name] = tuple(
            Rule(
                (
                    place,
                    Compare(0, Comparison.EQUAL, address),
                    Meta(MetaKey.L4PROTO, 0),
                    Compare(0, Comparison.EQUAL, bytes((protocol,))),
                    Payload(Base.TRANSPORT, offset, 2, 0),
                    Compare(0, Comparison.EQUAL, _DNS_PORT),
                    Untracked(),
                ),
                f"{name} by {protocol.name}",
            )
            for protocol in (Protocol.UDP, Protocol.TCP)
        )
    pre = Hook(ChainKind.FILTER, HookPoint.PREROUTING, _RAW_PRIORITY)
    out = Hook(ChainKind.FILTER, HookPoint.OUTPUT, _RAW_PRIORITY)
    chains = (Chain("prerouting", rules["queries"], pre), Chain("output", rules["queries"] + rules["answers"], out))
    return _table(DNS, "Fairway: DNS of this node, without conntrack", family, (), chains)


def _table(name: str, comment: str, family: Family, sets: tuple[SetSpec, ...], chains: tuple[Chain, ...]) -> OwnTable:
    skeleton = Skeleton(family, {one.name: one for one in sets}, {one.name: one for one in chains}, {})
    return OwnTable(name, comment, skeleton)


def _in(address: Payload, prefix: Prefix) -> tuple[Expression, ...]:
    """The address that is loaded into register 0 is inside."""
    width = prefix.family.width
    bits = mask(width, prefix.length).to_bytes(width, "big")
    return (address, Bitwise(0, 0, bits, bytes(width)), Compare(0, Comparison.EQUAL, prefix.address))


def _is_own(r: Registers) -> tuple[Expression, ...]:
    """Sent to an address of this node; ::1 has no way out of the node, so that a translation would lose the packet."""
    own: tuple[Expression, ...] = (Fib(FibFlag.DADDR, 0), Compare(0, Comparison.EQUAL, _RTN_LOCAL))
    if r.family is Family.IPV6:
        own = (destination(r, 0), Compare(0, Comparison.NOT_EQUAL, LOOPBACK6), *own)
    return own


def _first_byte(r: Registers, byte: int) -> tuple[Expression, ...]:
    return (destination(r, 0)._replace(length=1), Compare(0, Comparison.EQUAL, bytes((byte,))))


def _leaves_by(interface: str, *, inverted: bool) -> tuple[Expression, ...]:
    comparison = Comparison.NOT_EQUAL if inverted else Comparison.EQUAL
    return (Meta(MetaKey.OIFNAME, 0), Compare(0, comparison, interface.encode().ljust(_IFNAMSIZ, b"\0")))


def _drop() -> Decide:
    return Decide(Verdict(Code.DROP))
