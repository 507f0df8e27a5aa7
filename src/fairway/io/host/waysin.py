"""What the host itself has of a cluster beside its links: routes to Services, the pods' way out; removed by name."""

from __future__ import annotations

from fairway.cluster.settings import ClusterSettings
from fairway.dataplanes.nftables.own_tables import OwnTable, egress_table
from fairway.io.netlink.own_tables import remove_own_table
from fairway.io.netlink.routes import RouteTable
from fairway.values.address import Family


def egress_tables(settings: ClusterSettings) -> tuple[OwnTable, ...]:
    """One in each of the cluster's families."""
    topology = settings.topology
    inside = (*topology.underlay, *settings.pod_ranges)
    return tuple(
        egress_table(family, inside, topology.link, settings.egress_table) for family in sorted(settings.families)
    )


def route_table(settings: ClusterSettings) -> RouteTable:
    """The host's routes to the cluster's Services."""
    ranges = (*settings.service_ranges, *settings.balancer_ranges)
    return RouteTable(settings.topology.link, ranges, settings.client_addresses)


def remove(settings: ClusterSettings) -> None:
    """Put the host back, also after a process that was killed."""
    with route_table(settings) as routes:
        routes.remove_all()
    for family in Family:
        remove_own_table(settings.egress_table, family)
