"""`fairway status`: what of the cluster runs, what does not, and what to do. Exit code 0 when all is well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairway.cli.clusters import answer, find, make_parser
from fairway.cluster.health import ClusterFacts, PartFacts, Trouble, troubles
from fairway.io.host import clusters
from fairway.io.host.statefolder import StateFolder
from fairway.values.errors import FairwayError

LOOK_SECONDS = 0.2
API_SECONDS = 5.0


class _Condition(msgspec.Struct):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Meta(msgspec.Struct):
    name: str


class _Node(msgspec.Struct):
    metadata: _Meta
    status: _Status = msgspec.field(default_factory=_Status)


class _NodeList(msgspec.Struct):
    items: list[_Node]


def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    parser = make_parser("status", __doc__)
    parser.add_argument("--wait", action="store_true", help="until all is well")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="of --wait (60)")
    options = parser.parse_args(arguments)
    folder = find("status", options.name)
    deadline = time.monotonic() + options.timeout
    while True:
        facts = gather(folder)
        found = troubles(facts)
        if not found or not options.wait or time.monotonic() > deadline:
            break
        time.sleep(LOOK_SECONDS)
    _show(folder, facts, found, options.output)
    if not found:
        return 0
    return 4 if options.wait else 1


def gather(folder: StateFolder) -> ClusterFacts:
    """Look at everything once."""
    settings = folder.settings()
    history = folder.history()
    parts = tuple(PartFacts(one.name, one.pid, one.is_ready, *history.get(one.name, (0, ""))) for one in folder.parts())
    missing = clusters.missing(settings)
    try:
        nodes = asyncio.run(_ask_nodes(folder.kubeconfig))
    except FairwayError as error:
        return ClusterFacts(parts, missing, None, str(error))
    return ClusterFacts(parts, missing, nodes)


async def _ask_nodes(kubeconfig: Path) -> dict[str, str]:
    from fairway.io.kube.client import ApiClient
    from fairway.io.kube.kubeconfig import Kubeconfig
    from fairway.kube.status import ApiUnreachableError

    async with ApiClient(Kubeconfig.read([kubeconfig]).connection()) as api:
        try:
            async with asyncio.timeout(API_SECONDS):
                raw = await api.get("/api/v1/nodes")
        except TimeoutError:
            raise ApiUnreachableError(f"no answer within {API_SECONDS:.0f} s") from None
    return {one.metadata.name: _why_not(one) for one in msgspec.json.decode(raw, type=_NodeList).items}


def _why_not(node: _Node) -> str:
    ready = next((one for one in node.status.conditions if one.type == "Ready"), None)
    if ready is None:
        return "it has no condition Ready"
    return "" if ready.status == "True" else f"{ready.reason}: {ready.message}"


def _show(folder: StateFolder, facts: ClusterFacts, found: list[Trouble], output: str) -> None:
    settings = folder.settings()
    if output == "json":
        rows: list[dict[str, Any]] = [part._asdict() for part in facts.parts]
        fields = {"ready": not found, "parts": rows, "nodes": facts.nodes or {}}
        answer("cluster-status", name=settings.name, **fields, troubles=[one._asdict() for one in found])
        return
    width = max(len(part.name) for part in facts.parts)
    for part in facts.parts:
        state = "ready" if part.is_ready else "starting" if part.pid else "down"
        again = f", started {part.starts}× (last end: {part.last_end})" if part.starts > 1 else ""
        print(f"{part.name:<{width}}  {state:<8}  {f'process {part.pid}' if part.pid else ''}{again}")
    for one in found:
        print(f"! {one.what}\n    {one.remedy}; logs are in {folder.path / 'logs'}")
    if not found:
        print(f"cluster {settings.name} is well")
