"""Health check node ports: one HTTP answer per Service, on ports that come and go (rule 19 of proxy semantics).

A load balancer asks a node's port whether the node has backends of one Service. Agents say what is wanted; this
module listens, tries ports again that are taken, and answers. Which Services have such a port, and how many local
endpoints they have, is the plan's decision.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fairway.io.http.message import Answer, Request
from fairway.io.http.server import HttpServer, ListenError
from fairway.plan.model import HealthCheck
from fairway.reconcile.backoff import Backoff
from fairway.values.address import Address
from fairway.values.names import ObjectName

FAILED = "FailedToStartServiceHealthcheck"
"""The reason of the event on the Service; the message is kube-proxy's too."""

Report = Callable[[ObjectName, str, str], None]
"""Service, reason, message: for an event of type Warning."""


class Place(NamedTuple):
    """Where one Service's port is served."""

    address: Address
    port: int


class ServiceHealthServers:
    """The health check node ports of one IP family, as each family counts its own endpoints."""

    def __init__(self, node: str, is_healthy: Callable[[], bool], report: Report) -> None:
        self._node = node
        self._is_healthy = is_healthy
        self._report = report
        self._wanted: dict[ObjectName, HealthCheck] = {}
        self._owners: dict[int, list[ObjectName]] = {}
        """Port → Services that want it; the first one has it."""
        self._addresses: tuple[Address, ...] = ()
        self._server = HttpServer(self._answer)
        self._failed: dict[Place, str] = {}
        self._told: dict[ObjectName, tuple[int, str]] = {}
        self._backoff = Backoff(first=1.0, most=30.0)
        self._work = asyncio.Event()
        self._is_settled = asyncio.Event()
        self._is_settled.set()

    def want(self, service: ObjectName, check: HealthCheck | None) -> None:
        """What a Service wants from now on; None for no port."""
        before = self._wanted.pop(service, None)
        if check is not None:
            self._wanted[service] = check
        before_port, port = before.port if before else 0, check.port if check else 0
        if before_port == port:
            return
        if before_port:
            self._owners[before_port].remove(service)
        if port:
            self._owners.setdefault(port, []).append(service)
        self._wake()

    def set_addresses(self, addresses: Iterable[Address]) -> None:
        """Where to listen: the node's addresses, or the unspecified one for all of them."""
        chosen = tuple(sorted(set(addresses)))
        if chosen != self._addresses:
            self._addresses = chosen
            self._wake()

    @property
    def open(self) -> frozenset[tuple[Address, int]]:
        """Where it listens."""
        return self._server.open

    @property
    def failed(self) -> dict[Place, str]:
        """Where it cannot, and why; tried again with growing delays."""
        return dict(self._failed)

    async def run(self) -> None:
        """Open and close ports as wanted until cancelled."""
        try:
            while True:
                await self._settle()
                await self._wait()
        finally:
            self._server.close_all()

    async def settled(self) -> None:
        """Return when everything wanted so far was tried."""
        await self._is_settled.wait()

    def _wake(self) -> None:
        self._is_settled.clear()
        self._work.set()

    async def _wait(self) -> None:
        """For a change, or for the time to try again."""
        delay = self._backoff.failed(random.random()) if self._failed else None  # noqa: S311
        if not self._failed:
            self._backoff.succeeded()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._work.wait(), delay)

    async def _settle(self) -> None:
        self._work.clear()
        wanted = {
            Place(address, port) for port, owners in self._owners.items() if owners for address in self._addresses
        }
        for place in self._server.open - wanted:
            self._server.close(*place)
        self._owners = {port: owners for port, owners in self._owners.items() if owners}
        self._failed = {place: why for place, why in self._failed.items() if place in wanted}
        for place in sorted(wanted - self._server.open):
            await self._open(place)
        self._tell_failures()
        if not self._work.is_set():
            self._is_settled.set()

    async def _open(self, place: Place) -> None:
        try:
            await self._server.listen(place.address, place.port)
        except ListenError as error:
            self._failed[place] = str(error)
        else:
            self._failed.pop(place, None)

    def _tell_failures(self) -> None:
        """Each Service's trouble, once and not for each try."""
        told: dict[ObjectName, tuple[int, str]] = {}
        for (_, port), why in sorted(self._failed.items(), reverse=True):
            told[self._owners[port][0]] = (port, why)
        for port, (owner, *others) in self._owners.items():
            for service in others:
                told[service] = (port, f"{owner} has this port")
        for service, (port, why) in told.items():
            if self._told.get(service) != (port, why):
                message = f'node {self._node} failed to start healthcheck "{service}" on port {port}: {why}'
                self._report(service, FAILED, message)
        self._told = told

    def _answer(self, request: Request) -> Answer:
        """Any path and method, as in kube-proxy."""
        owners = self._owners.get(request.local[1])
        if not owners:
            return Answer.text(404, "404 page not found\n")
        return health_check_answer(self._wanted[owners[0]], is_healthy=self._is_healthy())


def health_check_answer(check: HealthCheck, *, is_healthy: bool) -> Answer:
    """200 when this node has local ready endpoints and its proxy is healthy; kube-proxy's body and headers."""
    count = check.local_endpoints
    body = {
        "service": {"namespace": check.service.namespace, "name": check.service.name},
        "localEndpoints": count,
        "serviceProxyHealthy": is_healthy,
    }
    weight = (("X-Load-Balancing-Endpoint-Weight", str(count)),)
    return Answer(
        200 if count and is_healthy else 503, json.dumps(body, indent="\t").encode(), "application/json", weight
    )
