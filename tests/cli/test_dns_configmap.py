"""`fairway dns --configmap`: the Corefile is an object, and a change of it is taken as soon as it is written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest

from dns_beside import free_port
from fake_api import FakeApi
from fake_storage import CONFIG_MAPS

FAIRWAY = Path(sys.executable).with_name("fairway")


def config_map(corefile: str) -> dict[str, Any]:
    meta = {"name": "coredns", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"Corefile": corefile}}


class Served:
    """An API server with the ConfigMap, and a server that reads it."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api, self.port = api, free_port()
        self.write("10.0.0.1")
        kubeconfig = folder / "kubeconfig"
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        config = {
            "clusters": [{"name": "c", "cluster": {"server": api.url}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [context],
            "current-context": "x",
        }
        kubeconfig.write_text(json.dumps(config))
        self.command = [FAIRWAY, "dns", "--configmap", "kube-system/coredns", "--kubeconfig", str(kubeconfig)]
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def write(self, address: str) -> None:
        self.api.put(CONFIG_MAPS, config_map(self.corefile(address)))

    def corefile(self, address: str) -> str:
        return f".:{self.port} {{\n bind 127.0.0.1\n hosts {{\n  {address} a.test\n }}\n}}\n"

    def answers(self, address: str) -> bool:
        try:
            query = dns.message.make_query("a.test.", "A")
            return address in str(dns.query.udp(query, "127.0.0.1", port=self.port, timeout=1).answer)
        except (OSError, dns.exception.Timeout):
            return False


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with FakeApi() as api:
        one = Served(api, tmp_path)
        try:
            api.wait_for(lambda: one.answers("10.0.0.1"))
            yield one
        finally:
            one.process.kill()
            one.process.communicate()


def test_a_changed_configmap_is_taken_at_once_and_a_bad_one_is_not(served: Served) -> None:
    served.write("10.0.0.2")
    served.api.wait_for(lambda: served.answers("10.0.0.2"))
    served.api.put(CONFIG_MAPS, config_map(".:53 {\n nonsense\n}\n"))
    served.api.put(CONFIG_MAPS, config_map(served.corefile("10.0.0.3")))
    served.api.wait_for(lambda: served.answers("10.0.0.3"))
    served.api.delete(CONFIG_MAPS, "coredns", "kube-system")
    assert served.answers("10.0.0.3")


def test_without_the_configmap_the_start_ends_and_says_why(served: Served) -> None:
    command = [*served.command[:2], "--configmap", "kube-system/other", *served.command[4:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "ConfigMap kube-system/other: it does not exist, or has no key Corefile" in done.stderr
