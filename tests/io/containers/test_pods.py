"""What pods may rely on, and what they must not get, with real containers on the embedded API server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from api_process import ApiProcess
from fairway.io.containers.grants import groups, machine_grants
from pod_node import ALL, FOLLOWED, Node, is_ready, play
from pod_objects import container

pytestmark = pytest.mark.kernel


def shell(script: str, **fields: Any) -> dict[str, Any]:
    return container(command=["/bin/sh", "-c", script], image="debian", **fields)


def run_once(api: ApiProcess, *containers: dict[str, Any], **spec: Any) -> tuple[dict[str, Any], str]:
    """How the container `main` ended, and what it said."""
    found: list[tuple[dict[str, Any], str]] = []

    async def story(one: Node) -> None:
        await one.create(*containers, restartPolicy="Never", **spec)
        found.append(await one.ends())

    play(api, story)
    return found[0]


ESCAPES = """
exec 2> /dev/null
show() { for one in "$@"; do cat "$one"; ls -A "$one" | sed "s|^|$one/|"; done; }
for root in '' /host /proc/1/root /proc/self/root /proc/self/cwd/../.. /proc/1/cwd; do
    show $root/root $root/home $root$SECRET $root/root/$STEM $root/etc/shadow $root/etc/ssh $root$STATE
done
show /rootdir /state
mkdir -p /m && mount -t proc proc /m && echo MOUNTED
mount --bind / /m && echo MOUNTED
mknod /disk b $MAJOR $MINOR && [ -n "$(head -c 64 /disk | tr -d '\\0')" ] && echo READ
[ -n "$(head -c 1 /proc/kcore)" ] && echo READ
(echo '|/bin/true' > /proc/sys/kernel/core_pattern) && echo WROTE
(echo /bin/true > /sys/kernel/uevent_helper) && echo WROTE
nsenter -t 1 -m true && [ "$(readlink /proc/1/ns/pid)" != "$(readlink /proc/self/ns/pid)" ] && echo ENTERED
[ -e /host/etc/passwd ] && echo SEARCHED
"""


@pytest.mark.parametrize("privileged", [False, True], ids=["plain", "privileged"])
def test_a_pod_gets_no_secret_of_its_host(api: ApiProcess, secret: Path, privileged: bool) -> None:
    """Through its own root, hostPath, /proc, devices or the kernel's knobs, whatever it asks for."""
    found: list[str] = []

    async def story(one: Node) -> None:
        state = one.folder / "state.json"
        state.write_text("Fairway's state")
        disk = os.lstat("/").st_dev
        words = {
            "SECRET": secret,
            "STEM": secret.stem,
            "STATE": state,
            "MAJOR": os.major(disk),
            "MINOR": os.minor(disk),
        }
        paths = {"host": "/", "rootdir": "/root", "state": str(one.folder)}
        await one.create(
            shell(
                ESCAPES,
                env=[{"name": name, "value": str(value)} for name, value in words.items()],
                securityContext={"privileged": privileged},
                volumeMounts=[{"name": name, "mountPath": f"/{name}"} for name in paths],
            ),
            volumes=[{"name": name, "hostPath": {"path": path}} for name, path in paths.items()],
            hostPID=True,
            hostIPC=True,
            restartPolicy="Never",
        )
        found.append((await one.ends())[1])

    play(api, story)
    assert found == ["SEARCHED\n"]


