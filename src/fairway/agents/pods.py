"""Runs the pods of one node: follows them in the API, drives their lives, writes their status and says what happened.

Decides when a pod gets a worker, when its status is written and when it is gone. How a container is run is the
`Machine`'s business, what comes next in a pod's life that of `fairway.pods.lifecycle`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from fairway.agents.api import ApiReader, Query
from fairway.agents.clock import Clock
from fairway.agents.feed import Change, Feed
from fairway.agents.pod_events import EventTeller
from fairway.agents.pod_machine import Machine, PrepareError, StartError
from fairway.agents.reflector import Reflector
from fairway.kube.podspec import NODE_POD, Container, NodePod
from fairway.kube.status import ApiStatusError, ApiUnreachableError, ConflictError, NotFoundError
from fairway.pods.grants import Rejection, rejection
from fairway.pods.lifecycle import Action, Happening, PodLife, Remove, RunHook, RunProbe, Start, Stop
from fairway.pods.records import Terminated, Waiting
from fairway.pods.status import Place, pod_phase, pod_status
from fairway.values.names import ObjectName

log = logging.getLogger(__name__)

STRATEGIC: Final = "application/strategic-merge-patch+json"
RETRY: Final = 1.0
LONGEST_RETRY: Final = 16.0
REFRESH: Final = 20.0
"""Seconds between two looks at what a pod's volumes are made of."""
TERMINAL: Final = ("Succeeded", "Failed")
LONGEST_HOOK: Final = 3600.0
STARTED_AND_ENDED: Final = 128
"""Exit code of a container whose program could not be run (containerd's StartError)."""


