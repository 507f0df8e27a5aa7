"""The maps and sets of the fairway table and the bytes of their keys and data (docs/nftables.md).

One table of this layout stands in each IP family. Keys and data are packed as the kernel's registers hold them:
each field padded with zeros to 4 bytes, addresses and ports in network order. The same bytes are what the kernel
dumps, so wanted and known are compared without decoding. What a Service is, is not known here.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from fairway.reconcile.items import Container
from fairway.values.address import Address, Prefix

TABLE = "fairway"
INTERIM_TABLE = "fairway-interim"
"""Stands in while a table of another layout is replaced."""

FRONTENDS = "frontends"
"""address . protocol . port -> 0 . svc . policy . flags"""
INSIDE = "inside-frontends"
"""The same key and data, for frontends whose insiders (pods, the node) are treated otherwise than outsiders."""
GUARDED = "guarded-frontends"
"""The same key and data: what a frontend with policy GUARD is, once the source range check is passed."""
COUNTS = "counts"
"""svc -> 0 . N, and behind the data the comment that names the service port and scope: ids are recovered from it"""
BACKENDS = "backends"
"""index . svc -> address . port, for sets without affinity"""
BACKEND_IDS = "backend-ids"
"""index . svc -> 0 . id, for sets with affinity"""
ENDPOINTS = "endpoints"
"""id . svc -> address . port, for sets with affinity; is also the validity test of a remembered id"""
SOURCE_RANGES = "source-ranges"
"""svc . network . prefix length"""
RANGE_LENGTHS = "range-lengths"
"""Pseudo-container: one item a distinct prefix length in SOURCE_RANGES; the writer makes a rule of it."""
HAIRPIN = "hairpin"
"""address . address: every backend, since any may be its own client (rule 11)"""
CLUSTER_IPS = "cluster-ips"
"""address: every cluster IP; its unknown ports are refused"""
SERVICE_CIDRS = "service-cidrs"
"""network: unowned addresses inside are dropped (interval set)"""
PODS = "pods"
"""network: sources that are local pods (interval set)"""
SHARES = "shares"
"""N . random -> 0 . index (interval map); written as COUNTS needs it, constant for each N, not of any owner."""
AFFINITY = "affinity"
"""svc, its lowest bit cleared . client address -> 0 . id, with a timeout; written by packets alone.

The two sets of backends of a service port are the svc numbers 2n and 2n+1, so that they share affinity (rule 18).
"""
POLICIES = "policies"
"""policy -> chain: a handful of elements"""
GUARDED_POLICIES = "guarded-policies"
"""policy behind GUARD -> chain: a map of its own, since the kernel refuses a map that leads back to itself"""
OUTSIDE_POLICIES = "outside-policies"
"""policy of an outsider, shifted as it stands above the flags -> chain: a handful of elements"""
INSIDE_POLICIES = "inside-policies"
"""policy of an insider -> chain: a handful of elements"""
MASQUERADES = "masquerades"
"""flags -> chain: a handful of elements"""
TIMEOUTS = "timeouts"
"""Pseudo-container: one item a distinct affinity timeout; the writer turns it into chains and a dispatch element."""

CONTAINERS = (
    Container(PODS, 1, 0),
    Container(SERVICE_CIDRS, 1, 0),
    Container(TIMEOUTS, 0, 3),
    Container(RANGE_LENGTHS, 0, 3),
    Container(BACKENDS, 0, 3),
    Container(ENDPOINTS, 0, 3),
    Container(BACKEND_IDS, 0, 3),
    Container(HAIRPIN, 0, 3),
    Container(SOURCE_RANGES, 0, 3),
    Container(COUNTS, 1, 3),
    Container(GUARDED, 1, 3),
    Container(INSIDE, 1, 2),
    Container(FRONTENDS, 2, 2),
    Container(CLUSTER_IPS, 2, 2),
)
ATOMIC_STAGES = 3
"""Stages 0 to 2 are one transaction; stage 3, the removal of what nobody points to any more, is a second one.

