"""The pod agent on the embedded API server with real containers: a pod from its creation to its removal."""

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

import pytest

import fairway.io.agnhost
from api_process import ApiProcess, running
from fairway.agents.pods import Effects, PodAgent
from fairway.cli.images import image_table
from fairway.io.containers.machine import Offer, PodMachine
from fairway.io.host import netns
from fairway.io.host.clock import SystemClock
from fairway.io.http.streams import LogOptions, Target
from fairway.io.kube.client import ApiClient
from fairway.io.kube.kubeconfig import Kubeconfig
from fairway.kube.podspec import NodePod
from fairway.pods.environment import NodeFacts, Sources
from fairway.pods.files import Resolver
from fairway.pods.images import agnhost
from pod_objects import container

pytestmark = pytest.mark.kernel
PODS = "/api/v1/namespaces/default/pods"
ALL = LogOptions(False, False, False, None, None, None, "")
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

    async def sources(self, pod: NodePod) -> Sources:
        return Sources({"settings": {"color": "red"}}, {})

    async def services(self, pod: NodePod) -> Mapping[str, str]:
        return {"WEB_SERVICE_HOST": "10.96.0.9"}

    async def token(self, pod: NodePod, audience: str, seconds: int) -> tuple[str, float]:
        return f"token for {pod.spec.service_account_name} of {audience}", time.time() + seconds


class Node:
    """One node: agent, machine and a way to look at the API."""

    def __init__(self, api: ApiProcess, machine: PodMachine) -> None:
        self._api, self.machine = api, machine

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

    async def until_gone(self) -> None:
        async with asyncio.timeout(15):
            while await self.pod() is not None:  # noqa: ASYNC110 - the API is asked, as kubectl wait would
                await asyncio.sleep(0.02)

    async def said(self, pod: dict[str, Any]) -> str:
        """All that its container has said when it has ended."""
        lines = self.machine.streams.log(self.target(pod), ALL._replace(follow=True))
        return b"".join([chunk async for chunk in lines]).decode()

    def target(self, pod: dict[str, Any]) -> Target:
        return Target("default", "web", "main", pod["metadata"]["uid"])


def is_ready(pod: dict[str, Any]) -> bool:
    return {"type": "Ready", "status": "True"}.items() <= {
        k: v for one in pod["status"].get("conditions", ()) if one["type"] == "Ready" for k, v in one.items()
    }.items()


@asynccontextmanager
async def node(api: ApiProcess, folder: Path) -> AsyncIterator[Node]:
    network = OwnNamespace()
    resolver = Resolver(("10.96.0.10",), "cluster.local")
    package = str(Path(fairway.io.agnhost.__file__).parent)
    images = image_table()
    images["agnhost"] = agnhost("", package)._replace(layer=images["agnhost"].layer)
    machine = PodMachine(folder, NodeFacts("node-a"), Offer(resolver, images, probes_inside=True), network, Objects())
    await machine.open()
    connection = Kubeconfig.read([api.folder / "kubeconfig"]).connection()
    async with ApiClient(connection) as client:
        effects = Effects(client, machine, SystemClock(), time.time, random.random)
        task = asyncio.ensure_future(PodAgent("node-a", ("192.0.2.1",), effects).run())
        try:
            yield Node(api, machine)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await machine.close()
            for name in network.names:
                netns.remove(name)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("api")) as server:
        yield server


def play(api: ApiProcess, story: Callable[[Node], Any]) -> None:
    async def go() -> None:
        with tempfile.TemporaryDirectory(prefix="fw-pods-") as folder:
            async with node(api, Path(folder)) as one:
                await story(one)
                await one.delete(0)
                await one.until_gone()

    asyncio.run(go())


def test_a_pod_becomes_ready_speaks_and_ends_gracefully(api: ApiProcess) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo $COLOR $WEB_SERVICE_HOST $(hostname); while :; do sleep 0.05; done"
    color = {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}

    async def story(one: Node) -> None:
        await one.create(container(command=["/bin/sh", "-c", script], env=[color]))
        pod = await one.until(is_ready)
        assert pod["status"]["phase"] == "Running"
        assert pod["status"]["podIP"] == ADDRESS
        lines = one.machine.streams.log(one.target(pod), ALL._replace(follow=True))
        assert await anext(lines) == b"red 10.96.0.9 web\n"
        await one.delete(10)
        assert await anext(lines) == b"bye\n"
        await one.until_gone()

    play(api, story)


