"""Pods on this machine: network by whoever gives it, containers by runc, files below one folder, real probes.

Fulfils `fairway.agents.pods.Machine` and `fairway.io.http.streams.PodStreams`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fairway.agents.pods import StartError
from fairway.io.containers.attach import attach
from fairway.io.containers.logs import Log
from fairway.io.containers.rootfs import RootFiles
from fairway.io.containers.runc import Container as Running
from fairway.io.containers.runc import ContainerError, Runc
from fairway.io.host.netns import FOLDER, entered
from fairway.io.http.streams import LogOptions, Presence, Target, Terminal
from fairway.kube.podspec import Container, HttpGetAction, NodePod, Probe
from fairway.pods.bundle import DEFAULT_CAPABILITIES, Mount, Prepared, config
from fairway.pods.environment import MissingReferenceError, NodeFacts, Sources, environment, expand
from fairway.pods.files import Resolver, hosts_file, resolv_conf
from fairway.pods.images import Image, UnknownImageError, argv, find
from fairway.pods.volumes import content, placements

_BODY = 10 << 10
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
    """What a pod needs of the API when it starts."""

    async def sources(self, pod: NodePod) -> Sources:
        """ConfigMaps and Secrets that it names."""

    async def services(self, pod: NodePod) -> Mapping[str, str]:
        """Service variables."""


@dataclass(slots=True)
class _Pod:
    namespace: str
    addresses: tuple[str, ...]
    pod: NodePod
    waiting: dict[str, str] = field(default_factory=dict)
    """Why a container has not run, by its name."""
    containers: dict[str, Running] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    previous: dict[str, Log] = field(default_factory=dict)


class PodMachine:
    """Runs the pods of one node."""

    def __init__(
        self,
        folder: Path,
        node: NodeFacts,
        resolver: Resolver,
        images: Mapping[str, Image],
        network: PodNetwork,
        objects: ObjectReader,
    ) -> None:
        self._folder, self._node, self._resolver = folder, node, resolver
        self._images, self._network, self._objects = images, network, objects
        self._files = RootFiles(folder / "fs")
        self._runc = Runc(folder / "runc")
        self._pods: dict[str, _Pod] = {}

    async def open(self) -> None:
        """Before the first pod. What a process before this one left, that was killed, is ended and taken away."""
        await self._runc.remove_leftovers()
        await asyncio.to_thread(self._files.close)
        await asyncio.to_thread(self._files.open)

    async def close(self) -> None:
        """End everything."""
        for uid in list(self._pods):
            await self._end(uid)
        await asyncio.to_thread(self._files.close)
        await asyncio.to_thread(_remove_groups)

    # -- Machine

    async def prepare(self, pod: NodePod) -> tuple[str, ...]:
        namespace, addresses = await self._network.attach(pod)
        self._pods.setdefault(pod.metadata.uid, _Pod(namespace, addresses, pod))
        return addresses

    async def start(self, pod: NodePod, container: Container, run: int) -> str:
        known = self._pods[pod.metadata.uid]
        known.pod = pod
        try:
            return await self._start(known, container, run)
        except StartError as error:
            known.waiting[container.name] = _WAITING_WORDS.get(error.reason, error.reason)
            raise

    async def _start(self, known: _Pod, container: Container, run: int) -> str:
        pod = known.pod
        name = f"fw-{pod.metadata.uid}-{container.name}-{run}"
        facts = self._node._replace(pod_ips=known.addresses)
        image = find(container.image, self._images) or Image()
        try:
            sources = await self._objects.sources(pod)
            services = await self._objects.services(pod)
            env = dict(image.env) | environment(pod, container, services, sources, facts)
            command = tuple(expand(word, env) for word in argv(container, self._images))
            mounts = (*self._own_files(pod, known, name), *self._volumes(pod, container, env, sources, facts))
        except MissingReferenceError as error:
            raise StartError("CreateContainerConfigError", str(error)) from None
        except UnknownImageError as error:
            raise StartError("ImagePullBackOff", str(error)) from None
        rootfs = self._files.make(name, Path(image.layer) if image.layer else None)
        known.ids.append(name)
        for folder in image.folders:
            (rootfs / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        prepared = Prepared(
            rootfs=str(rootfs),
            network=str(FOLDER / known.namespace),
            ipc="",
            cgroup=f"/fairway/{name}",
            argv=command,
            env=env,
            mounts=(*mounts, *(Mount(source, target, True) for source, target in image.binaries)),
            granted=DEFAULT_CAPABILITIES,
            working_dir=image.working_dir or "/",
            is_terminal=bool(container.tty),
            pid=_processes_of(known, container.target_container_name),
        )
        tree, _ = config(pod, container, prepared)
        if (old := known.containers.get(container.name)) is not None:
            known.previous[container.name] = old.log
            await self._runc.remove(old)
        path = self._folder / "logs" / pod.metadata.uid / f"{container.name}-{run}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            made = await self._runc.start(name, tree, Log(path), stdin=bool(container.stdin))
        except ContainerError as error:
            self._files.remove(name)
            raise StartError("RunContainerError", str(error)) from None
        known.containers[container.name] = made
        return name

    async def wait(self, uid: str, name: str) -> int:
        return await asyncio.shield(self._pods[uid].containers[name].ended)

    async def stop(self, pod: NodePod, container: Container, grace: float) -> None:
        running = self._pods[pod.metadata.uid].containers[container.name]
        hook = container.lifecycle.pre_stop
        began = asyncio.get_running_loop().time()
        if hook is not None and grace > 0:
            with contextlib.suppress(TimeoutError, ContainerError):
                if hook.sleep is not None:
                    await asyncio.wait({running.ended}, timeout=min(hook.sleep.seconds, grace))
                elif hook.exec is not None:
                    await self._runc.probe(running, hook.exec.command, grace)
                elif hook.http_get is not None:
                    await asyncio.wait_for(self._ask_http(pod, container, hook.http_get), grace)
        left = grace - (asyncio.get_running_loop().time() - began)
        await self._runc.stop(running, max(left, 2.0) if grace > 0 else 0.0)

    async def probe(self, pod: NodePod, container: Container, probe: Probe) -> str:
        seconds = max(probe.timeout_seconds, 1)
        try:
            if probe.exec is not None:
                running = self._pods[pod.metadata.uid].containers[container.name]
                code, said = await self._runc.probe(running, probe.exec.command, seconds)
                return said.decode(errors="replace") or f"exit code {code}" if code else ""
            if probe.http_get is not None:
                return await asyncio.wait_for(self._ask_http(pod, container, probe.http_get), seconds)
            if probe.tcp_socket is not None:
                _, writer = await asyncio.wait_for(self._connect(pod, container, probe.tcp_socket.port), seconds)
                writer.close()
        except TimeoutError:
            return f"command timed out after {seconds}s"
        except (OSError, ContainerError) as error:
            return str(error)
        return ""

    async def remove(self, pod: NodePod) -> None:
        await self._end(pod.metadata.uid)
        await self._network.detach(pod)

    async def _end(self, uid: str) -> None:
        known = self._pods.pop(uid, None)
        if known is None:
            return
        for running in known.containers.values():
            await self._runc.remove(running)
        for name in known.ids:
            self._files.remove(name)
        for part in ("logs", "volumes"):
            await asyncio.to_thread(shutil.rmtree, self._folder / part / uid, ignore_errors=True)

    # -- files

    def _own_files(self, pod: NodePod, known: _Pod, name: str) -> list[Mount]:
        """resolv.conf and hosts, each container's own copy."""
        folder = self._folder / "volumes" / pod.metadata.uid / f".{name}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "resolv.conf").write_text(resolv_conf(pod, self._resolver), encoding="utf-8")
        (folder / "hosts").write_text(hosts_file(pod, known.addresses, self._resolver.domain), encoding="utf-8")
        return [Mount(str(folder / one), f"/etc/{one}") for one in ("resolv.conf", "hosts")]

    def _volumes(
        self, pod: NodePod, container: Container, env: Mapping[str, str], sources: Sources, facts: NodeFacts
    ) -> list[Mount]:
        volumes = {one.name: one for one in pod.spec.volumes or ()}
        found = []
        for place in placements(pod, container, env):
            volume = volumes[place.volume]
            if volume.host_path is not None:
                base = Path(volume.host_path.path)
            else:
                base = self._folder / "volumes" / pod.metadata.uid / volume.name
                base.mkdir(parents=True, exist_ok=True)
                base.chmod(0o777)
                for file in content(pod, volume, sources, facts).files:
                    path = base / file.path
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(file.data)
                    path.chmod(file.mode)
            source = base / place.sub_path if place.sub_path else base
            # A link that a container wrote into its volume must not lead out of it (CVE-2017-1002101).
            if not source.resolve().is_relative_to(base.resolve()):
                raise MissingReferenceError(f"subPath {place.sub_path!r} leaves the volume")
            if place.sub_path and not source.exists():
                source.mkdir(parents=True)
            found.append(Mount(str(source.resolve()), place.target, place.is_read_only))
        return found

    # -- requests

    async def _ask_http(self, pod: NodePod, container: Container, action: HttpGetAction) -> str:
        reader, writer = await self._connect(pod, container, action.port)
        try:
            host = self._pods[pod.metadata.uid].addresses[0]
            lines = [f"GET {action.path or '/'} HTTP/1.1", "User-Agent: kube-probe/fairway", "Connection: close"]
            own = {one.name: one.value for one in action.http_headers or ()}
            lines += [f"{name}: {value}" for name, value in ({"Host": host} | own).items()]
            if any("\r" in line or "\n" in line for line in lines):
                return "a line break in path or headers"
            writer.write("\r\n".join([*lines, "", ""]).encode())
            words = (await reader.readline()).split()
            code = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
            return "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"
        finally:
            writer.close()

    async def _connect(
        self, pod: NodePod, container: Container, port: int | str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        number = port if isinstance(port, int) else _named_port(container, port)
        known = self._pods[pod.metadata.uid]
        return await _dial(known.namespace, known.addresses[0] if known.addresses else "127.0.0.1", number)

    # -- PodStreams

    async def log(self, target: Target, options: LogOptions) -> AsyncIterator[bytes]:
        known = self._known(target)
        found = known.previous.get(target.container) if options.previous else None
        if options.previous and found is None:
            raise OSError(f'previous terminated container "{target.container}" in pod "{target.pod}" not found')
        if found is None:
            found = self._running(target).log
        async for chunk in found.read(options):
            yield chunk

    async def run(self, target: Target, command: tuple[str, ...], terminal: Terminal, *, tty: bool) -> int:
        running = self._running(target)
        if not command:
            return await attach(running, terminal, ends_input=self._ends_input(target))
        try:
            return await self._runc.run(running, command, terminal, tty=tty)
        except ContainerError as error:
            raise OSError(str(error)) from None

    async def dial(self, target: Target, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await _dial(self._known(target).namespace, "127.0.0.1", port)

    def presence(self, target: Target) -> Presence:
        known = self._find(target)
        if known is None:
            return Presence.NO_POD
        running = known.containers.get(target.container)
        if running is not None:
            return Presence.RUNNING if running.is_running else Presence.ENDED
        is_known = any(one.name == target.container for one in known.pod.all_containers)
        return Presence.WAITING if is_known else Presence.NO_CONTAINER

    def _find(self, target: Target) -> _Pod | None:
        if target.uid:
            return self._pods.get(target.uid)
        names = (target.namespace, target.pod)
        same = [p for p in self._pods.values() if (p.pod.metadata.namespace, p.pod.metadata.name) == names]
        return same[-1] if same else None

    def _ends_input(self, target: Target) -> bool:
        known = self._known(target)
        return any(one.stdin_once for one in known.pod.all_containers if one.name == target.container)

    def _known(self, target: Target) -> _Pod:
        known = self._find(target)
        if known is None:
            raise OSError(f"pod {target.pod} does not run on this node")
        return known

    def _running(self, target: Target) -> Running:
        known = self._known(target)
        running = known.containers.get(target.container)
        if running is None:
            why = known.waiting.get(target.container, "ContainerCreating")
            raise OSError(f'container "{target.container}" in pod "{target.pod}" is waiting to start: {why}')
        return running


def _processes_of(pod: _Pod, container: str) -> str:
    """The process namespace of a container of the pod that runs; empty when there is none."""
    running = pod.containers.get(container)
    return f"/proc/{running.pid}/ns/pid" if running is not None and running.is_running else ""


def _remove_groups() -> None:
    """runc removes each container's own group; the one above is ours, unless another node still uses it."""
    for group in sorted(Path("/sys/fs/cgroup").glob("*/fairway")):
        with contextlib.suppress(OSError):
            group.rmdir()


def _named_port(container: Container, name: str) -> int:
    for port in container.ports or ():
        if port.name == name:
            return port.container_port
    raise OSError(f"container {container.name} has no port {name!r}")


async def _dial(namespace: str, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect inside a network namespace; the socket is made there by a thread and then used from here."""

    def make() -> socket.socket:
        with entered(namespace):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    made = await asyncio.to_thread(make)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return await asyncio.open_connection(sock=made)
