"""Pods on this machine: network by whoever gives it, containers by runc, files below one folder, real probes.

Fulfils `fairway.agents.pod_machine.Machine`; `streams` is `fairway.io.http.streams.PodStreams`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from fairway.agents.pod_machine import Ended, Findings, PrepareError, Started, StartError
from fairway.io.containers.asking import Asked, ask_grpc, ask_http, ask_tcp
from fairway.io.containers.grants import groups, hierarchies, machine_grants, was_out_of_memory
from fairway.io.containers.known import KnownPod
from fairway.io.containers.logs import Log
from fairway.io.containers.rootfs import RootFiles
from fairway.io.containers.runc import Container as Running
from fairway.io.containers.runc import ContainerError, Runc
from fairway.io.containers.sandbox import Sandboxes
from fairway.io.containers.streams import Streams
from fairway.io.containers.tokens import TokenKeeper
from fairway.io.containers.volumes import Supply, VolumeError, VolumeFiles
from fairway.io.host.netns import FOLDER
from fairway.kube.podspec import Container, Handler, NodePod, Probe, TerminationMessagePolicy
from fairway.kube.quantity import parse_quantity
from fairway.pods.bundle import Mount, Prepared, config
from fairway.pods.environment import MissingReferenceError, NodeFacts, Sources, environment, expand
from fairway.pods.files import Resolver
from fairway.pods.grants import cuts_of_pod, root_problem
from fairway.pods.images import Image, UnknownImageError, argv, find
from fairway.pods.messages import LAST_BYTES, LAST_LINES, LONGEST_MESSAGE
from fairway.values.errors import FairwayError, UnavailableError

REFRESH_AGE: Final = 10.0
START_AGE: Final = 1.0
"""The volumes of the pod were made just now, of the same objects."""
PAUSE: Final = "pause"
_PAUSE_SCRIPT = "trap 'exit 0' TERM; while :; do sleep 2147483647 & wait; done"
"""As first process of a shared namespace: it reaps what others leave, and ends at once when told."""
_WAITING_WORDS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}
"""What `kubectl logs` says of a container that waits, where that is not its reason."""


class PodNetwork(Protocol):
    """Gives pods their network namespaces."""

    async def attach(self, pod: NodePod) -> tuple[str, tuple[str, ...]]:
        """Name of its namespace and its addresses; the same again when asked again."""

    async def detach(self, pod: NodePod) -> None:
        """Take it away."""


class ObjectReader(Protocol):
    """What pods need of the API."""

    async def sources(self, pod: NodePod, max_age: float = 0.0) -> Sources:
        """ConfigMaps and Secrets that it names, as they were at most so many seconds ago."""

    async def services(self, pod: NodePod) -> Mapping[str, str]:
        """Service variables."""

    async def token(self, pod: NodePod, audience: str, seconds: int) -> tuple[str, float]:
        """A token of the pod's service account, bound to the pod, and when it expires (seconds since 1970)."""


class Offer(NamedTuple):
    """What a node has for its pods beside its own facts."""

    resolver: Resolver
    images: Mapping[str, Image]
    probes_inside: bool = False
    """Probes go out in the pod's own network namespace, where the node's does not reach it."""


