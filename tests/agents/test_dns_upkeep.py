"""Files that plugins know are read again, and secondaries are told of changes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dns_world import MemoryWorld
from fairway.agents.dns_upkeep import QUIET, Upkeep
from fairway.config.corefile_servers import read_corefile
from fairway.dns.chain import Chain, build_chain
from fairway.dns.forward import UpstreamError
from fairway.dns.state import ClusterState
from fairway.values.domain import Name, from_text, to_text
from fairway.values.errors import ConfigError

ZONE = "$TTL 60\n@ SOA ns a 1 2 3 4 5\n@ NS ns\n"


class World(MemoryWorld):
    """Files in memory, and a clock that moves when everybody sleeps."""

    def __init__(self, **files: str) -> None:
        super().__init__()
        self.files = files
        self.told: list[str] = []
        self.deaf = 0
        """How many notifications nobody hears."""
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def wall_clock(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, waiting))
        await waiting

    async def pass_time(self, seconds: float) -> None:
        """Let that much time pass, and everybody do what they do then."""
        await settle()
        self.time += seconds
        due = [waiting for end, waiting in self._sleepers if end <= self.time]
        self._sleepers = [one for one in self._sleepers if one[1] not in due]
        for waiting in due:
            if not waiting.done():
                waiting.set_result(None)
        await settle()

    def read_file(self, path: str, root: str) -> str:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory") from None

    async def notify(self, zone: Name, to: tuple[str, int], source: str) -> None:
        self.told.append(f"{to_text(zone)} {to[0]}:{to[1]} {source}".strip())
        if self.deaf:
            self.deaf -= 1
            raise UpstreamError("nobody is there")


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Cluster:
    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []
        self.has_synced = True

    def change(self) -> None:
        for listener in self.listeners:
            listener()


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def chain_of(plugins: str, world: World) -> Chain:
    settings = read_corefile(f".:53 {{\n{plugins}\n}}\n", "Corefile", {}).servers[0]
    return build_chain(settings, world, lambda _settings: ClusterState())


def upkeep_of(world: World) -> Upkeep:
    return Upkeep(world, pytest.fail)


SECONDARIES = "transfer {\nto 10.0.0.1 10.0.0.2:54\n}\ntransfer a.test {\nto *\n}\n"


@in_loop
async def test_a_changed_zone_file_is_taken_and_told_of() -> None:
    world = World(db=ZONE)
    chain, upkeep = chain_of(f"{SECONDARIES}file db b.test a.test", world), upkeep_of(world)
    upkeep.begin(chain)
    upkeep.serve(chain, [])
    await world.pass_time(60)
    assert world.told == ["b.test. 10.0.0.1:53", "b.test. 10.0.0.2:54"]
    world.files["db"] = ZONE + "www A 10.0.0.9\n"
    await world.pass_time(60)
    assert from_text("www.b.test") in chain.files[0][1].zones[from_text("b.test")].records
    assert world.told[2:] == ["b.test. 10.0.0.1:53", "b.test. 10.0.0.2:54"]
    await upkeep.close()


@in_loop
async def test_a_bad_zone_file_changes_nothing() -> None:
    world = World(db=ZONE)
    chain, upkeep = chain_of("file db b.test", world), upkeep_of(world)
    upkeep.begin(chain)
    before = chain.files[0][1].zones[from_text("b.test")]
    for text in ("nonsense", "@ NS ns\n"):
        world.files["db"] = text
        await world.pass_time(60)
    del world.files["db"]
    await world.pass_time(60)
    assert chain.files[0][1].zones[from_text("b.test")] is before
    await upkeep.close()


@in_loop
async def test_a_zone_file_that_is_not_there_yet_may_come() -> None:
    world = World()
    chain, upkeep = chain_of("file db b.test", world), upkeep_of(world)
    upkeep.begin(chain)
    assert chain.files[0][1].zones[from_text("b.test")].soa is None
    world.files["db"] = ZONE
    await world.pass_time(60)
    assert chain.files[0][1].zones[from_text("b.test")].soa is not None
    await upkeep.close()


@pytest.mark.parametrize("plugin", ["file gone b.test {\nreload 0\n}", "loadbalance weighted gone {\nreload 0\n}"])
@in_loop
async def test_a_file_that_nobody_looks_for_again_has_to_be_there(plugin: str) -> None:
    world = World()
    with pytest.raises(ConfigError, match="gone: No such file"):
        upkeep_of(world).begin(chain_of(plugin, world))


@in_loop
async def test_weights_are_read_again() -> None:
    world = World(w="a.test\n10.0.0.1 2\n")
    chain, upkeep = chain_of("loadbalance weighted w {\nreload 5s\n}", world), upkeep_of(world)
    upkeep.begin(chain)
    assert chain.balances[0].weights == {(from_text("a.test"), b"\x0a\0\0\1"): 2}
    world.files["w"] = "a.test\n10.0.0.1 9\n"
    await world.pass_time(5)
    world.files["w"] = "10.0.0.1 7\n"
    await world.pass_time(5)
    assert chain.balances[0].weights == {(from_text("a.test"), b"\x0a\0\0\1"): 9}
    await upkeep.close()


@in_loop
async def test_changes_of_a_cluster_that_come_together_are_told_of_once() -> None:
    world, cluster = World(), Cluster()
    chain = chain_of("transfer {\nto 10.0.0.1\nsource 10.0.0.5\n}\nkubernetes cluster.local", world)
    upkeep = upkeep_of(world)
    upkeep.begin(chain)
    upkeep.serve(chain, [cluster])
    await world.pass_time(QUIET)
    assert world.told == ["cluster.local. 10.0.0.1:53 10.0.0.5"]
    for _ in range(3):
        cluster.change()
    await world.pass_time(QUIET)
    await world.pass_time(QUIET)
    assert len(world.told) == 2
    await upkeep.close()
    assert cluster.listeners == []


@in_loop
async def test_a_notification_is_sent_three_times_at_most() -> None:
    world = World(db=ZONE)
    world.deaf = 2
    chain, upkeep = chain_of("transfer {\nto 10.0.0.1\n}\nfile db b.test", world), upkeep_of(world)
    upkeep.begin(chain)
    upkeep.serve(chain, [])
    await settle()
    assert len(world.told) == 3
    await upkeep.close()
