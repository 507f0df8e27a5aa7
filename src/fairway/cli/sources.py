"""Where the proxy's objects come from: an API server or a folder of manifests, feeding the same sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairway.agents.feed import Feed, Source
from fairway.agents.reflector import Reflector
from fairway.agents.sinks import node_sink, service_cidr_sink, service_sink, slice_sink
from fairway.cli.wiring import uniform
from fairway.config.proxy import ProxySettings
from fairway.io.host.clock import SystemClock
from fairway.kube.decode import ENDPOINT_SLICE, NODE, SERVICE, SERVICE_CIDR
from fairway.kube.meta import LABEL_HEADLESS, LABEL_PROXY_NAME
from fairway.state.tables import Writer

NOT_OURS = f"!{LABEL_HEADLESS},!{LABEL_PROXY_NAME}"
"""Services that another proxy serves, or none, never leave the API server."""


def proxy_feeds(writer: Writer, changed: Callable[[], None], node_name: str) -> tuple[Feed[Any], ...]:
    """What a proxy wants to know."""
    return (
        Feed(SERVICE, service_sink(writer, changed), labels=NOT_OURS),
        Feed(ENDPOINT_SLICE, slice_sink(writer, changed), labels=NOT_OURS),
        Feed(NODE, node_sink(writer, changed), fields=f"metadata.name={node_name}"),
        Feed(SERVICE_CIDR, service_cidr_sink(writer, changed), is_optional=True),
    )


def api_sources(
    feeds: tuple[Feed[Any], ...], settings: ProxySettings, flags: Mapping[str, str]
) -> tuple[list[Source], Any]:
    """One reflector a kind, and the client that they share; close it at the end."""
    from fairway.io.kube.client import ApiClient
    from fairway.io.kube.kubeconfig import load_connection

    connection = load_connection(settings.client_connection.kubeconfig, master=flags.get("master", ""))
    client = ApiClient(connection)
    clock = SystemClock()
    return [Reflector(client, feed, clock, uniform) for feed in feeds], client
