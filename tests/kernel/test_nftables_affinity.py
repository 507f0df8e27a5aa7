"""Session affinity and equal shares, judged by where real packets go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

import nft_items as items
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Policy
from fairway.dataplanes.nftables.skeleton import PodRanges, SkeletonSettings
from fairway.reconcile.items import Action, Item, Operation
from fairway.values.address import Address, Family
from fairway.values.protocol import Protocol
from nft_world import World, pods, settings_of, world_of
from node import PORT, Reached, Refused

pytestmark = pytest.mark.kernel
SVC, LOCAL_SVC = 2, 3
both_families = pytest.mark.parametrize("family", list(Family), ids=str)


@pytest.fixture
def world(family: Family) -> Iterator[World]:
    with world_of(settings_of(family)) as made:
        yield made


def sticky(world: World, svc: int, numbers: list[int], seconds: int = 60) -> list[Item]:
    """Backends by id: pod n has id 100 + n."""
    targets = {100 + n: (world.plan.pod[n], PORT) for n in numbers}
    return [items.timeout(seconds), *items.sticky_backends(svc, targets)]


def reached(world: World, source: Address, target: Address, protocol: Protocol = Protocol.TCP) -> Address:
    outcome = world.send(protocol, source, target)
    assert isinstance(outcome, Reached)
    assert outcome.source == source
    return outcome.address


@both_families
def test_a_client_keeps_its_backend_at_all_addresses_and_over_both_sets(world: World) -> None:
    plan = world.plan
    vip, other, local = (plan.service(n) for n in (1, 2, 3))
    everything = list(range(8))
    world.add(
        [
            *sticky(world, SVC, everything),
            *sticky(world, LOCAL_SVC, everything),
            *items.frontend(vip, policy=Policy.affinity(60)),
            *items.frontend(other, policy=Policy.affinity(60)),
            *items.frontend(local, svc=LOCAL_SVC, policy=Policy.local_affinity(60)),
            *items.frontend(local, svc=SVC, policy=Policy.affinity(60), container=layout.INSIDE),
        ]
    )
    chosen = {}
    for source in world.sources.values():
        first = chosen[source] = reached(world, source, vip)
        for target in (vip, other, local) * 4:
            for protocol in (Protocol.TCP, Protocol.UDP):
                assert reached(world, source, target, protocol) == first
    assert set(world.dump(layout.AFFINITY)) == {layout.svc_key(SVC) + source for source in chosen}


@both_families
def test_clients_of_other_backends_stay_when_one_goes_and_its_own_choose_anew(world: World) -> None:
    plan, vip = world.plan, world.plan.service(1)
    world.add([*sticky(world, SVC, [0, 1, 2]), *items.frontend(vip, policy=Policy.affinity(60))])
    sources = [plan.client, plan.stranger, plan.caller, plan.node]
    before = {source: reached(world, source, vip) for source in sources}
    gone = plan.pod.index(before[plan.client])
    left = sorted({0, 1, 2} - {gone})
    shrink(world, left, gone)
    after = {source: reached(world, source, vip) for source in sources}
    for source in sources:
        if before[source] != plan.pod[gone]:
            assert after[source] == before[source]
        assert after[source] in [plan.pod[n] for n in left]
        assert {reached(world, source, vip) for _ in range(10)} == {after[source]}


def shrink(world: World, left: list[int], gone: int) -> None:
    """As the reconciler does it: places first, then the count, what nobody points to last."""
    place = [
        Item(layout.BACKEND_IDS, layout.place_key(place, SVC), layout.id_data(100 + n)) for place, n in enumerate(left)
    ]
    end = Item(layout.BACKEND_IDS, layout.place_key(len(left), SVC), layout.id_data(0))
    endpoint = Item(
        layout.ENDPOINTS, layout.place_key(100 + gone, SVC), layout.address_data(world.plan.pod[gone], PORT)
    )
    world.kernel.apply(items.replacements([*place, items.count(SVC, len(left))]))
    world.kernel.apply(items.removals([end, endpoint]))


@both_families
def test_affinity_survives_growth(world: World) -> None:
    plan, vip = world.plan, world.plan.service(1)
    world.add([*sticky(world, SVC, [0, 1]), *items.frontend(vip, policy=Policy.affinity(60))])
    sources = [plan.client, plan.stranger, plan.caller, plan.node]
    before = {source: reached(world, source, vip) for source in sources}
    grown = sticky(world, SVC, [0, 1, 2, 3, 4, 5])
    present = {(c, key) for c in (layout.BACKEND_IDS, layout.ENDPOINTS) for key in world.dump(c)}
    world.add([item for item in grown if item.container != layout.COUNTS and (item.container, item.key) not in present])
    world.kernel.apply([Operation(Action.REPLACE, items.count(SVC, 6))])
    for _ in range(5):
        assert {source: reached(world, source, vip) for source in sources} == before


@both_families
def test_affinity_is_refreshed_by_use_and_expires_without(world: World) -> None:
    plan, vip = world.plan, world.plan.service(1)
    world.add([*sticky(world, SVC, list(range(9)), 1), *items.frontend(vip, policy=Policy.affinity(1))])
    first = reached(world, plan.client, vip)
    end = time.monotonic() + 1.6
    while time.monotonic() < end:
        assert reached(world, plan.client, vip, Protocol.UDP) == first
    deadline = time.monotonic() + 10
    while world.dump(layout.AFFINITY):
        assert time.monotonic() < deadline
    seen = {first}
    for _ in range(40):  # the chance to choose the same of nine again each time: 9^-40
        world.kernel.apply(items.removals([Item(layout.AFFINITY, layout.svc_key(SVC) + plan.client, b"")]))
        seen.add(reached(world, plan.client, vip))
        if len(seen) > 1:
            break
    assert len(seen) > 1


@both_families
def test_two_timeouts_stand_side_by_side_and_go_when_unused(world: World) -> None:
    plan, short, long = world.plan, world.plan.service(1), world.plan.service(2)
    world.add([*sticky(world, SVC, [0], 60), *items.frontend(short, policy=Policy.affinity(60))])
    world.add([*sticky(world, 4, [1], 10800), *items.frontend(long, svc=4, policy=Policy.affinity(10800))])
    assert reached(world, plan.client, short) == plan.pod[0]
    assert reached(world, plan.client, long) == plan.pod[1]
    world.remove([*items.frontend(short), items.timeout(60)])
    assert world.dump(layout.TIMEOUTS) == {layout.number_key(10800): b""}
    assert reached(world, plan.client, long) == plan.pod[1]
    assert world.kernel.ensure_skeleton(world.settings) == []


@both_families
def test_a_full_affinity_map_costs_affinity_not_connections(family: Family) -> None:
    with world_of(SkeletonSettings(family, PodRanges(), affinity_size=2)) as world:
        plan, vip = world.plan, world.plan.service(1)
        world.add([*sticky(world, SVC, list(range(9))), *items.frontend(vip, policy=Policy.affinity(60))])
        remembered = {source: reached(world, source, vip) for source in (plan.client, plan.stranger)}
        forgotten = {reached(world, plan.caller, vip) for _ in range(60)}
        assert len(forgotten) > 1
        for source, backend in remembered.items():
            assert reached(world, source, vip) == backend


@both_families
def test_affinity_without_valid_backend_is_refused(world: World) -> None:
    plan, vip = world.plan, world.plan.service(1)
    world.add([items.timeout(60), items.count(SVC, 3), *items.frontend(vip, policy=Policy.affinity(60))])
    assert world.send(Protocol.TCP, plan.client, vip) == Refused()
    assert world.send(Protocol.UDP, plan.caller, vip) == Refused()


CRITICAL = {2: 15.1, 3: 18.4, 5: 23.5, 7: 27.9, 10: 33.7}
"""chi-square of N - 1 degrees of freedom that chance exceeds once in 10,000 times"""


@both_families
@pytest.mark.parametrize("count", sorted(CRITICAL))
@pytest.mark.parametrize("policy", [Policy.PICK, Policy.affinity(60)], ids=["pick", "affinity"])
def test_each_backend_gets_an_equal_share(world: World, count: int, policy: int) -> None:
    plan, vip = world.plan, world.plan.service(1)
    numbers = list(range(count))
    if policy == Policy.PICK:
        world.add([*items.backends(SVC, pods(plan, *numbers)), *items.frontend(vip)])
    else:
        world.add([*sticky(world, SVC, numbers), *items.frontend(vip, policy=policy)])
    total = 200 * count
    found: Counter[Address] = Counter()
    for _ in range(total):
        if policy != Policy.PICK:
            world.kernel.apply(items.removals([Item(layout.AFFINITY, layout.svc_key(SVC) + plan.client, b"")]))
        found[reached(world, plan.client, vip, Protocol.UDP)] += 1
    expected = total / count
    assert set(found) == set(plan.pod[:count])
    assert sum((n - expected) ** 2 / expected for n in found.values()) < CRITICAL[count]
