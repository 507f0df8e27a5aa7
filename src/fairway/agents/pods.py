"""Runs the pods of one node: follows them in the API, drives their lives, writes their status and says what happened.

Decides when a pod gets a worker, when its status is written and when it is gone. How a container is run is the
`Machine`'s business, what comes next in a pod's life that of `fairway.pods.lifecycle`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol

from fairway.agents.api import ApiReader, Query
from fairway.agents.clock import Clock
from fairway.agents.feed import Change, Feed
from fairway.agents.reflector import Reflector
from fairway.kube.podspec import NODE_POD, Container, NodePod, Probe
from fairway.kube.status import ApiStatusError, ApiUnreachableError, ConflictError, NotFoundError
from fairway.pods.lifecycle import Action, Happening, PodLife, Remove, RunProbe, Start, Stop
from fairway.pods.records import Terminated, Waiting
from fairway.pods.status import Place, pod_phase, pod_status, rfc3339
from fairway.values.errors import FairwayError
from fairway.values.names import ObjectName

log = logging.getLogger(__name__)

STRATEGIC: str = "application/strategic-merge-patch+json"
RETRY: float = 1.0


class PodApi(ApiReader, Protocol):
    """Lists, watches and writes."""

    async def request(
        self, method: str, path: str, query: Query | None = None, body: bytes = b"", *, content_type: str = ...
    ) -> bytes: ...


class StartError(FairwayError):
    """A container could not be started; `reason` is what its status says."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Machine(Protocol):
    """Runs containers. Every method may be called for several pods at once."""

    async def prepare(self, pod: NodePod) -> tuple[str, ...]:
        """Make the pod's network; returns its addresses. Raises FairwayError; may be asked again."""

    async def start(self, pod: NodePod, container: Container, run: int) -> str:
        """Start one container; returns its id. Raises StartError."""

    async def wait(self, uid: str, name: str) -> int:
        """Return the exit code when the container has ended."""

    async def stop(self, pod: NodePod, container: Container, grace: float) -> None:
        """End it: hook, SIGTERM, SIGKILL."""

    async def probe(self, pod: NodePod, container: Container, probe: Probe) -> str:
        """Ask once; returns what is wrong, empty when nothing is."""

    async def remove(self, pod: NodePod) -> None:
        """Take everything of the pod away."""


class Effects(NamedTuple):
    """What the agent needs of the world."""

    api: PodApi
    machine: Machine
    clock: Clock
    wall: Callable[[], float]
    """Seconds since 1970."""
    random: Callable[[], float]


