from __future__ import annotations

import asyncio

from fairway.io.containers.tokens import TokenKeeper
from fairway.kube.podspec import NodePod
from pod_objects import pod


class Mint:
    """Numbers its tokens."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.made: list[tuple[str, int]] = []

    async def token(self, pod: NodePod, audience: str, seconds: int) -> tuple[str, float]:
        self.made.append((audience, seconds))
        return f"{pod.spec.service_account_name}-{len(self.made)}", self.now + seconds


def asking(*sources: dict[str, object]) -> NodePod:
    tokens = [{"serviceAccountToken": one} for one in sources]
    return pod(volumes=[{"name": "t", "projected": {"sources": tokens}}], serviceAccountName="web")


def test_a_token_is_kept_until_most_of_its_time_is_over() -> None:
    mint = Mint()
    keeper = TokenKeeper(mint, lambda: mint.now)
    one = asking({"path": "token", "expirationSeconds": 1000, "audience": "shop"})

    async def go() -> list[str]:
        found = []
        for later in (0, 799, 1):
            mint.now += later
            found.append((await keeper.tokens(one))["t", "token"])
        return found

    assert asyncio.run(go()) == ["web-1", "web-1", "web-2"]
    assert mint.made == [("shop", 1000), ("shop", 1000)]


def test_a_token_of_years_is_renewed_every_day() -> None:
    mint = Mint()
    keeper = TokenKeeper(mint, lambda: mint.now)
    one = asking({"path": "token", "expirationSeconds": 1 << 30})

    async def go() -> str:
        await keeper.tokens(one)
        mint.now += 24 * 3600
        return (await keeper.tokens(one))["t", "token"]

    assert asyncio.run(go()) == "web-2"


def test_each_path_and_audience_has_its_own_and_a_pod_that_went_has_none() -> None:
    mint = Mint()
    keeper = TokenKeeper(mint, lambda: mint.now)
    one = asking({"path": "a"}, {"path": "b", "audience": "x"})

    async def go() -> list[dict[tuple[str, str], str]]:
        first = await keeper.tokens(one)
        keeper.forget(one.metadata.uid)
        return [first, await keeper.tokens(one)]

    assert asyncio.run(go()) == [
        {("t", "a"): "web-1", ("t", "b"): "web-2"},
        {("t", "a"): "web-3", ("t", "b"): "web-4"},
    ]
