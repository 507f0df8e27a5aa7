"""kubeconfig files and a pod's service account, as kubectl and client-go find, merge and read them.

Every error names file, field and value. Talks to nobody: files that are read later (tokens, certificates) are only
named.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from fairway.io.kube.connection import (
    BasicAuth,
    BearerToken,
    Connection,
    ExecPlugin,
    Identity,
    Pem,
    TlsSettings,
    TokenFile,
)
from fairway.kube.yaml import YAMLError, read_yaml
from fairway.values.errors import ConfigError

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXEC_EXTENSION: Final = "client.authentication.k8s.io/exec"
_INTERACTIVE: Final = ("Never", "IfAvailable", "Always")


class _Extension(msgspec.Struct):
    name: str = ""
    extension: Any = None


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    extensions: list[_Extension] = []


class _EnvVar(msgspec.Struct):
    name: str
    value: str = ""


class _Exec(msgspec.Struct, rename="camel"):
    command: str = ""
    api_version: str = ""
    args: list[str] = []
    env: list[_EnvVar] = []
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class _User(msgspec.Struct, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    as_: str = msgspec.field(default="", name="as")
    as_uid: str = ""
    as_groups: list[str] = []
    as_user_extra: dict[str, list[str]] = {}
    auth_provider: dict[str, Any] | None = None
    exec: _Exec | None = None


class _Context(msgspec.Struct):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: _Cluster = msgspec.field(default_factory=_Cluster)


class _NamedUser(msgspec.Struct):
    name: str
    user: _User = msgspec.field(default_factory=_User)


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context = msgspec.field(default_factory=_Context)


class _File(msgspec.Struct, rename="kebab"):
    clusters: list[_NamedCluster] = []
    users: list[_NamedUser] = []
    contexts: list[_NamedContext] = []
    current_context: str = ""


S = TypeVar("S")


class _Entry(msgspec.Struct, frozen=True):
    """A named part of one of the files, and where it stands."""

    origin: str
    folder: Path
    value: Any


class Kubeconfig:
    """Several files as one: of entries with one name, and of current-contexts, the first wins."""

    def __init__(self) -> None:
        self._clusters: dict[str, _Entry] = {}
        self._users: dict[str, _Entry] = {}
        self._contexts: dict[str, _Entry] = {}
        self._paths: list[str] = []
        self.current_context = ""

    @classmethod
    def read(cls, paths: Sequence[Path], *, must_exist: bool = True) -> Kubeconfig:
        """Read and merge files. Of a KUBECONFIG list (`must_exist=False`) those that are not there are passed over."""
        merged = cls()
        for path in paths:
            try:
                text = path.read_bytes()
            except FileNotFoundError:
                if must_exist:
                    raise ConfigError(f"kubeconfig {path}: no such file") from None
                continue
            except OSError as error:
                raise ConfigError(f"kubeconfig {path}: {error.strerror}") from None
            merged.add(path, text)
        return merged

    def add(self, path: Path, text: bytes) -> None:
        """Merge one file's text in, behind what is there."""
        parsed = _parse(path, text)
        self._paths.append(str(path))
        self.current_context = self.current_context or parsed.current_context
        folder = path.absolute().parent
        for i, c in enumerate(parsed.clusters):
            self._clusters.setdefault(c.name, _Entry(f"{path}: clusters[{i}].cluster", folder, c.cluster))
        for i, u in enumerate(parsed.users):
            self._users.setdefault(u.name, _Entry(f"{path}: users[{i}].user", folder, u.user))
        for i, x in enumerate(parsed.contexts):
            self._contexts.setdefault(x.name, _Entry(f"{path}: contexts[{i}].context", folder, x.context))

    @property
    def is_empty(self) -> bool:
        """No cluster is named anywhere."""
        return not self._clusters

    def connection(self, context: str = "", master: str = "") -> Connection:
        """What a context (the current one, when none is named) says; `master` replaces its server."""
        where = ", ".join(self._paths)
        name = context or self.current_context
        if not name and master:
            return Connection(server=_server(master, "--master", is_tls=False), origin="--master")
        if not name:
            raise ConfigError(f"{where}: current-context: empty, and no context was named")
        entry = self._find(self._contexts, name, f"{where}: current-context" if not context else f"{where}: contexts")
        chosen: _Context = entry.value
        cluster = self._find(self._clusters, chosen.cluster, f"{entry.origin}.cluster")
        # A user that is named and missing is an error; none named means anonymous, as for kubectl.
        user = self._find(self._users, chosen.user, f"{entry.origin}.user") if chosen.user else None
        return _connection(cluster, user, chosen.namespace, master)

    @staticmethod
    def _find(entries: Mapping[str, _Entry], name: str, field: str) -> _Entry:
        if name not in entries:
            known = ", ".join(repr(k) for k in sorted(entries)) or "none"
            raise ConfigError(f"{field}: {name!r} is not defined (there is: {known})")
        return entries[name]


