# ruff: noqa: PT017, PT018 - there is no pytest where this runs
"""What the official Python client does all day, against the server of a kubeconfig. Run by its own interpreter.

usage: python_client_program.py KUBECONFIG. Each step asserts; the last line says how many there were.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from kubernetes import client, config, dynamic, utils, watch  # type: ignore[import-not-found]
from kubernetes.client.rest import ApiException  # type: ignore[import-not-found]
from kubernetes.dynamic.exceptions import ConflictError  # type: ignore[import-not-found]

DOCUMENTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pyc"}},
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "pyc"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]},
            },
        },
    },
    {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{i}", "namespace": "pyc"}}
            for i in range(3)
        ],
    },
]


def created_from_documents(api: Any) -> None:
    utils.create_from_yaml(api, yaml_objects=DOCUMENTS)
    assert client.AppsV1Api(api).read_namespaced_deployment("web", "pyc").spec.replicas == 2
    names = {c.metadata.name for c in client.CoreV1Api(api).list_namespaced_config_map("pyc").items}
    assert {"c0", "c1", "c2"} <= names
    try:
        utils.create_from_yaml(api, yaml_objects=DOCUMENTS[1:2])
    except utils.FailToCreateError as error:
        assert error.api_exceptions[0].status == 409
    else:
        raise AssertionError("a second creation was let through")


def services_are_typed_objects(api: Any) -> None:
    core = client.CoreV1Api(api)
    port = client.V1ServicePort(port=80, target_port="http")
    spec = client.V1ServiceSpec(selector={"app": "web"}, ports=[port], type="NodePort")
    made = core.create_namespaced_service("pyc", client.V1Service(metadata={"name": "web"}, spec=spec))
    assert made.spec.ports[0].node_port >= 30000
    core.patch_namespaced_service("web", "pyc", {"metadata": {"labels": {"a": "b"}}})
    changed = core.read_namespaced_service("web", "pyc")
    assert changed.metadata.labels == {"a": "b"}
    changed.metadata.resource_version = "1"
    try:
        core.replace_namespaced_service("web", "pyc", changed)
    except ApiException as error:
        assert (error.status, error.reason) == (409, "Conflict")
    assert core.delete_namespaced_service("web", "pyc").metadata.name == "web"


def pages_are_followed(api: Any) -> None:
    core, seen, token = client.CoreV1Api(api), [], None
    while True:
        page = core.list_namespaced_config_map("pyc", limit=1, _continue=token)
        seen += [c.metadata.name for c in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert {"c0", "c1", "c2"} <= set(seen) and len(seen) == len(set(seen))


def watches_see_every_change_and_resume(api: Any) -> None:
    core, stream = client.CoreV1Api(api), watch.Watch()
    start = core.list_namespaced_secret("pyc").metadata.resource_version

    def write() -> None:
        for i in range(20):
            core.create_namespaced_secret("pyc", {"metadata": {"name": f"s{i}"}})

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[str] = []
    for event in stream.stream(core.list_namespaced_secret, "pyc", resource_version=start, timeout_seconds=20):
        seen.append(event["object"].metadata.name)
        if len(seen) == 10:
            stream.stop()
    later = watch.Watch()
    version = stream.resource_version
    for event in later.stream(core.list_namespaced_secret, "pyc", resource_version=version, timeout_seconds=20):
        seen.append(event["object"].metadata.name)
        if len(seen) == 20:
            later.stop()
    writer.join()
    assert seen == [f"s{i}" for i in range(20)], seen


def custom_resources_by_the_dynamic_client(api: Any) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
    names = {"plural": "toys", "kind": "Toy", "singular": "toy"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "pyc.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    definition = {"metadata": {"name": "toys.pyc.example.com"}, "spec": spec}
    definition |= {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    one = dynamic.DynamicClient(api)
    crds = one.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    crds.create(body=definition)
    one.resources.invalidate_cache()
    toys = one.resources.get(api_version="pyc.example.com/v1", kind="Toy")
    body = {"apiVersion": "pyc.example.com/v1", "kind": "Toy", "metadata": {"name": "t"}, "spec": {"n": 1}}
    toys.server_side_apply(body=body, namespace="pyc", field_manager="a")
    try:
        toys.server_side_apply(body={**body, "spec": {"n": 2}}, namespace="pyc", field_manager="b")
    except ConflictError:
        pass
    else:
        raise AssertionError("a conflict was let through")
    assert toys.get(name="t", namespace="pyc").spec.n == 1
    for event in toys.watch(namespace="pyc", timeout=5):
        assert event["object"].metadata.name == "t"
        break
    crds.delete(name="toys.pyc.example.com")


def errors_say_what_is_wrong(api: Any) -> None:
    core = client.CoreV1Api(api)
    for call, code in (
        (lambda: core.read_namespaced_pod("nope", "pyc"), 404),
        (lambda: core.create_namespaced_config_map("pyc", {"metadata": {"name": "A_B"}}), 422),
        (lambda: core.create_namespaced_config_map("nowhere", {"metadata": {"name": "a"}}), 404),
    ):
        try:
            call()
        except ApiException as error:
            assert error.status == code, error
        else:
            raise AssertionError("nothing was wrong")


STEPS = (
    created_from_documents,
    services_are_typed_objects,
    pages_are_followed,
    watches_see_every_change_and_resume,
    custom_resources_by_the_dynamic_client,
    errors_say_what_is_wrong,
)


def main() -> None:
    config.load_kube_config(sys.argv[1])
    with client.ApiClient() as api:
        for step in STEPS:
            step(api)
    sys.stdout.write(f"{len(STEPS)} steps\n")


if __name__ == "__main__":
    main()
