"""This node as the plan sees it: made of its Node object, its interfaces, the service ranges and the settings."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.config.proxy.families import LocalDetection, local_detection, node_port_addresses
from fairway.config.proxy.settings import LocalMode, ProxySettings
from fairway.kube.cluster import Node
from fairway.kube.meta import LABEL_ZONE
from fairway.plan.view import DetectLocal, Detector, NodeView
from fairway.state.tables import State
from fairway.values.address import Address, Family, Prefix


class NodeViews:
    """The views of one node. Whoever changes an input just asks again; an unchanged answer is the same object."""

    def __init__(self, settings: ProxySettings, node_name: str, state: State, addresses: Sequence[Address]) -> None:
        self.settings = settings
        self.addresses = tuple(addresses)
        """The addresses of this node's interfaces, both families; replaced when the kernel tells of a change."""
        self._name = node_name
        self._state = state
        self._made: dict[Family, tuple[object, NodeView]] = {}

    @property
    def node_name(self) -> str:
        return self._name

    def view(self, family: Family) -> NodeView:
        """The node as it is now, in one family."""
        node, cidrs = self._state.node(self._name), self._state.service_cidrs()
        inputs = (self.settings, node, cidrs, self.addresses)
        made = self._made.get(family)
        if made is not None and made[0] == inputs:
            return made[1]
        view = build_view(self.settings, family, node or Node(self._name), self.addresses, cidrs)
        self._made[family] = (inputs, view)
        return view


def build_view(
    settings: ProxySettings, family: Family, node: Node, addresses: Sequence[Address], cidrs: Sequence[Prefix]
) -> NodeView:
    """One family's view of a node whose interfaces have `addresses`. Pure."""
    own = tuple(sorted({a for a in addresses if a.family is family}))
    primary = primary_address(settings, family, node, own)
    return NodeView(
        name=node.name,
        family=family,
        zone=node.label(LABEL_ZONE),
        addresses=own,
        primary=primary,
        node_port_addresses=node_port_addresses(settings, family, own, primary),
        detector=_detector(local_detection(settings, family, node.pod_cidrs)),
        masquerade_all=settings.masquerade_all,
        service_cidrs=tuple(cidr for cidr in cidrs if cidr.family is family),
    )


def primary_address(
    settings: ProxySettings, family: Family, node: Node, addresses: Sequence[Address]
) -> Address | None:
    """The node's IP: bindAddress, else the Node object's, else the first address that is neither loopback nor
    link-local."""
    hint = settings.primary_hint
    if hint is not None and hint.family is family:
        return hint
    for address in node.addresses:
        if address.family is family:
            return address
    return next((a for a in addresses if not a.is_loopback and not a.is_link_local), None)


def _detector(found: LocalDetection) -> Detector:
    match found.mode:
        case LocalMode.CLUSTER_CIDR | LocalMode.NODE_CIDR:
            return Detector(DetectLocal.PREFIXES, prefixes=found.prefixes)
        case LocalMode.BRIDGE_INTERFACE:
            return Detector(DetectLocal.INTERFACE, interface=found.interface)
        case LocalMode.INTERFACE_NAME_PREFIX:
            return Detector(DetectLocal.INTERFACE_PREFIX, interface=found.interface)
        case None:
            return Detector()
