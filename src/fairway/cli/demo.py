"""What `fairway up --demo` shows: a Deployment, a Service of each type, requests to each, the path of one explained.

The objects are `examples/cluster/*.yaml`, applied through the API. Requests are made from a pod's own network namespace
and from the host; names are asked of the cluster's DNS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fairway.cli.clusters import say
from fairway.io.host import netns
from fairway.io.host.statefolder import StateFolder
from fairway.values.errors import FairwayError

EXAMPLES = (Path(__file__).resolve().parents[1] / "examples", Path(__file__).resolve().parents[3] / "examples")
"""In a wheel, and in a clone."""
NAMESPACE = "shop"
READY_SECONDS = 30.0
REQUEST_SECONDS = 3.0
"""Longer than the second after which TCP asks again: the kernel limits how often it says that a port is closed."""
REQUESTS = 6
Json = dict[str, Any]


class DemoError(FairwayError):
    """The demonstration could not be shown; the message says what was waited for."""


class Visit(NamedTuple):
    """Requests to one place."""

    who: str
    namespace: str
    """Of the network that they are made in; empty: the host's."""
    name: str
    """The Service."""
    kind: str
    target: str
    """An address, or a name for the cluster's DNS."""
    port: int
    is_answered: bool = True


class Shop(NamedTuple):
    """The example as it runs."""

    services: dict[str, Json]
    client: Json
    client_namespace: str
    node_address: str
    dns: str


def run(folder: StateFolder) -> int:
    """Show it; exit code 1 when a request did not go as it should."""
    return asyncio.run(_run(folder))


async def _run(folder: StateFolder) -> int:
    from fairway.io.kube.client import ApiClient
    from fairway.io.kube.kubeconfig import Kubeconfig

    connection = Kubeconfig.read([folder.kubeconfig]).connection()
    async with ApiClient(connection, qps=-1.0) as api:
        began = time.monotonic()
        shop = await _open_shop(folder, api)
        say(f"the shop is open after {time.monotonic() - began:.1f} s")
    is_good = await _show_visits(shop)
    is_good = await asyncio.to_thread(_show_path, folder, shop) and is_good
    _show_what_next(shop)
    return 0 if is_good else 1


# -- the objects


async def _open_shop(folder: StateFolder, api: Any) -> Shop:
    """Apply the objects, and wait until all that they ask for is there."""
    for document in _documents():
        await _apply(api, document)
    settings = folder.settings()
    deployment = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/web"
    await _until(api, deployment, "three web pods", lambda one: one.get("status", {}).get("availableReplicas") == 3)
    pod = f"/api/v1/namespaces/{NAMESPACE}/pods/client"
    client = await _until(api, pod, "the client pod", lambda one: one["status"].get("phase") == "Running")
    service = f"/api/v1/namespaces/{NAMESPACE}/services"
    store = await _until(
        api, f"{service}/store", "a load balancer's address", lambda one: bool(one["status"]["loadBalancer"])
    )
    listed = json.loads(await api.get(service))["items"]
    services = {one["metadata"]["name"]: one for one in (*listed, store)}
    nodes = {node.name: node for node in settings.topology.nodes}
    node = nodes[client["spec"]["nodeName"]]
    return Shop(
        services,
        client,
        f"{node.namespace}-{client['metadata']['uid']}",
        str(settings.topology.nodes[0].addresses[0]),
        str(settings.dns_addresses[0]),
    )


def _documents() -> list[Json]:
    from fairway.kube.yaml import read_yaml

    folder = next((one / "cluster" for one in EXAMPLES if (one / "cluster").is_dir()), EXAMPLES[0] / "cluster")
    texts = [text for path in sorted(folder.glob("*.yaml")) for text in path.read_text().split("\n---\n")]
    return [tree for text in texts if isinstance(tree := read_yaml(text), dict)]


_PLURALS = {"Namespace": "namespaces", "Deployment": "deployments", "Pod": "pods", "Service": "services"}


async def _apply(api: Any, document: Json) -> None:
    """Server-side, so that a second demonstration changes nothing."""
    from fairway.io.kube.client import APPLY_PATCH, object_path

    meta, version = document["metadata"], document["apiVersion"]
    root = f"/{'apis' if '/' in version else 'api'}/{version}/{_PLURALS[document['kind']]}"
    path = object_path(root, meta["name"], meta.get("namespace", ""))
    query = {"fieldManager": "fairway-demo", "force": "true"}
    await api.request("PATCH", path, query, json.dumps(document).encode(), content_type=APPLY_PATCH)


async def _until(api: Any, path: str, what: str, holds: Callable[[Json], bool]) -> Json:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        one: Json = json.loads(await api.get(path))
        if holds(one):
            return one
        if time.monotonic() > deadline:
            raise DemoError(f"{what}: not there after {READY_SECONDS:.0f} s; `fairway kubectl -n {NAMESPACE} get pods`")
        await asyncio.sleep(0.05)


# -- the requests


