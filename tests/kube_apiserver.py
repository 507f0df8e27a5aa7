"""The real kube-apiserver over the real etcd, for tests: started, killed, made to forget, put back to nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fairway.io.kube.connection import BearerToken, Connection, TlsSettings
from peer import peer

TOKEN = "test-token"


class KubeApiserver:
    """One server with its etcd on loopback; everything it writes lies in `folder`."""

    def __init__(self, folder: Path, service_cidrs: str = "10.96.0.0/16", **flags: object) -> None:
        self._folder, self._service_cidrs = folder, service_cidrs
        self._flags = {name.replace("_", "-"): value for name, value in flags.items()}
        self._etcd_port, self._peer_port, self._port = _free_ports(3)
        self._etcd: subprocess.Popen[bytes] | None = None
        self._api: subprocess.Popen[bytes] | None = None
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "sa.key").write_bytes(pem)
        (folder / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')

    @property
    def connection(self) -> Connection:
        """How to reach it, as an administrator."""
        tls = TlsSettings(is_insecure=True)
        return Connection(f"https://127.0.0.1:{self._port}", tls, BearerToken(TOKEN))

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig file's text that says the same."""
        cluster = {"server": self.connection.server, "insecure-skip-tls-verify": True}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": TOKEN}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "c",
            }
        )

    def start(self) -> None:
        """Start both and wait until the server is ready."""
        if self._etcd is None:
            self._start_etcd()
        arguments = {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "secure-port": self._port,
            "bind-address": "127.0.0.1",
            "cert-dir": self._folder / "certificates",
            "service-account-key-file": self._folder / "sa.key",
            "service-account-signing-key-file": self._folder / "sa.key",
            "service-account-issuer": "https://test",
            "service-cluster-ip-range": self._service_cidrs,
            "token-auth-file": self._folder / "tokens.csv",
            "authorization-mode": "RBAC",
            "disable-admission-plugins": "ServiceAccount",
            "shutdown-delay-duration": "0s",
            **self._flags,
        }
        command = [peer("kube-apiserver"), *(f"--{name}={value}" for name, value in arguments.items())]
        with (self._folder / "kube-apiserver.log").open("ab") as log:
            self._api = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait(f"https://127.0.0.1:{self._port}/readyz", self._api, "kube-apiserver.log")

    def kill(self) -> None:
        """End the server as a crash would; etcd goes on."""
        if self._api is not None:
            self._api.send_signal(signal.SIGKILL)
            self._api.wait()
            self._api = None

    def stop(self) -> None:
        """End both."""
        self.kill()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()
            self._etcd = None

    def compact(self) -> None:
        """Make etcd forget its history; a server started after that knows only what is."""
        version = self._etcd_call("range", {"key": "AA=="})["header"]["revision"]  # type: ignore[index]
        self._etcd_call("compaction", {"revision": version, "physical": True})

    def lose_data(self) -> None:
        """Put etcd's data back to nothing; both must be stopped."""
        shutil.rmtree(self._folder / "etcd")

    def _start_etcd(self) -> None:
        client, other = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        arguments = {
            "data-dir": self._folder / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": other,
            "initial-advertise-peer-urls": other,
            "initial-cluster": f"default={other}",
        }
        command = [peer("etcd"), "--unsafe-no-fsync", *(f"--{name}={value}" for name, value in arguments.items())]
        with (self._folder / "etcd.log").open("ab") as log:
            self._etcd = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait(f"{client}/readyz", self._etcd, "etcd.log")

    def _etcd_call(self, name: str, body: dict[str, object]) -> dict[str, object]:
        url = f"http://127.0.0.1:{self._etcd_port}/v3/kv/{name}"
        request = urllib.request.Request(url, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def _wait(self, url: str, process: subprocess.Popen[bytes], log: str) -> None:
        context = ssl._create_unverified_context() if url.startswith("https") else None
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if process.poll() is not None:
                break
            with contextlib.suppress(OSError, urllib.error.URLError):
                urllib.request.urlopen(request, timeout=5, context=context).close()
                return
            time.sleep(0.1)
        raise AssertionError(f"{url} is not ready: {(self._folder / log).read_text()[-2000:]}")


@contextlib.contextmanager
def kube_apiserver(folder: Path, service_cidrs: str = "10.96.0.0/16", **flags: object) -> Iterator[KubeApiserver]:
    """A running server with further flags, ended at the end."""
    server = KubeApiserver(folder, service_cidrs, **flags)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]