def test_a_container_that_fails_is_restarted_then_backs_off(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        await one.create(container(command=["/bin/sh", "-c", "echo oh; exit 5"]))

        def backs_off(pod: dict[str, Any]) -> bool:
            found = pod["status"].get("containerStatuses") or [{}]
            return bool(found[0].get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff")

        status = (await one.until(backs_off))["status"]["containerStatuses"][0]
        assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 5)

    play(api, story)


def test_probes_ask_the_pod_itself(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        server = ["/usr/bin/python3", "-m", "http.server", "8080"]
        probe = {"httpGet": {"path": "/etc/hosts", "port": 8080}, "periodSeconds": 1}
        await one.create(container(command=server, readinessProbe=probe, workingDir="/"))
        await one.until(is_ready)

    play(api, story)


def test_a_job_like_pod_succeeds_and_keeps_its_log(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        await one.create(container(command=["/bin/echo", "done"]), restartPolicy="Never")
        pod = await one.until(lambda pod: bool(pod["status"]["phase"] == "Succeeded"))
        assert await one.said(pod) == "done\n"

    play(api, story)


def test_files_of_the_pod_are_there(api: ApiProcess) -> None:
    script = "cat /etc/resolv.conf /data/color; grep web /etc/hosts; echo x > /scratch/x && cat /scratch/x"
    mounts = [{"name": "data", "mountPath": "/data"}, {"name": "scratch", "mountPath": "/scratch"}]
    volumes = [{"name": "data", "configMap": {"name": "settings"}}, {"name": "scratch", "emptyDir": {}}]

    async def story(one: Node) -> None:
        await one.create(
            container(command=["/bin/sh", "-c", script], volumeMounts=mounts), volumes=volumes, restartPolicy="Never"
        )
        pod = await one.until(lambda pod: bool(pod["status"]["phase"] in ("Succeeded", "Failed")))
        text = await one.said(pod)
        assert text == (
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n"
            f"options ndots:5\nred{ADDRESS}\tweb\nx\n"
        )

    play(api, story)


def test_an_image_that_means_nothing_here_makes_the_pod_wait_and_say_what_to_do(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        await one.create({"name": "main", "image": "example.com/thing"})

        def waits(pod: dict[str, Any]) -> bool:
            found = pod["status"].get("containerStatuses") or [{}]
            return "--image thing=" in found[0].get("state", {}).get("waiting", {}).get("message", "")

        await one.until(waits)

    play(api, story)


@pytest.mark.parametrize(
    ("image", "spec", "path", "port"),
    [
        ("registry.k8s.io/e2e-test-images/nginx:1.27-0", {}, "/index.html", 80),
        ("httpd:2.4", {}, "/", 80),
        ("registry.k8s.io/e2e-test-images/agnhost:2.63.0", {"args": ["netexec", "--http-port=8080"]}, "/healthz", 8080),
        ("busybox", {"command": ["httpd", "-f", "-p", "8080", "-h", "/etc"]}, "/hostname", 8080),
    ],
    ids=["nginx", "httpd", "agnhost", "busybox"],
)
def test_an_image_serves_as_the_real_one(
    api: ApiProcess, image: str, spec: dict[str, Any], path: str, port: int
) -> None:
    async def story(one: Node) -> None:
        probe = {"httpGet": {"path": path, "port": port}, "periodSeconds": 1}
        await one.create({"name": "main", "image": image, "readinessProbe": probe, **spec})
        await one.until(is_ready)

    play(api, story)


def test_programs_of_an_image_go_before_the_machines(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        script = "readlink -f /bin/sh; readlink -f /usr/bin/wget; test -x /usr/bin/python3"
        await one.create(container(image="busybox:1.37", command=["sh", "-c", script]), restartPolicy="Never")
        pod = await one.until(lambda pod: bool(pod["status"]["phase"] in ("Succeeded", "Failed")))
        text = await one.said(pod)
        assert text == "/usr/bin/busybox\n/usr/bin/busybox\n"
        assert pod["status"]["phase"] == "Succeeded"

    play(api, story)


def test_a_debug_container_sees_the_processes_of_its_target(api: ApiProcess) -> None:
    def has_ended(pod: dict[str, Any]) -> bool:
        found = pod["status"].get("ephemeralContainerStatuses") or [{}]
        return "terminated" in found[0].get("state", {})

    async def story(one: Node) -> None:
        await one.create(container(command=["sleep", "600"]))
        await one.until(is_ready)
        await one.debug(command=["cat", "/proc/1/cmdline"], targetContainerName="main")
        pod = await one.until(has_ended)
        lines = one.machine.streams.log(one.target(pod)._replace(container="debug"), ALL._replace(follow=True))
        assert [chunk async for chunk in lines] == [b"sleep\x00600\x00\n"]
        assert is_ready(pod)

    play(api, story)
