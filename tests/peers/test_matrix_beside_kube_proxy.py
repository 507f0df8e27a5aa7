"""Where the real kube-proxy sends a packet is where we say, for any three choices of a Service's fields together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flow_cases import Tree
from flow_compare import Fate, fed, said, seen
from flow_driver import ask
from flow_kube_proxy import DefaultingApi, KubeProxy
from flow_matrix import BACKEND_PORT, CONFIGURATIONS, is_sticky, matrices
from flow_scenarios import node_addresses
from flow_world import World

pytestmark = [pytest.mark.peers, pytest.mark.kernel, pytest.mark.timeout(900)]
SAMPLE = 13
"""One in so many flows of each node; another set on each."""
REJECTED, DROPPED = ("reject", "", False), ("drop", "", False)
NODES = range(len(CONFIGURATIONS))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    ports = {asked.port for number, matrix in enumerate(matrices()) for _, asked in matrix.sample(number, SAMPLE)}
    with World(node_addresses(), ports | {BACKEND_PORT}) as made, made.entered():
        yield made


@pytest.mark.parametrize("number", NODES)
def test_kube_proxy_sends_packets_where_we_say(number: int, world: World, tmp_path: Path) -> None:
    cluster = matrices()[number].cluster
    explainer = fed(cluster, cluster.objects).explainer()
    wrong = []
    with DefaultingApi() as api, KubeProxy(api, cluster.configuration, tmp_path) as proxy:
        proxy.replace([cluster.node, *cluster.objects])
        for trees, question in matrices()[number].sample(number, SAMPLE):
            answer = ask(explainer, question)
            found = seen(world, question, answer)
            if is_known_difference(trees, said(answer), found):
                continue
            if found != said(answer) and not is_sticky(trees, found, said(answer)):
                wrong.append(f"{trees[0]['metadata']['name']}: {question}: we say {said(answer)}, it does {found}")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)


def is_known_difference(trees: Sequence[Tree], promised: set[Fate], found: set[Fate]) -> bool:
    """What kube-proxy does otherwise, and we by the rules of docs/semantics.md."""
    # rule 14: it asks for the source before it knows that nobody is there to be reached, so it drops what we refuse
    if trees[0]["spec"].get("loadBalancerSourceRanges") and promised == {REJECTED}:
        return found == {DROPPED}
    # rule 1: of an endpoint's copies in several slices it takes the one that its own map happens to give it
    addresses = [endpoint["addresses"][0] for tree in trees[1:] for endpoint in tree["endpoints"]]
    return len(set(addresses)) < len(addresses)
