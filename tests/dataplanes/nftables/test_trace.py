"""A packet's walk through the elements: ends where the plan says, for any Services and packets; misses are refused."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Dispatch, Flag, Policy
from fairway.dataplanes.nftables.trace import Fate, policy_name, trace
from fairway.kube.endpointslice import EndpointSlice
from fairway.kube.service import Service
from fairway.plan.model import Scope, Verdict
from fairway.plan.view import NodeView
from fairway.values.address import Address, Prefix
from objects import CLUSTER_IP, HERE, OUTSIDE, POD, VIEW, a_node, endpoint, packet, service, slice_of
from planned import Node
from random_services import packets, views, worlds

Rows = list[Service | EndpointSlice]
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEWER = settings(MANY, max_examples=60)


@given(worlds(), st.data())
@MANY
def test_items_carry_out_the_plan(rows: Rows, data: st.DataObject) -> None:
    """Verdict, backends, probability and masquerade, whatever the Services, the node and the packets."""
    view = data.draw(views())
    node = a_node(*rows, view=view)
    frontends = sorted(f.key for one in node.plan().values() for port in one.ports for f in port.frontends)
    for one in data.draw(st.lists(packets(view.family, frontends), min_size=8, max_size=12)):
        answer = node.answer(one)
        assert answer.agrees, (one, answer.disagreement)
        assert answer.backends == tuple(sorted(set(answer.backends), key=answer.backends.index))
        if answer.verdict.value == "forward":
            assert answer.backends
            assert sum(b.probability for b in answer.backends) == pytest.approx(1)
            assert len({b.probability for b in answer.backends}) == 1
        else:
            assert answer.backends == ()


@given(worlds(), views())
@FEWER
def test_every_frontend_of_the_plan_is_reachable_and_no_other(rows: Rows, view: NodeView) -> None:
    node = a_node(*rows, view=view)
    planned = {
        layout.frontend_key(*frontend.key): frontend
        for one in node.plan().values()
        for port in one.ports
        for frontend in port.frontends
    }
    assert node.wanted[layout.FRONTENDS].keys() == planned.keys()
    assert node.wanted[layout.INSIDE].keys() <= planned.keys()
    assert node.wanted[layout.GUARDED].keys() == {k for k, f in planned.items() if f.source_ranges}
    assert node.wanted[layout.CLUSTER_IPS].keys() == {
        bytes(ip) for one in node.plan().values() for ip in one.cluster_ips
    }


@given(worlds(), views())
@FEWER
def test_elements_point_to_elements_that_exist(rows: Rows, view: NodeView) -> None:
    """No dispatch to a set without backends, no place without its endpoint, no number of two service ports."""
    wanted = a_node(*rows, view=view).wanted
    counts = {layout.unpack_svc_key(k): layout.unpack_count(v) for k, v in wanted[layout.COUNTS].items()}  # type: ignore[arg-type]
    for container in (layout.FRONTENDS, layout.INSIDE, layout.GUARDED):
        for key, data in wanted[container].items():
            entry = Dispatch.unpack(data)  # type: ignore[arg-type]
            plain = layout.outsider_policy(entry.policy)
            if plain in (Policy.REJECT, Policy.DROP):
                continue
            if plain == Policy.GUARD:
                assert key in wanted[layout.GUARDED]
                assert entry.svc in counts
                continue
            assert counts[entry.svc][0] > 0
            if plain >= Policy.AFFINITY_BASE:
                assert layout.number_key(plain - Policy.AFFINITY_BASE) in wanted[layout.TIMEOUTS]
                assert container == layout.INSIDE or layout.outsider_policy(entry.policy) == plain
            if plain != entry.policy:
                assert key in wanted[layout.INSIDE]
    for svc, (count, _) in counts.items():
        for index in range(count):
            place = layout.place_key(index, svc)
            if place in wanted[layout.BACKENDS]:
                target = wanted[layout.BACKENDS][place]
            else:
                number = layout.unpack_id(wanted[layout.BACKEND_IDS][place])  # type: ignore[arg-type]
                target = wanted[layout.ENDPOINTS][layout.place_key(number, svc)]
            address, _ = layout.unpack_address_data(target)  # type: ignore[arg-type]
            assert address + address in wanted[layout.HAIRPIN]
    assert len({comment for _, comment in counts.values()}) == len(counts)


# single elements, as somebody else may have left them


def elements(node: Node) -> dict[str, dict[Hashable, Hashable]]:
    return {name: dict(content) for name, content in node.wanted.items()}


TWO = slice_of(endpoint("10.0.1.1", HERE), endpoint("10.0.1.2", HERE))
TO_WEB = packet(OUTSIDE, CLUSTER_IP, 80)


@pytest.mark.parametrize("fields", [{}, {"sessionAffinity": "ClientIP"}])
@pytest.mark.parametrize("container", [layout.COUNTS, layout.BACKENDS, layout.BACKEND_IDS, layout.ENDPOINTS])
def test_a_set_without_its_elements_is_refused_never_passed_on(container: str, fields: dict[str, str]) -> None:
    made = elements(a_node(service(**fields), TWO))
    had_any = bool(made[container])
    made[container].clear()
    found = trace(TO_WEB, made, VIEW)
    # without its count a set is still entered at place 0
    is_refused = had_any and container != layout.COUNTS
    assert found.fate is (Fate.REJECT if is_refused else Fate.FORWARD)
    assert sum(t.probability for t in found.targets) == (0 if is_refused else 1)


@pytest.mark.parametrize(
    ("fields", "missing", "expected"),
    [
        ({}, 0, {"10.0.1.2": 1 / 2 + 1 / 4}),  # drawn twice, then place 0, which is the missing one
        ({}, 1, {"10.0.1.1": 1}),
        ({"sessionAffinity": "ClientIP"}, 0, {"10.0.1.2": 1 / 2 + 1 / 4 + 1 / 8}),
        ({"sessionAffinity": "ClientIP"}, 1, {"10.0.1.1": 1}),
    ],
)
def test_a_missing_backend_is_drawn_again(fields: dict[str, str], missing: int, expected: dict[str, float]) -> None:
    made = elements(a_node(service(**fields), TWO))
    places = layout.BACKEND_IDS if fields else layout.BACKENDS
    (gone,) = [key for key in made[places] if layout.unpack_place_key(cast("bytes", key))[0] == missing]
    del made[places][gone]
    found = trace(TO_WEB, made, VIEW)
    assert {str(t.address): t.probability for t in found.targets} == expected


def test_a_redirected_backend_is_followed() -> None:
    made = elements(a_node(service(), slice_of(endpoint("10.0.1.1", HERE))))
    for key in made[layout.BACKENDS]:
        made[layout.BACKENDS][key] = layout.address_data(Address.parse("6.6.6.6"), 666)
    (target,) = trace(TO_WEB, made, VIEW).targets
    assert (str(target.address), target.port) == ("6.6.6.6", 666)


def test_hairpin_asks_the_map() -> None:
    """Without its element a backend that reaches itself keeps its source, and gets no answer."""
    made = elements(a_node(service(), slice_of(endpoint(POD, HERE))))
    (target,) = trace(packet(POD, CLUSTER_IP, 80), made, VIEW).targets
    assert target.masquerade
    made[layout.HAIRPIN].clear()
    (target,) = trace(packet(POD, CLUSTER_IP, 80), made, VIEW).targets
    assert not target.masquerade


def test_the_steps_name_each_lookup_in_the_order_of_the_rules() -> None:
    found = trace(TO_WEB, a_node(service(), TWO).wanted, VIEW)
    assert [s.container for s in found.steps] == [layout.FRONTENDS, layout.COUNTS, layout.BACKENDS, layout.BACKENDS]
    assert found.steps[0].key == f"{CLUSTER_IP} . tcp . 80"
    assert found.steps[1].conclusion == "ns/web:http/tcp cluster"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy.PICK, "pick"),
        (Policy.LOCAL_DROP, "local drop"),
        (Policy.affinity(10800), "affinity 10800 s"),
        (Policy.local_affinity(86400), "local affinity 86400 s"),
    ],
)
def test_policies_have_names(policy: int, expected: str) -> None:
    assert policy_name(policy) == expected


@pytest.mark.parametrize("policy", [Policy.PICK, Policy.DROP, Policy.affinity(1), Policy.affinity(86400)])
def test_a_local_policy_remembers_what_outsiders_get(policy: int) -> None:
    assert layout.outsider_policy(layout.local_policy(policy)) == policy
    assert layout.local_policy(policy) != policy


# the bytes


ADDRESSES = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)).map(Address)
PORTS, WORDS = st.integers(0, 65535), st.integers(0, 2**32 - 1)


@given(ADDRESSES, st.integers(0, 255), PORTS)
def test_frontend_keys_can_be_read_back(address: Address, protocol: int, port: int) -> None:
    assert layout.unpack_frontend_key(layout.frontend_key(address, protocol, port)) == (address, protocol, port)


POLICIES = st.one_of(st.sampled_from(list(Policy)[:6]), st.integers(0, 86400).map(Policy.affinity))


@given(WORDS, POLICIES, st.booleans(), st.integers(0, 7))
def test_dispatch_can_be_read_back(svc: int, policy: int, is_local: bool, flags: int) -> None:
    policy = layout.local_policy(policy) if is_local else policy
    assert Dispatch.unpack(Dispatch(svc, policy, flags).pack()) == (svc, policy, flags)


@given(WORDS, WORDS)
def test_data_can_be_read_back(first: int, second: int) -> None:
    assert layout.unpack_place_key(layout.place_key(first, second)) == (first, second)
    assert layout.unpack_id(layout.id_data(first)) == first
    assert layout.unpack_svc_key(layout.svc_key(first)) == first
    assert layout.unpack_number_key(layout.number_key(first)) == first
    assert layout.unpack_count(layout.count_data(first, "ns/ö cluster")) == (first, "ns/ö cluster")
    assert layout.unpack_number(layout.count_data(first, "x")) == first


@given(ADDRESSES, PORTS)
def test_targets_can_be_read_back(address: Address, port: int) -> None:
    assert layout.unpack_address_data(layout.address_data(address, port)) == (address, port)


@given(ADDRESSES, st.integers(0, 128))
def test_networks_can_be_read_back(address: Address, length: int) -> None:
    prefix = Prefix.of(address, min(length, len(address) * 8))
    assert layout.unpack_network_key(layout.network_key(prefix)) == prefix


@given(st.integers(1, 3000))
def test_shares_are_equal_and_leave_no_gap(count: int) -> None:
    """Rule 18: N ranges over all 32-bit numbers, no two differing by more than one in size."""
    bounds = layout.share_bounds(count)
    assert (bounds[0], bounds[-1]) == (count << 32, (count + 1) << 32)
    sizes = {after - before for before, after in pairwise(bounds)}
    assert len(bounds) == count + 1
    assert max(sizes) - min(sizes) <= 1


def test_scopes_and_flags_fit_the_skeleton() -> None:
    """Numbers that rules compare with: changing one changes the table's format."""
    assert [s.value for s in Scope] == [0, 1]
    assert [f.value for f in Flag] == [1, 2, 4]
    assert {v.value for v in Verdict} | {"untouched"} == {f.value for f in Fate}
