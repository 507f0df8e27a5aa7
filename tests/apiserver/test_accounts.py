"""What the ServiceAccount admission writes into a pod."""

from __future__ import annotations

from typing import Any

from api_world import World

PODS = "/api/v1/namespaces/default/pods"


def world() -> World:
    made = World()
    made.server.settings = made.server.settings._replace(require_accounts=True)
    made.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    return made


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [*containers], **spec}}


def test_a_pod_gets_a_token_of_its_account() -> None:
    made = world().ok("POST", PODS, pod("p", {"name": "c", "image": "i"}))["spec"]
    assert [volume["name"][:16] for volume in made["volumes"]] == ["kube-api-access-"]
    mount = made["containers"][0]["volumeMounts"][0]
    assert mount["name"] == made["volumes"][0]["name"]


def test_a_copy_of_a_pod_keeps_the_volume_that_it_brings() -> None:
    api = world()
    first = api.ok("POST", PODS, pod("p", {"name": "c", "image": "i"}))["spec"]
    copied = pod("copy", *first["containers"], {"name": "debugger", "image": "i"}, volumes=first["volumes"])
    made = api.ok("POST", PODS, copied)["spec"]
    assert len(made["volumes"]) == 1
    assert made["containers"][1]["volumeMounts"] == made["containers"][0]["volumeMounts"]
