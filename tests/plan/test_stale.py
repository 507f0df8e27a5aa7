"""Which UDP flows must go after a change: one test a rule, over changes of planned service ports."""

from hypothesis import given
from hypothesis import strategies as st

from fairway.kube.endpointslice import Condition, Endpoint, EndpointPort, EndpointSlice
from fairway.plan.endpoints import join, keep_flows
from fairway.plan.model import (
    Frontend,
    FrontendKey,
    FrontendKind,
    PlannedPort,
    Scope,
    Selection,
    Treatment,
    Treatments,
    Verdict,
)
from fairway.plan.planner import PortChange
from fairway.plan.reasons import Reason
from fairway.plan.stale import Destination, Flow, StaleFlows, StaleQuery, expected_replies
from fairway.plan.view import NodeView
from fairway.values.address import Address, Family
from fairway.values.names import ObjectName, ServicePortName
from fairway.values.protocol import Protocol

CLUSTER, EXTERNAL, BALANCER, NODE_PORT = (
    FrontendKind.CLUSTER_IP,
    FrontendKind.EXTERNAL_IP,
    FrontendKind.LOAD_BALANCER_IP,
    FrontendKind.NODE_PORT,
)
NODE = (
    Address.parse("192.168.0.2"),
    Address.parse("192.168.1.2"),
    Address.parse("127.0.0.1"),
    Address.parse("fd00::2"),
)
_TREATMENT = Treatment(Verdict.FORWARD, Scope.CLUSTER, False, (Reason.INTERNAL_CLUSTER,))
_NONE = Selection((), Reason.NOT_USED)


def endpoint(text: str) -> tuple[Address, int]:
    address, _, port = text.rpartition(":")
    return Address.parse(address.strip("[]")), int(port)


def frontend(kind: FrontendKind, text: str, protocol: Protocol = Protocol.UDP) -> Frontend:
    address, port = endpoint(text)
    return Frontend(FrontendKey(address, protocol, port), kind, Treatments(_TREATMENT, _TREATMENT, _TREATMENT))


def _name(name: str, protocol: Protocol) -> ServicePortName:
    return ServicePortName(ObjectName("ns", name), "", protocol)


def planned(name="dns", frontends=(), serving=(), protocol=Protocol.UDP, lost=(), family=Family.IPV4) -> PlannedPort:
    return PlannedPort(
        name=_name(name, protocol),
        family=family,
        frontends=tuple(frontend(kind, text, protocol) for kind, text in frontends),
        cluster=_NONE,
        local=_NONE,
        serving=tuple(sorted(map(endpoint, serving))),
        lost=tuple((frontend(NODE_PORT, text, protocol).key, _name(winner, protocol)) for text, winner in lost),
    )


def change(before: PlannedPort | None, after: PlannedPort | None) -> PortChange:
    return PortChange((after or before).name, before, after)


def noted(*changes: PortChange) -> dict[str, set[str]]:
    """Destination -> allowed replies, as text."""
    stale = StaleFlows()
    stale.note(changes)
    return shown(stale.take())


def shown(queries) -> dict[str, set[str]]:
    return {
        f"{query.destination.address or 'node'}:{query.destination.port}": {a.with_port(p) for a, p in query.allowed}
        for query in queries
    }


VIP = ((CLUSTER, "10.0.0.10:53"),)
ALL_KINDS = (*VIP, (EXTERNAL, "1.1.1.1:53"), (BALANCER, "2.2.2.2:53"), (NODE_PORT, "192.168.0.2:30053"))
EVERYWHERE = ("10.0.0.10:53", "1.1.1.1:53", "2.2.2.2:53", "node:30053")


def test_a_removed_endpoint_leaves_stale_flows_at_every_frontend():
    before = planned(frontends=ALL_KINDS, serving=("10.1.0.1:53", "10.1.0.2:53"))
    after = planned(frontends=ALL_KINDS, serving=("10.1.0.2:53",))
    keep = {"10.1.0.2:53"}
    assert noted(change(before, after)) == {
        "10.0.0.10:53": keep,
        "1.1.1.1:53": keep,
        "2.2.2.2:53": keep,
        "node:30053": keep,
    }


