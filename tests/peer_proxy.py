"""A proxy program (ours, or kube-proxy) as a process in this thread's network namespace, fed by a fake API server."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import netns
from fake_api import FakeApi
from fake_storage import NODES, SERVICES, SLICES
from http_client import Reply

FAIRWAY = (str(Path(sys.executable).with_name("fairway")), "proxy")
NODE, NODE_IP = "node-a", "192.168.0.2"
SECONDS = 20.0


def node(**more: Any) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": NODE_IP}]
    metadata = {"name": NODE, "uid": "n1", **more.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": more, "status": {"addresses": addresses}}


def load_balancer(port: int) -> dict[str, Any]:
    """A Service with a health check node port."""
    spec = {
        "type": "LoadBalancer",
        "clusterIP": "172.30.0.1",
        "clusterIPs": ["172.30.0.1"],
        "ipFamilies": ["IPv4"],
        "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Cluster",
        "sessionAffinity": "None",
        "healthCheckNodePort": port,
        "ports": [{"name": "p", "port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": 80}],
    }
    status = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}
    meta = {"name": "lb", "namespace": "ns1", "uid": "s1"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, "status": status}


def endpoints(*local: str) -> dict[str, Any]:
    """Its endpoints, all on this node."""
    ready = {"ready": True, "serving": True, "terminating": False}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "lb-1", "namespace": "ns1", "labels": {"kubernetes.io/service-name": "lb"}},
        "addressType": "IPv4",
        "ports": [{"name": "p", "port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": [a], "nodeName": NODE, "conditions": ready} for a in local],
    }


def config(kubeconfig: Path, **more: Any) -> dict[str, Any]:
    """A KubeProxyConfiguration that leaves the host's connection tracking alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE,
        "clusterCIDR": "10.0.0.0/8",
        "clientConnection": {"kubeconfig": str(kubeconfig), "contentType": "application/json"},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        **more,
    }


class ProxyProcess:
    """One running proxy and the API server that feeds it."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.log = folder / "log"
        self.kubeconfig = folder / "kubeconfig"

    def write_config(self, **more: Any) -> None:
        """Replace the configuration file in one step."""
        new = self.folder / "config.new"
        new.write_text(json.dumps(config(self.kubeconfig, **more)))
        new.rename(self.folder / "config")

    def ask(self, port: int, path: str, host: str = "127.0.0.1", method: str = "GET") -> Reply:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is so; not being answered counts as not yet."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass
            assert time.monotonic() < end, f"not so after {SECONDS:.0f} s; the log:\n{self.log.read_text()}"
            time.sleep(0.02)

    def status(self, port: int, path: str, host: str = "127.0.0.1") -> int | None:
        """The status, or None when nobody listens."""
        try:
            return self.ask(port, path, host).status
        except ConnectionRefusedError:
            return None


def _kubeconfig(url: str) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }


@contextmanager
def proxy_process(
    folder: Path, command: tuple[str, ...] = FAIRWAY, before: Callable[[FakeApi], None] = lambda _: None, **more: Any
) -> Iterator[ProxyProcess]:
    """A proxy in a network namespace of its own, with one load balancer Service of two local endpoints.

    `before` is done to the API server before the proxy starts; `more` goes into the configuration file.
    """
    with netns.private(), FakeApi() as api:
        netns.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        netns.run("ip", "address", "add", f"{NODE_IP}/24", "dev", "v0")
        netns.run("ip", "link", "set", "v0", "up")
        netns.run("ip", "route", "add", "default", "dev", "v0")
        api.put(NODES, node())
        api.put(SERVICES, load_balancer(30010))
        api.put(SLICES, endpoints("10.0.0.1", "10.0.0.2"))
        proxy = ProxyProcess(api, folder)
        proxy.kubeconfig.write_text(json.dumps(_kubeconfig(api.url)))
        proxy.write_config(**more)
        before(api)
        with proxy.log.open("wb") as log:
            process = subprocess.Popen([*command, "--config", str(folder / "config")], stdout=log, stderr=log)
        try:
            yield proxy
        finally:
            process.terminate()
            process.wait(20)
