from __future__ import annotations

from fairway.pods.references import Named, references
from pod_objects import container, pod


def test_all_that_environments_and_volumes_name_is_found_once() -> None:
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "map-a", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "secret-a", "key": "k"}}},
        {"name": "C", "value": "plain"},
        {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    every = [{"configMapRef": {"name": "map-b"}}, {"secretRef": {"name": "secret-b"}}]
    sources = [
        {"configMap": {"name": "map-d"}},
        {"secret": {"name": "secret-d"}},
        {"serviceAccountToken": {"path": "t"}},
    ]
    volumes = [
        {"name": "a", "configMap": {"name": "map-a"}},
        {"name": "b", "secret": {"secretName": "secret-c"}},
        {"name": "c", "projected": {"sources": sources}},
        {"name": "d", "emptyDir": {}},
    ]
    first = [container("first", envFrom=every)]
    found = references(pod(container(env=env), initContainers=first, volumes=volumes))
    assert found == Named(
        frozenset({"map-a", "map-b", "map-d"}), frozenset({"secret-a", "secret-b", "secret-c", "secret-d"})
    )


def test_a_pod_that_names_nothing_needs_nothing() -> None:
    assert references(pod()) == Named(frozenset(), frozenset())