def test_what_is_not_granted_is_said(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        asked = {"capabilities": {"add": ["SYS_ADMIN"]}}
        await one.create(shell("sleep 60", securityContext=asked), hostPID=True)
        await one.until(is_ready)
        told = {event["message"] for event in await one.events() if event["reason"] == "NotGranted"}
        assert told == {
            "hostPID is not granted: the pod has its own",
            "capability SYS_ADMIN is not granted by this machine",
        }

    play(api, story)


def test_containers_of_a_pod_share_memory_names_and_processes(api: ApiProcess) -> None:
    main = shell(
        "until [ -e /dev/shm/there ]; do sleep 0.02; done; cat /dev/shm/there; readlink /proc/self/ns/ipc; "
        "hostname; cat /etc/hostname; grep -c 203.0.113.7 /etc/hosts; cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    )
    other = shell("readlink /proc/self/ns/ipc > /dev/shm/there; exec sleep 4242", name="other")
    aliases = [{"ip": "203.0.113.7", "hostnames": ["far"]}]
    _, text = run_once(api, main, other, shareProcessNamespace=True, hostAliases=aliases)
    theirs, own, name, name_file, aliased, processes = text.split("\n", 5)
    assert theirs == own != os.readlink("/proc/self/ns/ipc")  # noqa: PTH115
    assert (name, name_file, aliased) == ("web", "web", "1")
    assert "sleep 4242" in processes


def test_last_words_are_kept(api: ApiProcess) -> None:
    end, _ = run_once(api, shell("printf 'disk gone' > /dev/termination-log; exit 7"))
    assert (end["exitCode"], end["reason"], end["message"]) == (7, "Error", "disk gone")
    end, _ = run_once(api, shell("exit 0"))
    assert end["reason"] == "Completed"
    assert "message" not in end


def test_last_words_are_the_end_of_the_log_where_the_pod_wants_it(api: ApiProcess) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError", "terminationMessagePath": "/last/words"}
    end, _ = run_once(api, shell("seq 1 200; exit 1", **policy))
    assert end["message"].splitlines() == [str(number) for number in range(121, 201)]
    end, _ = run_once(api, shell("seq 1 3; echo file > /last/words; exit 1", **policy))
    assert end["message"] == "file\n"


def test_a_container_that_takes_too_much_memory_is_called_so(api: ApiProcess) -> None:
    assert "memory" in machine_grants().controls
    hungry = ["/usr/bin/python3", "-c", "x = bytearray(200 << 20)"]
    end, _ = run_once(api, container(command=hungry, resources={"limits": {"memory": "32Mi"}}))
    assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")


def test_a_program_that_is_not_there_is_named(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        await one.create(container(command=["/none"]), restartPolicy="Never")
        pod = await one.until(lambda pod: pod["status"]["phase"] == "Failed")
        end = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        assert (end["exitCode"], end["reason"]) == (128, "StartError")
        assert "/none" in end["message"]
        assert "/none" in (await one.until_told("Failed"))["message"]

    play(api, story)


def test_a_container_that_must_not_be_root_waits(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        await one.create(shell("sleep 60"), securityContext={"runAsNonRoot": True})
        event = await one.until_told("Failed")
        assert event["message"].startswith('Error: container has runAsNonRoot and image will run as root (pod: "web_')
        assert event["involvedObject"]["fieldPath"] == "spec.containers{main}"

    play(api, story)


def test_a_volume_that_the_node_lacks_is_told_once_and_counted(api: ApiProcess) -> None:
    async def story(one: Node) -> None:
        mounts = [{"name": "data", "mountPath": "/data"}]
        volumes = [{"name": "data", "nfs": {"server": "192.0.2.1", "path": "/"}}]
        await one.create(shell("sleep 60", volumeMounts=mounts), volumes=volumes)
        event = await one.until_told("FailedMount")
        assert event["message"] == 'MountVolume.SetUp failed for volume "data" : this node has no volumes of kind nfs'
        name = event["metadata"]["name"]
        while (await one.until_told("FailedMount"))["count"] < 2:
            pass
        told = [event for event in await one.events() if event["reason"] == "FailedMount"]
        assert name in [event["metadata"]["name"] for event in told]

    play(api, story)


def test_hooks_run_after_the_start_and_before_the_end(api: ApiProcess) -> None:
    hooks = {
        "postStart": {"exec": {"command": ["/bin/sh", "-c", "sleep 0.2; echo begun > /proc/1/fd/1"]}},
        "preStop": {"exec": {"command": ["/bin/sh", "-c", "echo before > /proc/1/fd/1"]}},
    }
    script = "trap 'echo term; exit 0' TERM; while :; do sleep 0.05; done"
    found = []

    async def story(one: Node) -> None:
        await one.create(shell(script, lifecycle=hooks))
        pod = await one.until(is_ready)
        lines = one.machine.streams.log(one.target(pod), FOLLOWED)
        await one.delete(10)
        found.extend([chunk async for chunk in lines])

    play(api, story)
    assert b"".join(found) == b"begun\nbefore\nterm\n"


def test_a_hook_that_fails_ends_its_container(api: ApiProcess) -> None:
    hooks = {"postStart": {"exec": {"command": ["/bin/false"]}}}

    async def story(one: Node) -> None:
        await one.create(shell("exec sleep 60", lifecycle=hooks), terminationGracePeriodSeconds=0)
        assert (await one.until_told("FailedPostStartHook"))["message"] == "PostStartHook failed"
        await one.until(lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] > 0)

    play(api, story)


def test_a_settings_file_changes_while_the_pod_runs(api: ApiProcess) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    script = "until grep -q blue /data/color; do sleep 0.02; done; cat /data/color"

    async def story(one: Node) -> None:
        volumes = [{"name": "data", "configMap": {"name": "settings"}}]
        await one.create(shell(script, volumeMounts=mounts), volumes=volumes, restartPolicy="Never")
        await one.until(is_ready)
        one.objects.settings = {"color": "blue"}
        await one.refresh()
        assert (await one.ends())[1] == "blue"

    play(api, story)


def test_a_token_is_in_its_volume(api: ApiProcess) -> None:
    mounts = [{"name": "token", "mountPath": "/t"}]
    source = {"serviceAccountToken": {"path": "token", "audience": "shop", "expirationSeconds": 600}}
    volumes = [{"name": "token", "projected": {"sources": [source]}}]
    _, text = run_once(api, shell("cat /t/token", volumeMounts=mounts), volumes=volumes, serviceAccountName="default")
    assert text == "token for default of shop"


def test_a_node_that_died_runs_its_pods_again_and_knows_what_was(api: ApiProcess) -> None:
    mounts = [{"name": "scratch", "mountPath": "/scratch"}]
    script = "echo x >> /scratch/runs; wc -l < /scratch/runs; exec sleep 60"

    async def begins(one: Node) -> None:
        await one.create(shell(script, volumeMounts=mounts), volumes=[{"name": "scratch", "emptyDir": {}}])
        await one.until(is_ready)

    async def goes_on(one: Node) -> None:
        pod = await one.until(lambda pod: is_ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        last = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
        assert (last["exitCode"], last["reason"]) == (137, "ContainerStatusUnknown")
        lines = one.machine.streams.log(one.target(pod), FOLLOWED)
        assert await anext(lines) == b"2\n"

    play(api, begins, goes_on)


def test_a_pod_that_never_restarts_has_failed_when_its_node_died(api: ApiProcess) -> None:
    async def begins(one: Node) -> None:
        await one.create(shell("exec sleep 60"), restartPolicy="Never")
        await one.until(is_ready)

    async def goes_on(one: Node) -> None:
        pod = await one.until(lambda pod: pod["status"]["phase"] == "Failed")
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0

    play(api, begins, goes_on)


def test_logs_outlive_the_process_of_the_node(api: ApiProcess) -> None:
    async def begins(one: Node) -> None:
        await one.create(shell("echo once"), restartPolicy="Never")
        await one.until(lambda pod: pod["status"]["phase"] == "Succeeded")

    async def goes_on(one: Node) -> None:
        pod = await one.until(one.knows)
        assert await one.said(pod) == "once\n"
        assert pod["status"]["phase"] == "Succeeded"

    play(api, begins, goes_on)


def test_the_log_of_the_run_before_the_node_died_is_the_previous_one(api: ApiProcess) -> None:
    async def begins(one: Node) -> None:
        await one.create(shell("echo first; exec sleep 60"))
        pod = await one.until(is_ready)
        assert await anext(one.machine.streams.log(one.target(pod), FOLLOWED)) == b"first\n"

    async def goes_on(one: Node) -> None:
        pod = await one.until(lambda pod: is_ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        lines = one.machine.streams.log(one.target(pod), ALL._replace(previous=True))
        assert [chunk async for chunk in lines] == [b"first\n"]

    play(api, begins, goes_on)


def test_of_a_container_that_restarts_two_logs_are_kept(api: ApiProcess) -> None:
    probe = {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1, "failureThreshold": 1}

    async def run(one: Node, number: int) -> dict[str, Any]:
        return await one.until(
            lambda pod: (
                pod["status"].get("containerStatuses", [{}])[0].get("restartCount", 0) == number
                and "running" in pod["status"]["containerStatuses"][0]["state"]
            )
        )

    async def begins(one: Node) -> None:
        await one.create(shell("echo run; exec sleep 60", livenessProbe=probe), terminationGracePeriodSeconds=0)
        await run(one, 1)

    async def goes_on(one: Node) -> None:
        pod = await run(one, 2)
        assert await anext(one.machine.streams.log(one.target(pod), FOLLOWED)) == b"run\n"
        folder = one.folder / "logs" / pod["metadata"]["uid"]
        async with asyncio.timeout(10):  # it is restarted every second, and the oldest goes before the next is made
            while len(logs := sorted(int(path.stem.partition("-")[2]) for path in folder.iterdir())) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert logs == [logs[-1] - 1, logs[-1]]
        assert logs[-1] >= 3

    play(api, begins, goes_on)


def traces(folder: Path, uid: str) -> list[str]:
    """What there is of a pod in the node's folder, among mounts and cgroups."""
    found = [path for depth in ("*/*", "fs/layers/*", "runc/*/*") for path in folder.glob(depth)]
    found += groups("*")
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [str(path) for path in found if uid in path.name] + [line for line in mounts if uid in line]


def test_nothing_stays_of_a_pod_that_is_gone(api: ApiProcess) -> None:
    mounts = [{"name": "memory", "mountPath": "/m"}]

    async def story(one: Node) -> None:
        volumes = [{"name": "memory", "emptyDir": {"medium": "Memory"}}]
        await one.create(shell("exec sleep 60", volumeMounts=mounts), volumes=volumes, shareProcessNamespace=True)
        uid = (await one.until(is_ready))["metadata"]["uid"]
        assert traces(one.folder, uid)
        await one.delete(1)
        await one.until_gone()
        assert traces(one.folder, uid) == []

    play(api, story)


def test_of_a_pod_that_has_ended_its_logs_alone_stay(api: ApiProcess) -> None:
    mounts = [{"name": "memory", "mountPath": "/m"}]

    async def story(one: Node) -> None:
        volumes = [{"name": "memory", "emptyDir": {"medium": "Memory"}}]
        await one.create(shell("echo done", volumeMounts=mounts), volumes=volumes, restartPolicy="Never")
        pod = await one.until(lambda pod: pod["status"]["phase"] == "Succeeded")
        uid = pod["metadata"]["uid"]
        async with asyncio.timeout(10):
            while one.network.names:  # noqa: ASYNC110 - the kernel is asked, as an operator would
                await asyncio.sleep(0.02)
        assert traces(one.folder, uid) == [str(one.folder / "logs" / uid)]
        assert await one.said(pod) == "done\n"
        with pytest.raises(OSError, match="has ended"):
            await one.machine.streams.dial(one.target(pod), 80)

    play(api, story)
