"""What clients ask of containers: logs, commands in them, ports. Fulfils `fairway.io.http.streams.PodStreams`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from fairway.io.containers.attach import attach
from fairway.io.containers.dialing import dial
from fairway.io.containers.known import KnownPod
from fairway.io.containers.runc import Container as Running
from fairway.io.containers.runc import ContainerError, Runc
from fairway.io.http.streams import LogOptions, Presence, Target, Terminal


class Streams:
    """Into the pods of one node, by uid."""

    def __init__(self, pods: Mapping[str, KnownPod], runc: Runc) -> None:
        self._pods, self._runc = pods, runc

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
        known = self._known(target)
        if not known.namespace:
            raise OSError(f"pod {target.pod} has ended")
        return await dial(known.namespace, "127.0.0.1", port)

    def presence(self, target: Target) -> Presence:
        known = self._find(target)
        if known is None:
            return Presence.NO_POD
        running = known.containers.get(target.container)
        if running is not None:
            return Presence.RUNNING if running.is_running else Presence.ENDED
        is_known = any(one.name == target.container for one in known.pod.all_containers)
        return Presence.WAITING if is_known else Presence.NO_CONTAINER

    def _find(self, target: Target) -> KnownPod | None:
        if target.uid:
            return self._pods.get(target.uid)
        names = (target.namespace, target.pod)
        same = [p for p in self._pods.values() if (p.pod.metadata.namespace, p.pod.metadata.name) == names]
        return same[-1] if same else None

    def _ends_input(self, target: Target) -> bool:
        known = self._known(target)
        return any(one.stdin_once for one in known.pod.all_containers if one.name == target.container)

    def _known(self, target: Target) -> KnownPod:
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
