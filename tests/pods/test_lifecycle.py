from __future__ import annotations

from typing import Any

import pytest

from fairway.kube.podspec import NodePod
from fairway.pods.lifecycle import Happening, PodLife, Remove, RunHook, RunProbe, Start, Stop
from fairway.pods.records import ProbeKind, Terminated, Waiting
from fairway.pods.status import Place, pod_phase, pod_status
from pod_objects import container, pod

T0 = 1_000_000.0


class Story:
    """A life driven step by step, by a clock of its own."""

    def __init__(self, one: NodePod) -> None:
        self.now = T0
        self.life = PodLife(one, self.now)
        self.life.admitted()

    def poll(self, after: float = 0.0) -> list[Start | Stop | RunHook | RunProbe | Remove]:
        self.now += after
        return [action for action in self.life.poll(self.now) if not isinstance(action, Happening)]

    def names(self, after: float = 0.0) -> list[str]:
        """`+main` for a start, `-main` for a stop, `?main` for a probe, `!main` for a hook, `gone` for the removal."""
        signs = {Start: "+", Stop: "-", RunProbe: "?", RunHook: "!"}
        return ["gone" if isinstance(a, Remove) else signs[type(a)] + a.container.name for a in self.poll(after)]

    def run(self, name: str = "main") -> None:
        self.life.started(name, self.life.records[name].run, f"{name}-id", self.now)

    def exit(self, code: int, name: str = "main") -> None:
        record = self.life.records[name]
        end = Terminated(code, "Error" if code else "Completed", self.now, self.now, f"{name}-id")
        self.life.exited(name, record.run, end)

    def answer(self, kind: ProbeKind, problem: str = "", name: str = "main") -> None:
        self.life.probed(name, kind, self.life.records[name].run, problem, self.now)

    def status(self) -> dict[str, Any]:
        return pod_status(self.life, Place(("192.0.2.1",), ("10.0.0.2",)), self.now)

    def condition(self, kind: str) -> str:
        return next(str(one["status"]) for one in self.status()["conditions"] if one["type"] == kind)

    def delete(self, grace: int) -> None:
        meta = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
        spec = self.life.pod.spec
        self.life.update(NodePod(pod(meta=meta).metadata, spec), self.now)


def test_nothing_starts_before_the_pod_is_admitted() -> None:
    life = PodLife(pod(), T0)
    assert life.poll(T0) == []
    life.admitted()
    assert [type(action) for action in life.poll(T0)] == [Start]


def test_a_start_is_handed_out_once() -> None:
    story = Story(pod())
    assert story.names() == ["+main"]
    assert story.names(100) == []


def test_a_pod_without_probes_is_ready_when_it_runs() -> None:
    story = Story(pod())
    story.poll()
    assert (pod_phase(story.life), story.condition("Ready")) == ("Pending", "False")
    story.run()
    assert (pod_phase(story.life), story.condition("Ready")) == ("Running", "True")


