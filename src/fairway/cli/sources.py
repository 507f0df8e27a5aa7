"""Where the proxy's objects come from: an API server or a folder of manifests, feeding the same sinks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairway.agents.feed import Change, Feed, Source
from fairway.agents.reflector import Reflector
from fairway.agents.sinks import EndpointsSink, node_sink, service_cidr_sink, service_sink, slice_sink
from fairway.cli.wiring import uniform
from fairway.config.proxy import ProxySettings
from fairway.explain.names import StateNames
from fairway.io.host.clock import SystemClock
from fairway.kube.cluster import Pod
from fairway.kube.decode import ENDPOINT_SLICE, ENDPOINTS, NODE, POD, SERVICE, SERVICE_CIDR
from fairway.kube.meta import LABEL_HEADLESS, LABEL_PROXY_NAME
from fairway.kube.status import ApiUnreachableError
from fairway.state.tables import Writer
from fairway.values.names import ObjectName

if TYPE_CHECKING:
    from fairway.io.kube.client import ApiClient

NOT_OURS = f"!{LABEL_HEADLESS},!{LABEL_PROXY_NAME}"
"""Services that another proxy serves, or none, never leave the API server."""


def proxy_feeds(
    writer: Writer, changed: Callable[[str, int], None], node_name: str, *, mirrors: bool = False
) -> tuple[Feed[Any], ...]:
    """What a proxy wants to know. `changed` is told the kind, and how many of it came in. No name: every node.

    `mirrors`: Endpoints objects count, too, since no controller is there to make slices of them.
    """
    this_node = f"metadata.name={node_name}" if node_name else ""
    endpoints = Feed(ENDPOINTS, EndpointsSink(writer, partial(changed, ENDPOINT_SLICE.name)), labels=NOT_OURS)
    return (
        Feed(SERVICE, service_sink(writer, partial(changed, SERVICE.name)), labels=NOT_OURS),
        Feed(ENDPOINT_SLICE, slice_sink(writer, partial(changed, ENDPOINT_SLICE.name)), labels=NOT_OURS),
        Feed(NODE, node_sink(writer, partial(changed, NODE.name)), fields=this_node),
        Feed(SERVICE_CIDR, service_cidr_sink(writer, partial(changed, SERVICE_CIDR.name)), is_optional=True),
        *((endpoints,) if mirrors else ()),
    )


class _PodSink:
    def __init__(self, names: StateNames) -> None:
        self._names = names

    def replace(self, objects: Sequence[Pod], kept: Collection[ObjectName]) -> None:
        self._names.take_pods(objects, kept)

    def apply(self, changes: Sequence[Change[Pod]]) -> None:
        """Names are for one question: pods that change meanwhile keep the addresses they had."""


def pod_feed(names: StateNames) -> Feed[Pod]:
    """Pods by name, for questions."""
    return Feed(POD, _PodSink(names), is_optional=True)


class Sources:
    """Where the objects come from, and what has to be closed at the end."""

    def __init__(self, sources: Sequence[Source], close: Callable[[], Awaitable[None]]) -> None:
        self.all = sources
        self.close = close


def proxy_sources(
    feeds: tuple[Feed[Any], ...], settings: ProxySettings, flags: Mapping[str, str], api: ApiClient | None = None
) -> Sources:
    """A folder of manifests if one is named, else the API server, by `api` if it is given: one reflector a kind."""
    folder = flags.get("manifests")
    if folder:
        return manifest_sources(feeds, Path(folder))
    clock = SystemClock()
    if api is not None:
        return Sources([Reflector(api, feed, clock, uniform) for feed in feeds], _leave_open)
    from fairway.io.kube.client import ApiClient
    from fairway.io.kube.kubeconfig import load_connection

    connection = load_connection(settings.client_connection.kubeconfig, master=flags.get("master", ""))
    client = ApiClient(connection)
    return Sources([Reflector(client, feed, clock, uniform) for feed in feeds], client.close)


async def _leave_open() -> None:
    """The client is others', too."""


def manifest_sources(feeds: tuple[Feed[Any], ...], root: Path) -> Sources:
    """A folder of YAML and JSON files, followed as it changes."""
    from fairway.agents.manifests import ManifestSource
    from fairway.io.host.tree import ManifestFolder

    folder = ManifestFolder(root)

    async def close() -> None:
        folder.close()

    return Sources([ManifestSource(folder, feeds, SystemClock())], close)


GATHER_SECONDS = 30.0


async def gather(sources: Sources, limit: float = GATHER_SECONDS) -> None:
    """Follow the sources just until each has handed over all it has.

    Raises ApiUnreachableError when that takes longer than `limit` seconds.
    """
    running = [asyncio.create_task(source.run()) for source in sources.all]
    try:
        async with asyncio.timeout(limit):
            while not all(source.has_synced for source in sources.all):
                done, _ = await asyncio.wait(running, timeout=0.01, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
    except TimeoutError:
        raise ApiUnreachableError(f"the objects were not listed within {limit:.0f} s; is the API server up?") from None
    finally:
        for task in running:
            task.cancel()
        await sources.close()
