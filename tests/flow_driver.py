"""The proxy's loop on a real kernel, in this process, fed event by event: what the flow tests drive.

Everything is the production code, but for the clock, whose waits take no time, and a kernel that can be told to refuse.
"""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import netns
from fairway.agents.family import FamilySync
from fairway.agents.node_view import NodeViews
from fairway.agents.proxy import ProxyAgent, ProxyParts
from fairway.cli.wiring import NftablesFamily
from fairway.config.proxy.load import load
from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.dataplane import NftablesDataplane
from fairway.explain.answer import Explainer
from fairway.explain.model import Answer
from fairway.explain.nftables import NftablesTables
from fairway.explain.question import Question
from fairway.io.netlink.addresses import Links
from fairway.kube import decode
from fairway.plan.view import NodeView
from fairway.reconcile.items import Item, Operation, WriteError
from fairway.state.tables import State, Writer
from fairway.values.address import Family
from fairway.values.errors import KernelError
from fairway.values.names import ObjectName
from fairway.values.packet import Packet
from flow_cases import Tree
from flow_scenarios import Event, Put, Remove, Step, identity

T = TypeVar("T")
FAILURES = 5
"""Writes that the kernel refuses in a row once it is told to."""


class NoWaitLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer whenever there is nothing to do."""

    def __init__(self) -> None:
        super().__init__(_JumpingSelector(self._jump))
        self._ahead = 0.0

    def time(self) -> float:
        return super().time() + self._ahead

    def _jump(self, seconds: float) -> None:
        self._ahead += seconds


class _JumpingSelector(selectors.EpollSelector):
    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            return super().select(10)  # only a thread could wake us; the test's own time-out ends what hangs
        if not ready and timeout:
            self._jump(timeout)
        return ready


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, without waiting for any timer."""
    with asyncio.Runner(loop_factory=NoWaitLoop) as runner:
        return runner.run(work)


