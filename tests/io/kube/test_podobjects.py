"""What pods need of the API, from the embedded server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from api_process import ApiProcess, running
from fairway.io.kube.client import ApiClient
from fairway.io.kube.kubeconfig import Kubeconfig
from fairway.io.kube.podobjects import PodObjects
from fairway.kube.podspec import NodePod
from fairway.pods.environment import MissingReferenceError
from fairway.state.tables import State
from pod_objects import pod

SPACE = "/api/v1/namespaces/default"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with running(tmp_path_factory.mktemp("api")) as server:
        yield server


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def with_objects(api: ApiProcess, story: Callable[[PodObjects, Clock], Awaitable[None]]) -> None:
    async def go() -> None:
        clock = Clock()
        async with ApiClient(Kubeconfig.read([api.folder / "kubeconfig"]).connection()) as client:
            await story(PodObjects(client, State(), clock), clock)

    asyncio.run(go())


def put(api: ApiProcess, plural: str, name: str, **fields: Any) -> dict[str, Any]:
    api.call("DELETE", f"{SPACE}/{plural}/{name}")
    code, found = api.call("POST", f"{SPACE}/{plural}", {"metadata": {"name": name}, **fields})
    assert code == 201, found
    return found


def naming(*maps: str, secret: str = "") -> NodePod:
    volumes: list[dict[str, Any]] = [{"name": name, "configMap": {"name": name}} for name in maps]
    volumes += [{"name": "secret", "secret": {"secretName": secret}}] if secret else []
    return pod(meta={"namespace": "default"}, volumes=volumes)


def test_data_is_read_whatever_its_bytes(api: ApiProcess) -> None:
    odd = base64.b64encode(b"\xff\x00").decode()
    put(api, "configmaps", "a", data={"plain": "1"}, binaryData={"odd": odd})
    put(api, "secrets", "b", data={"key": odd})

    async def story(objects: PodObjects, _: Clock) -> None:
        found = await objects.sources(naming("a", "none", secret="b"))
        assert found.config_maps == {"a": {"plain": "1", "odd": "\udcff\x00"}}
        assert found.secrets == {"b": {"key": "\udcff\x00"}}

    with_objects(api, story)


def test_what_was_read_just_now_is_not_asked_for_again_where_that_will_do(api: ApiProcess) -> None:
    put(api, "configmaps", "a", data={"color": "red"})

    async def story(objects: PodObjects, clock: Clock) -> None:
        one = naming("a")
        await objects.sources(one)
        await asyncio.to_thread(put, api, "configmaps", "a", data={"color": "blue"})
        clock.now += 5
        found = [await objects.sources(one, age) for age in (10.0, 5.0, 0.0)]
        assert [one.config_maps["a"]["color"] for one in found] == ["red", "blue", "blue"]

    with_objects(api, story)


def test_what_was_missing_is_always_asked_for_again(api: ApiProcess) -> None:
    async def story(objects: PodObjects, _: Clock) -> None:
        one = naming("late")
        assert (await objects.sources(one)).config_maps == {}
        await asyncio.to_thread(put, api, "configmaps", "late", data={})
        assert (await objects.sources(one, 60.0)).config_maps == {"late": {}}

    with_objects(api, story)


def test_a_token_is_the_pods_own(api: ApiProcess) -> None:
    put(api, "serviceaccounts", "web")
    spec = {"containers": [{"name": "a", "image": "b"}], "serviceAccountName": "web"}
    made = put(api, "pods", "web", spec=spec)

    async def story(objects: PodObjects, _: Clock) -> None:
        meta = {"namespace": "default", "uid": made["metadata"]["uid"]}
        text, expires = await objects.token(pod(meta=meta, serviceAccountName="web"), "shop", 700)
        part = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        assert claims["aud"] == ["shop"]
        assert claims["kubernetes.io"]["pod"] == {"name": "web", "uid": meta["uid"]}
        assert claims["kubernetes.io"]["serviceaccount"]["name"] == "web"
        assert claims["exp"] == expires

    with_objects(api, story)


def test_a_token_that_cannot_be_had_is_named(api: ApiProcess) -> None:
    async def story(objects: PodObjects, _: Clock) -> None:
        with pytest.raises(MissingReferenceError, match=r'failed to fetch token: .*"nobody" not found'):
            await objects.token(pod(meta={"namespace": "default"}, serviceAccountName="nobody"), "", 3600)

    with_objects(api, story)
