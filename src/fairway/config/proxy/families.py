"""What the settings mean in one IP family: which families are served, node IPs, pod detection, node port addresses.

Pure: the node's own facts (its addresses, its Node object, what the kernel has) are handed in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from fairway.config.proxy.settings import LocalMode, Mode, NodePortKeyword, ProxySettings
from fairway.values.address import Address, Family, Prefix
from fairway.values.errors import UnavailableError


class Families(NamedTuple):
    """Which IP families a proxy serves, and as whom."""

    primary: Family
    served: tuple[Family, ...]
    """The primary one first."""
    node_ips: Mapping[Family, Address]
    """The node's IP in each family, where it is known; decides source ranges and `primary` node ports."""
    warnings: tuple[str, ...]


def detect_families(settings: ProxySettings, node_ips: Iterable[Address], available: Collection[Family]) -> Families:
    """Which families are served: both, unless the kernel lacks one.

    bindAddress wins over the Node object's addresses (`node_ips`, the first of a family counts) and names the
    primary family; the first node IP does otherwise; IPv4 when nothing is known. Raises UnavailableError when the
    kernel lacks the primary family.
    """
    known: dict[Family, Address] = {}
    for address in node_ips:
        known.setdefault(address.family, address)
    primary = next(iter(known), Family.IPV4)
    if settings.primary_hint is not None:
        primary = settings.primary_hint.family
        known[primary] = settings.primary_hint
    if primary not in available:
        raise UnavailableError(
            f"this node's primary IP family is {primary}, and this kernel has it switched off: "
            f"enable it, or set bindAddress to an address of the other family"
        )
    served = (primary, *(family for family in Family if family is not primary and family in available))
    return Families(primary, served, known, tuple(_family_warnings(settings, primary, served, known)))


def _family_warnings(
    settings: ProxySettings, primary: Family, served: tuple[Family, ...], known: Mapping[Family, Address]
) -> Iterable[str]:
    """What kube-proxy warns of as well: settings that fit no family that is served."""
    if primary not in known or known[primary].is_loopback:
        yield "the node's IP is not known: set bindAddress, or wait for the Node object to have an address"
    if settings.detect_local_mode is LocalMode.CLUSTER_CIDR and not _of(settings.cluster_cidrs, primary):
        said = "clusterCIDR: no block of the primary family, "
        yield f"{said}{primary}: pods are not told from others, so cluster IP traffic is not masqueraded"
    for block in settings.cluster_cidrs:
        if block.family not in served:
            yield f"clusterCIDR: {block} is {block.family}, which this node does not serve"
    blocks = [entry for entry in settings.node_port_addresses if isinstance(entry, Prefix)]
    if blocks and len(blocks) == len(settings.node_port_addresses):
        for family in served:
            if not _of(blocks, family):
                yield f"nodePortAddresses: no block is {family}, so node ports are served on all {family} addresses"


class LocalDetection(NamedTuple):
    """How a local pod is told in one family; `mode` None: not at all."""

    mode: LocalMode | None = None
    prefixes: tuple[Prefix, ...] = ()
    """ClusterCIDR and NodeCIDR: the source address is inside."""
    interface: str = ""
    """BridgeInterface: the interface's name; InterfaceNamePrefix: how its name begins."""


def local_detection(settings: ProxySettings, family: Family, pod_cidrs: Iterable[Prefix] = ()) -> LocalDetection:
    """How local pods are told in `family`. `pod_cidrs` are the Node object's, for NodeCIDR."""
    mode = settings.detect_local_mode
    match mode:
        case LocalMode.CLUSTER_CIDR:
            prefixes = _of(settings.cluster_cidrs, family)
        case LocalMode.NODE_CIDR:
            prefixes = _of(pod_cidrs, family)[:1]  # a Node has one of each family; kube-proxy takes the first
        case LocalMode.BRIDGE_INTERFACE:
            return LocalDetection(mode, interface=settings.detect_local.bridge_interface)
        case LocalMode.INTERFACE_NAME_PREFIX:
            return LocalDetection(mode, interface=settings.detect_local.interface_name_prefix)
    return LocalDetection(mode, prefixes) if prefixes else LocalDetection()


def node_port_addresses(
    settings: ProxySettings, family: Family, interface_addresses: Iterable[Address], primary: Address | None
) -> tuple[Address, ...]:
    """Which of the node's own addresses accept node ports in `family`, sorted.

    Selected by nodePortAddresses; when none of its entries speaks of this family, all addresses are, as in
    kube-proxy (`primary` does not speak of a family whose node IP is unknown or loopback). Then loopback goes unless
    localhost node ports are on (IPv4 only; ::1 cannot be masqueraded from), and so do IPv6 link-local addresses: a
    packet from one is never forwarded (RFC 4291, 2.5.6).
    """
    own = {a for a in interface_addresses if a.family is family and not (family is Family.IPV6 and a.is_link_local)}
    if not (family is Family.IPV4 and _has_localhost(settings)):
        own = {a for a in own if not a.is_loopback}
    selectors = _selectors(settings, family, primary)
    chosen = own if not selectors else {a for a in own if any(a in block for block in selectors)}
    return tuple(sorted(chosen))


def health_check_addresses(
    settings: ProxySettings, family: Family, interface_addresses: Iterable[Address], primary: Address | None
) -> tuple[Address, ...]:
    """Where health check node ports listen in `family`: 0.0.0.0 or :: for all addresses, else those selected.

    Unlike node ports, which the kernel rewrites, these are plain sockets: loopback is as good as any address.
    """
    selectors = _selectors(settings, family, primary)
    if not selectors or any(block.length == 0 for block in selectors):
        return (Address(bytes(family.width)),)
    own = {a for a in interface_addresses if a.family is family and not (family is Family.IPV6 and a.is_link_local)}
    return tuple(sorted(a for a in own if any(a in block for block in selectors)))


def serves_localhost(settings: ProxySettings, primary: Address | None) -> bool:
    """Whether node ports are served on 127.0.0.0/8, which needs route_localnet and its guard (CVE-2020-8558).

    `primary` is the node's IPv4 address, if known.
    """
    return bool(node_port_addresses(settings, Family.IPV4, [Address.parse("127.0.0.1")], primary))


def _has_localhost(settings: ProxySettings) -> bool:
    """IPVS binds a virtual server to each address and cannot balance what comes from lo to lo."""
    return settings.localhost_node_ports and settings.mode is not Mode.IPVS


def _selectors(settings: ProxySettings, family: Family, primary: Address | None) -> list[Prefix]:
    """The entries that speak of this family, as blocks; empty means all addresses."""
    width = family.width * 8
    selectors = []
    for entry in settings.node_port_addresses:
        match entry:
            case NodePortKeyword.ALL:
                selectors.append(Prefix(Address(bytes(family.width)), 0))
            case NodePortKeyword.LOCALHOST:
                selectors.append(_LOCALHOST[family])
            case NodePortKeyword.PRIMARY:
                if primary is not None and primary.family is family and not primary.is_loopback:
                    selectors.append(Prefix(primary, width))
            case Prefix():
                if entry.family is family:
                    selectors.append(entry)
    return selectors


_LOCALHOST = {Family.IPV4: Prefix.parse("127.0.0.0/8"), Family.IPV6: Prefix.parse("::1/128")}


def _of(prefixes: Iterable[Prefix], family: Family) -> tuple[Prefix, ...]:
    return tuple(prefix for prefix in prefixes if prefix.family is family)
