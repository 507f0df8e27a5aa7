"""A node's own API, as a kubelet serves it: logs, exec, attach and port-forward of its pods, for the API server.

Decides who may ask: the API server by its certificate, and the cluster's admins. Paths, options and refusals are the
kubelet's (k8s.io/kubernetes/pkg/kubelet/server), so that a real kube-apiserver works with it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fairway.apiserver.request import Answer, Request, Response, Upgrade, User
from fairway.io.http.certificates import KUBELET_CLIENT
from fairway.io.http.connection import TOO_LARGE, Connection, StreamTasks
from fairway.io.http.duplex import Duplex
from fairway.io.http.streams import PodStreams, Presence, Streams, Target
from fairway.values.errors import FairwayError

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"


class KubeletServer:
    """Serves one node. `pods` gives its pods as they are now."""

    def __init__(self, streams: PodStreams, pods: Callable[[], Sequence[Any]]) -> None:
        self._pod_streams, self._pods = streams, pods
        self.connections: set[Connection] = set()
        self._streams = StreamTasks(Streams(streams))
        self._running: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    async def listen(self, address: str, port: int, tls: ssl.SSLContext) -> int:
        """Serve on one address; returns the port. Raises FairwayError when it is taken."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            listener = socket.create_server((address, port), family=family)
        except OSError as error:
            raise FairwayError(f"the node's API cannot listen on {address} port {port}: {error.strerror}") from None
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(lambda: Connection(self), sock=listener, ssl=tls))
        return int(listener.getsockname()[1])

    async def close(self) -> None:
        """Listen no more, end what runs."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._streams.cancel()
        for task in tuple(self._running):
            task.cancel()
        for connection in tuple(self.connections):
            connection.close()
        await asyncio.sleep(0)

    # -- Host

    def serve(self, connection: Connection, request: Request, certificate: User | None) -> None:
        answer = self._refusal(request, certificate) or self._answer(request)
        if answer is not None:
            connection.finish(answer)
            return
        task = asyncio.ensure_future(self._run(connection, request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def open_stream(self, connection: Connection, upgrade: Upgrade, duplex: Duplex) -> None:
        self._streams.begin(connection, upgrade, duplex)

    def _refusal(self, request: Request, user: User | None) -> Response | None:
        if user is None:
            return _text(401, "Unauthorized")
        if user.name != KUBELET_CLIENT and "system:masters" not in user.groups:
            verb = {"GET": "get", "POST": "create"}.get(request.method, request.method.lower())
            words = f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[proxy])\n"
            return _text(403, words)
        if TOO_LARGE in request.query:
            return _text(413, "Request Entity Too Large")
        return None

    def _answer(self, request: Request) -> Answer | None:
        """None for what takes time."""
        kind, *parts = request.path.strip("/").split("/")
        match kind, len(parts):
            case "healthz", 0:
                return _text(200, "ok")
            case "pods", 0:
                body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(self._pods())}
                return Response(200, msgspec.json.encode(body))
            case "metrics", 0:
                return Response(200, self._metrics().encode(), "text/plain; version=0.0.4; charset=utf-8")
            case "run", 3 | 4:
                return None
            case "portForward", 2 | 3:
                return Upgrade("portforward", parts[0], parts[1], request, uid="".join(parts[2:]))
            case "containerLogs", 3:
                return Upgrade("log", parts[0], parts[1], request, parts[2])
            case "exec" | "attach", 3 | 4:
                return Upgrade(kind, parts[0], parts[1], request, parts[-1], "".join(parts[2:-1]))
        return _text(404, "404 page not found\n")

    def _metrics(self) -> str:
        pods = self._pods()
        lines = [
            "# HELP kubelet_running_pods Number of pods that have a running pod sandbox",
            "# TYPE kubelet_running_pods gauge",
            f"kubelet_running_pods {len(pods)}",
        ]
        return "\n".join([*lines, ""])

    async def _run(self, connection: Connection, request: Request) -> None:
        """A command without a terminal; what it said is the answer (kubelet's `/run`)."""
        _, namespace, pod, *uid, container = request.path.strip("/").split("/")
        target = Target(namespace, pod, container, "".join(uid))
        if self._pod_streams.presence(target) is Presence.NO_POD:
            connection.finish(_text(404, "pod does not exist"))
            return
        listener = _Listener()
        try:
            await self._pod_streams.run(target, tuple(request.first("cmd").split(" ")), listener, tty=False)
        except OSError as error:
            connection.finish(_text(500, str(error)))
        else:
            connection.finish(Response(200, b"".join(listener.said)))


class _Listener:
    """A terminal that nobody types on."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    async def read(self) -> bytes:
        return b""

    async def write(self, data: bytes, *, stderr: bool = False) -> None:
        self.said.append(data)

    async def resized(self) -> tuple[int, int]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("never resized")


def _text(code: int, words: str) -> Response:
    return Response(code, words.encode(), _TEXT)
