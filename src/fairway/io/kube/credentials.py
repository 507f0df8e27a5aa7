"""Who we say we are, request by request: tokens, files that are rotated, exec plugins.

Decides when what we have is old; does not know requests or TLS.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import msgspec

from fairway.io.kube.connection import (
    BasicAuth,
    BearerToken,
    Connection,
    CredentialsError,
    ExecPlugin,
    TokenFile,
    file_version,
)

EXEC_TIMEOUT: Final = 60.0
"""A plugin may ask a person to log in; one that never ends must not end the following of the API."""


class Proof(NamedTuple):
    """What goes with a request: an Authorization header, and a certificate with its key as PEM; each may be empty."""

    authorization: str = ""
    certificate: bytes = b""
    key: bytes = b""

    def __repr__(self) -> str:
        return "Proof(…)"


class Credentials(Protocol):
    """Proofs, fresh when they must be."""

    async def proof(self) -> Proof:
        """The proof to use now. Raises CredentialsError."""
        ...

    def rejected(self, proof: Proof) -> bool:
        """The server answered 401 to this proof. True when asking again may give another one."""
        ...


def credentials_for(connection: Connection, now: Callable[[], float] = time.time) -> Credentials:
    """The credentials that a connection's identity asks for."""
    match connection.identity:
        case BearerToken(token):
            return FixedCredentials(Proof(f"Bearer {token}"))
        case BasicAuth(username, password):
            pair = base64.b64encode(f"{username}:{password}".encode()).decode()
            return FixedCredentials(Proof(f"Basic {pair}"))
        case TokenFile() as file:
            return TokenFileCredentials(file)
        case ExecPlugin() as plugin:
            return ExecCredentials(plugin, connection, now)
        case None:
            return FixedCredentials(Proof())


class FixedCredentials:
    """Never change."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof

    async def proof(self) -> Proof:
        return self._proof

    def rejected(self, proof: Proof) -> bool:
        return False


class TokenFileCredentials:
    """A token file, read again when it was replaced. While it cannot be read, the last token is used."""

    def __init__(self, file: TokenFile) -> None:
        self._file = file
        self._version: object = None
        self._proof: Proof | None = None

    async def proof(self) -> Proof:
        version = file_version(self._file.path)
        if self._proof is None or (version is not None and version != self._version):
            self._read(version)
        assert self._proof is not None
        return self._proof

    def rejected(self, proof: Proof) -> bool:
        if self._proof == proof:
            self._proof = None
        version = file_version(self._file.path)
        return version is not None and version != self._version

    def _read(self, version: object) -> None:
        try:
            token = self._file.path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            problem = error.strerror if isinstance(error, OSError) else "not ASCII text"
            raise CredentialsError(f"{self._file.origin}: {self._file.path}: {problem}") from None
        if not token:
            # A writer that truncates first: the token before it may still do.
            if self._proof is None:
                raise CredentialsError(f"{self._file.origin}: {self._file.path}: empty")
            return
        self._proof, self._version = Proof(f"Bearer {token}"), version


class _ExecStatus(msgspec.Struct, rename="camel"):
    expiration_timestamp: str | None = None
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _ExecStatus | None = None


_exec_decoder: Final = msgspec.json.Decoder(_ExecCredential)


class ExecCredentials:
    """Runs a plugin when there is no proof, when it has expired, and when the server refused it."""

    def __init__(self, plugin: ExecPlugin, connection: Connection, now: Callable[[], float] = time.time) -> None:
        self._plugin = plugin
        self._connection = connection
        self._now = now
        self._lock = asyncio.Lock()
        self._proof: Proof | None = None
        self._expires = float("inf")

    async def proof(self) -> Proof:
        async with self._lock:
            if self._proof is None or self._now() >= self._expires:
                self._proof, self._expires = _read_answer(self._plugin, await self._run())
            return self._proof

    def rejected(self, proof: Proof) -> bool:
        if self._proof == proof:
            self._proof = None
        return True

    async def _run(self) -> bytes:
        plugin = self._plugin
        is_interactive = plugin.interactive_mode != "Never" and sys.stdin is not None and sys.stdin.isatty()
        if plugin.interactive_mode == "Always" and not is_interactive:
            raise CredentialsError(f"{plugin.origin}.interactiveMode: Always, and standard input is no terminal")
        info = _exec_info(plugin, self._connection, is_interactive=is_interactive)
        env = {**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": info}
        try:
            process = await asyncio.create_subprocess_exec(
                plugin.command,
                *plugin.args,
                env=env,
                stdin=None if is_interactive else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=None if is_interactive else asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise _exec_error(plugin, f"cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(EXEC_TIMEOUT):
                out, err = await process.communicate()
        except TimeoutError:
            raise _exec_error(plugin, f"gave no answer within {EXEC_TIMEOUT:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            said = " ".join((err or b"").decode("utf-8", "replace").split())[-300:]
            raise _exec_error(plugin, f"ended with {process.returncode}" + (f": {said}" if said else ""))
        return out


def _exec_error(plugin: ExecPlugin, problem: str) -> CredentialsError:
    hint = f" ({plugin.install_hint.strip()})" if plugin.install_hint else ""
    return CredentialsError(f"{plugin.origin}.command: {plugin.command!r} {problem}{hint}")


def _exec_info(plugin: ExecPlugin, connection: Connection, *, is_interactive: bool) -> str:
    spec: dict[str, object] = {"interactive": is_interactive}
    if plugin.provides_cluster_info:
        tls = connection.tls
        cluster: dict[str, object] = {"server": connection.server}
        if tls.authorities:
            cluster["certificate-authority-data"] = base64.b64encode(tls.authorities.read()).decode()
        if tls.server_name:
            cluster["tls-server-name"] = tls.server_name
        if tls.is_insecure:
            cluster["insecure-skip-tls-verify"] = True
        if connection.proxy_url:
            cluster["proxy-url"] = connection.proxy_url
        if plugin.cluster_config is not None:
            cluster["config"] = plugin.cluster_config
        spec["cluster"] = cluster
    return msgspec.json.encode({"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}).decode()


def _read_answer(plugin: ExecPlugin, out: bytes) -> tuple[Proof, float]:
    try:
        answer = _exec_decoder.decode(out)
    except msgspec.MsgspecError as error:
        raise _exec_error(plugin, f"printed no ExecCredential: {error}") from None
    if answer.kind != "ExecCredential" or answer.api_version != plugin.api_version:
        got = f"{answer.api_version} {answer.kind}".strip() or "something else"
        raise _exec_error(plugin, f"printed {got}, not {plugin.api_version} ExecCredential")
    status = answer.status or _ExecStatus()
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise _exec_error(plugin, "printed one of clientCertificateData and clientKeyData without the other")
    if not status.token and not status.client_certificate_data:
        raise _exec_error(plugin, "printed neither status.token nor status.clientCertificateData")
    proof = Proof(
        f"Bearer {status.token}" if status.token else "",
        (status.client_certificate_data or "").encode(),
        (status.client_key_data or "").encode(),
    )
    return proof, _expiry(plugin, status.expiration_timestamp)


def _expiry(plugin: ExecPlugin, text: str | None) -> float:
    if not text:
        return float("inf")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _exec_error(plugin, f"printed status.expirationTimestamp {text!r}, which is no RFC 3339 time")
    return moment.timestamp()
