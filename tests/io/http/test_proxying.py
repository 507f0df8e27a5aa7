"""services/proxy, pods/proxy and nodes/proxy, and who may ask a node."""

from __future__ import annotations

import asyncio
import json
import ssl
from datetime import UTC, datetime
from pathlib import Path

from api_world import World
from fairway.io.http.certificates import issue
from stream_world import PODS, Cluster, on_cluster, put_pod, site


def test_service_proxy_reaches_a_ready_endpoint(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        line = request.split(b"\r\n")[0]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(line), line))
        writer.close()

    async def check(cluster: Cluster) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        world = cluster.world
        world.ok(
            "POST",
            "/api/v1/namespaces/default/services",
            {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}},
        )
        labels = {"kubernetes.io/service-name": "s"}
        made = {"metadata": {"name": "s-1", "labels": labels}, "addressType": "IPv4", "ports": [{"port": port}]}
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        world.ok("POST", slices, {**made, "endpoints": [{"addresses": ["192.0.2.1"]}]})
        # The validity of addresses is not this test's concern: loopback is what a test may connect to.
        stored = world.server.read("endpointslices.discovery.k8s.io", "default/s-1")
        assert stored is not None
        stored["endpoints"][0]["addresses"] = ["127.0.0.1"]
        world.server.write("endpointslices.discovery.k8s.io", "default/s-1", stored, 0.0)
        world.commit()
        reader, writer = await cluster.connect()
        path = "/api/v1/namespaces/default/services/s:80/proxy/some/path?x=1"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b"GET /some/path?x=1 HTTP/1.1")
        writer.close()
        server.close()

    on_cluster(tmp_path, check)


def test_service_without_endpoints_is_503(tmp_path: Path) -> None:
    world = World()
    world.ok(
        "POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    )

    code, answer = world.call("GET", "/api/v1/namespaces/default/services/s:80/proxy/")

    assert (code, answer["message"]) == (503, 'no endpoints available for service "s:80"')


def test_node_that_is_down_is_named_in_kube_apiservers_words(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        await cluster.kubelet.close()
        at = f"127.0.0.1:{cluster.node_port}"
        refused = f"dial tcp {at}: connect: connection refused"
        _, _, body = await cluster.ask(f"{PODS}/p/log")
        assert json.loads(body)["message"] == f'Get "https://{at}/containerLogs/default/p/c": {refused}'
        _, _, body = await cluster.ask(f"{PODS}/p/exec?command=id&stdout=1", "POST")
        assert json.loads(body)["message"] == f"error dialing backend: {refused}"
        code, _, body = await cluster.ask("/api/v1/nodes/n/proxy/healthz")
        assert (code, json.loads(body)["message"]) == (503, f"error trying to reach service: {refused}")

    on_cluster(tmp_path, check)


def test_node_proxy_reaches_the_nodes_own_pages(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        assert (await cluster.ask("/api/v1/nodes/n/proxy/healthz"))[::2] == (200, "ok")
        _, _, body = await cluster.ask(f"/api/v1/nodes/n:{cluster.node_port}/proxy/pods")
        assert json.loads(body)["items"] == [{"metadata": {"name": "p"}}]
        _, _, body = await cluster.ask("/api/v1/nodes/n/proxy/metrics")
        assert "kubelet_running_pods 1" in body.splitlines()
        code, _, body = await cluster.ask("/api/v1/nodes/n/proxy/run/default/p/c?cmd=echo+hello", "POST")
        assert (code, body) == (200, "hello\n")
        assert (await cluster.ask("/api/v1/nodes/missing/proxy/healthz"))[0] == 404

    on_cluster(tmp_path, check)


async def ask_node(cluster: Cluster, context: ssl.SSLContext, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.node_port, ssl=context)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def test_node_answers_nobody_without_the_clusters_certificate(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        context = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        answer = await ask_node(cluster, context, "/containerLogs/default/p/c")
        assert answer.startswith(b"HTTP/1.1 401 ")

    on_cluster(tmp_path, check)


def test_node_answers_no_other_node(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        other = issue(cluster.authority.ca, ("system:node:other", "system:nodes"), (), datetime.now(UTC))
        (tmp_path / "other.pem").write_text(other.certificate + other.key)
        context = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
        context.load_cert_chain(tmp_path / "other.pem")
        answer = await ask_node(cluster, context, "/pods")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Forbidden (user=system:node:other, verb=get" in answer

    on_cluster(tmp_path, check)


def test_proxied_page_has_its_links_lead_through_the_proxy(tmp_path: Path) -> None:
    page = b'<p>&amp <A HREF="/a?b=1">x</A> <a href="rel">y</a> <a href="http://other/z">z</a> <img src=/i.png /></p>'

    async def check(cluster: Cluster) -> None:
        async with site(page, "Content-Type: text/html; charset=utf-8") as port:
            put_pod(cluster, "proxy-1", port)
            _, head, body = await cluster.ask(f"{PODS}/proxy-1/proxy/")
        via = f"{PODS}/proxy-1/proxy"
        assert body == page.decode().replace('<A HREF="/a?b=1">', f'<a href="{via}/a?b=1">').replace(
            "<img src=/i.png />", f'<img src="{via}/i.png"/>'
        )
        assert f"Content-Length: {len(body)}" in head

    on_cluster(tmp_path, check)


def test_proxied_redirect_leads_through_the_proxy(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        async with site(b"", "Location: /next") as port:
            put_pod(cluster, "web", port)
            _, head, _ = await cluster.ask(f"{PODS}/http:web:web/proxy/there")
        assert f"Location: {PODS}/http:web:web/proxy/next" in head

    on_cluster(tmp_path, check)


def test_proxy_without_a_path_redirects_to_its_root(tmp_path: Path) -> None:
    async def check(cluster: Cluster) -> None:
        put_pod(cluster, "web", 9)
        code, head, _ = await cluster.ask(f"{PODS}/web/proxy?method=GET")
        assert code == 301
        assert f"Location: {PODS}/web/proxy/?method=GET" in head

    on_cluster(tmp_path, check)
