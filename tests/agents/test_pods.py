"""The pod agent with a machine that does as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fairway.agents.api import Query
from fairway.agents.feed import Change
from fairway.agents.pod_machine import Ended, Findings, PrepareError, Started, StartError
from fairway.agents.pods import REFRESH, Effects, PodAgent
from fairway.kube.podspec import Container, Handler, NodePod, Probe
from fairway.values.names import ObjectName
from feeds import ManualClock
from pod_objects import container, pod


class Api:
    """Hears what is written."""

    def __init__(self) -> None:
        self.statuses: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[str, str, str]] = []
        self.gone: list[str] = []
        self.heard = asyncio.Event()

    async def request(
        self, method: str, path: str, query: Query | None = None, body: bytes = b"", *, content_type: str = ""
    ) -> bytes:
        tree = json.loads(body)
        if path.endswith("/status"):
            self.statuses[path.split("/")[-2]] = tree["status"]
        elif method == "POST":
            self.events.append((tree["involvedObject"]["name"], tree["reason"], tree["message"]))
        elif method == "DELETE":
            self.gone.append(path.rsplit("/", maxsplit=1)[-1])
        self.heard.set()
        return b'{"metadata": {"resourceVersion": "7"}}'


class Machine:
    """Every container runs until it is stopped; what goes wrong is set from outside."""

    def __init__(self) -> None:
        self.faults: dict[str, Exception] = {}
        """By the pod's name: what its start or, with `prepare `, its preparation raises."""
        self.findings = Findings()
        self.ends: dict[str, asyncio.Future[Ended]] = {}
        self.removed: list[str] = []
        self.recalled: list[str] = []
        self.released: list[str] = []

    async def prepare(self, pod: NodePod) -> tuple[str, ...]:
        if (fault := self.faults.get(f"prepare {pod.metadata.name}")) is not None:
            raise fault
        return ("10.0.0.2",)

    def recall(self, pod: NodePod) -> None:
        self.recalled.append(pod.metadata.name)

    async def refresh(self, pod: NodePod) -> Findings:
        return self.findings

    async def start(self, pod: NodePod, container: Container, run: int) -> Started:
        if (fault := self.faults.get(pod.metadata.name)) is not None:
            raise fault
        self.ends[pod.metadata.uid] = asyncio.get_running_loop().create_future()
        return Started(f"{pod.metadata.name}-{run}")

    async def wait(self, uid: str, name: str) -> Ended:
        return await self.ends[uid]

    async def stop(self, pod: NodePod, container: Container, grace: float) -> str:
        self.ends[pod.metadata.uid].set_result(Ended(143, "Error"))
        return ""

    async def hook(self, pod: NodePod, container: Container, hook: Handler, seconds: float) -> str:
        return ""

    async def probe(self, pod: NodePod, container: Container, probe: Probe) -> str:
        raise RuntimeError("a bug")

    async def release(self, pod: NodePod) -> None:
        self.released.append(pod.metadata.name)

    async def remove(self, pod: NodePod) -> None:
        self.removed.append(pod.metadata.name)


