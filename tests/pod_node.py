"""A node of its own for tests: the embedded API server, the pod agent and real containers."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fairway.io.agnhost
from api_process import ApiProcess
from fairway.agents.pods import Effects, PodAgent
from fairway.cli.images import image_table
from fairway.io.containers.machine import Offer, PodMachine
from fairway.io.host import netns
from fairway.io.host.clock import SystemClock
from fairway.io.http.streams import LogOptions, Presence, Target
from fairway.io.kube.client import ApiClient
from fairway.io.kube.kubeconfig import Kubeconfig
from fairway.kube.podspec import NODE_POD, NodePod
from fairway.pods.environment import NodeFacts, Sources
from fairway.pods.files import Resolver
from fairway.pods.images import agnhost
from pod_objects import container

PODS = "/api/v1/namespaces/default/pods"
ALL = LogOptions(False, False, False, None, None, None, "")
FOLLOWED = ALL._replace(follow=True)
ADDRESS = "10.77.0.2"


class OwnNamespace:
    """A namespace for each pod, with an address that only it can reach."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    async def attach(self, pod: NodePod) -> tuple[str, tuple[str, ...]]:
        name = f"fw-pods-{os.getpid()}-{pod.metadata.name}"
        if name not in self.names:
            netns.add(name)
            netns.ip(["-n", name, "addr", "add", f"{ADDRESS}/32", "dev", "lo"])
            self.names.add(name)
        return name, (ADDRESS,)

    async def detach(self, pod: NodePod) -> None:
        name = f"fw-pods-{os.getpid()}-{pod.metadata.name}"
        netns.remove(name)
        self.names.discard(name)


class Objects:
    """A namespace with one ConfigMap and one Service."""

    def __init__(self) -> None:
        self.settings = {"color": "red"}

    async def sources(self, pod: NodePod, max_age: float = 0.0) -> Sources:
        return Sources({"settings": self.settings}, {})

    async def services(self, pod: NodePod) -> Mapping[str, str]:
        return {"WEB_SERVICE_HOST": "10.96.0.9"}

    async def token(self, pod: NodePod, audience: str, seconds: int) -> tuple[str, float]:
        return f"token for {pod.spec.service_account_name} of {audience}", time.time() + seconds