class LoopClock:
    """The clock of the running loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class UnreliableKernel:
    """A kernel that refuses when told to: before writing, after it, or by naming one operation; one after another."""

    def __init__(self, kernel: NftablesFamily) -> None:
        self._kernel = kernel
        self._ways = 0
        self.failures_left = 0
        self.failures = 0
        self.operations = 0
        self.mended: list[str] = []

    def ensure(self, view: NodeView, items: Callable[[], Iterable[Item]]) -> Sequence[str]:
        mended = self._kernel.ensure(view, items)
        self.mended += mended
        return mended

    def dump(self, container: str) -> Iterator[Sequence[tuple[Any, Any]]]:
        return self._kernel.dump(container)

    def get(self, container: str, key: Any) -> Any | None:
        return self._kernel.get(container, key)

    def suspects(self, container: str, known: Mapping[Any, Any]) -> Iterator[Collection[Any]]:
        return self._kernel.suspects(container, known)

    def apply(self, operations: Sequence[Operation]) -> None:
        if self.failures_left and operations:
            self.failures_left -= 1
            self.failures += 1
            self._fail(operations)
        self._kernel.apply(operations)
        self.operations += len(operations)

    def _fail(self, operations: Sequence[Operation]) -> None:
        self._ways += 1
        match self._ways % 3:
            case 0:
                self._kernel.apply(operations)
                raise KernelError("injected: EINTR: written, but the answer was lost", 4)
            case 1:
                raise KernelError("injected: ENOMEM: nothing was written", 12)
            case _:
                raise WriteError("injected: EBUSY: one operation refused", 16, operations[len(operations) // 2])


class _Source:
    """Has synced when it is told so."""

    last_contact = None
    stale_since = None

    def __init__(self) -> None:
        self.has_synced = False

    async def run(self) -> None:
        await asyncio.Event().wait()


class Driver:
    """One proxy process after another on this thread's node. To be used inside the node's namespace."""

    def __init__(self, configuration: Tree, node: Sequence[Tree]) -> None:
        """`node` is the objects that stay, the Node first of all."""
        self._settings = load(json.dumps(configuration)).settings
        self._node = node
        self._present: dict[tuple[str, str, str], Tree] = {}
        self._is_synced = False
        self._life: AsyncExitStack | None = None
        self.failures = 0

    async def __aenter__(self) -> Driver:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """The node is left without tables for the next one."""
        await self._stop()
        for family in Family:
            netns.run("nft", "delete", "table", "ip" if family is Family.IPV4 else "ip6", layout.TABLE)

    # --- life of the process ---------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Begin with nothing known; list what is present; write."""
        self._life = AsyncExitStack()
        self._state = State()
        self._writer = Writer(self._state)
        with Links() as links:
            addresses = links.usable_addresses()
        views = NodeViews(self._settings, str(self._settings.hostname_override), self._state, addresses)
        self._kernels = {family: UnreliableKernel(NftablesFamily(family, self._settings)) for family in Family}
        self.families = {
            family: FamilySync(self._state, views.view(family), NftablesDataplane(), kernel)
            for family, kernel in self._kernels.items()
        }
        clock = LoopClock()
        self._agent = ProxyAgent(ProxyParts(self._state, self._writer, self.families, views, clock, lambda: 0.5))
        source = _Source()
        await self._life.enter_async_context(_running(self._agent.run([source])))
        for tree in [*self._node, *self._present.values()]:
            self._put(tree)
        source.has_synced = True
        self._agent.changed()
        await self._agent.wait_filled()
        await self._settle()

    async def _stop(self) -> None:
        """As `kill -9` does: nothing is said or written."""
        assert self._life is not None
        self.failures += sum(kernel.failures for kernel in self._kernels.values())
        await self._life.aclose()

    # --- events ----------------------------------------------------------------------------------------------------

    async def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Put(tree):
                    self._present[identity(tree)] = tree
                    self._is_synced = False
                    self._put(tree)
                case Remove(tree):
                    self._present.pop(identity(tree), None)
                    self._is_synced = False
                    self._remove(tree)
                case Step.SYNC:
                    self._agent.changed()
                    await self._settle()
                    self._is_synced = True
                case Step.RESTART:
                    await self._restart()
                case Step.FAIL:
                    for kernel in self._kernels.values():
                        kernel.failures_left = FAILURES

    async def _restart(self) -> None:
        """A process that finds the kernel as it should be writes nothing."""
        await self._stop()
        await self._start()
        if self._is_synced:
            written = sum(kernel.operations for kernel in self._kernels.values())
            mended = [line for kernel in self._kernels.values() for line in kernel.mended]
            assert (written, mended) == (0, [])
        self._is_synced = True

    async def _settle(self) -> None:
        """Until the loop believes that everything is written; retries may take their (virtual) time."""
        limit = asyncio.get_running_loop().time() + 600
        while self._agent.status.queued_at is not None or self._pending():
            assert asyncio.get_running_loop().time() < limit, self._agent.status
            await asyncio.sleep(0.05)
        for kernel in self._kernels.values():
            kernel.failures_left = 0

    def _pending(self) -> int:
        return sum(sync.difference.pending_count for sync in self.families.values())

    def _put(self, tree: Tree) -> None:
        match tree["kind"]:
            case "Service":
                self._writer.put_service(decode.SERVICE.decode(tree))
            case "EndpointSlice":
                self._writer.put_slice(decode.ENDPOINT_SLICE.decode(tree))
            case "Node":
                self._writer.put_node(decode.NODE.decode(tree))
            case "ServiceCIDR":
                self._writer.put_service_cidr(decode.SERVICE_CIDR.decode(tree))
            case other:
                raise AssertionError(other)

    def _remove(self, tree: Tree) -> None:
        name = ObjectName(*identity(tree)[1:])
        match tree["kind"]:
            case "Service":
                self._writer.remove_service(name)
            case "EndpointSlice":
                self._writer.remove_slice(name)
            case other:
                raise AssertionError(other)

    # --- what came of it -------------------------------------------------------------------------------------------

    def wanted(self) -> dict[Family, dict[str, dict[Any, Any]]]:
        return {
            f: {c.name: dict(sync.difference.wanted(c.name)) for c in layout.CONTAINERS}
            for f, sync in self.families.items()
        }

    def held(self) -> dict[Family, dict[str, dict[Any, Any]]]:
        """What the kernel holds, read anew."""
        return {
            family: {c.name: {k: v for piece in kernel.dump(c.name) for k, v in piece} for c in layout.CONTAINERS}
            for family, kernel in self._kernels.items()
        }

    def explainer(self, held: Mapping[Family, Mapping[str, Mapping[Any, Any]]]) -> Explainer:
        """Asks plan, items and what the kernel was found to hold."""
        tables = {}
        for family, containers in held.items():
            difference = self.families[family].difference
            for container, found in containers.items():
                difference.load_known(container, dict(found))
            tables[family] = NftablesTables(difference)
        return Explainer(self._state, {family: sync.planner for family, sync in self.families.items()}, tables)


def ask(explainer: Explainer, packet: Packet) -> Answer:
    return explainer.answer(Question(str(packet), packet))


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]):
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
