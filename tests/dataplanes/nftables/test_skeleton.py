"""The skeleton as data: what every rule must keep to, whatever the settings; and what changes of it are written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fairway.dataplanes.nftables import changes, layout
from fairway.dataplanes.nftables import expressions as ex
from fairway.dataplanes.nftables.encode import Kind
from fairway.dataplanes.nftables.layout import Policy
from fairway.dataplanes.nftables.skeleton import (
    RANGES_CHAIN,
    PodInterface,
    PodRanges,
    Skeleton,
    SkeletonSettings,
    affinity_timeout,
    build_skeleton,
    range_length,
)
from fairway.values.address import Family

DETECTORS = [PodRanges(), PodInterface("cni0", is_prefix=False), PodInterface("veth", is_prefix=True), None]
ALL_SETTINGS = [SkeletonSettings(family, pods, guard_localhost=True) for family in Family for pods in DETECTORS]
every_setting = pytest.mark.parametrize("settings", ALL_SETTINGS, ids=str)
SETTINGS = SkeletonSettings(Family.IPV4, PodRanges())


def words(data: int) -> int:
    return (data + 3) // 4


def touched(expression: ex.Expression, family: Family) -> tuple[set[int], set[int]]:
    """Registers that an expression reads and writes."""
    sets = {spec.name: spec for spec in build_skeleton(SkeletonSettings(family)).sets.values()}
    address = words(family.width)

    def span(register: int, count: int) -> set[int]:
        return set(range(register, register + count))

    match expression:
        case ex.Payload(_, _, length, target):
            return set(), span(target, words(length))
        case ex.Meta(key, target) | ex.Ct(key, target, _):
            wide = {ex.MetaKey.IIFNAME: 4, ex.CtKey.DST_IP6: address}
            return set(), span(target, wide.get(key, 1))
        case ex.Fib(_, target) | ex.Random(_, target):
            return set(), {target}
        case ex.Immediate(data, target):
            return set(), span(target, words(len(data)))
        case ex.Compare(source, _, data):
            return span(source, words(len(data))), set()
        case ex.Bitwise(source, target, mask, _):
            return span(source, words(len(mask))), span(target, words(len(mask)))
        case ex.Lookup(container, source, target, _):
            spec = sets[container]
            reads = span(source, words(spec.key_width(family)))
            return reads, set() if target is None else span(target, words(spec.data_width(family)))
        case ex.Dispatch(_, source) | ex.OneOf(source, _):
            return {source}, set()
        case ex.Remember(container, _, key, data, _):
            spec = sets[container]
            reads = span(key, words(spec.key_width(family))) | span(data, words(spec.data_width(family)))
            return reads, set()
        case ex.DestinationNat(_, register, port):
            return span(register, address) | {port}, set()
        case _:
            return set(), set()


def rules(settings: SkeletonSettings) -> Iterator[tuple[str, ex.Rule]]:
    skeleton = build_skeleton(settings, [1, 10800], [0, 24])
    for chain in skeleton.chains.values():
        for rule in chain.rules:
            yield chain.name, rule


@every_setting
def test_no_rule_reads_a_register_before_it_wrote_it_or_beyond_the_last(settings: SkeletonSettings) -> None:
    """The kernel refuses the first with ENODATA, the second with ERANGE."""
    for name, rule in rules(settings):
        written: set[int] = set()
        for expression in rule.expressions:
            reads, writes = touched(expression, settings.family)
            assert reads <= written, (name, expression)
            written |= writes
        assert written <= set(range(16)), name


def targets(skeleton: Skeleton, chain: ex.Chain) -> Iterator[str]:
    """The chains that a chain leads to, once for each way."""
    for rule in chain.rules:
        for expression in rule.expressions:
            match expression:
                case ex.Decide(verdict) if verdict.chain:
                    yield verdict.chain
                case ex.Dispatch(container, _):
                    yield from (v.chain for v in skeleton.verdicts[container].values() if v.chain)


@every_setting
def test_every_way_leads_to_a_chain_that_exists_and_none_in_a_circle(settings: SkeletonSettings) -> None:
    skeleton = build_skeleton(settings, [1, 10800], [0, 24])
    ways = {name: set(targets(skeleton, chain)) for name, chain in skeleton.chains.items()}
    assert set().union(*ways.values()) <= skeleton.chains.keys()
    left = dict(ways)
    while left:
        leaves = [name for name, further in left.items() if not further & left.keys()]
        assert leaves, f"a circle among {sorted(left)}"
        for name in leaves:
            del left[name]
    used = set().union(*ways.values()) | {name for name, chain in skeleton.chains.items() if chain.hook}
    assert used == skeleton.chains.keys()


@every_setting
def test_every_rule_says_what_it_does_in_a_comment_that_nft_can_load(settings: SkeletonSettings) -> None:
    for name, rule in rules(settings):
        assert 0 < len(rule.comment.encode()) <= 127, name
        assert not set(rule.comment) & set('"\\\n'), name


@every_setting
def test_every_policy_has_a_way_and_ends_never_onward(settings: SkeletonSettings) -> None:
    skeleton = build_skeleton(settings, [60], [24])
    plain = {Policy.PICK, Policy.REJECT, Policy.DROP, Policy.affinity(60)}
    expected = {
        layout.POLICIES: plain | {Policy.GUARD, layout.LOCAL},
        layout.GUARDED_POLICIES: plain | {layout.LOCAL},
        layout.INSIDE_POLICIES: plain,
        layout.OUTSIDE_POLICIES: {policy << layout.OUTSIDE_SHIFT for policy in plain},
    }
    for container, policies in expected.items():
        assert {layout.unpack_number_key(key) for key in skeleton.verdicts[container]} == policies
    for container in expected:
        for verdict in skeleton.verdicts[container].values():
            assert verdict.code is ex.Code.DROP or ends(skeleton.chains[verdict.chain])


def ends(chain: ex.Chain) -> bool:
    """The last rule decides for every packet."""
    match chain.rules[-1].expressions:
        case (ex.Reject(),) | (ex.Decide(),):
            return True
    return False


def test_the_number_of_rules_depends_on_nothing_but_timeouts_and_lengths() -> None:
    def count(timeouts: list[int], lengths: list[int]) -> int:
        return sum(len(chain.rules) for chain in build_skeleton(SETTINGS, timeouts, lengths).chains.values())

    base = count([], [])
    assert base < 50
    assert count([60], []) - base == count([60, 90], []) - count([60], []) == 6
    assert count([], [24]) - base == 1


def test_chains_and_rules_say_what_they_are_there_for() -> None:
    skeleton = build_skeleton(SETTINGS, [60, 10800], [0, 9, 32])
    assert {affinity_timeout(name) for name in skeleton.chains} == {None, 60, 10800}
    assert [range_length(rule) for rule in skeleton.chains[RANGES_CHAIN].rules] == [32, 9, 0, None]


@pytest.mark.parametrize("name", ["affinity", "affinity-", "affinity-x", "affinity-²", "local-affinity-60"])
def test_other_chains_are_no_affinity_chains(name: str) -> None:
    assert affinity_timeout(name) is None


def test_an_equal_skeleton_needs_nothing() -> None:
    skeleton = build_skeleton(SETTINGS, [60], [24])
    assert changes.difference(skeleton, skeleton) == changes.Changes((), ())
    assert changes.incompatible_sets(skeleton.sets, skeleton) == []


def test_the_kernels_walk_through_all_ways_grows_with_the_timeouts_not_with_their_square() -> None:
    """It walks a chain once for each way that leads there, after every change of a chain or of a verdict map."""

    def walked(timeouts: int) -> int:
        skeleton = build_skeleton(SETTINGS, range(1, timeouts + 1), range(33))

        def below(chain: str) -> int:
            return 1 + sum(below(target) for target in targets(skeleton, skeleton.chains[chain]))

        return below("prerouting")

    assert walked(40) - walked(20) == walked(20) - walked(0) < 20 * 25


def test_a_new_timeout_needs_its_chains_and_elements_alone() -> None:
    made = changes.difference(build_skeleton(SETTINGS, [60]), build_skeleton(SETTINGS, [60, 90]))
    kinds = [message.kind for message in made.messages]
    assert kinds.count(Kind.NEW_CHAIN) == 2
    assert kinds.count(Kind.NEW_RULE) == 6
    assert kinds.count(Kind.NEW_ELEMENTS) == 4 + 4  # the policies, and the protocols of each rule that translates
    assert not {Kind.DELETE_RULE, Kind.DELETE_CHAIN, Kind.DELETE_ELEMENTS} & set(kinds)


def test_a_timeout_goes_elements_first() -> None:
    made = changes.difference(build_skeleton(SETTINGS, [60, 90]), build_skeleton(SETTINGS, [60]))
    kinds = [message.kind for message in made.messages]
    assert kinds.count(Kind.DELETE_CHAIN) == 2
    assert max(i for i, k in enumerate(kinds) if k is Kind.DELETE_ELEMENTS) < kinds.index(Kind.DELETE_CHAIN)


def test_another_hook_makes_the_chain_anew() -> None:
    wanted = build_skeleton(SETTINGS)
    hook = wanted.chains["prerouting"].hook
    assert hook is not None
    moved = wanted.chains["prerouting"]._replace(hook=hook._replace(priority=5))
    found = wanted._replace(chains=wanted.chains | {"prerouting": moved})
    made = changes.difference(found, wanted)
    assert made.descriptions == ("the hook of chain prerouting differed",)
    kinds = [message.kind for message in made.messages]
    assert kinds == [Kind.DELETE_RULE, Kind.DELETE_CHAIN, Kind.NEW_CHAIN, Kind.NEW_RULE]


def test_a_set_of_another_type_cannot_be_mended() -> None:
    wanted = build_skeleton(SETTINGS)
    spec = wanted.sets[layout.HAIRPIN]
    found = wanted.sets | {layout.HAIRPIN: spec._replace(key=spec.key[:1])}
    assert changes.incompatible_sets(found, wanted) == [layout.HAIRPIN]
    commented = wanted.sets | {layout.HAIRPIN: spec._replace(comment="other words")}
    assert changes.incompatible_sets(commented, wanted) == []
