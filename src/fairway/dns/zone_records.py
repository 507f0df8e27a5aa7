"""Every record of a cluster zone: what a zone transfer hands over.

Weights count differently here than in answers, as in CoreDNS: per slice and port, not per name.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairway.dns.kubernetes import Kubernetes
from fairway.dns.lookup import absolute
from fairway.dns.rows import ServiceRow, packed
from fairway.values.domain import Name, from_labels, from_text
from fairway.values.rrtypes import RRType
from fairway.wire.dns_message import Record, a_or_aaaa, srv_rdata


def zone_records(cluster: Kubernetes, zone: Name) -> Iterator[Record]:
    """All records of the zone but its SOA, by Service name."""
    servers = cluster.name_server_addresses(zone)
    for name in dict.fromkeys(record.name for record in servers):
        yield Record(zone, RRType.NS, cluster.options.ttl, name)
    yield from servers
    is_multicluster = zone in cluster.options.multicluster
    table = cluster.state.imports if is_multicluster else cluster.state.services
    for service in sorted(table, key=lambda row: (row.name.name, row.name.namespace)):
        if cluster.lookup.is_exposed(service.name.namespace):
            yield from _of_service(cluster, service, zone, is_multicluster=is_multicluster)


def _of_service(cluster: Kubernetes, service: ServiceRow, zone: Name, *, is_multicluster: bool) -> Iterator[Record]:
    name = absolute((service.name.name.encode(), service.name.namespace.encode(), b"svc"), zone)
    ttl = cluster.options.ttl
    if service.external_name is not None:
        if packed(service.external_name) is None:
            yield Record(name, RRType.CNAME, ttl, from_text(service.external_name))
    elif service.cluster_ips:
        yield from (a_or_aaaa(name, address, ttl) for address in service.cluster_ips)
        for port in service.ports:
            rdata = srv_rdata(100, port.number & 0xFFFF, name)
            yield Record(name, RRType.SRV, ttl, rdata)
            if port.name:
                yield Record(_port_name(port.name, port.protocol, name), RRType.SRV, ttl, rdata)
    else:
        yield from _of_endpoints(cluster, service, zone, is_multicluster=is_multicluster)


def _of_endpoints(cluster: Kubernetes, service: ServiceRow, zone: Name, *, is_multicluster: bool) -> Iterator[Record]:
    find = cluster.state.slices_of_import if is_multicluster else cluster.state.slices_of
    ttl = cluster.options.ttl
    name = absolute((service.name.name.encode(), service.name.namespace.encode(), b"svc"), zone)
    for row in find(service.name.namespace, service.name.name):
        weight = max(1, 100 // len(row)) if len(row) else 1
        for i in range(len(row)):
            label = cluster.lookup.endpoint_label(row, i)
            # Without the exporting cluster's name, unlike in answers: so does CoreDNS, and secondaries know no other.
            host = from_labels((label.encode(),), name)
            yield a_or_aaaa(name, row.address(i), ttl)
            yield a_or_aaaa(host, row.address(i), ttl)
            for port in row.ports:
                if port.name:
                    rdata = srv_rdata(weight, port.number & 0xFFFF, host)
                    yield Record(_port_name(port.name, port.protocol, name), RRType.SRV, ttl, rdata)


def _port_name(port: str, protocol: str, name: Name) -> Name:
    return from_labels((b"_" + port.encode(), b"_" + protocol.encode()), name)