def test_an_endpoint_more_leaves_no_stale_flow():
    before = planned(frontends=ALL_KINDS, serving=("10.1.0.1:53",))
    after = planned(frontends=ALL_KINDS, serving=("10.1.0.1:53", "10.1.0.2:53"))
    assert noted(change(before, after)) == {}


def test_an_endpoint_whose_port_changed_is_another_endpoint():
    before = planned(frontends=VIP, serving=("10.1.0.1:53",))
    after = planned(frontends=VIP, serving=("10.1.0.1:54",))
    assert noted(change(before, after)) == {"10.0.0.10:53": {"10.1.0.1:54"}}


def test_scale_to_zero_leaves_only_stale_flows():
    before = planned(frontends=ALL_KINDS, serving=("10.1.0.1:53",))
    after = planned(frontends=ALL_KINDS)
    assert noted(change(before, after)) == {
        f: set() for f in ("10.0.0.10:53", "1.1.1.1:53", "2.2.2.2:53", "node:30053")
    }


def test_the_first_endpoint_removes_flows_that_were_made_without_one():
    before = planned(frontends=VIP)
    after = planned(frontends=VIP, serving=("10.1.0.1:53",))
    assert noted(change(before, after)) == {"10.0.0.10:53": {"10.1.0.1:53"}}


def test_a_new_service_removes_untranslated_flows_to_its_frontends():
    assert noted(change(None, planned(frontends=VIP, serving=("10.1.0.1:53",)))) == {"10.0.0.10:53": {"10.1.0.1:53"}}


def test_a_deleted_service_leaves_only_stale_flows():
    before = planned(frontends=ALL_KINDS, serving=("10.1.0.1:53",))
    assert noted(change(before, None)) == {
        **{key: set() for key in EVERYWHERE},
        "192.168.0.2:30053": set(),
    }


def test_a_frontend_that_is_gone_leaves_only_stale_flows_and_the_others_are_asked_again():
    before = planned(frontends=(*VIP, (EXTERNAL, "1.1.1.1:53")), serving=("10.1.0.1:53",))
    after = planned(frontends=VIP, serving=("10.1.0.1:53",))
    assert noted(change(before, after)) == {"1.1.1.1:53": set(), "10.0.0.10:53": {"10.1.0.1:53"}}


def test_a_frontend_that_moved_to_another_service_is_judged_by_its_new_endpoints():
    frontends = ((EXTERNAL, "1.1.1.1:53"),)
    old, new = planned("a", frontends, ("10.1.0.1:53",)), planned("b", frontends, ("10.1.0.2:53",))
    for order in (1, -1):
        assert noted(*[change(None, new), change(old, None)][::order]) == {"1.1.1.1:53": {"10.1.0.2:53"}}


def test_tcp_and_sctp_are_left_alone():
    for protocol in (Protocol.TCP, Protocol.SCTP):
        port = planned(frontends=ALL_KINDS, serving=("10.1.0.1:53",), protocol=protocol)
        assert noted(change(port, None), change(None, port)) == {}


def test_a_change_of_policy_alone_lets_flows_go_on():
    before = planned(frontends=VIP, serving=("10.1.0.1:53",))
    after = PlannedPort(
        before.name, before.family, before.frontends, Selection((), Reason.NODE_HINTS), _NONE, 10800, (), before.serving
    )
    assert noted(change(before, after)) == {}


def test_an_address_that_left_the_node_is_asked_for_by_itself():
    both = ((NODE_PORT, "192.168.0.2:30053"), (NODE_PORT, "192.168.7.7:30053"))
    before, after = (
        planned(frontends=both, serving=("10.1.0.1:53",)),
        planned(frontends=both[:1], serving=("10.1.0.1:53",)),
    )
    assert noted(change(before, after)) == {"192.168.7.7:30053": set(), "node:30053": {"10.1.0.1:53"}}


