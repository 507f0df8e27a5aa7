"""The pod agent on the embedded API server with real containers: a pod from its creation to its removal."""

from __future__ import annotations

from typing import Any

import pytest

from api_process import ApiProcess
from fairway.kube.podspec import NODE_POD
from pod_node import ADDRESS, ALL, Node, is_ready, play
from pod_objects import container

pytestmark = pytest.mark.kernel


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
        script = "readlink -f /bin/sh; readlink -f /bin/sysctl; test -x /usr/bin/python3"
        await one.create(container(image="busybox:1.37", command=["sh", "-c", script]), restartPolicy="Never")
        pod = await one.until(lambda pod: bool(pod["status"]["phase"] in ("Succeeded", "Failed")))
        text = await one.said(pod)
        assert text == "/usr/bin/busybox\n/usr/bin/busybox\n"
        assert pod["status"]["phase"] == "Succeeded"

    play(api, story)


def test_a_container_that_fills_the_disk_beyond_its_limit_costs_the_pod_its_place(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        fill = ["sh", "-c", "dd if=/dev/zero of=/file bs=64k count=32; touch /done; sleep 600"]
        limits = {"limits": {"ephemeral-storage": "1Mi"}}
        probe = {"exec": {"command": ["test", "-e", "/done"]}, "periodSeconds": 1}
        await one.create(container(command=fill, resources=limits, readinessProbe=probe))
        found = await one.machine.refresh(NODE_POD.decode(await one.until(is_ready)))
        assert found.eviction == 'Container main exceeded its local ephemeral storage limit "1Mi". '

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
        assert [chunk async for chunk in lines] == [b"sleep\x00600\x00"]
        assert is_ready(pod)

    play(api, story)


def test_containers_that_start_at_once_share_their_processes(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        names = ("a", "b", "c")
        await one.create(*(container(name, command=["sleep", "600"]) for name in names), shareProcessNamespace=True)
        pod = await one.until(lambda pod: len(running_of(pod)) == len(names))
        assert running_of(pod) == list(names)

    def running_of(pod: dict[str, Any]) -> list[str]:
        found = pod["status"].get("containerStatuses") or []
        return [status["name"] for status in found if "running" in status["state"]]

    play(api, story)
