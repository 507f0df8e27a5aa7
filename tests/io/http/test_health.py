"""What /healthz and /livez answer, in the form that kube-proxy 1.36.3 was seen to answer in."""

import asyncio
import json

from fairway.agents.health import ApiContact, FamilyHealth, assess
from fairway.io.http.health import Clock, health_handler
from fairway.io.http.message import Request
from fairway.io.http.server import HttpServer
from fairway.values.address import Address, Family
from http_client import ask

DAY = 1_795_250_763.25  # 2026-11-21T08:46:03.25Z
LOOPBACK = Address.parse("127.0.0.1")


GOOD = FamilyHealth(1.0)


def judge(families, *, eligible=True, api=None):
    return lambda now: assess(families, 60.0, now, is_node_eligible=eligible, api=api)


def answers(health, now):
    handler = health_handler(health, lambda: Clock(now, DAY + now))
    replies = {path: handler(Request.of("GET", path, {}, (LOOPBACK, 1))) for path in ("/healthz", "/livez")}
    return {path: (reply.status, json.loads(reply.body)) for path, reply in replies.items()}


def test_a_healthy_proxy_on_an_eligible_node():
    got = answers(judge({Family.IPV4: GOOD, Family.IPV6: FamilyHealth()}), 2.0)
    alive = {
        "lastUpdated": "2026-11-21T08:46:05.250000Z",
        "currentTime": "2026-11-21T08:46:05.250000Z",
        "healthy": True,
        "status": {
            "IPv4": {"lastUpdated": "2026-11-21T08:46:04.250000Z", "healthy": True},
            "IPv6": {"lastUpdated": "0001-01-01T00:00:00Z", "healthy": True},
        },
    }
    assert got == {"/healthz": (200, alive | {"nodeEligible": True}), "/livez": (200, alive)}
    assert list(got["/healthz"][1]) == ["lastUpdated", "currentTime", "nodeEligible", "healthy", "status"]


def test_a_leaving_node_fails_healthz_only_and_shows_when_it_was_really_updated():
    got = answers(judge({Family.IPV4: GOOD}, eligible=False), 2.0)
    assert (got["/healthz"][0], got["/livez"][0]) == (503, 200)
    assert got["/healthz"][1]["lastUpdated"] == "2026-11-21T08:46:04.250000Z"
    assert got["/healthz"][1]["nodeEligible"] is False
    assert got["/healthz"][1]["healthy"] is True


def test_a_proxy_that_cannot_write_fails_both():
    got = answers(judge({Family.IPV4: GOOD._replace(waiting_since=2.0)}), 62.0)
    assert {path: status for path, (status, _) in got.items()} == {"/healthz": 503, "/livez": 503}


def test_a_stale_api_server_is_shown():
    status, body = answers(judge({Family.IPV4: GOOD}, api=ApiContact(0.0, True)), 100.0)["/healthz"]
    assert (status, body["apiServer"]) == (200, {"lastContact": "2026-11-21T08:46:03.250000Z", "stale": True})


def test_statuses_are_counted_and_other_paths_are_not_there():
    counted = []
    handler = health_handler(
        judge({Family.IPV4: GOOD}, eligible=False),
        lambda: Clock(0.0, DAY),
        healthz=lambda status: counted.append(("healthz", status)),
        livez=lambda status: counted.append(("livez", status)),
    )

    async def go():
        server = HttpServer(handler)
        _, port = await server.listen(LOOPBACK, 0)
        try:
            return [(await ask(port, path, method=method)).status for path, method in ASKED]
        finally:
            server.close_all()

    assert asyncio.run(go()) == [503, 503, 200, 404]
    assert counted == [("healthz", 503), ("healthz", 503), ("livez", 200)]


ASKED = (("/healthz", "GET"), ("/healthz", "HEAD"), ("/livez", "POST"), ("/", "GET"))
