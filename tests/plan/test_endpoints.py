"""Which endpoints a service port uses (rules 1 and 3 to 6 of docs/semantics.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairway.kube.endpointslice import EndpointSlice
from fairway.plan.endpoints import is_any_usable, join, keep_flows, select_cluster, select_local
from fairway.plan.model import Selection
from fairway.plan.reasons import Reason
from fairway.plan.view import NodeView
from fairway.values.names import ObjectName, ServicePortName
from fairway.values.protocol import Protocol
from objects import HERE, THERE, VIEW, endpoint, slice_of, view

NAME = ServicePortName(ObjectName("ns", "web"), "http", Protocol.TCP)
E1, E2, E3 = "10.0.1.1", "10.0.2.1", "10.0.3.1"


def joined(*slices: EndpointSlice, node: NodeView = VIEW) -> list[str]:
    return sorted(address.with_port(port) for address, port in join(slices, NAME, node))


def shown(selection: Selection) -> tuple[str, Reason]:
    return " ".join(str(backend.address) for backend in selection.backends), selection.reason


def cluster(*endpoints: Mapping[str, Any], node: NodeView = VIEW) -> tuple[str, Reason]:
    return shown(select_cluster(join([slice_of(*endpoints)], NAME, node), node))


def local(*endpoints: Mapping[str, Any], node: NodeView = VIEW) -> tuple[str, Reason]:
    return shown(select_local(join([slice_of(*endpoints)], NAME, node), node))


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([{"name": "http", "port": 8080}], [f"{E1}:8080"]),
        ([{"name": "http", "port": 8080, "protocol": "UDP"}], []),
        ([{"name": "other", "port": 8080}], []),
        ([{"name": "", "port": 8080}], []),
        ([{"name": "http"}], []),
        ([{"name": "http", "port": 1}, {"name": "http", "port": 2}], [f"{E1}:1", f"{E1}:2"]),
    ],
)
def test_slices_join_by_port_name_and_protocol(ports: list[dict[str, Any]], expected: list[str]) -> None:
    """Rule 1."""
    assert joined(slice_of(endpoint(E1), ports=ports)) == expected


def test_an_unnamed_port_joins_an_unnamed_port() -> None:
    """Rule 1."""
    unnamed = NAME._replace(port="")
    for ports in ([{"port": 53}], [{"name": "", "port": 53}]):
        assert [port for _, port in join([slice_of(endpoint(E1), ports=ports)], unnamed, VIEW)] == [53]


def test_slices_of_the_other_family_are_left_out() -> None:
    """Rule 2."""
    assert joined(slice_of(endpoint("fd00::1"), family="IPv6")) == []


def test_only_the_first_address_of_an_endpoint_counts() -> None:
    """Rule 1."""
    assert joined(slice_of({"addresses": [E1, E2]})) == [f"{E1}:8080"]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(endpoint(E1, HERE), endpoint(E1, THERE), id="the local copy"),
        pytest.param(endpoint(E1, HERE, ready=False), endpoint(E1, THERE), id="the local copy, though not ready"),
        pytest.param(endpoint(E1), endpoint(E1, ready=False), id="the ready copy"),
        pytest.param(
            endpoint(E1, ready=False, serving=True, terminating=True),
            endpoint(E1, ready=False, serving=False, terminating=True),
            id="the serving copy",
        ),
    ],
)
def test_an_address_in_two_slices_counts_once(better: dict[str, Any], worse: dict[str, Any], order: int) -> None:
    """Rule 1."""
    slices = [slice_of(better, name="1"), slice_of(worse, name="2")][::order]
    assert join(slices, NAME, VIEW) == join([slice_of(better)], NAME, VIEW)


READY = {"ready": True}
STARTING = {"ready": False, "serving": False, "terminating": False}
SERVING_UNREADY = {"ready": False, "serving": True, "terminating": False}
TERMINATING = {"ready": False, "serving": True, "terminating": True}
GONE = {"ready": False, "serving": False, "terminating": True}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param({}, {}, (f"{E1} {E2}", Reason.READY), id="absent conditions mean ready"),
        pytest.param(READY, STARTING, (E1, Reason.READY), id="ready only"),
        pytest.param(READY, TERMINATING, (E1, Reason.READY), id="a ready one beats a terminating one"),
        pytest.param(STARTING, TERMINATING, (E2, Reason.TERMINATING), id="none ready: serving and terminating"),
        pytest.param(TERMINATING, TERMINATING, (f"{E1} {E2}", Reason.TERMINATING), id="all terminating"),
        pytest.param(GONE, TERMINATING, (E2, Reason.TERMINATING), id="terminating without serving is never used"),
        pytest.param(SERVING_UNREADY, STARTING, ("", Reason.NONE_USABLE), id="serving, neither ready nor terminating"),
        pytest.param(GONE, STARTING, ("", Reason.NONE_USABLE), id="nothing usable"),
        pytest.param({"terminating": True}, {}, (f"{E1} {E2}", Reason.READY), id="ready counts even while terminating"),
    ],
)
def test_usable_endpoints(first: dict[str, bool], second: dict[str, bool], expected: tuple[str, Reason]) -> None:
    """Rules 3 and 4, for the Cluster set and, with all on this node, for the Local set."""
    assert cluster(endpoint(E1, **first), endpoint(E2, **second)) == expected
    reasons = {
        Reason.READY: Reason.LOCAL_READY,
        Reason.TERMINATING: Reason.LOCAL_TERMINATING,
        Reason.NONE_USABLE: Reason.NONE_LOCAL,
    }
    on_this_node = local(endpoint(E1, HERE, **first), endpoint(E2, HERE, **second))
    assert on_this_node == (expected[0], reasons[expected[1]])


def test_the_local_set_has_its_own_fallback() -> None:
    """Rule 4: a ready endpoint elsewhere does not keep the Local set from its terminating one."""
    endpoints = endpoint(E1, HERE, **TERMINATING), endpoint(E2, THERE)
    assert local(*endpoints) == (E1, Reason.LOCAL_TERMINATING)
    assert cluster(*endpoints) == (E2, Reason.READY)


@pytest.mark.parametrize("node", [None, "", THERE])
def test_an_endpoint_elsewhere_or_nowhere_is_not_local(node: str | None) -> None:
    """Rule 3."""
    assert local(endpoint(E1, node)) == ("", Reason.NONE_LOCAL)
    assert local(endpoint(E1, node), node=view(name="")) == ("", Reason.NONE_LOCAL)


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        pytest.param(
            [{"nodes": [HERE]}, {"nodes": [THERE]}, {"nodes": [THERE]}], (E1, Reason.NODE_HINTS), id="node hints"
        ),
        pytest.param(
            [{"zones": ["zone-a"]}, {"zones": ["zone-b"]}, {"zones": ["zone-a", "zone-b"]}],
            (f"{E1} {E3}", Reason.ZONE_HINTS),
            id="zone hints",
        ),
        pytest.param(
            [{"zones": ["zone-a"], "nodes": [THERE]}, {"zones": ["zone-a"], "nodes": [HERE]}, {"nodes": [HERE]}],
            (f"{E2} {E3}", Reason.NODE_HINTS),
            id="node hints before zone hints",
        ),
        pytest.param(
            [{"zones": ["zone-a"], "nodes": [HERE]}, {"zones": ["zone-a"]}, {"zones": ["zone-b"]}],
            (f"{E1} {E2}", Reason.ZONE_HINTS),
            id="one missing node hint leaves zones",
        ),
        pytest.param(
            [{"zones": ["zone-a"], "nodes": [THERE]}] * 2 + [{"zones": ["zone-b"], "nodes": [THERE]}],
            (f"{E1} {E2}", Reason.ZONE_HINTS),
            id="no node hint names this node: zones",
        ),
        pytest.param(
            [{"zones": ["zone-a"]}, {"zones": ["zone-a"]}, {}],
            (f"{E1} {E2} {E3}", Reason.READY),
            id="one missing zone hint disables zones",
        ),
        pytest.param([{"zones": ["zone-b"]}] * 3, (f"{E1} {E2} {E3}", Reason.READY), id="no hint names this zone: all"),
        pytest.param(
            [{"zones": ["zone-a"]}, {"zones": ["zone-b"]}, {"ready": False}],
            (E1, Reason.ZONE_HINTS),
            id="an endpoint that is not ready has no say",
        ),
        pytest.param(
            [{"zones": ["zone-b"]}, {"zones": ["zone-b"]}, {"zones": ["zone-a"], "ready": False}],
            (f"{E1} {E2}", Reason.READY),
            id="a hint of one that is not ready does not count",
        ),
        pytest.param(
            [{"zones": ["zone-a"], **TERMINATING}, {"zones": ["zone-b"], **TERMINATING}, GONE],
            (f"{E1} {E2}", Reason.TERMINATING),
            id="hints do not bind terminating endpoints",
        ),
    ],
)
def test_topology(hints: list[dict[str, Any]], expected: tuple[str, Reason]) -> None:
    """Rule 6: node hints, else zone hints, else all; all or nothing."""
    assert cluster(*(endpoint(a, **h) for a, h in zip((E1, E2, E3), hints, strict=True))) == expected


def test_a_node_without_zone_or_name_uses_all() -> None:
    """Rule 6."""
    hinted = [endpoint(E1, zones=["", "zone-a"], nodes=["", HERE]), endpoint(E2, zones=["zone-b"], nodes=[THERE])]
    assert cluster(*hinted, node=view(zone="", name="")) == (f"{E1} {E2}", Reason.READY)


def test_topology_leaves_the_local_set_alone() -> None:
    """Rule 6."""
    assert local(endpoint(E1, HERE, zones=["zone-b"]), endpoint(E2, THERE, zones=["zone-a"]))[0] == E1


CONDITIONS = st.fixed_dictionaries({}, optional={k: st.booleans() for k in ("ready", "serving", "terminating")})
HINTS = st.fixed_dictionaries(
    {},
    optional={
        "zones": st.lists(st.sampled_from(["zone-a", "zone-b"]), max_size=2),
        "nodes": st.lists(st.sampled_from([HERE, THERE]), max_size=2),
    },
)
ENDPOINTS = st.lists(
    st.builds(
        lambda n, node, c, h: endpoint(f"10.0.{n}.1", node, **c, **h),
        st.integers(1, 6),
        st.sampled_from([None, HERE, THERE]),
        CONDITIONS,
        HINTS,
    ),
    max_size=6,
)


@given(ENDPOINTS, st.randoms())
def test_selections_do_not_depend_on_how_slices_are_cut(endpoints: list[dict[str, Any]], random: Any) -> None:
    """Rule 1: any order, any number of slices, any duplicate."""
    assume(_copies_agree(endpoints))
    cut = random.randint(0, len(endpoints))
    shuffled = random.sample(endpoints, len(endpoints))
    one = [slice_of(*endpoints)]
    many = [slice_of(*shuffled[:cut], name="1"), slice_of(*shuffled[cut:], *endpoints[:2], name="2")]
    for select in (select_cluster, select_local):
        first, second = (select(join(slices, NAME, VIEW), VIEW) for slices in (one, many))
        assert first == second


def _copies_agree(endpoints: list[dict[str, Any]]) -> bool:
    """Whether an address that stands twice is the same both times, so that no rule has to choose."""
    seen: dict[str, dict[str, Any]] = {}
    return all(seen.setdefault(e["addresses"][0], e) == e for e in endpoints)


@given(ENDPOINTS)
def test_only_usable_endpoints_are_ever_selected(endpoints: list[dict[str, Any]]) -> None:
    """Rule 4."""
    rows = join([slice_of(*endpoints)], NAME, VIEW)
    chosen = select_cluster(rows, VIEW)
    here = select_local(rows, VIEW)
    for backend in chosen.backends + here.backends:
        row = rows[backend.address, backend.port]
        assert row.is_ready or row.is_serving_terminating
        assert backend.is_local == (row.node == HERE)
        assert row.may_keep_flows
    assert all(b.is_local for b in here.backends)
    assert bool(chosen.backends) == is_any_usable(rows)
    assert list(chosen.backends) == sorted(set(chosen.backends))
    assert set(keep_flows(rows)) >= {(b.address, b.port) for b in chosen.backends}
