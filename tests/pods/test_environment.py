from __future__ import annotations

import pytest

from fairway.pods.environment import (
    MissingReferenceError,
    NodeFacts,
    ServiceAddress,
    ServicePort,
    Sources,
    environment,
    expand,
    service_variables,
)
from pod_objects import container, pod

NODE = NodeFacts("node-a", ("192.0.2.1",), ("10.0.0.2", "fd00::2"), 2, 1024)
DATA = Sources({"settings": {"color": "red", "size": "9"}}, {"keys": {"token": "abc"}})


def env_of(*env: dict[str, object], **fields: object) -> dict[str, str]:
    one = pod(container(env=list(env), **fields), meta={"labels": {"app": "web", "x": 'a"b'}})
    return environment(one, one.spec.containers[0], {}, DATA, NODE)


def test_service_variables_are_those_of_kubelet() -> None:
    found = service_variables([ServiceAddress("red-is", "10.96.0.9", (ServicePort("http", 80, "TCP"),))])
    assert found == {
        "RED_IS_SERVICE_HOST": "10.96.0.9",
        "RED_IS_SERVICE_PORT": "80",
        "RED_IS_SERVICE_PORT_HTTP": "80",
        "RED_IS_PORT": "tcp://10.96.0.9:80",
        "RED_IS_PORT_80_TCP": "tcp://10.96.0.9:80",
        "RED_IS_PORT_80_TCP_PROTO": "tcp",
        "RED_IS_PORT_80_TCP_PORT": "80",
        "RED_IS_PORT_80_TCP_ADDR": "10.96.0.9",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)b", "1b"), ("$$(A)", "$(A)"), ("$(NO)", "$(NO)"), ("$A $", "$A $"), ("$$$(A)", "$1"), ("$(A", "$(A")],
)
def test_references_expand_as_in_the_api(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_later_variables_see_earlier_ones_and_not_later_ones() -> None:
    found = env_of({"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(C)"}, {"name": "C", "value": "3"})
    assert found["B"] == "1-$(C)"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels", 'app="web"\nx="a\\"b"'),
        ("spec.nodeName", "node-a"),
        ("status.hostIP", "192.0.2.1"),
        ("status.podIPs", "10.0.0.2,fd00::2"),
    ],
)
def test_downward_api_fields(path: str, expected: str) -> None:
    assert env_of({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}})["X"] == expected


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [("limits.cpu", "1m", "500"), ("limits.cpu", "1", "1"), ("limits.memory", "1", "1024"), ("requests.cpu", "1", "0")],
)
def test_resource_fields_round_up_and_fall_back_to_the_node(resource: str, divisor: str, expected: str) -> None:
    ref = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
    assert env_of({"name": "X", "valueFrom": ref}, resources={"limits": {"cpu": "500m"}})["X"] == expected


def test_env_from_takes_whole_maps_with_a_prefix() -> None:
    found = env_of(envFrom=[{"prefix": "P_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}}])
    assert found == {"P_color": "red", "P_size": "9", "token": "abc"}


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "a"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "keys", "key": "no"}}, "couldn't find key no in Secret shop/keys"),
    ],
)
def test_a_missing_reference_names_what_is_missing(ref: dict[str, object], words: str) -> None:
    with pytest.raises(MissingReferenceError, match=words):
        env_of({"name": "X", "valueFrom": ref})


def test_an_optional_reference_that_is_missing_leaves_the_variable_out() -> None:
    assert env_of({"name": "X", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": True}}}) == {}