def test_an_ephemeral_container_starts_at_once_and_once_and_counts_for_nothing() -> None:
    story = Story(pod(initContainers=[container("init")]))
    assert story.names() == ["+init"]
    added = pod(initContainers=[container("init")], ephemeralContainers=[container("debug")])
    story.life.update(added, story.now)
    assert story.names() == ["+debug"]
    story.run("debug")
    story.exit(1, "debug")
    assert story.names(1000) == []
    assert pod_phase(story.life) == "Pending"
    assert story.status()["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 1


def test_an_ephemeral_container_ends_with_its_pod() -> None:
    story = Story(pod(ephemeralContainers=[container("debug")]))
    assert story.names() == ["+debug", "+main"]
    story.run("debug")
    story.run()
    story.delete(5)
    assert sorted(story.names()) == ["-debug", "-main"]
    story.exit(0)
    assert story.names() == []
    story.exit(0, "debug")
    assert story.names() == ["gone"]


def test_init_containers_run_one_after_the_other_and_before_all_others() -> None:
    story = Story(pod(initContainers=[container("one"), container("two")]))
    assert story.names() == ["+one"]
    story.run("one")
    assert story.names() == []
    story.exit(0, "one")
    assert story.names() == ["+two"]
    assert story.condition("Initialized") == "False"
    story.run("two")
    story.exit(0, "two")
    assert story.names() == ["+main"]
    assert story.condition("Initialized") == "True"


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    story = Story(pod(initContainers=[container("one")], restartPolicy="Never"))
    story.poll()
    story.run("one")
    story.exit(3, "one")
    assert story.names() == []
    assert story.status()["phase"] == "Failed"


def test_a_sidecar_lets_the_next_begin_when_it_has_started_and_ends_last() -> None:
    story = Story(pod(initContainers=[container("proxy", restartPolicy="Always")]))
    assert story.names() == ["+proxy"]
    story.run("proxy")
    assert story.names() == ["+main"]
    story.run()
    story.delete(30)
    assert story.names() == ["-main"]
    story.exit(0)
    assert story.names() == ["-proxy"]
    story.exit(0, "proxy")
    assert story.names() == ["gone"]


def test_a_crash_is_restarted_at_once_then_after_10_20_and_40_seconds() -> None:
    story = Story(pod())
    waits = []
    for _ in range(5):
        if not story.names():
            wake = story.life.next_wake(story.now)
            assert wake is not None
            waits.append(wake - story.now)
            assert story.names(wake - story.now - 0.5) == []
            assert story.names(0.5) == ["+main"]
        story.run()
        story.exit(1)
    assert waits == [10, 20, 40]
    assert story.life.records["main"].restarts == 4


def test_the_back_off_never_exceeds_five_minutes_and_is_forgotten_after_a_long_run() -> None:
    story = Story(pod())
    for _ in range(12):
        story.poll(300)
        story.poll(300)
        story.run()
        story.exit(1)
    assert story.life.records["main"].not_before - story.now == 300
    story.poll(0)
    assert story.names(300) == ["+main"]
    began = story.now
    story.run()
    story.now += 601
    story.life.exited("main", story.life.records["main"].run, Terminated(1, "Error", began, story.now))
    assert story.names() == ["+main"]


def test_a_container_in_back_off_says_so_and_keeps_its_last_end() -> None:
    story = Story(pod())
    for _ in range(2):
        story.poll()
        story.run()
        story.exit(7)
    story.poll()
    status = story.status()["containerStatuses"][0]
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["state"]["waiting"]["message"].startswith(
        "back-off 10s restarting failed container=main pod=web_shop("
    )
    assert status["lastState"]["terminated"]["exitCode"] == 7
    assert status["restartCount"] == 1


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "phase"),
    [
        ("Always", 0, True, "Running"),
        ("Always", 1, True, "Running"),
        ("OnFailure", 0, False, "Succeeded"),
        ("OnFailure", 1, True, "Running"),
        ("Never", 0, False, "Succeeded"),
        ("Never", 1, False, "Failed"),
    ],
)
def test_the_restart_policy_decides_what_an_exit_means(policy: str, code: int, *, restarts: bool, phase: str) -> None:
    story = Story(pod(restartPolicy=policy))
    story.poll()
    story.run()
    story.exit(code)
    assert pod_phase(story.life) == phase
    assert story.names() == (["+main"] if restarts else [])


def test_readiness_waits_for_its_probe_and_follows_it() -> None:
    probe = {"tcpSocket": {"port": 80}, "initialDelaySeconds": 3, "periodSeconds": 2, "failureThreshold": 2}
    story = Story(pod(container(readinessProbe=probe)))
    story.poll()
    story.run()
    assert story.names(2) == []
    assert story.names(1) == ["?main"]
    assert story.names(10) == []  # one at a time
    assert story.condition("Ready") == "False"
    story.answer(ProbeKind.READINESS)
    assert story.condition("Ready") == "True"
    assert story.names(2) == ["?main"]
    story.answer(ProbeKind.READINESS, "refused")
    assert story.condition("Ready") == "True"
    story.poll(2)
    story.answer(ProbeKind.READINESS, "refused")
    assert story.condition("Ready") == "False"


def test_a_failed_liveness_probe_stops_the_container_which_starts_again() -> None:
    story = Story(pod(container(livenessProbe={"exec": {"command": ["false"]}, "failureThreshold": 1})))
    story.poll()
    story.run()
    assert story.names() == ["?main"]
    story.answer(ProbeKind.LIVENESS, "exit code 1")
    assert story.names() == ["-main"]
    story.exit(137)
    assert story.names() == ["+main"]


def test_a_startup_probe_holds_the_others_back() -> None:
    probe = {"tcpSocket": {"port": 80}}
    story = Story(pod(container(startupProbe=probe, readinessProbe=probe, livenessProbe=probe)))
    story.poll()
    story.run()
    assert [a.kind for a in story.poll() if isinstance(a, RunProbe)] == [ProbeKind.STARTUP]
    story.answer(ProbeKind.STARTUP)
    assert [a.kind for a in story.poll() if isinstance(a, RunProbe)] == [ProbeKind.READINESS, ProbeKind.LIVENESS]