A packet's lookups can straddle a commit: what it read a moment ago must still lead somewhere. The interval sets
remove first, in the same transaction: the kernel refuses ranges that overlap.
"""


class Policy(IntEnum):
    """Where a frontend sends its packets: a key of the dispatch map. Affinity has one per timeout, above BASE.

    The chain that a policy leads to looks up the svc again: those of GUARDED and INSIDE frontends that PICK or have
    affinity read FRONTENDS and INSIDE, so a key has the same svc in FRONTENDS and in GUARDED. INSIDE may have PICK,
    REJECT, DROP and AFFINITY_BASE only; its flags are not read, those of FRONTENDS are.
    """

    PICK = 1
    REJECT = 2
    DROP = 3
    GUARD = 4
    """Check the source ranges, then go on as GUARDED says."""
    LOCAL_PICK = 5
    """Pods and the node as INSIDE says; outsiders PICK."""
    LOCAL_DROP = 6
    """Pods and the node as INSIDE says; outsiders DROP."""
    AFFINITY_BASE = 1 << 20
    """+ seconds: affinity of that timeout."""
    LOCAL_AFFINITY_BASE = 2 << 20
    """+ seconds: pods and the node as INSIDE says; outsiders by affinity of that timeout."""

    @staticmethod
    def affinity(seconds: int) -> int:
        """Session affinity of that timeout."""
        return Policy.AFFINITY_BASE + seconds

    @staticmethod
    def local_affinity(seconds: int) -> int:
        """LOCAL_PICK, but outsiders with session affinity of that timeout."""
        return Policy.LOCAL_AFFINITY_BASE + seconds


def local_policy(policy: int) -> int:
    """The policy that looks where a packet comes from before it sends outsiders on as `policy` says."""
    if policy >= Policy.AFFINITY_BASE:
        return policy - Policy.AFFINITY_BASE + Policy.LOCAL_AFFINITY_BASE
    return Policy.LOCAL_PICK if policy == Policy.PICK else Policy.LOCAL_DROP


def outsider_policy(policy: int) -> int:
    """What a policy means to outsiders: the inverse of local_policy; any other policy is returned as it is."""
    if policy >= Policy.LOCAL_AFFINITY_BASE:
        return policy - Policy.LOCAL_AFFINITY_BASE + Policy.AFFINITY_BASE
    return _OUTSIDER.get(policy, policy)


_OUTSIDER: dict[int, int] = {Policy.LOCAL_PICK: Policy.PICK, Policy.LOCAL_DROP: Policy.DROP}


class Flag(IntFlag):
    """When a packet for a frontend is masqueraded in postrouting."""

    MASQUERADE_ALWAYS = 1
    MASQUERADE_OUTSIDE = 2
    """when the source is no local pod"""
    MASQUERADE_NODE = 4
    """when the source is one of the node's addresses"""


LOCAL = 7
"""In the kernel's elements the LOCAL_ policies are this one, and what outsiders get stands above the flags: a verdict
map with an element for each of them would have the kernel walk, for each timeout, the chains of all the others.
"""
OUTSIDE_SHIFT = 8


class Dispatch(NamedTuple):
    """Data of FRONTENDS, INSIDE and GUARDED."""

    svc: int
    policy: int
    flags: int

    def pack(self) -> bytes:
        """0 . svc . policy . flags"""
        outside = outsider_policy(self.policy)
        if outside != self.policy:
            return _DISPATCH.pack(0, self.svc, LOCAL, self.flags | outside << OUTSIDE_SHIFT)
        return _DISPATCH.pack(0, self.svc, self.policy, self.flags)

    @classmethod
    def unpack(cls, data: bytes) -> Dispatch:
        """The inverse of pack."""
        _, svc, policy, flags = _DISPATCH.unpack(data)
        if policy == LOCAL:
            return cls(svc, local_policy(flags >> OUTSIDE_SHIFT), flags & (1 << OUTSIDE_SHIFT) - 1)
        return cls(svc, policy, flags)