class Node:
    """One node: agent, machine and a way to look at the API."""

    def __init__(self, api: ApiProcess, machine: PodMachine, network: OwnNamespace, objects: Objects) -> None:
        self._api, self.machine, self.network, self.objects = api, machine, network, objects
        self.folder = machine.folder

    async def create(self, *containers: dict[str, Any], **spec: Any) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web"},
            "spec": {"nodeName": "node-a", "containers": list(containers), **spec},
        }
        code, answer = await asyncio.to_thread(self._api.call, "POST", PODS, body)
        assert code == 201, answer

    async def pod(self) -> dict[str, Any] | None:
        code, found = await asyncio.to_thread(self._api.call, "GET", f"{PODS}/web")
        return found if code == 200 else None

    async def debug(self, **fields: Any) -> None:
        """As kubectl debug adds a container."""
        pod = await self.pod()
        assert pod is not None
        pod["spec"]["ephemeralContainers"] = [container("debug", **fields)]
        path = f"{PODS}/web/ephemeralcontainers"
        code, answer = await asyncio.to_thread(self._api.call, "PUT", path, pod)
        assert code == 200, answer

    async def delete(self, grace: int) -> None:
        await asyncio.to_thread(self._api.call, "DELETE", f"{PODS}/web?gracePeriodSeconds={grace}")

    async def until(self, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The pod once it is as wanted."""
        last = None
        async with asyncio.timeout(15):
            while True:
                last = await self.pod()
                if last is not None and good(last):
                    return last
                await asyncio.sleep(0.02)
        raise AssertionError(last)

    async def events(self) -> list[dict[str, Any]]:
        """Of the pod that is there now."""
        pod = await self.pod()
        _, found = await asyncio.to_thread(self._api.call, "GET", PODS.replace("pods", "events"))
        return [one for one in found["items"] if pod and one["involvedObject"].get("uid") == pod["metadata"]["uid"]]

    async def until_told(self, reason: str) -> dict[str, Any]:
        """The first event of this reason."""
        async with asyncio.timeout(15):
            while True:
                for one in await self.events():
                    if one["reason"] == reason:
                        return one
                await asyncio.sleep(0.02)

    async def ends(self) -> tuple[dict[str, Any], str]:
        """How the pod's container `main` ended, and all that it has said."""
        found: list[dict[str, Any]] = []

        def has_ended(pod: dict[str, Any]) -> bool:
            states = [one["state"] for one in pod["status"].get("containerStatuses", ()) if one["name"] == "main"]
            found[:] = [state["terminated"] for state in states if "terminated" in state]
            return bool(found)

        pod = await self.until(has_ended)
        return found[0], await self.said(pod)

    async def until_gone(self) -> None:
        async with asyncio.timeout(15):
            while await self.pod() is not None:  # noqa: ASYNC110 - the API is asked, as kubectl wait would
                await asyncio.sleep(0.02)

    async def said(self, pod: dict[str, Any]) -> str:
        """All that its container has said when it has ended."""
        lines = self.machine.streams.log(self.target(pod), FOLLOWED)
        return b"".join([chunk async for chunk in lines]).decode()

    def knows(self, pod: dict[str, Any]) -> bool:
        """Whether the node's present process has the pod."""
        return self.machine.streams.presence(self.target(pod)) is not Presence.NO_POD

    async def refresh(self) -> None:
        """As the agent does from time to time."""
        pod = NODE_POD.decode(await self.pod() or {})
        await self.machine.refresh(pod)

    def target(self, pod: dict[str, Any]) -> Target:
        return Target("default", "web", "main", pod["metadata"]["uid"])


def is_ready(pod: dict[str, Any]) -> bool:
    return {"type": "Ready", "status": "True"}.items() <= {
        k: v for one in pod["status"].get("conditions", ()) if one["type"] == "Ready" for k, v in one.items()
    }.items()


@asynccontextmanager
async def node(api: ApiProcess, folder: Path, network: OwnNamespace, *, dies: bool = False) -> AsyncIterator[Node]:
    """One process of a node. One that `dies` leaves everything as it is."""
    resolver = Resolver(("10.96.0.10",), "cluster.local")
    package = str(Path(fairway.io.agnhost.__file__).parent)
    images = image_table()
    images["agnhost"] = agnhost("", package)._replace(layer=images["agnhost"].layer)
    objects = Objects()
    offer = Offer(resolver, images, probes_inside=True)
    machine = PodMachine(folder, NodeFacts("node-a"), offer, network, objects)
    await machine.open()
    connection = Kubeconfig.read([api.folder / "kubeconfig"]).connection()
    async with ApiClient(connection) as client:
        effects = Effects(client, machine, SystemClock(), time.time, random.random)
        task = asyncio.ensure_future(PodAgent("node-a", ("192.0.2.1",), effects).run())
        try:
            yield Node(api, machine, network, objects)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not dies:
                await machine.close()


def play(api: ApiProcess, *stories: Callable[[Node], Any]) -> None:
    """Tell a story to a node; each one after the first to a new process of it, where the last one was killed."""

    async def go() -> None:
        network = OwnNamespace()
        with tempfile.TemporaryDirectory(prefix="fw-pods-") as folder:
            try:
                for story in stories[:-1]:
                    async with node(api, Path(folder), network, dies=True) as one:
                        await story(one)
                async with node(api, Path(folder), network) as one:
                    try:
                        await stories[-1](one)
                    finally:
                        await one.delete(0)
                        await one.until_gone()
            finally:
                for name in network.names:
                    netns.remove(name)

    asyncio.run(go())
