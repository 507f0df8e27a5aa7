"""The metrics server's paths over real loopback connections."""

import asyncio
import contextlib
import json

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from fairway.agents.metrics import ProxyMetrics
from fairway.config.proxy import Mode, configz, load
from fairway.io.http.metrics import Facts, add_process_metrics, metrics_handler
from fairway.io.http.server import HttpServer
from fairway.values.address import Address, Family
from http_client import LOOPS, ask


@contextlib.asynccontextmanager
async def running(*, with_profiling=False, before_scrape=lambda: None):
    settings = load(None).settings
    metrics = ProxyMetrics(settings.mode, Family, "1.2.3")
    add_process_metrics(metrics.registry)
    facts = Facts(
        registry=metrics.registry,
        mode=lambda: settings.mode.value,
        configz=lambda: configz(settings),
        flags=lambda: {"v": "4", "config": "/x"},
        version="1.2.3",
        before_scrape=before_scrape,
    )
    server = HttpServer(metrics_handler(facts, with_profiling=with_profiling))
    _, port = await server.listen(Address.parse("127.0.0.1"), 0)
    try:
        yield port
    finally:
        server.close_all()


def get(path, *, with_profiling=False, **headers):
    async def go():
        async with running(with_profiling=with_profiling) as port:
            return await ask(port, path, **headers)

    return asyncio.run(go())


def test_metrics_are_prometheus_text_with_process_metrics_once():
    reply = get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = [family.name for family in text_string_to_metric_families(reply.text)]
    assert len(names) == len(set(names))
    assert {"process_resident_memory_bytes", "kubeproxy_sync_proxy_rules_duration_seconds"} <= set(names)


def test_metrics_are_openmetrics_when_asked_for():
    reply = get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
    assert reply.text.endswith("# EOF\n")
    assert "fairway_transactions" in {family.name for family in openmetrics(reply.text)}


def test_gauges_are_set_before_a_scrape():
    scrapes = []

    async def go():
        async with running(before_scrape=lambda: scrapes.append(1)) as port:
            await ask(port, "/metrics")
            await ask(port, "/healthz")

    asyncio.run(go())
    assert scrapes == [1]


@pytest.mark.parametrize(
    ("path", "text"), [("/healthz", "ok"), ("/proxyMode", "nftables"), ("/nope", "404 page not found\n")]
)
def test_plain_answers_are_kube_proxys(path, text):
    assert get(path).text == text


def test_configz_reads_back_as_the_configuration_in_effect():
    body = get("/configz").json
    assert list(body) == ["kubeproxy.config.k8s.io"]
    assert load(json.dumps(body["kubeproxy.config.k8s.io"])).settings == load(None).settings
    assert body["kubeproxy.config.k8s.io"]["mode"] == Mode.NFTABLES.value


def test_flagz_and_statusz_tell_what_runs():
    assert get("/flagz").text.endswith("config:/x\nv:4\n")
    status = get("/statusz").text
    assert "Binary version= 1.2.3\n" in status
    assert "Paths= /configz /flagz /healthz /metrics /proxyMode /statusz\n" in status


@pytest.mark.parametrize("path", ["/debug/pprof/", "/debug/pprof/profile", "/debug/pprof/heap"])
def test_profiles_are_not_served_unless_asked_for(path):
    assert get(path).status == 404


@pytest.mark.parametrize("loop", LOOPS)
def test_a_profile_shows_what_is_busy_as_folded_stacks(loop):
    async def go():
        async with running(with_profiling=True) as port:
            asking = asyncio.create_task(ask(port, "/debug/pprof/profile?seconds=0.5"))
            while not asking.done():
                spin()
                await asyncio.sleep(0)
            return await asking

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        lines = runner.run(go()).text.splitlines()
    assert any(";" in line and f"{__name__}.spin " in line for line in lines)


def spin():
    total = 0
    for number in range(20000):
        total += number
    return total


def test_only_one_profile_is_taken_at_a_time():
    async def go():
        async with running(with_profiling=True) as port:
            path = "/debug/pprof/profile?seconds=0.3"
            return sorted([reply.status for reply in await asyncio.gather(ask(port, path), ask(port, path))])

    assert asyncio.run(go()) == [200, 409]


def test_a_heap_profile_shows_what_was_allocated_and_held():
    held = []

    async def go():
        async with running(with_profiling=True) as port:
            asking = asyncio.create_task(ask(port, "/debug/pprof/heap?seconds=0.3"))
            while not asking.done():
                held.append(bytearray(1000))
                await asyncio.sleep(0.001)
            return await asking

    assert f"{__file__}:" in asyncio.run(go()).text


@pytest.mark.parametrize("path", ["/debug/pprof/tasks", "/debug/pprof/threads", "/debug/pprof/goroutine"])
def test_what_is_being_waited_for_is_shown(path):
    assert "ask" in get(path, with_profiling=True).text


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan", "1e9"])
def test_a_senseless_time_is_refused(seconds):
    assert get(f"/debug/pprof/profile?seconds={seconds}", with_profiling=True).status == 400
