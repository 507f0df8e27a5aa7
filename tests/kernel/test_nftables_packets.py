"""Where the skeleton's rules send real packets: each policy, each family, TCP and UDP, from pods, node and outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import nft_items as items
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Flag, Policy
from fairway.dataplanes.nftables.skeleton import PodInterface, PodRanges, SkeletonSettings
from fairway.values.address import Family, Prefix
from fairway.values.protocol import Protocol
from nft_world import World, pods, settings_of, world_of
from node import PORT, Reached, Refused, Silence

pytestmark = pytest.mark.kernel
SVC, LOCAL_SVC = 2, 3
both_families = pytest.mark.parametrize("family", list(Family), ids=str)
both_protocols = pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=str)


@pytest.fixture
def world(family: Family) -> Iterator[World]:
    with world_of(settings_of(family)) as made:
        yield made


@both_families
@both_protocols
def test_picks_a_backend_for_every_source(world: World, protocol: Protocol) -> None:
    plan, vip = world.plan, world.plan.service(1)
    world.add([*items.backends(SVC, pods(plan, 0, 1)), *items.frontend(vip)])
    for source in world.sources.values():
        outcome = world.send(protocol, source, vip)
        assert outcome in [Reached(plan.pod[n], PORT, source) for n in (0, 1)]


@both_families
@both_protocols
def test_unknown_ports_of_cluster_ips_are_refused_and_unowned_addresses_dropped(
    world: World, protocol: Protocol
) -> None:
    plan, vip = world.plan, world.plan.service(1)
    tcp_only = items.frontend(vip, 80, protocols=[Protocol.TCP])
    world.add(
        [
            *items.backends(SVC, pods(plan, 0)),
            *tcp_only,
            items.cluster_ip(vip),
            items.network(layout.SERVICE_CIDRS, plan.services),
        ]
    )
    for source in world.sources.values():
        assert world.send(protocol, source, vip, 81) == Refused()
        assert world.send(Protocol.UDP, source, vip, 80) == Refused()
        assert world.send(protocol, source, plan.service(2)) == Silence()
        assert world.send(protocol, source, plan.pod[1], PORT) == Reached(plan.pod[1], PORT, source)


@both_families
@both_protocols
def test_reject_and_drop_policies(world: World, protocol: Protocol) -> None:
    refused, dropped = world.plan.service(1), world.plan.service(2)
    world.add(
        [*items.frontend(refused, svc=0, policy=Policy.REJECT), *items.frontend(dropped, svc=0, policy=Policy.DROP)]
    )
    for source in world.sources.values():
        assert world.send(protocol, source, refused) == Refused()
        assert world.send(protocol, source, dropped) == Silence()


@both_families
@both_protocols
@pytest.mark.parametrize("missing", ["backends", "policy"])
def test_a_frontend_without_valid_backend_is_refused_never_passed_on(
    world: World, protocol: Protocol, missing: str
) -> None:
    plan, vip = world.plan, world.plan.service(1)
    policy = 77 if missing == "policy" else Policy.PICK
    wanted = [*items.backends(SVC, pods(plan, 0, 1)), *items.frontend(vip, policy=policy), items.cluster_ip(vip)]
    world.add([item for item in wanted if item.container != missing])
    for source in world.sources.values():
        assert world.send(protocol, source, vip) == Refused()


@both_families
@both_protocols
def test_without_a_count_or_a_drawn_place_the_first_backend_serves(world: World, protocol: Protocol) -> None:
    plan, uncounted, sparse = world.plan, world.plan.service(1), world.plan.service(2)
    uncounted_items = [item for item in items.backends(SVC, pods(plan, 0, 1)) if item.container != layout.COUNTS]
    sparse_items = [items.count(LOCAL_SVC, 10_000), *items.backends(LOCAL_SVC, pods(plan, 2))[1:]]
    world.add([*uncounted_items, *sparse_items, *items.frontend(uncounted), *items.frontend(sparse, svc=LOCAL_SVC)])
    for source in world.sources.values():
        assert world.send(protocol, source, uncounted) == Reached(plan.pod[0], PORT, source)
        assert world.send(protocol, source, sparse) == Reached(plan.pod[2], PORT, source)


@both_families
@pytest.mark.parametrize(
    ("flags", "masqueraded"),
    [
        (Flag(0), set()),
        (Flag.MASQUERADE_ALWAYS, {"pod", "node", "outside"}),
        (Flag.MASQUERADE_OUTSIDE, {"node", "outside"}),
        (Flag.MASQUERADE_NODE, {"node"}),
        (Flag.MASQUERADE_OUTSIDE | Flag.MASQUERADE_NODE, {"node", "outside"}),
        (Flag.MASQUERADE_ALWAYS | Flag.MASQUERADE_NODE, {"pod", "node", "outside"}),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "pods_are", [PodRanges(), PodInterface("pods1", is_prefix=False), PodInterface("pods", is_prefix=True)], ids=str
)
def test_masquerade_by_flags_and_source(
    family: Family, flags: Flag, masqueraded: set[str], pods_are: PodRanges | PodInterface
) -> None:
    with world_of(SkeletonSettings(family, pods_are)) as world:
        plan, vip = world.plan, world.plan.service(1)
        world.add([*items.backends(SVC, pods(plan, 0)), *items.frontend(vip, flags=flags)])
        for name, source in world.sources.items():
            expected = plan.gateway if name in masqueraded else source
            assert world.send(Protocol.TCP, source, vip) == Reached(plan.pod[0], PORT, expected), name
            assert world.send(Protocol.UDP, source, vip) == Reached(plan.pod[0], PORT, expected), name


@both_families
def test_without_detector_nobody_is_masqueraded_as_an_outsider(family: Family) -> None:
    with world_of(SkeletonSettings(family, None)) as world:
        plan, vip = world.plan, world.plan.service(1)
        world.add([*items.backends(SVC, pods(plan, 0)), *items.frontend(vip, flags=Flag.MASQUERADE_OUTSIDE)])
        for source in world.sources.values():
            assert world.send(Protocol.TCP, source, vip) == Reached(plan.pod[0], PORT, source)


@both_families
def test_traffic_that_no_service_translated_is_never_masqueraded(world: World) -> None:
    plan = world.plan
    world.add([*items.frontend(plan.pod[0], PORT, flags=Flag.MASQUERADE_ALWAYS, svc=9)])
    assert world.send(Protocol.TCP, plan.client, plan.pod[1], PORT) == Reached(plan.pod[1], PORT, plan.client)


@both_families
@both_protocols
def test_a_backend_that_calls_itself_is_masqueraded(world: World, protocol: Protocol) -> None:
    plan, vip = world.plan, world.plan.service(1)
    own = plan.pod[0]
    world.add([*items.backends(SVC, pods(plan, 0)), *items.frontend(vip), items.hairpin(own)])
    assert world.send(protocol, own, vip) == Reached(own, PORT, plan.gateway)
    assert world.send(protocol, plan.caller, vip) == Reached(own, PORT, plan.caller)


@both_families
@both_protocols
def test_source_ranges_let_in_whom_they_name_and_drop_others(world: World, protocol: Protocol) -> None:
    plan, vip = world.plan, world.plan.service(1)
    exact = Prefix(plan.client, plan.family.width * 8)
    wide = Prefix.of(plan.stranger, 20)
    guarded = items.frontend(vip, policy=Policy.GUARD) + items.frontend(vip, container=layout.GUARDED)
    world.add([*items.backends(SVC, pods(plan, 0)), *guarded, *items.source_range(SVC, exact)])
    allowed = Reached(plan.pod[0], PORT, plan.client)
    assert world.send(protocol, plan.client, vip) == allowed
    for source in (plan.stranger, plan.caller, plan.node):
        assert world.send(protocol, source, vip) == Silence()
    world.add(items.source_range(SVC, wide))
    assert world.send(protocol, plan.stranger, vip) == Reached(plan.pod[0], PORT, plan.stranger)
    world.remove(items.source_range(SVC, exact))
    assert world.send(protocol, plan.client, vip) == Silence()
    assert world.send(protocol, plan.stranger, vip) == Reached(plan.pod[0], PORT, plan.stranger)


@both_families
def test_a_source_range_counts_for_its_own_service_and_length_only(world: World) -> None:
    plan, vip, other = world.plan, world.plan.service(1), world.plan.service(2)
    narrow = Prefix.of(plan.client, plan.family.width * 8 - 1)
    network = Prefix.of(plan.client, 16)
    wanted = [*items.backends(SVC, pods(plan, 0)), *items.backends(LOCAL_SVC, pods(plan, 1))]
    for address, svc in ((vip, SVC), (other, LOCAL_SVC)):
        wanted += items.frontend(address, svc=svc, policy=Policy.GUARD)
        wanted += items.frontend(address, svc=svc, container=layout.GUARDED)
    # the first network of the other service has the bytes that a client of a shorter rule is masked to
    wanted += [
        *items.source_range(SVC, Prefix(network.address, narrow.length)),
        *items.source_range(LOCAL_SVC, network),
    ]
    world.add(wanted)
    assert world.send(Protocol.UDP, plan.client, vip) == Silence()
    assert world.send(Protocol.UDP, plan.client, other) == Reached(plan.pod[1], PORT, plan.client)


@both_families
@pytest.mark.parametrize("everybody", [True, False])
def test_a_range_of_length_zero_lets_everybody_in(world: World, everybody: bool) -> None:
    plan, vip = world.plan, world.plan.service(1)
    prefix = Prefix.of(plan.client, 0 if everybody else 8)
    guarded = items.frontend(vip, policy=Policy.GUARD) + items.frontend(vip, container=layout.GUARDED)
    world.add([*items.backends(SVC, pods(plan, 0)), *guarded, *items.source_range(SVC, prefix)])
    expected = Reached(plan.pod[0], PORT, plan.caller)
    is_inside = plan.caller in prefix
    assert world.send(Protocol.TCP, plan.caller, vip) == (expected if is_inside else Silence())


@both_families
@both_protocols
def test_local_policies_treat_pods_and_node_otherwise_than_outsiders(world: World, protocol: Protocol) -> None:
    plan = world.plan
    picked, dropped, refused_inside = (plan.service(n) for n in (1, 2, 3))
    wanted = [*items.backends(SVC, pods(plan, 0)), *items.backends(LOCAL_SVC, pods(plan, 1))]
    for address, policy in (
        (picked, Policy.LOCAL_PICK),
        (dropped, Policy.LOCAL_DROP),
        (refused_inside, Policy.LOCAL_PICK),
    ):
        wanted += items.frontend(address, svc=LOCAL_SVC, policy=policy, flags=Flag.MASQUERADE_NODE)
    wanted += items.frontend(picked, container=layout.INSIDE)
    wanted += items.frontend(dropped, container=layout.INSIDE)
    wanted += items.frontend(refused_inside, svc=0, policy=Policy.REJECT, container=layout.INSIDE)
    world.add(wanted)
    for address in (picked, dropped):
        assert world.send(protocol, plan.caller, address) == Reached(plan.pod[0], PORT, plan.caller)
        assert world.send(protocol, plan.node, address) == Reached(plan.pod[0], PORT, plan.gateway)
    assert world.send(protocol, plan.client, picked) == Reached(plan.pod[1], PORT, plan.client)
    assert world.send(protocol, plan.client, dropped) == Silence()
    assert world.send(protocol, plan.caller, refused_inside) == Refused()
    assert world.send(protocol, plan.client, refused_inside) == Reached(plan.pod[1], PORT, plan.client)


@both_families
@both_protocols
def test_local_policy_behind_source_ranges(world: World, protocol: Protocol) -> None:
    plan, vip = world.plan, world.plan.service(1)
    wanted = [*items.backends(SVC, pods(plan, 0)), *items.backends(LOCAL_SVC, pods(plan, 1))]
    wanted += items.frontend(vip, svc=LOCAL_SVC, policy=Policy.GUARD)
    wanted += items.frontend(vip, svc=LOCAL_SVC, policy=Policy.LOCAL_PICK, container=layout.GUARDED)
    wanted += items.frontend(vip, svc=SVC, container=layout.INSIDE)
    wanted += items.source_range(LOCAL_SVC, plan.pods) + items.source_range(LOCAL_SVC, Prefix.of(plan.client, 24))
    world.add(wanted)
    assert world.send(protocol, plan.caller, vip) == Reached(plan.pod[0], PORT, plan.caller)
    assert world.send(protocol, plan.client, vip) == Reached(plan.pod[1], PORT, plan.client)
    assert world.send(protocol, plan.stranger, vip) == Silence()


@both_families
def test_local_policy_by_interface(family: Family) -> None:
    with world_of(SkeletonSettings(family, PodInterface("pods1", is_prefix=False))) as world:
        plan, vip = world.plan, world.plan.service(1)
        wanted = [*items.backends(SVC, pods(plan, 0)), *items.backends(LOCAL_SVC, pods(plan, 1))]
        wanted += items.frontend(vip, svc=LOCAL_SVC, policy=Policy.LOCAL_PICK)
        wanted += items.frontend(vip, svc=SVC, container=layout.INSIDE)
        world.add(wanted)
        assert world.send(Protocol.TCP, plan.caller, vip) == Reached(plan.pod[0], PORT, plan.caller)
        assert world.send(Protocol.TCP, plan.node, vip) == Reached(plan.pod[0], PORT, plan.node)
        assert world.send(Protocol.TCP, plan.client, vip) == Reached(plan.pod[1], PORT, plan.client)
