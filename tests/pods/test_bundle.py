from __future__ import annotations

from typing import Any

from fairway.pods.bundle import DEFAULT_CAPABILITIES, Mount, Prepared, config
from fairway.pods.grants import Grants
from pod_objects import container, pod

GRANTED = DEFAULT_CAPABILITIES | {"NET_ADMIN"}
PREPARED = Prepared(
    rootfs="/r",
    network="/run/netns/n",
    ipc="/i",
    cgroup="/fw/c",
    argv=("sleep", "1"),
    env={"A": "1"},
    mounts=(Mount("/s/b", "/data/deep"), Mount("/s/a", "/data", True)),
    grants=Grants(GRANTED, oom_score=-500),
    hostname="web",
)


def tree_of(**fields: Any) -> tuple[dict[str, Any], list[str]]:
    one = pod(container(**fields), securityContext={"runAsUser": 1000, "fsGroup": 7, "supplementalGroups": [9]})
    tree, cuts = config(one, one.spec.containers[0], PREPARED)
    return tree, [cut.message for cut in cuts]


def test_network_and_ipc_are_joined_by_path_and_pids_are_its_own() -> None:
    spaces = {one["type"]: one.get("path") for one in tree_of()[0]["linux"]["namespaces"]}
    assert spaces == {"pid": None, "mount": None, "uts": None, "ipc": "/i", "network": "/run/netns/n"}


def test_the_containers_user_wins_over_the_pods_and_groups_join() -> None:
    assert tree_of()[0]["process"]["user"] == {"uid": 1000, "gid": 0, "additionalGids": [7, 9]}
    assert tree_of(securityContext={"runAsUser": 0})[0]["process"]["user"]["uid"] == 0


def test_capabilities_that_the_machine_lacks_are_left_out_and_named() -> None:
    tree, cuts = tree_of(
        securityContext={"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_RESOURCE"]}}
    )
    assert tree["process"]["capabilities"]["effective"] == ["CAP_NET_ADMIN"]
    assert cuts == ["capability SYS_RESOURCE is not granted by this machine"]


def test_a_user_that_is_not_root_holds_no_capability() -> None:
    held = tree_of()[0]["process"]["capabilities"]
    assert held["effective"] == held["permitted"] == []
    assert "CAP_CHOWN" in held["bounding"]


def test_mounts_come_after_those_that_they_lie_in() -> None:
    binds = [one["destination"] for one in tree_of()[0]["mounts"] if one["type"] == "bind"]
    assert binds == ["/data", "/data/deep"]


def test_limits_become_quota_and_bytes() -> None:
    limits = {"limits": {"cpu": "250m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}
    resources = tree_of(resources=limits)[0]["linux"]["resources"]
    assert resources["cpu"] == {"period": 100_000, "quota": 25_000, "shares": 102}
    assert resources["memory"] == {"limit": 64 << 20}


def test_a_privileged_container_rules_its_network_and_not_the_machine() -> None:
    tree, cuts = tree_of(securityContext={"privileged": True, "runAsUser": 0})
    linux = tree["linux"]
    assert [one["access"] for one in linux["resources"]["devices"] if one["allow"] and one["type"] == "b"] == []
    assert {"/proc/kcore", "/proc/keys"} <= set(linux["maskedPaths"])
    assert "/proc/sys/kernel" in linux["readonlyPaths"]
    assert "/proc/sys" not in linux["readonlyPaths"]
    assert "CAP_NET_ADMIN" in tree["process"]["capabilities"]["effective"]
    assert len(cuts) == 1
    assert "SYS_ADMIN" in cuts[0]


def test_a_plain_container_has_no_devices_of_its_own_choice() -> None:
    linux = tree_of()[0]["linux"]
    assert linux["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert "/proc/kcore" in linux["maskedPaths"]
    assert "/proc/sys" in linux["readonlyPaths"]


def test_a_limit_that_no_cgroup_enforces_is_left_out_and_named() -> None:
    one = pod(container(resources={"limits": {"cpu": "1", "memory": "64Mi"}}))
    bare = PREPARED._replace(grants=Grants(GRANTED, controls=frozenset({"memory"})))
    tree, cuts = config(one, one.spec.containers[0], bare)
    assert "cpu" not in tree["linux"]["resources"]
    assert tree["linux"]["resources"]["memory"] == {"limit": 64 << 20}
    assert [cut.message for cut in cuts] == ["the limit of cpu is not enforced: no cgroup of this machine controls it"]
