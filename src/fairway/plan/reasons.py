"""Why the plan decided as it did: each reason names the object, the field and the rule.

Reasons are data; `explain` prints them. Numbers of rules are those of docs/semantics.md.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """(rule, field that decided, the sentence that explain prints)."""

    # which backends (rules 4 to 6)
    READY = (4, "EndpointSlice.endpoints[].conditions.ready", "the ready endpoints are used")
    TERMINATING = (
        4,
        "EndpointSlice.endpoints[].conditions.serving",
        "no endpoint is ready, so those that are serving while they terminate are used",
    )
    NONE_USABLE = (4, "EndpointSlice.endpoints[].conditions", "no endpoint is ready, none is serving and terminating")
    NODE_HINTS = (
        6,
        "EndpointSlice.endpoints[].hints.forNodes",
        "every ready endpoint has node hints and some name this node",
    )
    ZONE_HINTS = (
        6,
        "EndpointSlice.endpoints[].hints.forZones",
        "every ready endpoint has zone hints and some name this zone",
    )
    LOCAL_READY = (4, "EndpointSlice.endpoints[].nodeName", "the ready endpoints on this node are used")
    LOCAL_TERMINATING = (
        4,
        "EndpointSlice.endpoints[].conditions.serving",
        "no endpoint on this node is ready, so its serving and terminating ones are used",
    )
    NONE_LOCAL = (4, "EndpointSlice.endpoints[].nodeName", "no usable endpoint is on this node")
    NOT_USED = (5, "Service.spec", "no frontend uses this set of endpoints")
    # which verdict and scope (rules 7 to 13)
    INTERNAL_CLUSTER = (7, "Service.spec.internalTrafficPolicy", "internalTrafficPolicy Cluster: all endpoints")
    INTERNAL_LOCAL = (
        7,
        "Service.spec.internalTrafficPolicy",
        "internalTrafficPolicy Local: only endpoints on this node",
    )
    EXTERNAL_CLUSTER = (9, "Service.spec.externalTrafficPolicy", "externalTrafficPolicy Cluster: all endpoints")
    EXTERNAL_LOCAL = (
        10,
        "Service.spec.externalTrafficPolicy",
        "externalTrafficPolicy Local: only endpoints on this node",
    )
    POD_SHORT_CIRCUIT = (
        10,
        "Service.spec.externalTrafficPolicy",
        "externalTrafficPolicy Local does not bind local pods: all endpoints, source kept",
    )
    NODE_SHORT_CIRCUIT = (
        10,
        "Service.spec.externalTrafficPolicy",
        "externalTrafficPolicy Local does not bind the node itself: all endpoints, masqueraded",
    )
    NO_ENDPOINTS = (12, "EndpointSlice.endpoints", "no usable endpoint exists anywhere: refused")
    NO_LOCAL_ENDPOINTS = (12, "EndpointSlice.endpoints[].nodeName", "usable endpoints exist, none here: dropped")
    # masquerade (rules 8 to 11)
    MASQUERADE_ALL = (8, "KubeProxyConfiguration.nftables.masqueradeAll", "masqueradeAll is set")
    FROM_OUTSIDE_CLUSTER = (
        8,
        "KubeProxyConfiguration.detectLocalMode",
        "the source is no local pod: masqueraded so that replies come back this way",
    )
    POD_SOURCE_KEPT = (8, "KubeProxyConfiguration.detectLocalMode", "the source is a local pod: source kept")
    NO_DETECTOR = (
        8,
        "KubeProxyConfiguration.detectLocalMode",
        "no local traffic detector is configured: sources are kept",
    )
    EXTERNAL_MASQUERADE = (
        9,
        "Service.spec.externalTrafficPolicy",
        "externalTrafficPolicy Cluster: always masqueraded, since another node may hold the endpoint",
    )
    SOURCE_PRESERVED = (10, "Service.spec.externalTrafficPolicy", "externalTrafficPolicy Local: source kept")
    HAIRPIN = (11, "EndpointSlice.endpoints[].addresses", "the backend is the client itself: masqueraded")
    # source ranges (rule 14)
    SOURCE_RANGE_DENIED = (14, "Service.spec.loadBalancerSourceRanges", "the source is in none of the ranges: dropped")
    SOURCE_RANGE_ALLOWED = (14, "Service.spec.loadBalancerSourceRanges", "the source is in one of the ranges")
    # not a frontend
    UNKNOWN_PORT = (17, "Service.spec.ports", "the address is a cluster IP, but the Service has no such port: refused")
    UNALLOCATED = (17, "ServiceCIDR.spec.cidrs", "the address is in a service CIDR and belongs to no Service: dropped")
    NOT_OURS = (17, "Service.spec", "no Service has this address, protocol and port: left to the node's routes")
    NODE_PORT_ELSEWHERE = (
        16,
        "KubeProxyConfiguration.nodePortAddresses",
        "the node port is not served on this address: left alone",
    )

    @property
    def rule(self) -> int:
        return self.value[0]

    @property
    def field(self) -> str:
        return self.value[1]

    @property
    def sentence(self) -> str:
        return self.value[2]
