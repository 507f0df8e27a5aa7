"""This node as the plan sees it: the one input that is not local to a service port."""

from __future__ import annotations

from enum import Enum

import msgspec

from fairway.plan.model import Source
from fairway.values.address import Address, Family, Prefix
from fairway.values.packet import Packet


class DetectLocal(Enum):
    """How a source is told to be a local pod (detectLocalMode)."""

    NONE = "none"
    PREFIXES = "prefixes"
    """ClusterCIDR or NodeCIDR: the source address is in one of the prefixes."""
    INTERFACE = "interface"
    """BridgeInterface: the packet came in by this interface."""
    INTERFACE_PREFIX = "interface prefix"
    """InterfaceNamePrefix: the packet came in by an interface whose name begins so."""


class Detector(msgspec.Struct, frozen=True):
    """The local-traffic detector of one family."""

    mode: DetectLocal = DetectLocal.NONE
    prefixes: tuple[Prefix, ...] = ()
    interface: str = ""

    def is_local(self, packet: Packet) -> bool:
        """Whether the packet's source is a pod of this cluster, as far as this detector can tell."""
        match self.mode:
            case DetectLocal.NONE:
                return False
            case DetectLocal.PREFIXES:
                return any(packet.source in prefix for prefix in self.prefixes)
            case DetectLocal.INTERFACE:
                return packet.interface == self.interface
            case DetectLocal.INTERFACE_PREFIX:
                return packet.interface.startswith(self.interface)


class NodeView(msgspec.Struct, frozen=True):
    """This node in one IP family."""

    name: str
    family: Family
    zone: str = ""
    addresses: tuple[Address, ...] = ()
    """Every address of the node in this family, loopback too: the sources that count as the node itself."""
    primary: Address | None = None
    """The node IP; decides whether source ranges let the node in."""
    node_port_addresses: tuple[Address, ...] = ()
    """Where node ports are served: nodePortAddresses, resolved."""
    detector: Detector = Detector()
    masquerade_all: bool = False
    service_cidrs: tuple[Prefix, ...] = ()

    def source_of(self, packet: Packet) -> Source:
        """Pods first, as kube-proxy asks: a bridge's own address inside the pod range counts as a pod."""
        if self.detector.is_local(packet):
            return Source.POD
        return Source.NODE if packet.source in self.addresses or packet.source.is_loopback else Source.OUTSIDE