class PodMachine:
    """Runs the pods of one node."""

    def __init__(self, folder: Path, node: NodeFacts, offer: Offer, network: PodNetwork, objects: ObjectReader) -> None:
        self.folder, self._node, self._offer = folder, node, offer
        self._network, self._objects = network, objects
        self._grants = machine_grants()
        self._files = RootFiles(folder / "fs")
        self._runc = Runc(folder / "runc")
        self._sandboxes = Sandboxes(folder / "sandboxes", node.name, offer.resolver)
        self._volumes = VolumeFiles(folder / "volumes", folder / "fs" / "layers" / "host" / "root")
        self._tokens = TokenKeeper(objects)
        self._pods: dict[str, KnownPod] = {}
        self.streams = Streams(self._pods, self._runc)

    async def open(self) -> None:
        """Before the first pod. What a process before this one left, that was killed, is ended and taken away.

        Volumes and logs stay: the pods that they are of may still be this node's.
        """
        await self._runc.remove_leftovers()
        await asyncio.to_thread(self._files.close)
        await asyncio.to_thread(self._files.open)
        await asyncio.to_thread(self._files.make, "host")

    async def close(self) -> None:
        """End everything."""
        for uid in [*self._pods]:
            await self._end(uid)
        await self.keep(())
        await asyncio.to_thread(self._files.close)
        await asyncio.to_thread(_remove_groups)

    async def keep(self, uids: Collection[str]) -> None:
        """Take away what pods left that went while nobody looked."""
        logs = self.folder / "logs"
        known = {*self._volumes.known(), *self._sandboxes.known()}
        known |= {path.name for path in logs.iterdir()} if logs.is_dir() else set()
        for uid in sorted(known - {*uids, *self._pods}):
            await asyncio.to_thread(self._remove_files, uid)

    # -- Machine

    async def prepare(self, pod: NodePod) -> tuple[str, ...]:
        known = self._pods.get(pod.metadata.uid)
        try:
            await self._fill(pod, 0.0)
        except (VolumeError, MissingReferenceError) as error:
            raise PrepareError("FailedMount", str(error)) from None
        try:
            namespace, addresses = await self._network.attach(pod)
            await asyncio.to_thread(self._sandboxes.make, pod, addresses)
        except (FairwayError, OSError) as error:
            raise PrepareError("FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}") from None
        if known is None:
            self._pods[pod.metadata.uid] = KnownPod(namespace, addresses, pod, previous=self._former_logs(pod))
        return addresses

    def recall(self, pod: NodePod) -> None:
        """A pod that ended under a process before this one: its logs can still be read."""
        known = KnownPod("", (), pod)
        for name, log in self._former_logs(pod).items():
            ended = asyncio.get_running_loop().create_future()
            ended.set_result(0)
            known.containers[name] = Running("", 0, log, ended)
        self._pods[pod.metadata.uid] = known

    def _former_logs(self, pod: NodePod) -> dict[str, Log]:
        """By container: the log of its last run under a process before this one. Those before it go."""
        found = {}
        folder = self.folder / "logs" / pod.metadata.uid
        for status in pod.status.all_containers:
            path = folder / f"{status.name}-{status.container_id.rpartition('-')[2]}.log"
            if path.exists():
                found[status.name] = Log(path)
                found[status.name].close()
        last = {log.path for log in found.values()}
        for path in (one for one in folder.glob("*.log") if one not in last):
            Log(path).remove()
        return found

    async def _fill(self, pod: NodePod, max_age: float) -> None:
        sources = await self._objects.sources(pod, max_age)
        tokens = await self._tokens.tokens(pod)
        await asyncio.to_thread(self._volumes.make, pod, Supply(sources, tokens, self._node))

    async def refresh(self, pod: NodePod) -> Findings:
        """Bring its volumes up to date; what was found on the way."""
        known = self._pods.get(pod.metadata.uid)
        if known is None:
            return Findings()
        async with known.changing:
            if not known.namespace:
                return Findings()
            known.pod = pod
            with contextlib.suppress(VolumeError, MissingReferenceError):
                await self._fill(pod, REFRESH_AGE)
        lost = {one.name: one.log.lost for one in known.containers.values() if one.log.lost}
        words = [f"the disk is full: {count} lines of the log of {name} are lost" for name, count in lost.items()]
        return Findings(await asyncio.to_thread(self._over_limit, known), tuple(words))

    def _over_limit(self, known: KnownPod) -> str:
        """Why the pod must go: more local storage than a limit allows (kubelet's words); empty if there is nothing."""
        if found := self._volumes.over_limit(known.pod):
            return found
        for spec in known.pod.spec.containers:
            limit = (spec.resources.limits or {}).get("ephemeral-storage")
            running = known.containers.get(spec.name)
            if limit is None or running is None:
                continue
            if self._files.used(running.name) + running.log.size > parse_quantity(limit):
                return f'Container {spec.name} exceeded its local ephemeral storage limit "{limit}". '
        return ""

    async def start(self, pod: NodePod, container: Container, run: int) -> Started:
        known = self._pods[pod.metadata.uid]
        known.pod = pod
        try:
            return await self._start(known, container, run)
        except StartError as error:
            known.waiting[container.name] = _WAITING_WORDS.get(error.reason, error.reason)
            raise

    async def _start(self, known: KnownPod, container: Container, run: int) -> Started:
        pod, name = known.pod, f"fw-{known.pod.metadata.uid}-{container.name}-{run}"
        if problem := root_problem(pod, container):
            raise StartError("CreateContainerConfigError", problem)
        try:
            if pod.spec.share_process_namespace:
                async with known.pausing:
                    await self._pause(known, container)
            prepared = await self._prepared(known, container, name)
        except MissingReferenceError as error:
            raise StartError("CreateContainerConfigError", str(error)) from None
        except UnknownImageError as error:
            raise StartError("ImagePullBackOff", str(error)) from None
        except (ContainerError, OSError, UnavailableError) as error:
            raise StartError("CreateContainerError", str(error)) from None
        tree, cuts = config(pod, container, prepared)
        if (old := known.containers.get(container.name)) is not None:
            if (older := known.previous.get(container.name)) is not None:
                older.remove()
            known.previous[container.name] = old.log
            await self._runc.remove(old)
            self._files.remove(old.name)
            known.ids.remove(old.name)
        path = self.folder / "logs" / pod.metadata.uid / f"{container.name}-{run}.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            made = await self._runc.start(name, tree, Log(path), stdin=bool(container.stdin))
        except (ContainerError, OSError) as error:
            self._files.remove(name)
            known.ids.remove(name)
            raise StartError("StartError", str(error)) from None
        known.containers[container.name] = made
        known.waiting.pop(container.name, None)
        return Started(name, (*cuts_of_pod(pod), *(cut.message for cut in cuts)))

    async def _prepared(self, known: KnownPod, container: Container, name: str) -> Prepared:
        """Raises MissingReferenceError, UnknownImageError."""
        pod = known.pod
        facts = self._node._replace(pod_ips=known.addresses)
        image = find(container.image, self._offer.images) or Image()
        sources = await self._objects.sources(pod, START_AGE)
        services = await self._objects.services(pod)
        env = dict(image.env) | environment(pod, container, services, sources, facts)
        command = tuple(expand(word, env) for word in argv(container, self._offer.images))
        message = Mount(str(self._sandboxes.message_file(pod, container.name)), container.termination_message_path)
        volumes = self._volumes.mounts(pod, container, env)
        own = [one for one in self._sandboxes.mounts(pod) if one.target not in {volume.target for volume in volumes}]
        binaries = [Mount(source, target, True) for source, target in image.binaries]
        share = f"/proc/{known.pause.pid}/ns/pid" if known.pause is not None else ""
        return Prepared(
            rootfs=str(self._root(known, name, image)),
            network=str(FOLDER / known.namespace),
            ipc=self._sandboxes.ipc(pod),
            cgroup=f"/fairway/{name}",
            argv=command,
            env=env,
            mounts=(*own, message, *volumes, *binaries),
            grants=self._grants,
            hostname=self._sandboxes.hostname(pod),
            memory=self._node.memory,
            working_dir=image.working_dir or "/",
            is_terminal=bool(container.tty),
            pid=share or known.processes_of(container.target_container_name),
        )

    def _root(self, known: KnownPod, name: str, image: Image) -> Path:
        rootfs = self._files.make(name, Path(image.layer) if image.layer else None)
        known.ids.append(name)
        for folder in image.folders:
            (rootfs / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return rootfs

    async def _pause(self, known: KnownPod, like: Container) -> None:
        """See that the first process of a pod whose containers share a process namespace is there."""
        if known.pause is not None and known.pause.is_running:
            return
        pod, name = known.pod, f"fw-{known.pod.metadata.uid}-{PAUSE}"
        spec = Container(PAUSE, like.image, ("/bin/sh", "-c", _PAUSE_SCRIPT))
        prepared = Prepared(
            rootfs=str(self._root(known, name, Image())),
            network=str(FOLDER / known.namespace),
            ipc=self._sandboxes.ipc(pod),
            cgroup=f"/fairway/{name}",
            argv=spec.command or (),
            env={},
            mounts=(),
            grants=self._grants,
            hostname=self._sandboxes.hostname(pod),
        )
        bare = NodePod(pod.metadata)
        tree, _ = config(bare, spec, prepared)
        path = self.folder / "logs" / pod.metadata.uid / f".{PAUSE}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            known.pause = await self._runc.start(name, tree, Log(path))
        except ContainerError:
            self._files.remove(name)
            known.ids.remove(name)
            raise

    async def wait(self, uid: str, name: str) -> Ended:
        known = self._pods[uid]
        running = known.containers[name]
        code = await asyncio.shield(running.ended)
        await running.log.finished()
        is_starved = running.memory_group is not None and was_out_of_memory(running.memory_group)
        reason = "OOMKilled" if is_starved and code else "Error" if code else "Completed"
        return Ended(code, reason, self._last_words(known, name, has_failed=bool(code)))

    def _last_words(self, known: KnownPod, name: str, *, has_failed: bool) -> str:
        """What the container wrote to its termination message, or the end of its log where its policy says so."""
        spec = next((one for one in known.pod.all_containers if one.name == name), None)
        path = self._sandboxes.message_path(known.pod, name)
        text = b""
        with contextlib.suppress(OSError), path.open("rb") as file:
            text = file.read(LONGEST_MESSAGE)
        falls_back = spec and spec.termination_message_policy is TerminationMessagePolicy.FALLBACK_TO_LOGS
        if not text and falls_back and has_failed:
            text = known.containers[name].log.last(LAST_LINES)[-LAST_BYTES:]
        return text.decode(errors="replace")

    async def stop(self, pod: NodePod, container: Container, grace: float) -> str:
        known = self._pods[pod.metadata.uid]
        running = known.containers[container.name]
        hook, problem = container.lifecycle.pre_stop, ""
        began = asyncio.get_running_loop().time()
        if hook is not None and grace > 0 and running.is_running:
            problem = await self.hook(pod, container, hook, grace)
        left = grace - (asyncio.get_running_loop().time() - began)
        await self._runc.stop(running, max(left, 2.0) if grace > 0 else 0.0)
        return problem

    async def hook(self, pod: NodePod, container: Container, hook: Handler, seconds: float) -> str:
        """Run one; returns what went wrong."""
        running = self._pods[pod.metadata.uid].containers[container.name]
        try:
            if hook.sleep is not None:
                await asyncio.wait({running.ended}, timeout=min(hook.sleep.seconds, seconds))
            elif hook.exec is not None:
                code, said = await self._runc.probe(running, hook.exec.command, seconds)
                return f"command exited with {code}: {said.decode(errors='replace')}" if code else ""
            elif hook.http_get is not None:
                return await ask_http(self._asked(pod, container), hook.http_get, seconds, is_hook=True)
            elif hook.tcp_socket is not None:
                return await ask_tcp(self._asked(pod, container), hook.tcp_socket, seconds)
        except TimeoutError:
            return f"timed out after {seconds:g}s"
        except ContainerError as error:
            return str(error)
        return ""

    async def probe(self, pod: NodePod, container: Container, probe: Probe) -> str:
        seconds = float(max(probe.timeout_seconds, 1))
        try:
            if probe.exec is not None:
                running = self._pods[pod.metadata.uid].containers[container.name]
                code, said = await self._runc.probe(running, probe.exec.command, seconds)
                return said.decode(errors="replace") or f"exit code {code}" if code else ""
            asked = self._asked(pod, container)
            if probe.http_get is not None:
                return await ask_http(asked, probe.http_get, seconds)
            if probe.tcp_socket is not None:
                return await ask_tcp(asked, probe.tcp_socket, seconds)
            if probe.grpc is not None:
                return await ask_grpc(asked, probe.grpc, seconds)
        except TimeoutError:
            return f"command timed out after {seconds:g}s"
        except ContainerError as error:
            return str(error)
        return ""

    def _asked(self, pod: NodePod, container: Container) -> Asked:
        known = self._pods[pod.metadata.uid]
        vantage = known.namespace if self._offer.probes_inside else ""
        return Asked(pod, container, next(iter(known.addresses), "127.0.0.1"), vantage)

    async def release(self, pod: NodePod) -> None:
        known = self._pods.get(pod.metadata.uid)
        if known is None:
            return
        await self._end_containers(known)
        async with known.changing:
            await asyncio.to_thread(self._remove_files, pod.metadata.uid, but_logs=True)
        await self._network.detach(pod)

    async def remove(self, pod: NodePod) -> None:
        await self._end(pod.metadata.uid)
        await asyncio.to_thread(self._remove_files, pod.metadata.uid)
        await self._network.detach(pod)

    async def _end(self, uid: str) -> None:
        known = self._pods.pop(uid, None)
        if known is not None:
            await self._end_containers(known)

    async def _end_containers(self, known: KnownPod) -> None:
        """And their roots. A container without a name is one of which nothing is left, as a pod without a namespace."""
        async with known.changing:
            known.namespace = ""
        pause = [known.pause] if known.pause is not None else []
        for running in [one for one in (*known.containers.values(), *pause) if one.name]:
            await self._runc.remove(running)
            running.name = ""
        for name in known.ids:
            self._files.remove(name)
        known.ids.clear()

    def _remove_files(self, uid: str, *, but_logs: bool = False) -> None:
        for group in groups(f"fw-{uid}-*"):
            with contextlib.suppress(OSError):
                group.rmdir()  # of a process that died; runc removes the others
        self._tokens.forget(uid)
        self._volumes.remove(uid)
        self._sandboxes.remove(uid)
        if not but_logs:
            shutil.rmtree(self.folder / "logs" / uid, ignore_errors=True)


def _remove_groups() -> None:
    """runc removes each container's own group; the one above is ours, unless another node still uses it."""
    for tree in hierarchies():
        with contextlib.suppress(OSError):
            (tree.folder / "fairway").rmdir()