class PodApi(ApiReader, Protocol):
    """Lists, watches and writes."""

    async def request(
        self, method: str, path: str, query: Query | None = None, body: bytes = b"", *, content_type: str = ...
    ) -> bytes: ...


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
        self._teller = EventTeller(node, effects.api, effects.wall)
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

    def present(self) -> list[NodePod]:
        """Those that have, or will have, a network."""
        return [worker.life.pod for worker in self._workers.values() if worker.occupies]

    # -- sink

    def replace(self, objects: Sequence[NodePod], kept: Collection[ObjectName]) -> None:
        there = {_name(pod) for pod in objects} | set(kept)
        self.apply([Change(name, None) for name in sorted(set(self._names) - there)])
        # Those that this node has admitted before come first: a newcomer may be in their way.
        known = sorted(objects, key=lambda pod: pod.status.start_time is None)
        self.apply([Change(_name(pod), pod) for pod in known])

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
            others = self.present()
            worker = Worker(pod, self._host_ips, self._effects, self._teller)
            if pod.status.start_time is None:
                worker.rejection = rejection(pod, others)
            self._workers[uid] = worker
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

    def __init__(self, pod: NodePod, host_ips: tuple[str, ...], effects: Effects, teller: EventTeller) -> None:
        self._effects, self._teller = effects, teller
        self.life = PodLife(pod, effects.wall())
        self._place = Place(host_ips)
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._written: dict[str, Any] = {}
        self._written_as = 0
        """The version of the pod that has it."""
        self._is_known = True
        """The API still has the pod."""
        self._preparing: asyncio.Task[None] | None = None
        """The making or, when the pod has ended, the taking away of what it has."""
        self.rejection: Rejection | None = None
        """Why the node does not take the pod."""

    @property
    def occupies(self) -> bool:
        """It has, or will have, what only one pod of a node can have."""
        has_ended = self.life.has_ended or self.life.pod.status.phase in TERMINAL
        return self.rejection is None and not self.life.is_removed and not has_ended

    # -- what others tell

    def update(self, pod: NodePod) -> None:
        old, new = self.life.pod.metadata, pod.metadata
        if int(new.resource_version or 0) > self._written_as and _readiness(pod) != _written_readiness(self._written):
            self._written = {}  # somebody else wrote it, as for a node that was silent: it is ours to tell
        self.life.update(pod, self._effects.wall())
        self._woken.set()
        if self.life.is_admitted and (old.labels, old.annotations) != (new.labels, new.annotations):
            self._spawn(self._refresh())

    def vanished(self) -> None:
        self._is_known = False
        self.life.vanished(self._effects.wall())
        self._woken.set()

    # -- the loop

    async def run(self) -> None:
        """Until the pod is gone."""
        life = self.life
        if life.pod.status.phase in TERMINAL:
            # It ended before this agent began; only its removal is left to do.
            life.fail("", "")
            self._effects.machine.recall(life.pod)
            await self._until_leaving()
            await self._remove()
            return
        life.resume(self._effects.wall())
        if self.rejection is not None:
            life.fail(*self.rejection)
            reason, words = self.rejection
            self._spawn(self._tell(Happening("Warning", reason, words.removeprefix("Pod was rejected: "))))
        else:
            self._preparing = self._spawn(self._prepare())
            self._spawn(self._keep_fresh())
        is_released = self.rejection is not None
        try:
            while not life.is_removed:
                self._woken.clear()
                for action in life.poll(self._effects.wall()):
                    self._perform(action)
                await self._write_status()
                if life.is_over and not life.is_leaving and not is_released:
                    is_released = True
                    self._preparing = self._spawn(self._effects.machine.release(life.pod))
                if not life.is_removed:
                    await self._rest()
            if self._preparing is not None:
                if not is_released:
                    self._preparing.cancel()
                await asyncio.gather(self._preparing, return_exceptions=True)
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
                self._spawn(self._stop(container, grace))
            case RunHook(container, run):
                self._spawn(self._hook(container, run))
            case RunProbe():
                self._spawn(self._probe(action))
            case Remove():
                pass

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pod=%s msg='an action failed' error='%s'", self.life.pod.full_name, error)

    # -- actions

    async def _prepare(self) -> None:
        delay = RETRY
        while not self.life.is_leaving:
            try:
                addresses = await self._effects.machine.prepare(self.life.pod)
            except Exception as error:
                reason = error.reason if isinstance(error, PrepareError) else self._surprised(error)
                self.life.held_back("ContainerCreating", str(error))
                await self._tell(Happening("Warning", reason, str(error)))
                await self._effects.clock.sleep(delay)
                delay = min(delay * 2, LONGEST_RETRY)
                continue
            self._place = self._place._replace(pod_ips=addresses)
            self.life.admitted()
            return

    async def _keep_fresh(self) -> None:
        while True:
            await self._effects.clock.sleep(REFRESH)
            if self.life.is_admitted and not self.life.has_ended:
                await self._refresh()

    async def _refresh(self) -> None:
        found = await self._effects.machine.refresh(self.life.pod)
        for words in found.warnings:
            await self._tell(Happening("Warning", "LogsLost", words))
        if found.eviction:
            self.life.fail("Evicted", found.eviction)
            self._woken.set()
            await self._tell(Happening("Warning", "Evicted", found.eviction))

    async def _start(self, container: Container, run: int) -> None:
        machine, wall, uid = self._effects.machine, self._effects.wall, self.life.pod.metadata.uid
        about = self.life.records[container.name].field
        try:
            started = await machine.start(self.life.pod, container, run)
        except Exception as error:
            known = error if isinstance(error, StartError) else StartError(self._surprised(error), str(error))
            self._not_started(container, run, known)
            return
        began = wall()
        self._spawn(self._tell(Happening("Normal", "Pulled", _pulled(container), about)))
        for words in started.cuts:
            self._spawn(self._tell(Happening("Warning", "NotGranted", words, about)))
        self.life.started(container.name, run, started.ident, began)
        self._woken.set()
        end = await machine.wait(uid, container.name)
        terminated = Terminated(end.code, end.reason, began, wall(), started.ident, end.message)
        self.life.exited(container.name, run, terminated)

    def _surprised(self, error: Exception) -> str:
        """A fault of this program; it must not hold up the pod for ever, and harms no other."""
        log.error("pod=%s msg='a fault of the node'", self.life.pod.full_name, exc_info=error)
        return "CreateContainerError"

    def _not_started(self, container: Container, run: int, error: StartError) -> None:
        about, now = self.life.records[container.name].field, self._effects.wall()
        if error.reason != "StartError":
            self.life.start_failed(container.name, run, Waiting(error.reason, str(error)), now)
            return
        # As containerd has it: such a container has been, and has ended at once.
        self._spawn(self._tell(Happening("Normal", "Pulled", _pulled(container), about)))
        self._spawn(self._tell(Happening("Warning", "Failed", f"Error: {error}", about)))
        end = Terminated(STARTED_AND_ENDED, error.reason, now, now, "", str(error))
        self.life.exited(container.name, run, end)

    async def _stop(self, container: Container, grace: float) -> None:
        if await self._effects.machine.stop(self.life.pod, container, grace):
            about = self.life.records[container.name].field
            await self._tell(Happening("Warning", "FailedPreStopHook", "PreStopHook failed", about))

    async def _hook(self, container: Container, run: int) -> None:
        hook = container.lifecycle.post_start
        assert hook is not None
        problem = await self._effects.machine.hook(self.life.pod, container, hook, LONGEST_HOOK)
        self.life.hooked(container.name, run, problem, self._effects.wall())

    async def _probe(self, action: RunProbe) -> None:
        try:
            problem = await self._effects.machine.probe(self.life.pod, action.container, action.probe)
        except Exception as error:
            self._surprised(error)
            problem = str(error)
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
            path = self._path("/status")
            answer = await self._effects.api.request("PATCH", path, body=body, content_type=STRATEGIC)
        except (NotFoundError, ConflictError):
            self.vanished()
        except (ApiStatusError, ApiUnreachableError) as error:
            log.warning("pod=%s msg='status not written yet' error='%s'", self.life.pod.full_name, error)
            self._spawn(self._effects.clock.sleep(RETRY))
        else:
            self._written = status
            self._written_as = int(_version_decoder.decode(answer).metadata.resource_version or 0)
            log.info("pod=%s phase=%s msg='status written'", self.life.pod.full_name, pod_phase(self.life))

    async def _tell(self, happening: Happening) -> None:
        await self._teller.tell(self.life.pod, happening)


def _pulled(container: Container) -> str:
    return f'Container image "{container.image}" already present on machine and can be accessed by the pod'


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Meta


_version_decoder: Final = msgspec.json.Decoder(_Versioned)


def _readiness(pod: NodePod) -> str:
    return next((one.status for one in pod.status.conditions or () if one.type == "Ready"), "")


def _written_readiness(status: dict[str, Any]) -> str:
    return next((str(one["status"]) for one in status.get("conditions", ()) if one["type"] == "Ready"), "")


def _timeless(status: dict[str, Any]) -> dict[str, Any]:
    """Without the times of conditions, which are the present one until the API has been heard."""
    conditions = [{k: v for k, v in one.items() if k != "lastTransitionTime"} for one in status.get("conditions", ())]
    return {**status, "conditions": conditions}
