"""Numbers in the maps' keys: one a service port, one an endpoint, recovered from what the kernel holds."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from hypothesis import HealthCheck, given, settings

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.numbers import NftablesNumbers
from fairway.plan.model import Backend, PlannedPort, Scope, Selection
from fairway.plan.reasons import Reason
from fairway.values.address import Address, Family
from fairway.values.names import ObjectName, ServicePortName
from fairway.values.protocol import Protocol
from objects import a_node
from planned import Node
from random_services import views, worlds

WEB, DNS = (ServicePortName(ObjectName("ns", name), "http", Protocol.TCP) for name in ("web", "dns"))
ONE, TWO = (Backend(Address.parse(f"10.0.1.{n}"), 8080) for n in (1, 2))
NONE = Selection((), Reason.NOT_USED)


def planned(*backends: Backend, local: tuple[Backend, ...] = (), affinity: int = 10) -> PlannedPort:
    return PlannedPort(
        WEB, Family.IPV4, (), Selection(backends, Reason.READY), Selection(local, Reason.LOCAL_READY), affinity
    )


def test_the_two_sets_of_a_service_port_differ_in_the_lowest_bit() -> None:
    numbers = NftablesNumbers()
    cluster, local = (numbers.svc(WEB, scope) for scope in (Scope.CLUSTER, Scope.LOCAL))
    assert (cluster % 2, local) == (0, cluster + 1)
    assert numbers.svc(DNS, Scope.CLUSTER) not in (cluster, local)


def test_an_endpoint_has_one_number_in_both_sets() -> None:
    numbers = NftablesNumbers()
    cluster, local = (numbers.svc(WEB, scope) for scope in (Scope.CLUSTER, Scope.LOCAL))
    assert numbers.endpoint(cluster, ONE) == numbers.endpoint(local, ONE) != numbers.endpoint(cluster, TWO)
    assert numbers.endpoint(numbers.svc(DNS, Scope.CLUSTER), ONE) != numbers.endpoint(cluster, ONE)


def test_an_endpoint_keeps_its_number_while_either_set_has_it() -> None:
    numbers = NftablesNumbers()
    svc = numbers.svc(WEB, Scope.CLUSTER)
    one, two = numbers.endpoint(svc, ONE), numbers.endpoint(svc, TWO)
    numbers.keep_endpoints(planned(TWO, local=(ONE,)))
    assert (numbers.endpoint(svc, ONE), numbers.endpoint(svc, TWO)) == (one, two)
    numbers.keep_endpoints(planned(TWO))
    assert numbers.endpoint(svc, TWO) == two
    assert numbers.endpoint(svc, ONE) not in (one, two)


def test_a_released_service_port_gets_new_numbers() -> None:
    """Entries of affinity that the kernel still holds must not lead to somebody else's backend."""
    numbers = NftablesNumbers()
    svc = numbers.svc(WEB, Scope.CLUSTER)
    endpoint = numbers.endpoint(svc, ONE)
    numbers.release(WEB)
    again = numbers.svc(WEB, Scope.CLUSTER)
    assert again != svc
    assert numbers.endpoint(again, ONE) != endpoint


def test_releasing_what_has_no_number_does_nothing() -> None:
    numbers = NftablesNumbers()
    numbers.release(WEB)
    numbers.keep_endpoints(planned(ONE))
    assert numbers.svc(WEB, Scope.CLUSTER) == 2


def test_foreign_comments_and_odd_elements_are_passed_over() -> None:
    """Somebody else may have written anything into the map."""
    numbers = NftablesNumbers()
    counts = {
        layout.svc_key(8): layout.count_data(1, "ns/web:http/tcp cluster"),
        layout.svc_key(10): layout.count_data(1, ""),
        layout.svc_key(12): layout.count_data(1, "ns/web:http/tcp sideways"),
        layout.svc_key(14): layout.count_data(1, "cluster"),
        layout.svc_key(2**32 - 2): layout.count_data(1, "ns/dns:http/tcp cluster"),
    }
    numbers.recover(counts, {})
    assert numbers.svc(WEB, Scope.LOCAL) == 9
    assert numbers.svc(DNS, Scope.CLUSTER) == 10


def as_kernel(node: Node) -> dict[str, dict[Hashable, Hashable]]:
    return {name: dict(content) for name, content in node.wanted.items()}


@given(worlds(), views())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_all_numbers_are_recovered_from_the_elements(rows: list[Any], view: Any) -> None:
    """Whatever order the Services come in after the restart, the same elements are wanted."""
    before = a_node(*rows, view=view)
    held = as_kernel(before)
    after = Node(before.state, view)
    after.dataplane.recover(lambda container: held[container])
    after.replan(reversed(list(before.state.service_names())))
    assert as_kernel(after) == held
    after.dataplane.filled()
    assert as_kernel(after) == held


def test_recovered_numbers_that_nobody_asks_for_are_freed_when_all_is_filled() -> None:
    numbers = NftablesNumbers()
    counts = {layout.svc_key(8): layout.count_data(1, "ns/web:http/tcp cluster")}
    endpoints = {layout.place_key(7, 8): layout.address_data(ONE.address, ONE.port)}
    numbers.recover(counts, endpoints)
    assert len(numbers._ports) == len(numbers._endpoints) == 1
    numbers.release_recovered()
    assert len(numbers._ports) == len(numbers._endpoints) == len(numbers._targets) == 0
