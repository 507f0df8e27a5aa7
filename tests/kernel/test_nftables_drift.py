"""Changes that others make to our table: noticed, named, repaired; and a restart that finds nothing to do."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

import netns
import nft_items as items
from fairway.agents.drift import ForeignChange, Part
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Policy
from fairway.io.netlink import nftables_reader as reader
from fairway.io.netlink.nftables import NftablesKernel
from fairway.io.netlink.nftables_events import NftablesEvents
from fairway.reconcile.items import Action, Item, Operation
from fairway.values.address import Family, Prefix
from fairway.values.protocol import Protocol
from nft_world import World, pods, settings_of, world_of
from node import Reached

pytestmark = pytest.mark.kernel
SVC = 2
both_families = pytest.mark.parametrize("family", list(Family), ids=str)


@pytest.fixture
def world(family: Family) -> Iterator[World]:
    with world_of(settings_of(family)) as made:
        made.add(everything(made))
        yield made


def everything(world: World) -> list[Item]:
    plan = world.plan
    return [
        *items.backends(SVC, pods(plan, 0, 1), comment="shop/web:http/tcp cluster"),
        *items.frontend(plan.service(1)),
        items.timeout(60),
        *items.sticky_backends(4, {7: (plan.pod[2], 8080)}),
        *items.frontend(plan.service(2), svc=4, policy=Policy.affinity(60)),
        *items.source_range(SVC, Prefix.of(plan.client, 24)),
        *items.frontend(plan.service(3), policy=Policy.GUARD),
        *items.frontend(plan.service(3), container=layout.GUARDED),
        items.hairpin(plan.pod[0]),
        items.cluster_ip(plan.service(1)),
        items.network(layout.SERVICE_CIDRS, plan.services),
    ]


def nft(world: World, text: str) -> None:
    netns.run("nft", text.replace("TABLE", f"{table(world)} fairway"))


def table(world: World) -> str:
    return "ip" if world.plan.family is Family.IPV4 else "ip6"


def heard(events: NftablesEvents, seconds: float = 1) -> list[ForeignChange]:
    """What is heard within a second; drift must be noticed in that time."""
    return events.read() if select.select([events], [], [], seconds)[0] else []


@both_families
def test_a_restart_without_changes_writes_nothing(world: World) -> None:
    with NftablesEvents(world.plan.family, []) as events, NftablesKernel(world.plan.family) as restarted:
        heard(events, 0)
        before = reader.generation()
        assert restarted.ensure_skeleton(world.settings) == []
        for container in layout.CONTAINERS:
            for _ in restarted.dump(container.name):
                pass
        assert reader.generation() == before
        assert heard(events, 0) == []
        restarted.apply([Operation(Action.ADD, items.cluster_ip(world.plan.service(9)))])
        assert reader.generation() == before + 1


@both_families
def test_our_own_writes_are_not_heard_and_those_of_others_are_named(world: World) -> None:
    with world.kernel.subscribe() as events:
        world.add(items.frontend(world.plan.service(5)))
        world.kernel.apply(items.replacements(items.frontend(world.plan.service(5), svc=4)))
        world.remove(items.frontend(world.plan.service(5)))
        world.add([items.timeout(90)])
        assert heard(events, 0.2) == []
        nft(world, f"delete element TABLE cluster-ips {{ {world.plan.service(1)} }}")
        (change,) = heard(events)
        assert change._replace(by="") == ForeignChange(Part.ELEMENT, layout.CLUSTER_IPS, bytes(world.plan.service(1)))
        assert change.by.startswith("nft[")


@both_families
def test_writes_of_another_writer_of_ours_are_not_heard(world: World) -> None:
    other_family = next(f for f in Family if f is not world.plan.family)
    with NftablesKernel(other_family) as other, world.kernel.subscribe([other.port]) as events:
        other.ensure_skeleton(settings_of(other_family))
        assert heard(events, 0.2) == []


@both_families
def test_other_tables_are_passed_over(world: World) -> None:
    with world.kernel.subscribe() as events:
        other = """
            add table inet other
            add set inet other s { type ipv4_addr; }
            add element inet other s { 1.2.3.4 }
            add chain inet other c { type filter hook input priority 0; }
            add rule inet other c counter
        """
        netns.run("nft", "-f", "-", stdin=other)
        netns.run("nft", "add", "table", "ip" if table(world) == "ip6" else "ip6", "fairway")
        assert heard(events, 0.2) == []


@both_families
@pytest.mark.parametrize(
    ("command", "part", "name"),
    [
        ("delete table TABLE", Part.TABLE, ""),
        ("flush chain TABLE pick", Part.RULE, "pick"),
        ("add rule TABLE services counter", Part.RULE, "services"),
        ("add chain TABLE stranger", Part.CHAIN, "stranger"),
        ("flush map TABLE backends", Part.ELEMENT, layout.BACKENDS),
        ("delete element TABLE counts { 0x2 }", Part.ELEMENT, layout.COUNTS),
        ("flush set TABLE pods", Part.ELEMENT, layout.PODS),
        ("flush map TABLE policies", Part.ELEMENT, layout.POLICIES),
        ("flush map TABLE shares", Part.ELEMENT, layout.SHARES),
    ],
)
def test_each_kind_of_drift_is_heard(world: World, command: str, part: Part, name: str) -> None:
    with world.kernel.subscribe() as events:
        nft(world, command)
        changes = heard(events)
        assert (part, name) in {(change.part, change.name) for change in changes}
        assert all(change.by.startswith("nft[") for change in changes)


@both_families
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("flush chain TABLE pick", ["rules of chain pick differed"]),
        ("add rule TABLE services counter", ["rules of chain services differed"]),
        ("insert rule TABLE pick ip saddr 1.2.3.4 accept", ["rules of chain pick differed"]),
        (
            "add chain TABLE stranger { type filter hook forward priority 0; policy drop; }",
            ["chain stranger does not belong here"],
        ),
        ("flush map TABLE policies", ["elements of policies differed"]),
        ("delete element TABLE masquerades { 0x1 }", ["elements of masquerades differed"]),
        ("flush map TABLE shares", ["shares of 1 differed", "shares of 2 differed"]),
        (
            "flush chain TABLE source-range; flush chain TABLE affinity-60",
            ["rules of chain affinity-60 differed", "rules of chain source-range differed"],
        ),
        ("add set TABLE stranger { type mark; }", ["set stranger does not belong here"]),
        ("delete table TABLE", ["table was missing"]),
    ],
)
def test_the_skeleton_is_repaired_and_only_what_differs(world: World, command: str, said: list[str]) -> None:
    plan = world.plan
    if plan.family is Family.IPV6:
        command = command.replace("ip saddr 1.2.3.4", "ip6 saddr fd00::1")
    nft(world, command)
    assert sorted(world.kernel.ensure_skeleton(world.settings, lambda: everything(world))) == said
    assert world.kernel.ensure_skeleton(world.settings) == []
    for service in (1, 2, 3):
        assert isinstance(world.send(Protocol.TCP, plan.client, plan.service(service)), Reached)


@both_families
def test_a_table_that_a_crash_left_behind_is_removed(world: World) -> None:
    left = f"{table(world)} {layout.INTERIM_TABLE}"
    with NftablesKernel(world.plan.family) as other:
        for clean in (lambda: other.ensure_skeleton(world.settings), other.remove):
            chain = f"add chain {left} prerouting {{ type nat hook prerouting priority -99; }}"
            netns.run("nft", f"add table {left}; {chain}; add rule {left} prerouting drop")
            clean()
            assert layout.INTERIM_TABLE not in netns.run("nft", "list", "tables")
    assert netns.run("nft", "list", "tables") == ""


@both_families
def test_a_restart_finds_timeouts_and_range_lengths_again(world: World) -> None:
    with NftablesKernel(world.plan.family) as restarted:
        restarted.ensure_skeleton(world.settings)
        assert [*restarted.dump(layout.TIMEOUTS)] == [[(layout.number_key(60), b"")]]
        assert [*restarted.dump(layout.RANGE_LENGTHS)] == [[(layout.number_key(24), b"")]]
        restarted.apply(items.additions([items.timeout(7), *items.source_range(SVC, Prefix.of(world.plan.client, 9))]))
        assert restarted.ensure_skeleton(world.settings) == []


@both_families
def test_lost_notifications_are_told_as_unknown(world: World) -> None:
    with NftablesEvents(world.plan.family, [world.kernel.port], buffer=4096) as events:
        addresses = ", ".join(str(world.plan.service(number)) for number in range(10, 60_000))
        lines = [f"add element {table(world)} fairway cluster-ips {{ {addresses} }}"]
        netns.run("nft", "-f", "-", stdin="\n".join(lines))
        changes = heard(events)
        assert ForeignChange(Part.UNKNOWN) in changes
        nft(world, "flush set TABLE pods")
        assert any(change.name == layout.PODS for change in heard(events))
