"""A random or systematic cluster as a node, and one vocabulary for the rules, an answer and real connections."""

from __future__ import annotations

import json
from collections.abc import Sequence

import flow_oracle
from fairway.agents.node_view import build_view
from fairway.config.proxy.load import load
from fairway.explain.model import Answer, Verdict
from fairway.kube import decode
from fairway.plan.view import NodeView
from fairway.state.tables import State
from fairway.values.address import Address, Family
from fairway.values.packet import Packet
from flow_cases import Tree
from flow_judge import Tally, draws
from flow_random import Cluster
from flow_scenarios import node_addresses
from flow_world import Seen, World
from planned import Node

ADDRESSES = [Address.parse(text.partition("/")[0]) for text in node_addresses()] + [Address.parse("127.0.0.1")]
Fate = tuple[str, str, bool]
"""A verdict in the words of the case file, where it goes, whether it is masqueraded."""


def view_of(cluster: Cluster) -> NodeView:
    """The node in IPv4."""
    loaded = load(json.dumps(cluster.configuration)).settings
    ranges = [tree for tree in cluster.objects if tree["kind"] == "ServiceCIDR"]
    cidrs = [cidr for tree in ranges for cidr in decode.SERVICE_CIDR.decode(tree).cidrs]
    return build_view(loaded, Family.IPV4, decode.NODE.decode(cluster.node), ADDRESSES, cidrs)


def fed(cluster: Cluster, objects: Sequence[Tree]) -> Node:
    """The node after these objects."""
    node = Node(State(), view_of(cluster))
    node.replace([], objects)
    return node


def oracle_of(node: Node) -> flow_oracle.Node:
    """The node as the oracle asks for it."""
    view = node.planner.view
    pods = view.detector.prefixes[0] if view.detector.prefixes else None
    assert view.primary is not None
    return flow_oracle.Node(
        view.name, view.zone, view.addresses, view.primary, view.node_port_addresses, pods, view.masquerade_all
    )


def expected(expectation: flow_oracle.Expectation) -> set[Fate]:
    targets = {(expectation.verdict, target, masquerade) for target, masquerade in expectation.targets}
    return targets or {(expectation.verdict, "", False)}


def said(answer: Answer) -> set[Fate]:
    if answer.verdict is not Verdict.FORWARD:
        return {(answer.verdict.value, "", False)}
    return {(Seen.FORWARDED.value, f"{b.address}:{b.port}", b.masquerade) for b in answer.backends}


def seen(world: World, question: Packet, answer: Answer) -> set[Fate]:
    """Real connections, until as many fates were met as the answer promises."""
    Tally.flows += 1
    found = set()
    for _ in range(draws(len(answer.backends))):
        Tally.connections += 1
        found.add(tuple(world.attempt(question)))
        if len(found) >= max(1, len(answer.backends)):
            break
    return {(outcome.value, target, masqueraded) for outcome, target, masqueraded in found}