def visits(shop: Shop) -> list[Visit]:
    """From a pod to everything inside, from the host to what is open to the outside."""
    pod = ("pod client", shop.client_namespace)
    found = [
        Visit(*pod, name, kind, f"{name}.{NAMESPACE}.svc.cluster.local", port, is_answered)
        for name, kind, port, is_answered in (
            ("web", "ClusterIP", 80, True),
            ("cart", "ClusterIP, affinity", 80, True),
            ("pods", "headless", 8080, True),
            ("alias", "ExternalName", 80, True),
            ("idle", "no endpoints", 80, False),
        )
    ]
    api, store = shop.services["api"], shop.services["store"]
    node_port = api["spec"]["ports"][0]["nodePort"]
    balancer = store["status"]["loadBalancer"]["ingress"][0]["ip"]
    return [
        *found,
        Visit("this machine", "", "api", "NodePort", shop.node_address, node_port),
        Visit("this machine", "", "store", "LoadBalancer", balancer, 80),
    ]


async def _show_visits(shop: Shop) -> bool:
    from rich.table import Table

    from fairway.cli.screen import screen

    table = Table(box=None, header_style="bold")
    for title in ("from", "to", "type", "answered by pod web-…"):
        table.add_column(title, no_wrap=True)
    is_good = True
    for one in visits(shop):
        answers = [await asyncio.to_thread(_ask, one, shop.dns) for _ in range(REQUESTS if one.is_answered else 1)]
        is_good = is_good and all(answer.is_ok == one.is_answered for answer in answers)
        counts = Counter(answer.text for answer in answers)
        summary = ", ".join(f"{count}× {text}" for text, count in sorted(counts.items()))
        table.add_row(one.who, f"{one.target}:{one.port}", one.kind, summary)
    screen().print(table)
    return is_good


class _Answer(NamedTuple):
    is_ok: bool
    text: str


def _ask(one: Visit, server: str) -> _Answer:
    """One request on a connection of its own: who answered it."""
    place = netns.entered(one.namespace) if one.namespace else contextlib.nullcontext()
    with place:
        try:
            address = _resolve(one.target, server) if one.namespace else one.target
            with socket.create_connection((address, one.port), REQUEST_SECONDS) as connection:
                return _Answer(True, _get(connection, "/hostname").rpartition("-")[2])
        except TimeoutError:
            return _Answer(False, "no answer")
        except ConnectionRefusedError:
            return _Answer(False, "refused")
        except OSError as error:
            return _Answer(False, os.strerror(error.errno) if error.errno else str(error))


def _get(connection: socket.socket, path: str) -> str:
    connection.sendall(f"GET {path} HTTP/1.0\r\nHost: shop\r\n\r\n".encode())
    answer = b""
    while piece := connection.recv(4096):
        answer += piece
    return answer.rpartition(b"\r\n\r\n")[2].decode().strip()


def _resolve(name: str, server: str) -> str:
    from dns.exception import DNSException, Timeout
    from dns.resolver import Resolver

    asked = Resolver(configure=False)
    asked.nameservers, asked.lifetime = [server], REQUEST_SECONDS
    try:
        return str(next(iter(asked.resolve(name, "A" if ":" not in server else "AAAA"))))
    except Timeout:
        raise OSError("the cluster's DNS does not answer") from None
    except DNSException as error:
        raise OSError(f"the cluster's DNS: {error}") from None


# -- the path, and what comes then


def _show_path(folder: StateFolder, shop: Shop) -> bool:
    """Explained on the node that the client runs on, with what its kernel holds."""
    address = shop.services["web"]["spec"]["clusterIP"]
    question = f"{shop.client['status']['podIP']} -> {address}:80/tcp"
    node = shop.client["spec"]["nodeName"]
    place = f"{folder.settings().name}/{node}"
    command = [sys.executable, "-m", "fairway.cli.main", "explain", "--on", place, question]
    sys.stdout.write(f"\nfairway explain --on {node} '{question}'\n\n")
    sys.stdout.flush()
    return subprocess.run(command, check=False).returncode == 0


def _show_what_next(shop: Shop) -> None:
    web, store = shop.services["web"], shop.services["store"]
    balancer = store["status"]["loadBalancer"]["ingress"][0]["ip"]
    me = "fairway" if shutil.which("fairway") else os.path.relpath(Path(sys.executable).with_name("fairway"))
    sys.stdout.write(
        f"""
The cluster stays up. Try next:
  {me} kubectl get pods,services -A -o wide
  {me} kubectl -n {NAMESPACE} exec client -- curl -s http://web/hostname
  {me} kubectl -n {NAMESPACE} scale deployment web --replicas 5
  curl http://{balancer}/hostname; curl http://{web["spec"]["clusterIP"]}/hostname
  {me} explain --on node-1 'pod/{NAMESPACE}/client -> svc/{NAMESPACE}/cart:http/tcp'
  {me} node exec node-1 -- nft list map ip fairway frontends
  {me} status; {me} down
"""
    )