_DISPATCH = struct.Struct("=IIII")
_WORD = struct.Struct("=I")
_BIG = struct.Struct(">I")
_PORT = struct.Struct(">HH")
_PAIR = struct.Struct("=II")
_PAD_BIG = struct.Struct(">II")


def frontend_key(address: Address, protocol: int, port: int) -> bytes:
    """address . protocol . port"""
    return address + bytes((protocol, 0, 0, 0)) + _PORT.pack(port, 0)


def svc_key(svc: int) -> bytes:
    """svc (host order, as it stands in the data of FRONTENDS)"""
    return _WORD.pack(svc)


def unpack_svc_key(key: bytes) -> int:
    """The inverse of svc_key."""
    return int(_WORD.unpack(key)[0])


def affinity_key(svc: int, client: Address) -> bytes:
    """svc, its lowest bit cleared . client address"""
    return _WORD.pack(svc & ~1) + client


def count_data(count: int, comment: str = "") -> bytes:
    """0 . N (big-endian, since interval sets order by memcmp), then the element's comment."""
    return _PAD_BIG.pack(0, count) + comment.encode()


def place_key(index: int, svc: int) -> bytes:
    """index . svc, or id . svc"""
    return _PAIR.pack(index, svc)


def id_data(number: int) -> bytes:
    """0 . id"""
    return _PAIR.pack(0, number)


def address_data(address: Address, port: int) -> bytes:
    """address . port"""
    return address + _PORT.pack(port, 0)


def range_key(svc: int, network: Address, length: int) -> bytes:
    """svc . network . prefix length"""
    return _WORD.pack(svc) + network + _WORD.pack(length)


def network_key(network: Prefix) -> bytes:
    """Key of PODS and SERVICE_CIDRS: first address . last address. No two of them may overlap."""
    return network.address + network.last


def number_key(number: int) -> bytes:
    """Key of TIMEOUTS (seconds) and RANGE_LENGTHS (bits)."""
    return _WORD.pack(number)


def share_bounds(count: int) -> list[int]:
    """Where the ranges of SHARES for this N start and end, as 64-bit numbers N . random: N + 1 bounds."""
    return [(count << 32) + (place << 32) // count for place in range(count)] + [(count + 1) << 32]


def unpack_network_key(key: bytes) -> Prefix:
    """The inverse of network_key."""
    half = len(key) // 2
    differing = int.from_bytes(key[:half], "big") ^ int.from_bytes(key[half:], "big")
    return Prefix(Address(key[:half]), half * 8 - differing.bit_length())


def unpack_range_key(key: bytes) -> tuple[int, Address, int]:
    """The inverse of range_key: svc, network, prefix length."""
    return unpack_svc_key(key[:4]), Address(key[4:-4]), int(_WORD.unpack(key[-4:])[0])


def unpack_number_key(key: bytes) -> int:
    """The inverse of number_key."""
    return int(_WORD.unpack(key)[0])


def unpack_address_data(data: bytes) -> tuple[Address, int]:
    """The inverse of address_data."""
    return Address(data[:-4]), int.from_bytes(data[-4:-2], "big")


def unpack_frontend_key(key: bytes) -> tuple[Address, int, int]:
    """The inverse of frontend_key: address, protocol, port."""
    return Address(key[:-8]), key[-8], int.from_bytes(key[-4:-2], "big")


def unpack_place_key(key: bytes) -> tuple[int, int]:
    """The inverse of place_key."""
    index, svc = _PAIR.unpack(key)
    return index, svc


def unpack_id(data: bytes) -> int:
    """The inverse of id_data."""
    return int(_PAIR.unpack(data)[1])


def unpack_number(data: bytes) -> int:
    """N alone."""
    return int.from_bytes(data[4:8], "big")


def unpack_count(data: bytes) -> tuple[int, str]:
    """The inverse of count_data: N and the comment."""
    return int(_PAD_BIG.unpack(data[:8])[1]), data[8:].decode()
