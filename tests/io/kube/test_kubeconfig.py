"""kubeconfig files found, merged and read as kubectl does; every error names file, field and value."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fairway.io.kube.connection import BasicAuth, BearerToken, Connection, ExecPlugin, TokenFile
from fairway.io.kube.kubeconfig import in_cluster, load_connection
from fairway.values.errors import ConfigError


def write(path: Path, text: str | dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


def config(
    cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, name: str = "c", **context: str
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": "https://10.0.0.1:6443", **(cluster or {})}}],
        "users": [{"name": name, "user": user or {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, **context}}],
        "current-context": name,
    }


def load(path: Path, **more: Any) -> Connection:
    return load_connection(str(path), environ={}, **more)


def test_kubectl_style_yaml_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "kc",
        """
apiVersion: v1
kind: Config
preferences: {}
current-context: dev
clusters:
- name: dev
  cluster:
    server: https://api.example:6443/k8s/clusters/c-1/
    certificate-authority-data: Q0E=
    tls-server-name: kubernetes
    extensions:
    - name: anything
      extension: {x: 1}
contexts:
- name: dev
  context: {cluster: dev, user: me, namespace: shop}
users:
- name: me
  user: {token: secret}
""",
    )
    made = load(path)
    assert made.server == "https://api.example:6443/k8s/clusters/c-1"
    assert made.identity == BearerToken("secret")
    assert made.tls.authorities is not None
    assert made.tls.authorities.read() == b"CA"
    assert made.tls.server_name == "kubernetes"
    assert made.namespace == "shop"
    assert made.origin == str(path)
    assert "secret" not in repr(made)


def test_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "ca.crt", "CA")
    cluster = {"certificate-authority": "ca.crt"}
    user = {"client-certificate": "../me.crt", "client-key": "/abs/me.key", "tokenFile": "t"}
    made = load(write(tmp_path / "deep" / "kc", config(cluster, user)))
    assert made.tls.authorities is not None
    assert made.tls.authorities.read() == b"CA"
    assert made.tls.certificate is not None
    assert made.tls.certificate.path == tmp_path / "deep" / "../me.crt"
    assert made.tls.key is not None
    assert made.tls.key.path == Path("/abs/me.key")
    assert made.identity == TokenFile(tmp_path / "deep" / "t", f"{tmp_path}/deep/kc: users[0].user.tokenFile")


def test_first_file_of_a_list_wins_entry_by_entry(tmp_path: Path) -> None:
    one = config({"server": "https://one"}, {"token": "one"}, name="a")
    one["current-context"] = ""
    two = config({"server": "https://two"}, {"token": "two"}, name="a")
    two["clusters"].append({"name": "b", "cluster": {"server": "https://b"}})
    two["contexts"].append({"name": "b", "context": {"cluster": "b", "user": "a"}})
    two["current-context"] = "b"
    listed = f"{write(tmp_path / '1', one)}:{tmp_path / 'missing'}:{write(tmp_path / '2', two)}"
    made = load_connection(environ={"KUBECONFIG": listed})
    assert (made.server, made.identity) == ("https://b", BearerToken("one"))
    made = load_connection(environ={"KUBECONFIG": listed}, context="a")
    assert made.server == "https://one"


def test_named_file_beats_the_list_and_the_list_beats_the_pod_and_the_pod_beats_home(tmp_path: Path) -> None:
    named = write(tmp_path / "named", config({"server": "https://named"}))
    listed = write(tmp_path / "listed", config({"server": "https://listed"}))
    write(tmp_path / "home" / ".kube" / "config", config({"server": "https://home"}))
    environ = {"KUBECONFIG": str(listed), "HOME": str(tmp_path / "home")}
    assert load_connection(str(named), environ=environ).server == "https://named"
    assert load_connection(environ=environ).server == "https://listed"
    assert load_connection(environ={"HOME": str(tmp_path / "home")}).server == "https://home"
    with pytest.raises(ConfigError, match=r"in-cluster: .*token: no such file"):
        load_connection(environ={"HOME": str(tmp_path / "home"), "KUBERNETES_SERVICE_HOST": "10.96.0.1"})


def test_master_replaces_the_server_and_needs_no_file(tmp_path: Path) -> None:
    path = write(tmp_path / "kc", config(user={"token": "t"}))
    made = load(path, master="http://127.0.0.1:8080")
    assert (made.server, made.identity) == ("http://127.0.0.1:8080", BearerToken("t"))
    assert load_connection(master="127.0.0.1:8080", environ={}).server == "http://127.0.0.1:8080"
    assert load(write(tmp_path / "e", "{}"), master="https://x").server == "https://x"


def test_nothing_to_talk_to_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"no API server to talk to: .*{tmp_path}/.kube/config does not exist"):
        load_connection(environ={"HOME": str(tmp_path)})


def test_null_sections_mean_none(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Config\nclusters: null\nusers: null\ncontexts: null\ncurrent-context: ''\n"
    with pytest.raises(ConfigError, match="current-context: empty, and no context was named"):
        load(write(tmp_path / "kc", text))


def test_anonymous_and_plain_http(tmp_path: Path) -> None:
    made = load(write(tmp_path / "kc", config({"server": "http://127.0.0.1:18001"})))
    assert made.identity is None
    assert made.server == "http://127.0.0.1:18001"


def test_basic_auth_and_impersonation(tmp_path: Path) -> None:
    user = {
        "username": "u",
        "password": "p",
        "as": "jane",
        "as-uid": "7",
        "as-groups": ["a", "b"],
        "as-user-extra": {"x": ["1", "2"]},
    }
    made = load(write(tmp_path / "kc", config(user=user)))
    assert made.identity == BasicAuth("u", "p")
    assert made.impersonate == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-x", "1"),
        ("Impersonate-Extra-x", "2"),
    )


def test_exec_plugin_with_all_its_fields(tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./bin/login",
        "args": ["--a", "b"],
        "env": [{"name": "X", "value": "1"}],
        "installHint": "get it",
        "provideClusterInfo": True,
        "interactiveMode": "Never",
    }
    extension = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "me"}}]
    path = write(tmp_path / "kc", config({"extensions": extension}, {"exec": plugin}))
    assert load(path).identity == ExecPlugin(
        f"{path}: users[0].user.exec",
        "client.authentication.k8s.io/v1",
        str(tmp_path / "bin/login"),
        ("--a", "b"),
        {"X": "1"},
        "get it",
        True,
        "Never",
        {"audience": "me"},
    )


def test_exec_command_without_a_slash_is_left_to_the_path(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws"}
    made = load(write(tmp_path / "kc", config(user={"exec": plugin})))
    assert isinstance(made.identity, ExecPlugin)
    assert (made.identity.command, made.identity.interactive_mode) == ("aws", "IfAvailable")


V1 = {"apiVersion": "client.authentication.k8s.io/v1", "command": "x", "interactiveMode": "Never"}


@pytest.mark.parametrize(
    ("cluster", "user", "error"),
    [
        ({"server": ""}, {}, "clusters[0].cluster.server: empty: the API server's URL is expected"),
        ({"server": "ftp://x"}, {}, "clusters[0].cluster.server: 'ftp://x' is no URL of an API server"),
        ({"server": "https://x:99999"}, {}, "clusters[0].cluster.server: 'https://x:99999': Port out of range"),
        ({"server": 5}, {}, "clusters[0].cluster.server: expected `str`, got `int` (found 5)"),
        (
            {"certificate-authority-data": "%%"},
            {},
            "clusters[0].cluster.certificate-authority-data: '%%'… is not base64",
        ),
        (
            {"certificate-authority": "x", "insecure-skip-tls-verify": True},
            {},
            "clusters[0].cluster.insecure-skip-tls-verify: true, beside a certificate-authority",
        ),
        ({"proxy-url": "socks5://x:1"}, {}, "clusters[0].cluster.proxy-url: 'socks5://x:1': http:// and https://"),
        ({}, {"client-certificate": "x"}, "users[0].user.client-key: missing, beside a client-certificate"),
        ({}, {"client-key-data": "eA=="}, "users[0].user.client-certificate: missing, beside a client-key"),
        ({}, {"token": "a", "username": "b"}, "users[0].user: token and username: only one way"),
        ({}, {"auth-provider": {"name": "gcp"}}, "users[0].user.auth-provider: 'gcp': removed from Kubernetes in 1.26"),
        ({}, {"as-groups": ["x"]}, "users[0].user.as: empty, beside as-uid, as-groups or as-user-extra"),
        ({}, {"exec": {**V1, "command": ""}}, "users[0].user.exec.command: empty"),
        (
            {},
            {"exec": {**V1, "apiVersion": "client.authentication.k8s.io/v1alpha1"}},
            "users[0].user.exec.apiVersion: 'client.authentication.k8s.io/v1alpha1': expected",
        ),
        (
            {},
            {"exec": {**V1, "interactiveMode": "Maybe"}},
            "users[0].user.exec.interactiveMode: 'Maybe': expected one of",
        ),
        ({}, {"exec": {**V1, "interactiveMode": ""}}, "users[0].user.exec.interactiveMode: '': expected one of"),
        (
            {},
            {"exec": {**V1, "env": [{"value": "x"}]}},
            "users[0].user.exec.env[0]: object missing required field `name`",
        ),
    ],
)
def test_error_names_file_field_and_value(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], error: str
) -> None:
    path = write(tmp_path / "kc", config(cluster, user))
    with pytest.raises(ConfigError, match=re.escape(error)) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: ]", "line 1, column 4"),
        ("- x", "a mapping is expected, not list"),
        ("kind: Pod", "kind: 'Pod' is no Config"),
        ("current-context: x", "current-context: 'x' is not defined (there is: none)"),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: w, user: z}}]\nclusters: [{name: q}]",
            "contexts[0].context.cluster: 'w' is not defined (there is: 'q')",
        ),
        ("clusters: [{cluster: {}}]", "clusters[0]: object missing required field `name`"),
        ("token: \xff", "not UTF-8"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "kc"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=re.escape(error)) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"kubeconfig {tmp_path}/none: no such file"):
        load(tmp_path / "none")
    with pytest.raises(ConfigError, match=rf"KUBECONFIG={tmp_path}/none: no cluster is defined there"):
        load_connection(environ={"KUBECONFIG": f"{tmp_path}/none"})


@pytest.mark.parametrize(
    ("host", "server"), [("10.96.0.1", "https://10.96.0.1:8443"), ("fd00::1", "https://[fd00::1]:8443")]
)
def test_pod_uses_its_service_account(tmp_path: Path, host: str, server: str) -> None:
    for name, text in (("token", "t"), ("ca.crt", "CA"), ("namespace", "kube-system\n")):
        write(tmp_path / name, text)
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "8443"}
    made = in_cluster(environ, tmp_path)
    assert made.server == server
    assert made.identity == TokenFile(tmp_path / "token", "in-cluster: token")
    assert made.tls.authorities is not None
    assert made.tls.authorities.read() == b"CA"
    assert made.namespace == "kube-system"


def test_inline_data_beats_files(tmp_path: Path) -> None:
    data = base64.b64encode(b"inline").decode()
    made = load(write(tmp_path / "kc", config({"certificate-authority": "no", "certificate-authority-data": data})))
    assert made.tls.authorities is not None
    assert made.tls.authorities.read() == b"inline"