def test_both_families_are_asked_independently():
    v6 = planned(frontends=((CLUSTER, "[fd00::10]:53"),), serving=("[fd00:1::1]:53",), family=Family.IPV6)
    assert noted(change(v6, None), change(None, planned(frontends=VIP))) == {
        "10.0.0.10:53": set(),
        "fd00::10:53": set(),
    }


def test_a_full_reconcile_asks_for_every_udp_service_port():
    stale = StaleFlows()
    stale.note_all(
        [planned("a", VIP, ("10.1.0.1:53",)), planned("b", ((CLUSTER, "10.0.0.11:80"),), protocol=Protocol.TCP)]
    )
    assert shown(stale.take()) == {"10.0.0.10:53": {"10.1.0.1:53"}}


def test_ready_endpoints_keep_their_flows_even_when_they_do_not_serve():
    """publishNotReadyAddresses makes an unready pod ready and not serving: it gets new flows, so it keeps old ones."""
    conditions = {
        "10.1.0.1": Condition.READY | Condition.SERVING,
        "10.1.0.2": Condition.SERVING | Condition.TERMINATING,
        "10.1.0.3": Condition.SERVING,
        "10.1.0.4": Condition.READY,
        "10.1.0.5": Condition.TERMINATING,
        "10.1.0.6": Condition(0),
    }
    row = EndpointSlice(
        ObjectName("ns", "s"),
        ObjectName("ns", "dns"),
        Family.IPV4,
        (EndpointPort("", Protocol.UDP, 53),),
        tuple(Endpoint(Address.parse(text), int(bits)) for text, bits in conditions.items()),
    )
    joined = join([row], planned().name, NodeView("n", Family.IPV4))
    assert [str(address) for address, _ in keep_flows(joined)] == ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"]


def backed_by(*numbers: int) -> PlannedPort:
    return planned(frontends=VIP, serving=[f"10.1.0.{number}:53" for number in numbers])


class TestRounds:
    def started(self, *changes: PortChange) -> StaleFlows:
        stale = StaleFlows()
        stale.note(changes)
        assert stale
        stale.take()
        assert not stale
        return stale

    def test_what_is_taken_is_not_taken_again(self):
        stale = self.started(change(planned(frontends=VIP), None))
        stale.finish()
        assert stale.take() == ()

    def test_a_failed_round_is_asked_again(self):
        stale = self.started(change(planned(frontends=VIP), None))
        stale.put_back()
        assert shown(stale.take()) == {"10.0.0.10:53": set()}

    def test_a_change_during_a_failed_round_replaces_its_query(self):
        stale = self.started(change(planned(frontends=VIP), None))
        stale.note([change(None, planned(frontends=VIP, serving=("10.1.0.9:53",)))])
        stale.put_back()
        assert shown(stale.take()) == {"10.0.0.10:53": {"10.1.0.9:53"}}

    def test_an_endpoint_added_while_its_frontend_is_asked_for_is_allowed_from_then_on(self):
        one, two, three = (
            planned(frontends=VIP, serving=[f"10.1.0.{n}:53" for n in r]) for r in ((1, 2), (2,), (2, 3))
        )
        stale = self.started(change(one, two))
        stale.note([change(two, three)])
        flow = Flow(bytes.fromhex("0a00000a0035"), bytes.fromhex("0a0100030035"), b"")
        assert stale.confirm([flow], NODE) == []
        stale.put_back()
        assert shown(stale.take()) == {"10.0.0.10:53": {"10.1.0.2:53", "10.1.0.3:53"}}

    def test_an_endpoint_added_before_its_frontend_is_asked_for_is_allowed(self):
        one, two, three = (
            planned(frontends=VIP, serving=[f"10.1.0.{n}:53" for n in r]) for r in ((1, 2), (2,), (2, 3))
        )
        stale = StaleFlows()
        stale.note([change(one, two)])
        stale.note([change(two, three)])
        assert shown(stale.take()) == {"10.0.0.10:53": {"10.1.0.2:53", "10.1.0.3:53"}}

    def test_flows_of_frontends_that_did_not_change_meanwhile_are_confirmed(self):
        stale = self.started(change(planned(frontends=VIP), None))
        stale.note([change(None, planned("other", ((CLUSTER, "10.0.0.11:53"),)))])
        flow = Flow(bytes.fromhex("0a00000a0035"), bytes.fromhex("0a0100030035"), b"")
        assert stale.confirm([flow], NODE) == [flow]

    def test_a_node_port_takes_over_an_address_that_was_asked_for_by_itself(self):
        external = planned("other", ((EXTERNAL, "192.168.0.2:30053"),), ("10.1.0.9:53",))
        heir = planned(frontends=((NODE_PORT, "192.168.0.2:30053"),), serving=("10.1.0.1:53",))
        assert noted(change(external, None), change(None, heir)) == {"node:30053": {"10.1.0.1:53"}}