def test_an_answer_for_an_earlier_run_is_ignored() -> None:
    story = Story(pod(container(readinessProbe={"tcpSocket": {"port": 80}})))
    story.poll()
    story.run()
    story.poll()
    story.exit(1)
    story.poll()
    story.run()
    story.life.probed("main", ProbeKind.READINESS, 1, "", story.now)
    assert story.condition("Ready") == "False"


def test_a_deleted_pod_is_ready_while_it_runs_and_removed_when_all_has_ended() -> None:
    story = Story(pod(container("a"), container("b")))
    story.poll()
    story.run("a")
    story.run("b")
    story.delete(5)
    stops = story.poll()
    assert [(a.container.name, a.grace) for a in stops if isinstance(a, Stop)] == [("a", 5.0), ("b", 5.0)]
    assert story.condition("Ready") == "True"
    story.exit(0, "a")
    assert story.condition("Ready") == "False"
    assert story.names() == []
    story.exit(143, "b")
    assert story.names() == ["gone"]
    assert story.names() == []
    assert story.status()["phase"] == "Failed"


def test_a_second_delete_shortens_the_grace_period_and_never_lengthens_it() -> None:
    story = Story(pod())
    story.poll()
    story.run()
    story.delete(30)
    story.poll()
    story.delete(60)
    assert story.names() == []
    story.delete(0)
    assert [a.grace for a in story.poll() if isinstance(a, Stop)] == [0.0]


def test_a_container_that_was_starting_when_the_pod_was_deleted_is_stopped_too() -> None:
    story = Story(pod())
    story.poll()
    story.delete(10)
    assert story.names() == []
    story.run()
    assert story.names() == ["-main"]


def test_a_pod_deleted_before_it_was_admitted_is_removed() -> None:
    life = PodLife(pod(), T0)
    life.vanished(T0)
    assert [type(action) for action in life.poll(T0)] == [Remove]