class Node:
    """An agent whose pods are given by hand."""

    def __init__(self) -> None:
        self.api, self.machine, self.clock = Api(), Machine(), ManualClock()
        effects = Effects(self.api, self.machine, self.clock, lambda: 1_000_000.0 + self.clock.now(), lambda: 0.5)
        self.agent = PodAgent("node-a", ("192.0.2.1",), effects)

    def give(self, *pods: NodePod) -> None:
        names = [ObjectName(one.metadata.namespace, one.metadata.name) for one in pods]
        self.agent.apply([Change(name, one) for name, one in zip(names, pods, strict=True)])

    async def until(self, good: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not good():
                self.api.heard.clear()
                await asyncio.wait({asyncio.ensure_future(self.api.heard.wait())}, timeout=0.01)

    def phase(self, name: str) -> str:
        return str(self.api.statuses.get(name, {}).get("phase", ""))

    def told(self, reason: str) -> list[str]:
        return [message for _, one, message in self.api.events if one == reason]


def play(story: Callable[[Node], Awaitable[None]]) -> None:
    async def go() -> None:
        node = Node()
        try:
            await story(node)
        finally:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(go())


def named(name: str, *containers: dict[str, Any], **spec: Any) -> NodePod:
    return pod(*containers, meta={"name": name, "uid": f"{name}-uid"}, **spec)


def test_a_pod_that_cannot_start_says_why_and_harms_no_other() -> None:
    async def story(node: Node) -> None:
        node.machine.faults = {
            "config": StartError("CreateContainerConfigError", 'configmap "x" not found'),
            "prepare volume": PrepareError("FailedMount", "no such volume"),
            "bug": RuntimeError("a bug"),
            "prepare bug2": RuntimeError("another"),
        }
        node.give(*(named(name) for name in ("config", "volume", "bug", "bug2", "good")))
        await node.until(lambda: node.phase("good") == "Running" and len(node.told("Failed")) == 2)
        assert sorted(node.told("Failed")) == ["Error: a bug", 'Error: configmap "x" not found']
        assert node.told("FailedMount") == ["no such volume"]
        assert node.told("CreateContainerError") == ["another"]
        state = node.api.statuses["config"]["containerStatuses"][0]["state"]
        assert state["waiting"]["reason"] == "CreateContainerConfigError"

    play(story)


def test_a_program_that_cannot_be_run_backs_off() -> None:
    async def story(node: Node) -> None:
        node.machine.faults = {"web": StartError("StartError", "no such file")}
        node.give(named("web"))

        def backs_off() -> bool:
            found = node.api.statuses.get("web", {}).get("containerStatuses", [{}])[0]
            return bool(found.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff")

        await node.until(backs_off)
        assert node.api.statuses["web"]["containerStatuses"][0]["restartCount"] == 1

    play(story)


def test_a_port_of_the_node_goes_to_the_pod_that_came_first() -> None:
    async def story(node: Node) -> None:
        ports = [{"containerPort": 80, "hostPort": 80}]
        node.give(named("first", container(ports=ports)), named("second", container(ports=ports)))
        await node.until(lambda: node.phase("first") == "Running" and node.phase("second") == "Failed")
        assert node.api.statuses["second"]["reason"] == "NodePorts"
        assert node.told("NodePorts")[0].startswith("Predicate NodePorts failed")

    play(story)


def test_those_that_this_node_had_before_keep_their_ports() -> None:
    async def story(node: Node) -> None:
        ports = [{"containerPort": 80, "hostPort": 80}]
        mine = named("mine", container(ports=ports), status={"startTime": "2026-01-01T00:00:00Z"})
        node.agent.replace([named("a-newcomer", container(ports=ports)), mine], ())
        await node.until(lambda: node.phase("mine") == "Running" and node.phase("a-newcomer") == "Failed")

    play(story)


def test_logs_that_were_lost_are_said_while_the_container_runs_on() -> None:
    async def story(node: Node) -> None:
        node.machine.findings = Findings(warnings=("the disk is full: 3 lines of the log of main are lost",))
        node.give(named("web"))
        await node.until(lambda: node.phase("web") == "Running")
        node.clock.advance(REFRESH)
        await node.until(lambda: bool(node.told("LogsLost")))
        assert node.phase("web") == "Running"

    play(story)


def test_a_pod_that_fills_its_volume_is_evicted() -> None:
    async def story(node: Node) -> None:
        node.machine.findings = Findings("Usage of EmptyDir volume exceeds the limit. ")
        node.give(named("web"))
        await node.until(lambda: node.phase("web") == "Running")
        node.clock.advance(REFRESH)
        await node.until(lambda: node.phase("web") == "Failed" and bool(node.told("Evicted")))
        assert node.api.statuses["web"]["reason"] == "Evicted"

    play(story)


def test_a_pod_that_had_ended_stays_as_it_is_until_it_is_deleted() -> None:
    async def story(node: Node) -> None:
        ended = named("web", status={"phase": "Succeeded"})
        node.give(ended)
        await node.until(lambda: node.machine.recalled == ["web"])
        assert node.api.statuses == {}
        meta = {"name": "web", "uid": "web-uid", "deletionTimestamp": "2026-01-01T00:00:00Z"}
        node.give(pod(meta=meta, status={"phase": "Succeeded"}))
        await node.until(lambda: node.api.gone == ["web"])
        assert node.machine.removed == ["web"]
        assert node.api.statuses == {}

    play(story)


def test_a_probe_that_is_a_fault_of_ours_counts_as_a_failure() -> None:
    async def story(node: Node) -> None:
        probe = {"exec": {"command": ["true"]}, "failureThreshold": 1}
        node.give(named("web", container(readinessProbe=probe)))
        await node.until(lambda: bool(node.told("Unhealthy")))
        assert node.told("Unhealthy") == ["Readiness probe failed: a bug"]

    play(story)


def test_a_pod_that_has_ended_lets_go_of_what_it_had_and_stays_known() -> None:
    async def story(node: Node) -> None:
        node.give(named("job", restartPolicy="Never"))
        await node.until(lambda: node.phase("job") == "Running")
        assert [one.metadata.name for one in node.agent.present()] == ["job"]
        node.machine.ends["job-uid"].set_result(Ended(0, "Completed"))
        await node.until(lambda: node.machine.released == ["job"] and node.phase("job") == "Succeeded")
        assert node.agent.present() == []
        assert [one.metadata.name for one in node.agent.pods()] == ["job"]
        assert node.machine.removed == []
        status = {one["type"]: one["status"] for one in node.api.statuses["job"]["conditions"]}
        assert status["PodReadyToStartContainers"] == "False"

    play(story)