class TestExpectedReplies:
    def test_a_node_port_counts_at_the_nodes_addresses_of_its_family(self):
        table = expected_replies([StaleQuery(Destination(Family.IPV4, None, 30053))], NODE)
        assert sorted(table) == sorted(a + b"\x75\x65" for a in NODE if len(a) == 4)

    def test_an_address_of_another_service_is_spared_by_the_node_port(self):
        lost = planned(
            frontends=((NODE_PORT, "192.168.0.2:30053"),),
            lost=(("192.168.1.2:30053", "other"),),
            serving=("10.1.0.1:53",),
        )
        stale = StaleFlows()
        stale.note([change(None, lost)])
        assert sorted(expected_replies(stale.take(), NODE)) == sorted(a + b"\x75\x65" for a in (NODE[0], NODE[2]))

    def test_an_address_of_its_own_wins_over_the_node_port(self):
        queries = [
            StaleQuery(Destination(Family.IPV4, NODE[0], 30053), frozenset({endpoint("10.1.0.9:53")})),
            StaleQuery(Destination(Family.IPV4, None, 30053), frozenset({endpoint("10.1.0.1:53")})),
        ]
        for rows in (queries, queries[::-1]):
            table = expected_replies(rows, NODE)
            assert table[NODE[0] + b"\x75\x65"] == {bytes.fromhex("0a0100090035")}
            assert table[NODE[1] + b"\x75\x65"] == {bytes.fromhex("0a0100010035")}


_SERVING = st.sets(st.integers(1, 5), max_size=4)
_VIPS = st.sets(st.integers(1, 3), max_size=3)
_HISTORY = st.lists(st.one_of(st.none(), st.tuples(_VIPS, _SERVING)), min_size=1, max_size=8)


@given(_HISTORY, st.randoms(use_true_random=False))
def test_flows_to_endpoints_that_serve_are_never_asked_to_go_and_all_others_are(history, random):
    """Against a model: entries of every kind are made under each plan; rounds run, fail and interleave at random."""
    stale = StaleFlows()
    flows: set[tuple[int, int]] = set()  # (VIP, endpoint)
    before = None
    for row in [*history, None]:
        after = None
        if row is not None:
            vips, serving = row
            after = planned(
                frontends=[(EXTERNAL, f"1.1.1.{v}:53") for v in sorted(vips)],
                serving=[f"10.1.0.{e}:53" for e in sorted(serving)],
            )
            flows |= {(v, e) for v in vips for e in serving}
        if before != after:
            stale.note([change(before, after)])
        before = after
        if random.random() < 0.5:
            table = expected_replies(stale.take(), ())
            gone = {
                (v, e)
                for v, e in flows
                if (replies := table.get(endpoint(f"1.1.1.{v}:53")[0] + b"\0\x35")) is not None
                and endpoint(f"10.1.0.{e}:53")[0] + b"\0\x35" not in replies
            }
            if random.random() < 0.3:
                stale.put_back()
                continue
            flows -= gone
            stale.finish()
            vips, serving = row or (set(), set())
            assert flows == {(v, e) for v, e in flows if v in vips and e in serving}
