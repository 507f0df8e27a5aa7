"""What every nftables writer promises: one suite over the fake and over the real kernel, with and without destroy."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import pytest

import netns
import nft_items as items
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Policy
from fairway.dataplanes.nftables.skeleton import PodRanges, SkeletonSettings
from fairway.io.netlink.nftables import NftablesKernel
from fairway.reconcile.items import Action, Item, Operation, WriteError
from fairway.values.address import Family, Prefix
from fake_kernel import FakeKernel
from node import PLANS

pytestmark = pytest.mark.kernel
PLAN = PLANS[Family.IPV4]


class Writer(Protocol):
    """The part that fake and real share."""

    def apply(self, operations: Sequence[Operation]) -> None: ...

    def dump(self, container: str) -> Iterator[Sequence[tuple[Any, Any]]]: ...

    def get(self, container: str, key: Any) -> Any | None: ...

    def suspects(self, container: str, known: Mapping[Any, Any]) -> Iterator[Any]: ...


@pytest.fixture(params=["fake", "real", "real without destroy"])
def writer(request: pytest.FixtureRequest) -> Iterator[Writer]:
    if request.param == "fake":
        yield FakeKernel()
        return
    with netns.private(), NftablesKernel(Family.IPV4) as kernel:
        if "without" in request.param:  # kernels before 6.3
            kernel._batch.can_destroy = False
        kernel.ensure_skeleton(SkeletonSettings(Family.IPV4, PodRanges()))
        yield kernel


def content(writer: Writer, container: str) -> dict[bytes, bytes]:
    return dict(pair for chunk in writer.dump(container) for pair in chunk)


def everything() -> list[Item]:
    plan = PLAN
    return [
        *items.backends(2, [(plan.pod[n], 8080) for n in range(3)], comment="default/web:http/tcp cluster"),
        *items.frontend(plan.service(1)),
        *items.frontend(plan.service(2), container=layout.INSIDE),
        *items.frontend(plan.service(2), container=layout.GUARDED),
        *items.source_range(2, Prefix.parse("10.0.0.0/8")),
        items.timeout(60),
        *items.sticky_backends(4, {7: (plan.pod[1], 80)}),
        items.hairpin(plan.pod[0]),
        items.cluster_ip(plan.service(1)),
        items.network(layout.SERVICE_CIDRS, plan.services),
        items.network(layout.PODS, plan.pods),
    ]


def test_what_was_added_is_dumped_and_got(writer: Writer) -> None:
    wanted = everything()
    writer.apply(items.additions(wanted))
    for container in layout.CONTAINERS:
        expected = {item.key: item.value for item in wanted if item.container == container.name}
        assert content(writer, container.name) == expected
        for key, value in expected.items():
            assert writer.get(container.name, key) == value
        assert suspects(writer, container.name, expected) == set()


def test_what_was_removed_is_gone_and_the_rest_stays(writer: Writer) -> None:
    wanted = everything()
    writer.apply(items.additions(wanted))
    for container in layout.CONTAINERS:
        of_this = [item for item in wanted if item.container == container.name]
        writer.apply(items.removals(of_this[:1]))
        assert content(writer, container.name) == {item.key: item.value for item in of_this[1:]}
        assert writer.get(container.name, of_this[0].key) is None


def test_a_replacement_changes_the_value_of_its_key_alone(writer: Writer) -> None:
    writer.apply(items.additions(everything()))
    before = content(writer, layout.BACKENDS)
    key = layout.place_key(1, 2)
    new = layout.address_data(PLAN.pod[9], 1)
    writer.apply([Operation(Action.REPLACE, Item(layout.BACKENDS, key, new))])
    assert content(writer, layout.BACKENDS) == before | {key: new}


def test_an_addition_of_what_is_there_changes_nothing(writer: Writer) -> None:
    wanted = everything()
    writer.apply(items.additions(wanted))
    writer.apply(
        items.additions([item for item in wanted if item.container not in (layout.PODS, layout.SERVICE_CIDRS)])
    )
    for container in layout.CONTAINERS:
        expected = {item.key: item.value for item in wanted if item.container == container.name}
        assert content(writer, container.name) == expected


def test_a_removal_of_what_is_gone_does_not_void_the_batch(writer: Writer) -> None:
    other = items.cluster_ip(PLAN.service(5))
    writer.apply([*items.removals([items.cluster_ip(PLAN.service(4))]), *items.additions([other])])
    assert content(writer, layout.CLUSTER_IPS) == {other.key: other.value}


def test_a_replacement_of_what_is_gone_adds_it(writer: Writer) -> None:
    (item, _) = items.frontend(PLAN.service(4))
    writer.apply(items.replacements([item]))
    assert writer.get(layout.FRONTENDS, item.key) == item.value


@pytest.mark.parametrize("others", [0, 3, 5000])
def test_an_addition_over_another_value_is_refused_by_name_and_nothing_is_applied(writer: Writer, others: int) -> None:
    writer.apply(items.additions(items.frontend(PLAN.service(1), svc=2)))
    (clash, _) = items.frontend(PLAN.service(1), svc=4)
    before = [Operation(Action.ADD, items.cluster_ip(PLAN.service(n))) for n in range(others)]
    fresh = items.additions(items.frontend(PLAN.service(2)))
    with pytest.raises(WriteError) as raised:
        writer.apply([*before, *fresh, Operation(Action.ADD, clash)])
    assert raised.value.errno == errno.EEXIST
    assert raised.value.operation == Operation(Action.ADD, clash)
    assert "EEXIST" in str(raised.value)
    assert content(writer, layout.CLUSTER_IPS) == {}
    assert len(content(writer, layout.FRONTENDS)) == 2


def test_ranges_that_overlap_are_refused_and_one_may_take_the_place_of_another(writer: Writer) -> None:
    wide, narrow = (items.network(layout.PODS, Prefix.parse(text)) for text in ("10.0.0.0/8", "10.1.0.0/16"))
    writer.apply(items.additions([wide]))
    with pytest.raises(WriteError):
        writer.apply(items.additions([narrow]))
    writer.apply([*items.removals([wide]), *items.additions([narrow])])
    assert content(writer, layout.PODS) == {narrow.key: narrow.value}


def test_neighbouring_and_extreme_ranges_are_kept_apart(writer: Writer) -> None:
    texts = ["0.0.0.0/8", "1.0.0.0/8", "10.0.0.0/32", "10.0.0.1/32", "255.0.0.0/8"]
    ranges = [items.network(layout.SERVICE_CIDRS, Prefix.parse(text)) for text in texts]
    writer.apply(items.additions(ranges))
    assert set(content(writer, layout.SERVICE_CIDRS)) == {item.key for item in ranges}
    writer.apply(items.removals(ranges[::2]))
    assert set(content(writer, layout.SERVICE_CIDRS)) == {item.key for item in ranges[1::2]}


def test_a_failed_batch_can_be_given_again_without_what_failed(writer: Writer) -> None:
    """Also where it needed chains of its own: they are not believed to stand."""
    writer.apply(items.additions(items.frontend(PLAN.service(1), svc=2)))
    (clash, _) = items.frontend(PLAN.service(1), svc=4)
    wanted = items.additions(
        [items.timeout(30), *items.source_range(2, Prefix.parse("10.0.0.0/9")), items.count(6, 11)]
    )
    with pytest.raises(WriteError):
        writer.apply([*wanted, Operation(Action.ADD, clash)])
    assert content(writer, layout.TIMEOUTS) == {}
    writer.apply(wanted)
    assert content(writer, layout.TIMEOUTS) == {layout.number_key(30): b""}
    assert content(writer, layout.RANGE_LENGTHS) == {layout.number_key(9): b""}
    assert set(content(writer, layout.COUNTS)) == {layout.svc_key(6)}


def test_many_operations_are_applied_in_order(writer: Writer) -> None:
    count = 20_000 if isinstance(writer, NftablesKernel) else 200
    first = [
        Item(layout.BACKENDS, layout.place_key(n, 2), layout.address_data(PLAN.pod[0], n % 65536)) for n in range(count)
    ]
    second = [item._replace(value=layout.address_data(PLAN.pod[1], 1)) for item in first[::3]]
    writer.apply([*items.additions(first), *items.replacements(second), *items.removals(first[1::3])])
    expected = {item.key: item.value for item in first}
    expected.update({item.key: item.value for item in second})
    for item in first[1::3]:
        del expected[item.key]
    assert content(writer, layout.BACKENDS) == expected


@pytest.mark.parametrize(
    "container", [layout.BACKENDS, layout.COUNTS, layout.PODS, layout.TIMEOUTS, layout.CLUSTER_IPS]
)
def test_suspects_are_what_differs_is_missing_or_is_not_known(writer: Writer, container: str) -> None:
    many = [
        *(items.count(2 * n, n % 5, f"default/s{n}:http/tcp cluster") for n in range(1, 600)),
        *(Item(layout.BACKENDS, layout.place_key(n, 2), layout.address_data(PLAN.pod[0], n)) for n in range(600)),
        *(items.cluster_ip(PLAN.service(n)) for n in range(600)),
        *(items.network(layout.PODS, Prefix.parse(f"10.{n}.0.0/16")) for n in range(0, 200, 2)),
        *(items.timeout(n) for n in range(1, 20)),
    ]
    present = [item for item in many if item.container == container]
    writer.apply(items.additions(present))
    known: dict[Any, Any] = {item.key: item.value for item in present}
    assert suspects(writer, container, known) == set()
    extra = present[3].key
    changed, missing = present[5].key, b"\xff" * len(extra)
    del known[extra]
    known[changed] = b"other"
    known[missing] = present[0].value
    assert suspects(writer, container, known) == {extra, changed, missing}
    writer.apply(items.removals(present))
    assert suspects(writer, container, known) == set(known)


def suspects(writer: Writer, container: str, known: Mapping[Any, Any]) -> set[Any]:
    return {key for piece in writer.suspects(container, known) for key in piece}


def test_affinity_policies_follow_their_timeouts(writer: Writer) -> None:
    writer.apply(items.additions([items.timeout(5), *items.frontend(PLAN.service(1), policy=Policy.affinity(5))]))
    writer.apply(items.additions([items.timeout(6)]))
    writer.apply(items.removals([items.timeout(5)]))
    assert content(writer, layout.TIMEOUTS) == {layout.number_key(6): b""}