class PodAgent:
    """All pods of one node. `run` goes on until cancelled; what then runs is left to the machine's owner."""

    def __init__(self, node: str, host_ips: tuple[str, ...], effects: Effects) -> None:
        self._effects = effects
        self._host_ips = host_ips
        self._workers: dict[str, Worker] = {}
        self._names: dict[ObjectName, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        feed = Feed(NODE_POD, self, fields=f"spec.nodeName={node}")
        self.reflector = Reflector(effects.api, feed, effects.clock, effects.random)

    async def run(self) -> None:
        """Follow the node's pods until cancelled."""
        try:
            await self.reflector.run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def pods(self) -> list[NodePod]:
        """Those that are on this node now."""
        return [worker.life.pod for worker in self._workers.values()]

    # -- sink

    def replace(self, objects: Sequence[NodePod], kept: Collection[ObjectName]) -> None:
        there = {_name(pod) for pod in objects} | set(kept)
        self.apply([Change(name, None) for name in sorted(set(self._names) - there)])
        self.apply([Change(_name(pod), pod) for pod in objects])

    def apply(self, changes: Sequence[Change[NodePod]]) -> None:
        for name, pod in changes:
            known = self._names.get(name)
            if known is not None and (pod is None or pod.metadata.uid != known):
                del self._names[name]
                self._workers[known].vanished()
            if pod is not None:
                self._names[name] = pod.metadata.uid
                self._worker(pod).update(pod)

    def _worker(self, pod: NodePod) -> Worker:
        uid = pod.metadata.uid
        worker = self._workers.get(uid)
        if worker is None:
            worker = self._workers[uid] = Worker(pod, self._host_ips, self._effects)
            task = asyncio.ensure_future(worker.run())
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._ended(uid, done))
        return worker

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        worker = self._workers.pop(uid)
        name = _name(worker.life.pod)
        if self._names.get(name) == uid:
            del self._names[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pod=%s msg='its worker failed' error='%s'", name, error)


def _name(pod: NodePod) -> ObjectName:
    return ObjectName(pod.metadata.namespace, pod.metadata.name)


class Worker:
    """One pod: performs what its life asks for, one task an action."""

    def __init__(self, pod: NodePod, host_ips: tuple[str, ...], effects: Effects) -> None:
        self._effects = effects
        self.life = PodLife(pod, effects.wall())
        self._place = Place(host_ips)
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._written: dict[str, Any] = {}
        self._is_known = True
        """The API still has the pod."""

    # -- what others tell

    def update(self, pod: NodePod) -> None:
        self.life.update(pod, self._effects.wall())
        self._woken.set()

    def vanished(self) -> None:
        self._is_known = False
        self.life.vanished(self._effects.wall())
        self._woken.set()

    # -- the loop

    async def run(self) -> None:
        """Until the pod is gone."""
        if self.life.pod.status.phase in ("Succeeded", "Failed") and not self.life.is_leaving:
            # It ended before this agent began; only its removal is left to do.
            self.life.fail("", "")
            await self._until_leaving()
        self._spawn(self._prepare())
        try:
            while not self.life.is_removed:
                self._woken.clear()
                actions = self.life.poll(self._effects.wall())
                for action in actions:
                    self._perform(action)
                await self._write_status()
                if not self.life.is_removed:
                    await self._rest()
            await self._remove()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _until_leaving(self) -> None:
        while not self.life.is_leaving:
            self._woken.clear()
            await self._woken.wait()

    async def _rest(self) -> None:
        wake = self.life.next_wake(self._effects.wall())
        timeout = None if wake is None else max(wake - self._effects.wall(), 0.0)
        timer = asyncio.ensure_future(self._effects.clock.sleep(timeout)) if timeout is not None else None
        woken = asyncio.ensure_future(self._woken.wait())
        waiting = {woken} | ({timer} if timer is not None else set())
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _perform(self, action: Action) -> None:
        match action:
            case Happening():
                self._spawn(self._tell(action))
            case Start(container, run):
                self._spawn(self._start(container, run))
            case Stop(container, _, grace):
                self._spawn(self._effects.machine.stop(self.life.pod, container, grace))
            case RunProbe():
                self._spawn(self._probe(action))
            case Remove():
                pass

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pod=%s msg='an action failed' error='%s'", self.life.pod.full_name, error)

    # -- actions

    async def _prepare(self) -> None:
        while not self.life.is_leaving:
            try:
                addresses = await self._effects.machine.prepare(self.life.pod)
            except FairwayError as error:
                self.life.held_back("ContainerCreating", str(error))
                await self._tell(Happening("Warning", "FailedCreatePodSandBox", str(error)))
                await self._effects.clock.sleep(RETRY)
                continue
            self._place = self._place._replace(pod_ips=addresses)
            self.life.admitted()
            return

    async def _start(self, container: Container, run: int) -> None:
        machine, wall, uid = self._effects.machine, self._effects.wall, self.life.pod.metadata.uid
        try:
            ident = await machine.start(self.life.pod, container, run)
        except StartError as error:
            self.life.start_failed(container.name, run, Waiting(error.reason, str(error)), wall())
            return
        began = wall()
        self.life.started(container.name, run, ident, began)
        self._woken.set()
        code = await machine.wait(uid, container.name)
        end = Terminated(code, "Error" if code else "Completed", began, wall(), ident)
        self.life.exited(container.name, run, end)

    async def _probe(self, action: RunProbe) -> None:
        problem = await self._effects.machine.probe(self.life.pod, action.container, action.probe)
        self.life.probed(action.container.name, action.kind, action.run, problem, self._effects.wall())

    async def _remove(self) -> None:
        await self._effects.machine.remove(self.life.pod)
        meta = self.life.pod.metadata
        while self._is_known:
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta.uid}}
            try:
                await self._effects.api.request("DELETE", self._path(), body=json.dumps(body).encode())
            except (NotFoundError, ConflictError):
                return
            except (ApiStatusError, ApiUnreachableError) as error:
                log.warning("pod=%s msg='cannot be deleted yet' error='%s'", self.life.pod.full_name, error)
                await self._effects.clock.sleep(RETRY)
            else:
                return

    # -- what the API hears

    def _path(self, subresource: str = "") -> str:
        meta = self.life.pod.metadata
        return f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}{subresource}"

    async def _write_status(self) -> None:
        """Write it when it differs from what was last written; a failed write is tried again."""
        status = pod_status(self.life, self._place, self._effects.wall())
        if not self._is_known or _timeless(status) == _timeless(self._written):
            return
        body = json.dumps({"metadata": {"uid": self.life.pod.metadata.uid}, "status": status}).encode()
        try:
            await self._effects.api.request("PATCH", self._path("/status"), body=body, content_type=STRATEGIC)
        except (NotFoundError, ConflictError):
            self.vanished()
        except (ApiStatusError, ApiUnreachableError) as error:
            log.warning("pod=%s msg='status not written yet' error='%s'", self.life.pod.full_name, error)
            self._spawn(self._effects.clock.sleep(RETRY))
        else:
            self._written = status
            log.info("pod=%s phase=%s msg='status written'", self.life.pod.full_name, pod_phase(self.life))

    async def _tell(self, happening: Happening) -> None:
        meta, now = self.life.pod.metadata, rfc3339(self._effects.wall())
        reference = {"apiVersion": "v1", "kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}
        event = {
            "metadata": {"generateName": f"{meta.name}.", "namespace": meta.namespace},
            "involvedObject": reference,
            "type": happening.type,
            "reason": happening.reason,
            "message": happening.message[:1024],
            "source": {"component": "kubelet", "host": self.life.pod.spec.node_name},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        path = f"/api/v1/namespaces/{meta.namespace}/events"
        try:
            await self._effects.api.request("POST", path, body=json.dumps(event).encode())
        except (ApiStatusError, ApiUnreachableError) as error:
            log.debug("pod=%s msg='event lost' error='%s'", self.life.pod.full_name, error)


def _timeless(status: dict[str, Any]) -> dict[str, Any]:
    """Without the times of conditions, which are the present one until the API has been heard."""
    conditions = [{k: v for k, v in one.items() if k != "lastTransitionTime"} for one in status.get("conditions", ())]
    return {**status, "conditions": conditions}
