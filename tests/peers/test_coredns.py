"""The real CoreDNS beside Fairway: the same Corefile, objects and questions, answers compared record for record."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dns.message
import pytest

import netns
from dns_beside import Beside, Program, Question, Scenario, differences, free_port
from dns_random import cluster, scenario
from dns_scenarios import IMPORTS, OBJECTS, SCENARIOS, ends, slice_of
from dns_upstream import upstream
from fake_api import FakeApi
from fake_storage import SLICES
from peer import peer

pytestmark = [pytest.mark.peers, pytest.mark.kernel]
COREDNS = peer("coredns")
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


def serve(api: FakeApi, objects: Mapping[str, list[dict[str, Any]]]) -> None:
    api.serve(IMPORTS, "multicluster.x-k8s.io/v1alpha1", "ServiceImport")
    for collection, ones in objects.items():
        api.put_many(collection, ones)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """An API server and two upstreams in a namespace of their own."""
    folder: Path = tmp_path_factory.mktemp("coredns")
    with netns.private(), upstream() as first, upstream(tag="192.0.2.251") as second, FakeApi() as api:
        serve(api, OBJECTS)
        yield Beside(folder, COREDNS, api.url, [first, second])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[s.name.replace(" ", "-") for s in SCENARIOS])
def test_answers_are_those_of_coredns(beside: Beside, scenario: Scenario) -> None:
    assert beside.differences(scenario) == []


METRICS = Scenario(
    "metrics",
    """.:$PORT {
        errors
        prometheus 127.0.0.1:$METRICS
        health 127.0.0.1:$HEALTH
        reload
        hosts {
            10.0.0.1 a.test
            fallthrough
        }
        kubernetes cluster.local {
            endpoint $API
        }
        cache 30 {
            prefetch 1
            serve_stale
        }
        acl {
            block type TXT
        }
        template IN A t.test {
            answer "{{ .Name }} 60 IN A 10.0.0.1"
            fallthrough
        }
        dns64 {
            allow_ipv4
        }
        local
        autopath @kubernetes
        forward . $UP {
            max_concurrent 100
        }
    }
    """,
)
NOT_OURS = {
    "coredns_kubernetes_rest_client_rate_limiter_duration_seconds",  # nothing is held back here
    "coredns_kubernetes_rest_client_request_duration_seconds",  # what is asked of the API is not counted
    "coredns_kubernetes_rest_client_requests_total",
    "coredns_health_request_duration_seconds",  # the server does not ask itself each second: idle is idle
    "coredns_health_request_failures_total",
    "coredns_proxy_conn_cache_misses_total",  # which sockets are used again is not counted
    "coredns_proxy_conn_cache_hits_total",
}


def families(program: Program, port: int) -> dict[str, tuple[str, set[tuple[str, ...]]]]:
    """Type and label names of each family of CoreDNS' own."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    kinds = dict(re.findall(r"^# TYPE (coredns_\w+) (\w+)$", text, re.MULTILINE))
    found: dict[str, tuple[str, set[tuple[str, ...]]]] = {name: (kind, set()) for name, kind in kinds.items()}
    for name, labels in re.findall(r"^(coredns_\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        family = name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)
        names = re.findall(r'(\w+)="', labels)
        found[family][1].add(tuple(sorted(n for n in names if n != "le")))
    return found


def test_metrics_have_corednss_names_types_and_labels(beside: Beside) -> None:
    ports = {name: (free_port(), free_port()) for name in ("coredns", "fairway")}
    shown = {}
    with beside.running(METRICS, ports) as programs:
        for program in programs:
            for name in ("a.test.", "web.default.svc.cluster.local.", "www.up.test.", "nothing.up.test.", "x.t.test."):
                for kind in ("A", "AAAA", "TXT", "SRV"):
                    for edns in (None, {"do": True}):
                        program.ask(Question(name, kind, edns=edns))
            shown[program.name] = families(program, ports[program.name][0])
    theirs, ours = shown["coredns"], shown["fairway"]
    assert {name: theirs[name] for name in theirs if ours.get(name) != theirs[name] and name not in NOT_OURS} == {}


PROGRAMMED = Scenario(
    "programmed",
    """.:$PORT {
        prometheus 127.0.0.1:$METRICS
        kubernetes cluster.local {
            endpoint $API
        }
    }
    """,
)


def seconds(program: Program, port: int) -> dict[str, tuple[float, float]]:
    """By kind of Service how many changes of endpoints were programmed, and how long that took together."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    name = "coredns_kubernetes_dns_programming_duration_seconds"
    found = re.findall(rf'^{name}_(sum|count){{service_kind="(\w+)"}} (\S+)$', text, re.MULTILINE)
    parts = {(kind, part): float(value) for part, kind, value in found}
    return {kind: (parts[kind, "count"], parts[kind, "sum"]) for kind, _ in parts}


def test_the_time_from_a_change_to_its_answer_is_counted_as_by_coredns(tmp_path: Path) -> None:
    ports = {name: (free_port(), free_port()) for name in ("coredns", "fairway")}
    with netns.private(), upstream() as first, upstream(tag="192.0.2.251") as second, FakeApi() as api:
        serve(api, OBJECTS)
        with Beside(tmp_path, COREDNS, api.url, [first, second]).running(PROGRAMMED, ports) as programs:
            for number, of in enumerate(("web", "peers", "nobody", "peers"), 1):
                changed = slice_of(f"late-{number}", of, ends(f"10.3.0.{number}"))
                changed["metadata"]["annotations"] = {TRIGGER_TIME: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}
                api.put_many(SLICES, [changed])
            name = "10-3-0-4.peers.default.svc.cluster.local."
            for program in programs:
                while dns.message.from_wire(program.ask(Question(name))[0]).rcode():
                    time.sleep(0.02)
            counted = {program.name: seconds(program, ports[program.name][0]) for program in programs}
    for kind, count in (("cluster_ip", 1), ("headless_with_selector", 2)):
        for program in ("coredns", "fairway"):
            found, took = counted[program][kind]
            assert found == count
            assert 0 < took < count
    assert counted["fairway"].keys() == counted["coredns"].keys()


@pytest.mark.parametrize("seed", range(6))
def test_random_clusters_are_answered_for_as_by_coredns(tmp_path: Path, seed: int) -> None:
    objects = cluster(seed)
    with netns.private(), upstream() as first, upstream(tag="192.0.2.251") as second, FakeApi() as api:
        serve(api, objects)
        assert Beside(tmp_path, COREDNS, api.url, [first, second]).differences(scenario(seed, objects)) == []


def become(api: FakeApi, old: Mapping[str, list[dict[str, Any]]], new: Mapping[str, list[dict[str, Any]]]) -> None:
    """Change what there is, kind by kind, object by object."""
    for collection, ones in new.items():
        there = {(one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in ones}
        for one in old[collection]:
            space, name = one["metadata"].get("namespace", ""), one["metadata"]["name"]
            if (space, name) not in there:
                api.delete(collection, name, space)
        for one in ones:
            api.put(collection, one)


@pytest.mark.parametrize("seed", range(10, 14))
def test_changes_of_a_cluster_are_followed_as_by_coredns(tmp_path: Path, seed: int) -> None:
    objects = cluster(seed)
    with netns.private(), upstream() as first, upstream(tag="192.0.2.251") as second, FakeApi() as api:
        serve(api, objects)
        with Beside(tmp_path, COREDNS, api.url, [first, second]).running(scenario(seed, objects)) as (theirs, ours):
            for step in (1, 2):
                changed = cluster(100 * seed + step)
                become(api, objects, changed)
                # Names of what was there, too. Both follow the watches in their own time.
                both = {kind: [*objects[kind], *changed[kind]] for kind in objects}
                asked, end = scenario(seed, both), time.monotonic() + 30
                while found := differences(asked, theirs, ours):
                    assert time.monotonic() < end, found
                objects = changed
