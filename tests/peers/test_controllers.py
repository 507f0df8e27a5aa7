"""Our controllers on the real kube-apiserver, beside the real kube-controller-manager: on random worlds both end alike.

The same worlds are played twice on one server, first with the one at work, then with the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import http.client
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from controllers.case_form import Form
from controllers.case_player import Player, difference, is_ready
from controllers.memory_api import RefusedError, Tree
from controllers.random_numbered import Numbered
from controllers.random_rollout import Rollout
from controllers.random_world import World
from controllers.test_endpoint_cases import CASES
from fairway.cli.controllers import running_controllers
from fairway.controllers.registry import Settings
from fairway.io.kube.connection import Connection
from kube_apiserver import TOKEN, KubeApiserver, kube_apiserver
from peer import peer

pytestmark = pytest.mark.peers
peer("kube-apiserver")
peer("etcd")
MANAGER = peer("kube-controller-manager")

NAMES = ("endpointslice-controller", "endpoints-controller", "endpointslice-mirroring-controller")
ALL_NAMES = (*NAMES, "replicaset-controller", "deployment-controller", "garbage-collector-controller")
WORLDS = 30
ROLLOUTS = 25
NUMBERED_NAMES = (*NAMES, "statefulset-controller")
NUMBERED = 20
NUMBERED_STEPS = 12
STEPS = 4
ROLLOUT_STEPS = 14
REST = 1.5


WATCHED = (
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/api/v1/endpoints",
    "/api/v1/pods",
    "/apis/apps/v1/replicasets",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
)


class RealApi:
    """The server, for the player. Time is counted on, so that two steps are never in one second."""

    def __init__(self, connection: Connection) -> None:
        self.now = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(hours=1)
        context = ssl._create_unverified_context()
        host, _, port = connection.server.removeprefix("https://").partition(":")
        self._http = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)

    def handle(self, method: str, path: str, body: Tree | None = None, content_type: str = "") -> Tree:
        if method == "DELETE" and body:
            body = {"apiVersion": "v1", "kind": "DeleteOptions", **body}
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type or "application/json"}
        self._http.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self._http.getresponse()
        tree: Tree = json.loads(answer.read() or b"{}")
        if answer.status >= 300:
            raise RefusedError(answer.status, tree.get("reason", ""), tree.get("message", ""))
        for one in tree.get("items") or ():
            one.setdefault("kind", tree["kind"].removesuffix("List"))
        if "items" in tree:
            tree["items"] = tree["items"] or []
        return tree


class RealCluster:
    """Waits by looking: nothing has changed for a while."""

    def __init__(self, connection: Connection) -> None:
        self.api = RealApi(connection)

    def settle(self) -> None:
        seen: object = None
        since = time.monotonic()
        end = since + 30
        while time.monotonic() < min(end, since + REST) or seen is None:
            mark = [
                one["metadata"]["resourceVersion"] for path in WATCHED for one in self.api.handle("GET", path)["items"]
            ]
            if mark != seen:
                seen, since = mark, time.monotonic()
            time.sleep(0.05)

    def pass_time(self, seconds: float) -> None:
        self.settle()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApiserver]:
    cidrs = "10.96.0.0/16,fd00:10:96::/112"
    with kube_apiserver(tmp_path_factory.mktemp("kube-apiserver"), service_cidrs=cidrs) as one:
        player = Player({"id": "nodes"}, CASES["defaults"], RealCluster(one.connection))
        for node in CASES["defaults"]["nodes"]:
            player.apply(node, "")
        yield one


@contextlib.contextmanager
def the_real_one(server: KubeApiserver, folder: Path, names: tuple[str, ...] = NAMES) -> Iterator[None]:
    cluster = {"server": server.connection.server, "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    flags = {
        "kubeconfig": folder / "kubeconfig",
        "controllers": ",".join(names),
        "leader-elect": "false",
        "secure-port": 0,
        "kube-api-qps": 500,
        "kube-api-burst": 500,
    }
    with (folder / "kube-controller-manager.log").open("wb") as log:
        command = [MANAGER, *(f"--{name}={value}" for name, value in flags.items())]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        await_slices(RealApi(server.connection), f"warm-{folder.name}".replace("_", "-")[:40])
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def ours(server: KubeApiserver, names: tuple[str, ...] = NAMES) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()

    async def work() -> None:
        async with running_controllers(names, server.connection, Settings()) as running:
            await running.wait_started()
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(work()), daemon=True)
    thread.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def await_slices(api: RealApi, name: str) -> None:
    """Return when the controllers are at work: at their start they drop Endpoints that have no Service yet."""
    spec = {"selector": {"a": "b"}, "ports": [{"port": 80}]}
    api.handle("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": name}, "spec": spec})
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    label = "kubernetes.io/service-name"
    waits(lambda: any(one["metadata"]["labels"].get(label) == name for one in api.handle("GET", path)["items"]))


class Story(Protocol):
    """A first step and later ones."""

    def begin(self) -> Tree: ...

    def change(self) -> Tree: ...


def play_worlds(
    server: KubeApiserver,
    prefix: str,
    worlds: Sequence[Story],
    options: Tree,
    steps: int = STEPS,
    state: Callable[[Player], Tree] | None = None,
) -> list[list[Tree]]:
    """Every world's states after each step; steps of all worlds are played together, as waiting is what costs."""
    cluster = RealCluster(server.connection)
    names = [f"{prefix}{index}" for index in range(len(worlds))]
    players = [Player({"id": name}, CASES["defaults"], cluster, name) for name in names]
    states: list[list[Tree]] = [[] for _ in worlds]
    for name in names:
        cluster.api.handle("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    for number in range(steps):
        cluster.api.now += dt.timedelta(seconds=2)
        for world, player in zip(worlds, players, strict=True):
            player.play_step(world.change() if number else world.begin())
        cluster.settle()
        for index, player in enumerate(players):
            states[index].append(state(player) if state is not None else in_the_cases_form(player, options))
    return states


def in_the_cases_form(player: Player, options: Tree) -> Tree:
    is_workload = options.get("endpoints") is False
    form = Form(player.applied, options, is_workload=is_workload, namespace=player.namespace)
    return form.all(player.state(), {})


def test_on_random_worlds_our_slices_are_the_real_ones(server: KubeApiserver, tmp_path: Path) -> None:
    options = {**CASES["defaults"]["compare"], "trigger_time": False}
    with the_real_one(server, tmp_path):
        theirs = play_worlds(server, "theirs", [World(seed) for seed in range(WORLDS)], options)
    with ours(server):
        mine = play_worlds(server, "ours", [World(seed) for seed in range(WORLDS)], options)
    assert_alike(theirs, mine)


def test_in_random_rollouts_our_sets_and_pods_are_the_real_ones(server: KubeApiserver, tmp_path: Path) -> None:
    options = {**CASES["defaults"]["compare"], "endpoints": False}
    with the_real_one(server, tmp_path, ALL_NAMES):
        theirs = play_worlds(server, "rollout-t", [Rollout(seed) for seed in range(ROLLOUTS)], options, ROLLOUT_STEPS)
    with ours(server, ALL_NAMES):
        mine = play_worlds(server, "rollout-o", [Rollout(seed) for seed in range(ROLLOUTS)], options, ROLLOUT_STEPS)
    assert_alike(without_races(theirs), without_races(mine))


def test_random_stateful_sets_have_the_pods_that_the_real_one_gives_them(server: KubeApiserver, tmp_path: Path) -> None:
    stories = range(NUMBERED)
    with the_real_one(server, tmp_path, NUMBERED_NAMES):
        theirs = play_numbered(server, "numbered-t", [Numbered(seed) for seed in stories])
    with ours(server, NUMBERED_NAMES):
        mine = play_numbered(server, "numbered-o", [Numbered(seed) for seed in stories])
    assert_alike(theirs, mine)


def play_numbered(server: KubeApiserver, prefix: str, stories: Sequence[Story]) -> list[list[Tree]]:
    return play_worlds(server, prefix, stories, {}, NUMBERED_STEPS, numbered_state)


def numbered_state(player: Player) -> Tree:
    """Pods and numbers; revisions by the image of their template, whatever they are called."""
    pods, revisions = player.list("Pod"), {}
    for pod in pods:
        revisions[pod["metadata"]["labels"]["controller-revision-hash"]] = pod["spec"]["containers"][0]["image"]
    status = player.get("StatefulSet", "web").get("status") or {}
    for field in ("currentRevision", "updateRevision"):
        status[field] = revisions.get(status.get(field, ""), "of no pod")
    return {
        "pods": [
            {
                "name": pod["metadata"]["name"],
                "image": pod["spec"]["containers"][0]["image"],
                "phase": pod["status"].get("phase"),
                "ready": is_ready(pod),
                "leaves": "deletionTimestamp" in pod["metadata"],
            }
            for pod in sorted(pods, key=lambda one: str(one["metadata"]["name"]))
        ],
        "status": {key: value for key, value in status.items() if value and key != "observedGeneration"},
    }


def without_races(states: list[list[Tree]]) -> list[list[Tree]]:
    """Whether the real one sees a new set's first pod as progress depends on what it had written a moment before."""
    return json.loads(json.dumps(states).replace('"NewReplicaSetCreated"', '"ReplicaSetUpdated"'))


def assert_alike(theirs: list[list[Tree]], mine: list[list[Tree]]) -> None:
    wrong = [
        "\n".join([f"world {seed} step {step}", *difference(real, own)])
        for seed, both in enumerate(zip(theirs, mine, strict=True))
        for step, (real, own) in enumerate(zip(*both, strict=True))
        if real != own
    ]
    assert not wrong, "\n\n".join(wrong)


def waits(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_ours_take_over_from_the_real_ones_without_a_write(server: KubeApiserver, tmp_path: Path) -> None:
    api = RealApi(server.connection)
    with the_real_one(server, tmp_path, ALL_NAMES):
        play_deployment(api)
        before = versions(api)
    with ours(server, ALL_NAMES):
        time.sleep(2)  # there is nothing to wait for: what must not come has no sign
        assert versions(api) == before


def play_deployment(api: RealApi) -> None:
    spec = {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "over"}},
        "template": {
            "metadata": {"labels": {"app": "over"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    }
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "over"}, "spec": spec}
    api.handle("POST", "/apis/apps/v1/namespaces/default/deployments", body)
    service = {"metadata": {"name": "over"}, "spec": {"selector": {"app": "over"}, "ports": [{"port": 80}]}}
    api.handle("POST", "/api/v1/namespaces/default/services", service)

    def is_done() -> bool:
        found = api.handle("GET", "/apis/apps/v1/namespaces/default/deployments/over").get("status") or {}
        return found.get("replicas") == 3 and found.get("unavailableReplicas") == 3

    waits(is_done)
    RealCluster.settle(_Settling(api))  # type: ignore[arg-type]


class _Settling:
    def __init__(self, api: RealApi) -> None:
        self.api = api


def versions(api: RealApi) -> dict[str, str]:
    paths = (
        "/apis/apps/v1/namespaces/default/deployments",
        "/apis/apps/v1/namespaces/default/replicasets",
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/endpoints",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    )
    return {
        f"{path}/{one['metadata']['name']}": one["metadata"]["resourceVersion"]
        for path in paths
        for one in api.handle("GET", path)["items"]
    }
