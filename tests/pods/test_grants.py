from __future__ import annotations

from typing import Any

import pytest

from fairway.pods.grants import cuts_of_pod, oom_score, rejection, root_problem
from pod_objects import container, pod


@pytest.mark.parametrize(
    ("name", "spec", "is_refused"),
    [
        ("net.ipv4.tcp_syncookies", {}, False),
        ("kernel.msgmax", {}, True),
        ("net.ipv4.tcp_syncookies", {"hostNetwork": True}, True),
    ],
)
def test_sysctls_of_the_machine_are_refused(name: str, spec: dict[str, Any], is_refused: bool) -> None:
    found = rejection(pod(securityContext={"sysctls": [{"name": name, "value": "1"}]}, **spec))
    wanted = ("SysctlForbidden", f'Pod was rejected: forbidden sysctl: "{name}" not allowlisted')
    assert found == (wanted if is_refused else None)


def test_a_pod_for_another_system_is_refused() -> None:
    found = rejection(pod(os={"name": "windows"}))
    assert found is not None
    assert found.reason == "PodOSNotSupported"


@pytest.mark.parametrize(
    ("own", "shared", "words"),
    [
        ({}, {}, ""),
        ({"runAsNonRoot": True}, {}, "container has runAsNonRoot and image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, {}, "container's runAsUser breaks non-root policy"),
        ({}, {"runAsNonRoot": True, "runAsUser": 7}, ""),
        ({"runAsUser": 0}, {"runAsNonRoot": True, "runAsUser": 7}, "container's runAsUser breaks non-root policy"),
        ({"runAsNonRoot": False}, {"runAsNonRoot": True}, ""),
    ],
)
def test_root_is_refused_where_the_pod_says_so(own: dict[str, Any], shared: dict[str, Any], words: str) -> None:
    one = pod(container(securityContext=own), securityContext=shared)
    found = root_problem(one, one.spec.containers[0])
    assert found == (f'{words} (pod: "web_shop(u1)", container: main)' if words else "")


def test_the_machines_processes_and_memory_are_not_for_pods() -> None:
    assert cuts_of_pod(pod()) == ()
    assert [words.split()[0] for words in cuts_of_pod(pod(hostPID=True, hostIPC=True))] == ["hostPID", "hostIPC"]


@pytest.mark.parametrize(
    ("resources", "score"),
    [
        ({}, 1000),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, -997),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}, -997),
        ({"requests": {"memory": "256Mi"}}, 750),
        ({"requests": {"memory": "2Gi"}}, 3),
        ({"requests": {"cpu": "1"}}, 999),
    ],
)
def test_best_effort_goes_first_when_memory_ends(resources: dict[str, Any], score: int) -> None:
    one = pod(container(resources=resources))
    assert oom_score(one, one.spec.containers[0], 1 << 30) == score


def port(number: int, **fields: Any) -> dict[str, Any]:
    return container(ports=[{"containerPort": number, "hostPort": number, **fields}])


@pytest.mark.parametrize(
    ("first", "second", "spec", "is_refused"),
    [
        (port(80), port(80), {}, True),
        (port(80), port(81), {}, False),
        (port(80), port(80, protocol="UDP"), {}, False),
        (port(80, hostIP="192.0.2.1"), port(80, hostIP="192.0.2.2"), {}, False),
        (port(80), port(80), {"hostNetwork": True}, True),
    ],
)
def test_a_port_of_the_node_is_for_one_pod(
    first: dict[str, Any], second: dict[str, Any], spec: dict[str, Any], is_refused: bool
) -> None:
    found = rejection(pod(second, **spec), [pod(first)])
    assert (found is not None and found.reason == "NodePorts") is is_refused
