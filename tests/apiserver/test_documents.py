"""Documents that stand alone: what is stored in numbers, and OpenAPI's version 2 for those who still ask for it."""

from __future__ import annotations

import json

from api_world import World
from fairway.apiserver.openapi import GNOSTIC
from fairway.apiserver.request import Response
from fairway.wire.protobuf import fields


def test_metrics_count_stored_objects() -> None:
    world = World()
    world.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "one"}})
    before = _value(world, 'apiserver_storage_objects{resource="namespaces"}')
    world.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "two"}})
    assert _value(world, 'apiserver_storage_objects{resource="namespaces"}') == before + 1
    assert _value(world, 'apiserver_storage_objects{resource="deployments.apps"}') == 0


def _value(world: World, name: str) -> int:
    answer = world.send("GET", "/metrics")
    assert isinstance(answer, Response)
    lines = answer.body.decode().splitlines()
    return next(int(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_swagger_has_every_schema_and_points_into_itself() -> None:
    found = World().ok("GET", "/openapi/v2")
    service = found["definitions"]["io.k8s.api.core.v1.Service"]
    (reference,) = service["properties"]["spec"]["allOf"]
    name = reference["$ref"].removeprefix("#/definitions/")
    assert "clusterIP" in found["definitions"][name]["properties"]
    assert "#/components/" not in json.dumps(found)


def test_swagger_as_protobuf_names_its_version_and_leaves_validation_to_the_server() -> None:
    answer = World().send("GET", "/openapi/v2", headers={"accept": GNOSTIC})
    assert isinstance(answer, Response)
    document = dict(fields(answer.body))
    assert (document[1], document[8]) == (b"2.0", b"")
    assert dict(fields(bytes(document[2])))[1] == b"Kubernetes"
