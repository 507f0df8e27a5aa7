"""The fake API server keeps the promises that kube-apiserver keeps (tests/peers/test_kube_apiserver.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from api_contract import PROMISES, Subject, forgets
from fairway.io.kube.client import ApiClient
from fairway.io.kube.connection import Connection
from fake_api import FakeApi


@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
def test_promise_is_kept(promise: Callable[[Subject], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with ApiClient(Connection(api.url), qps=-1) as client:
            await promise(Subject(client, "x"))

    with FakeApi() as api:
        asyncio.run(scenario())


def test_forgotten_versions_and_tokens_are_refused() -> None:
    async def scenario() -> None:
        async def forget() -> None:
            api.expire()

        async with ApiClient(Connection(api.url), qps=-1) as client:
            await forgets(Subject(client, "x"), forget)

    with FakeApi() as api:
        asyncio.run(scenario())