def load_connection(
    kubeconfig: str = "", master: str = "", context: str = "", environ: Mapping[str, str] = os.environ
) -> Connection:
    """Find the API server as kubectl and kube-proxy do.

    A named file, else the list in KUBECONFIG, else `master` alone, else the pod's service account, else ~/.kube/config.
    """
    if kubeconfig:
        return Kubeconfig.read([Path(kubeconfig)]).connection(context, master)
    listed = [Path(p) for p in environ.get("KUBECONFIG", "").split(os.pathsep) if p]
    if listed:
        config = Kubeconfig.read(listed, must_exist=False)
        if config.is_empty and not master:
            names = os.pathsep.join(map(str, listed))
            raise ConfigError(f"KUBECONFIG={names}: no cluster is defined there")
        return config.connection(context, master)
    if master:
        return Connection(server=_server(master, "--master", is_tls=False), origin="--master")
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environ)
    home = Path(environ.get("HOME", "/")) / ".kube" / "config"
    if home.exists():
        return Kubeconfig.read([home]).connection(context)
    raise ConfigError(
        f"no API server to talk to: no kubeconfig was named, KUBECONFIG is not set, this is no pod"
        f" (KUBERNETES_SERVICE_HOST is not set), and {home} does not exist"
    )


def in_cluster(environ: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> Connection:
    """The API server of the cluster that this pod runs in, as the pod's service account."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError("in-cluster: KUBERNETES_SERVICE_HOST is not set: this is no pod")
    token = folder / "token"
    if not token.exists():
        raise ConfigError(f"in-cluster: {token}: no such file (automountServiceAccountToken is off?)")
    space = folder / "namespace"
    return Connection(
        server=_server(f"https://{_bracketed(host)}:{port}", "KUBERNETES_SERVICE_HOST", is_tls=True),
        tls=TlsSettings(authorities=Pem("in-cluster: ca.crt", path=folder / "ca.crt")),
        identity=TokenFile(token, "in-cluster: token"),
        namespace=space.read_text().strip() if space.exists() else "default",
        origin="in-cluster",
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


# -- reading one file


def _parse(path: Path, text: bytes) -> _File:
    try:
        tree = read_yaml(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"kubeconfig {path}: not UTF-8 text: {error.reason}") from None
    except YAMLError as error:
        raise ConfigError(f"kubeconfig {path}: {error}") from None
    if tree is None:
        return _File()
    if not isinstance(tree, dict):
        raise ConfigError(f"kubeconfig {path}: a mapping is expected, not {type(tree).__name__}")
    if tree.get("kind", "Config") != "Config":
        raise ConfigError(f"kubeconfig {path}: kind: {tree['kind']!r} is no Config")
    try:
        return msgspec.convert(_without_nulls(tree), _File)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        place = place.rstrip("`")
        found = _value_at(tree, place)
        shown = "" if isinstance(found, (dict, list)) else f" (found {found!r})"
        raise ConfigError(f"kubeconfig {path}: {place}: {problem[:1].lower()}{problem[1:]}{shown}") from None


def _value_at(tree: Any, place: str) -> object:
    """What stands at `clusters[0].cluster.server`."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
        try:
            tree = tree[name or int(index)]
        except (KeyError, IndexError, TypeError):
            return {}
    return tree


def _without_nulls(tree: object) -> object:
    """`users: null` is what `kubectl config view` writes for none."""
    if isinstance(tree, dict):
        return {k: _without_nulls(v) for k, v in tree.items() if v is not None}
    return [_without_nulls(v) for v in tree] if isinstance(tree, list) else tree


# -- what the entries mean


def _connection(cluster: _Entry, user: _Entry | None, namespace: str, master: str) -> Connection:
    c: _Cluster = cluster.value
    authorities = _pem(cluster, "certificate-authority", c.certificate_authority, c.certificate_authority_data)
    if c.insecure_skip_tls_verify and authorities:
        raise ConfigError(
            f"{cluster.origin}.insecure-skip-tls-verify: true, beside a certificate-authority: one of them must go"
        )
    certificate = key = None
    identity: Identity = None
    acting: tuple[tuple[str, str], ...] = ()
    if user is not None:
        u: _User = user.value
        certificate = _pem(user, "client-certificate", u.client_certificate, u.client_certificate_data)
        key = _pem(user, "client-key", u.client_key, u.client_key_data)
        if bool(certificate) != bool(key):
            has, lacks = ("certificate", "key") if certificate else ("key", "certificate")
            raise ConfigError(f"{user.origin}.client-{lacks}: missing, beside a client-{has}")
        identity = _identity(user, cluster)
        acting = _impersonation(user)
    tls = TlsSettings(authorities, certificate, key, c.tls_server_name, c.insecure_skip_tls_verify)
    field, address = ("--master", master) if master else (f"{cluster.origin}.server", c.server)
    is_tls = bool(authorities or certificate or c.insecure_skip_tls_verify)
    return Connection(
        server=_server(address, field, is_tls=is_tls),
        tls=tls,
        identity=identity,
        proxy_url=_proxy(c.proxy_url, f"{cluster.origin}.proxy-url"),
        impersonate=acting,
        namespace=namespace or "default",
        origin=cluster.origin.split(": ")[0],
    )


def _server(address: str, field: str, *, is_tls: bool) -> str:
    text = address.strip().rstrip("/")
    if not text:
        raise ConfigError(f"{field}: empty: the API server's URL is expected")
    if "://" not in text:
        text = f"{'https' if is_tls else 'http'}://{text}"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{field}: {address!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"{field}: {address!r} is no URL of an API server (https://host:port)")
    return text


def _proxy(url: str, field: str) -> str:
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{field}: {url!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{field}: {url!r}: http:// and https:// proxies are supported, this is neither")
    return url


def _pem(entry: _Entry, field: str, path: str, data: str) -> Pem | None:
    if data:
        origin = f"{entry.origin}.{field}-data"
        try:
            return Pem(origin, data=base64.b64decode("".join(data.split()), validate=True))
        except binascii.Error:
            raise ConfigError(f"{origin}: {data[:24]!r}… is not base64") from None
    return Pem(f"{entry.origin}.{field}", path=entry.folder / path) if path else None


def _identity(user: _Entry, cluster: _Entry) -> Identity:
    u: _User = user.value
    if u.auth_provider is not None:
        name = u.auth_provider.get("name", "")
        raise ConfigError(f"{user.origin}.auth-provider: {name!r}: removed from Kubernetes in 1.26; use an exec plugin")
    ways = [name for name, given in (("token", u.token or u.token_file), ("username", u.username)) if given]
    if len(ways) > 1:
        raise ConfigError(f"{user.origin}: {' and '.join(ways)}: only one way to log in may be given")
    if u.token_file:
        return TokenFile(user.folder / u.token_file, f"{user.origin}.tokenFile")
    if u.token:
        return BearerToken(u.token)
    if u.username:
        return BasicAuth(u.username, u.password)
    return _exec_plugin(u.exec, user, cluster) if u.exec else None


def _exec_plugin(plugin: _Exec, user: _Entry, cluster: _Entry) -> ExecPlugin:
    origin = f"{user.origin}.exec"
    if not plugin.command:
        raise ConfigError(f"{origin}.command: empty")
    if plugin.api_version not in _EXEC_VERSIONS:
        raise ConfigError(f"{origin}.apiVersion: {plugin.api_version!r}: expected {' or '.join(_EXEC_VERSIONS)}")
    mode = plugin.interactive_mode or ("" if plugin.api_version.endswith("/v1") else "IfAvailable")
    if mode not in _INTERACTIVE:
        raise ConfigError(f"{origin}.interactiveMode: {mode!r}: expected one of {', '.join(_INTERACTIVE)}")
    # As exec.LookPath: a bare name is searched in PATH, anything with a slash is relative to the kubeconfig.
    command = plugin.command if "/" not in plugin.command else str(user.folder / plugin.command)
    extensions = {e.name: e.extension for e in cluster.value.extensions}
    return ExecPlugin(
        origin=origin,
        api_version=plugin.api_version,
        command=command,
        args=tuple(plugin.args),
        env={e.name: e.value for e in plugin.env},
        install_hint=plugin.install_hint,
        provides_cluster_info=plugin.provide_cluster_info,
        interactive_mode=mode,
        cluster_config=extensions.get(_EXEC_EXTENSION),
    )


def _impersonation(user: _Entry) -> tuple[tuple[str, str], ...]:
    u: _User = user.value
    if not u.as_ and (u.as_uid or u.as_groups or u.as_user_extra):
        raise ConfigError(f"{user.origin}.as: empty, beside as-uid, as-groups or as-user-extra")
    headers = [("Impersonate-User", u.as_)] if u.as_ else []
    if u.as_uid:
        headers.append(("Impersonate-Uid", u.as_uid))
    headers += [("Impersonate-Group", group) for group in u.as_groups]
    headers += [(f"Impersonate-Extra-{key}", one) for key, values in sorted(u.as_user_extra.items()) for one in values]
    return tuple(headers)