def test_the_active_deadline_fails_the_pod() -> None:
    story = Story(pod(activeDeadlineSeconds=60))
    story.poll()
    story.run()
    assert story.life.next_wake(story.now) == T0 + 60
    assert story.names(60) == ["-main"]
    story.exit(137)
    assert (story.status()["phase"], story.status()["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_start_that_failed_is_tried_again_later_and_counts_no_restart() -> None:
    story = Story(pod())
    story.poll()
    story.life.start_failed("main", 1, Waiting("CreateContainerConfigError", 'secret "x" not found'), story.now)
    assert story.status()["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    assert story.names() == []
    assert story.names(5) == ["+main"]
    story.run()
    assert story.life.records["main"].restarts == 0


def test_readiness_gates_hold_the_pod_back_until_somebody_sets_them() -> None:
    gates = [{"conditionType": "lb/ready"}]
    story = Story(pod(readinessGates=gates))
    story.poll()
    story.run()
    ready = next(one for one in story.status()["conditions"] if one["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
    known = {"conditions": [{"type": "lb/ready", "status": "True"}]}
    story.life.update(pod(readinessGates=gates, status=known), story.now)
    assert story.condition("Ready") == "True"


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    story = Story(pod())
    since = "2020-01-02T03:04:05Z"
    known = {"conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": since}]}
    story.life.update(pod(status=known), story.now)
    times = {one["type"]: one["lastTransitionTime"] for one in story.status()["conditions"]}
    assert times["PodScheduled"] == since
    assert times["Ready"] == "1970-01-12T13:46:40Z"


HOOK = {"postStart": {"exec": {"command": ["true"]}}}


def test_a_container_counts_as_started_when_its_hook_has_run() -> None:
    story = Story(pod(container(lifecycle=HOOK)))
    story.poll()
    story.run()
    assert story.names() == ["!main"]
    assert story.names() == []
    assert story.condition("Ready") == "False"
    story.life.hooked("main", 1, "", story.now)
    assert story.condition("Ready") == "True"


def test_a_hook_that_failed_ends_its_container_which_starts_again() -> None:
    story = Story(pod(container(lifecycle=HOOK), restartPolicy="OnFailure"))
    story.poll()
    story.run()
    story.poll()
    story.life.hooked("main", 1, "exit code 1", story.now)
    assert story.names() == ["-main"]
    story.exit(0)
    assert story.names() == ["+main"]


def test_the_answer_of_a_hook_of_an_earlier_run_is_stale() -> None:
    story = Story(pod(container(lifecycle=HOOK)))
    story.poll()
    story.run()
    story.poll()
    story.exit(1)
    story.poll()
    story.run()
    story.life.hooked("main", 1, "", story.now)
    assert story.condition("Ready") == "False"


def test_readiness_is_asked_while_a_pod_ends_and_nothing_else_is() -> None:
    probes = {"readinessProbe": {"exec": {}}, "livenessProbe": {"exec": {}}}
    story = Story(pod(container(**probes)))
    story.poll()
    story.run()
    assert story.names() == ["?main", "?main"]
    story.answer(ProbeKind.READINESS)
    story.answer(ProbeKind.LIVENESS)
    story.delete(30)
    assert story.names(10) == ["-main", "?main"]
    story.answer(ProbeKind.READINESS)
    assert story.condition("Ready") == "True"


def known(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "main", "containerID": "runc://old", "state": state, **more}]}


def resumed(status: dict[str, Any], **spec: Any) -> Story:
    story = Story(pod(status={"startTime": "1970-01-12T13:00:00Z", **status}, **spec))
    story.life.resume(story.now)
    return story


RAN = {"running": {"startedAt": "1970-01-12T13:00:01Z"}}


def test_what_ran_under_a_process_that_died_starts_again_and_counts() -> None:
    story = resumed(known(RAN, restartCount=2))
    assert story.status()["startTime"] == "1970-01-12T13:00:00Z"
    assert story.names() == ["+main"]
    record = story.life.records["main"]
    assert (record.restarts, record.run) == (3, 4)
    assert record.last is not None
    assert (record.last.exit_code, record.last.reason, record.last.container_id) == (
        137,
        "ContainerStatusUnknown",
        "old",
    )


def test_what_must_not_restart_has_failed_with_its_node() -> None:
    story = resumed(known(RAN), restartPolicy="Never")
    assert story.names() == []
    assert story.status()["phase"] == "Failed"


def test_a_back_off_goes_on_after_the_node_came_back() -> None:
    last = {"terminated": {"exitCode": 3, "finishedAt": "1970-01-12T13:00:01Z"}}
    waits = {"waiting": {"reason": "CrashLoopBackOff"}}
    story = resumed(known(waits, lastState=last, restartCount=5))
    assert story.names() == []
    assert story.names(10) == ["+main"]
    assert story.life.records["main"].restarts == 6


def test_init_containers_that_were_done_stay_done_and_sidecars_come_first_again() -> None:
    inits = [container("init"), container("side", restartPolicy="Always")]
    done = {"name": "init", "containerID": "runc://i", "state": {"terminated": {"exitCode": 0}}}
    side = {"name": "side", "containerID": "runc://s", "state": RAN}
    status = {**known(RAN), "initContainerStatuses": [done, side]}
    story = resumed(status, initContainers=inits)
    assert story.names() == ["+side"]
    story.run("side")
    assert story.names() == ["+main"]


def test_a_status_says_which_version_of_the_pod_it_is_of() -> None:
    story = Story(pod(meta={"generation": 7}))
    status = story.status()
    assert status["observedGeneration"] == 7
    assert {one["observedGeneration"] for one in status["conditions"]} == {7}


def test_a_container_status_has_its_mounts_user_and_resources() -> None:
    fields = {
        "volumeMounts": [{"name": "a", "mountPath": "/a", "readOnly": True}],
        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}},
        "securityContext": {"runAsUser": 5},
    }
    story = Story(pod(container(**fields)))
    story.poll()
    story.run()
    (found,) = story.status()["containerStatuses"]
    mount = {"name": "a", "mountPath": "/a", "readOnly": True, "recursiveReadOnly": "Disabled"}
    assert found["volumeMounts"] == [mount]
    assert found["resources"] == fields["resources"]
    assert found["allocatedResources"] == {"cpu": "100m"}
    assert found["user"] == {"linux": {"uid": 5, "gid": 0, "supplementalGroups": [0]}}


def test_a_container_of_another_image_starts_again_whatever_its_exit_code() -> None:
    story = Story(pod(restartPolicy="OnFailure"))
    story.poll()
    story.run()
    story.life.update(pod(container(image="other"), restartPolicy="OnFailure"), story.now)
    (stop,) = story.poll()
    assert isinstance(stop, Stop)
    assert stop.reason == "Container main definition changed, will be restarted"
    story.exit(0)
    (start,) = story.poll()
    assert isinstance(start, Start)
    assert start.container.image == "other"
    assert story.life.records["main"].restarts == 1


def test_a_change_of_anything_else_leaves_containers_alone() -> None:
    story = Story(pod())
    story.poll()
    story.run()
    story.life.update(pod(meta={"labels": {"a": "b"}}, activeDeadlineSeconds=5000), story.now)
    assert story.names() == []
