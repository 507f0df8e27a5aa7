"""Tokens, files that are rotated, and exec plugins: real files and real programs."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from fairway.io.kube import credentials
from fairway.io.kube.connection import (
    BasicAuth,
    BearerToken,
    Connection,
    CredentialsError,
    ExecPlugin,
    Identity,
    Pem,
    TlsSettings,
    TokenFile,
)
from fairway.io.kube.credentials import Credentials, Proof, credentials_for

T = TypeVar("T")
V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def inside() -> T:
        async with asyncio.timeout(30):
            return await work()

    return asyncio.run(inside())


def of(identity: Identity, now: Callable[[], float] = lambda: 0.0) -> Credentials:
    return credentials_for(Connection("https://x", identity=identity), now)


def proof_of(identity: Identity) -> Proof:
    return run(of(identity).proof)


def test_fixed_ways_to_log_in() -> None:
    assert proof_of(None) == Proof()
    assert proof_of(BearerToken("t")) == Proof("Bearer t")
    assert proof_of(BasicAuth("u", "p")) == Proof("Basic " + base64.b64encode(b"u:p").decode())
    assert not of(BearerToken("t")).rejected(Proof("Bearer t"))


# -- token files


def test_token_file_is_read_again_when_it_was_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "token"
        path.write_text("one\n")
        made = of(TokenFile(path, "kc: tokenFile"))
        assert await made.proof() == Proof("Bearer one")
        (tmp_path / "new").write_text("two")
        (tmp_path / "new").rename(path)
        assert await made.proof() == Proof("Bearer two")
        # as kubelet does it: a link to a link
        (tmp_path / "..2").mkdir()
        (tmp_path / "..2" / "token").write_text("three")
        (tmp_path / "..data").symlink_to("..2")
        path.unlink()
        path.symlink_to("..data/token")
        assert await made.proof() == Proof("Bearer three")

    run(scenario)


def test_last_token_serves_while_the_file_is_being_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "token"
        path.write_text("one")
        made = of(TokenFile(path, "kc: tokenFile"))
        assert await made.proof() == Proof("Bearer one")
        path.unlink()
        assert await made.proof() == Proof("Bearer one")
        path.write_text("")
        assert await made.proof() == Proof("Bearer one")
        path.write_text("two")
        assert await made.proof() == Proof("Bearer two")

    run(scenario)


def test_refused_token_is_read_again_or_its_file_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "token"
        path.write_text("one")
        made = of(TokenFile(path, "kc: tokenFile"))
        proof = await made.proof()
        assert not made.rejected(proof)  # the file is the same: asking again would give the same
        path.unlink()
        with pytest.raises(CredentialsError, match=rf"kc: tokenFile: {path}: No such file or directory"):
            await made.proof()

    run(scenario)


@pytest.mark.parametrize(("data", "error"), [(b"", "empty"), (b"\xff", "not ASCII text")])
def test_useless_token_file_is_named(tmp_path: Path, data: bytes, error: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(data)
    with pytest.raises(CredentialsError, match=rf"kc: tokenFile: {path}: {error}"):
        proof_of(TokenFile(path, "kc: tokenFile"))


# -- exec plugins


def program(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def answer(version: str = V1, **status: Any) -> str:
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})


def plugin(command: str, version: str = V1, mode: str = "Never", **more: Any) -> ExecPlugin:
    return ExecPlugin("kc: users[0].user.exec", version, command, interactive_mode=mode, **more)


@pytest.mark.parametrize("version", [V1, V1BETA1])
def test_plugin_is_run_once_and_again_when_its_answer_expired(tmp_path: Path, version: str) -> None:
    counter = tmp_path / "count"
    said = answer(version, token="t%s", expirationTimestamp="2026-01-01T00:10:00Z")
    command = program(tmp_path / "login", f"echo x >> {counter}\nprintf '{said}' $(wc -l < {counter})")
    clock = [1767225600.0]  # 2026-01-01T00:00:00Z

    async def scenario() -> None:
        made = of(plugin(command, version), lambda: clock[0])
        assert await asyncio.gather(*(made.proof() for _ in range(5))) == [Proof("Bearer t1")] * 5
        clock[0] += 599
        assert await made.proof() == Proof("Bearer t1")
        clock[0] += 1
        assert await made.proof() == Proof("Bearer t2")

    run(scenario)


def test_plugin_is_run_again_when_the_server_refused_its_answer(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    command = program(
        tmp_path / "login",
        f"echo x >> {counter}\nprintf '{answer(token='t%s')}' $(wc -l < {counter})",
    )

    async def scenario() -> None:
        made = of(plugin(command))
        first = await made.proof()
        assert first == Proof("Bearer t1")
        assert made.rejected(first)
        second = await made.proof()
        assert second == Proof("Bearer t2")
        assert made.rejected(first)  # an old one: what is known now is not thrown away for it
        assert await made.proof() == second

    run(scenario)


def test_plugin_may_give_a_certificate(tmp_path: Path) -> None:
    said = answer(clientCertificateData="CERT", clientKeyData="KEY")
    command = program(tmp_path / "login", f"echo '{said}'")
    assert proof_of(plugin(command)) == Proof("", b"CERT", b"KEY")


def test_plugin_is_told_the_cluster_its_arguments_and_environment(tmp_path: Path) -> None:
    out = tmp_path / "seen"
    command = program(
        tmp_path / "login",
        f'printf "%s\\n" "$KUBERNETES_EXEC_INFO" "$1" "$X" > {out}\necho \'{answer(token="t")}\'',
    )
    made = plugin(
        command, args=("--who",), env={"X": "1 2"}, provides_cluster_info=True, cluster_config={"audience": "me"}
    )
    tls = TlsSettings(authorities=Pem("x", data=b"CA"), server_name="k")
    connection = Connection("https://x:1", tls, made, proxy_url="http://p:1")
    run(credentials_for(connection).proof)
    info, argument, variable = out.read_text().splitlines()
    assert (argument, variable) == ("--who", "1 2")
    assert json.loads(info) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://x:1",
                "certificate-authority-data": base64.b64encode(b"CA").decode(),
                "tls-server-name": "k",
                "proxy-url": "http://p:1",
                "config": {"audience": "me"},
            },
        },
    }


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("echo no login >&2; exit 3", "ended with 3: no login (get it at x)"),
        ("echo hello", "printed no ExecCredential"),
        (f"echo '{answer(V1BETA1, token='t')}'", f"printed {V1BETA1} ExecCredential, not {V1} ExecCredential"),
        ("echo '{}'", f"printed something else, not {V1} ExecCredential"),
        (f"echo '{answer()}'", "printed neither status.token nor status.clientCertificateData"),
        (f"echo '{answer(clientKeyData='x')}'", "printed one of clientCertificateData and clientKeyData"),
        (
            f"echo '{answer(token='t', expirationTimestamp='soon')}'",
            "printed status.expirationTimestamp 'soon', which is no RFC 3339 time",
        ),
        (f"echo '{answer(token=5)}'", "printed no ExecCredential: Expected `str | null`, got `int`"),
    ],
)
def test_plugin_that_fails_is_named_with_what_it_said(tmp_path: Path, body: str, error: str) -> None:
    command = program(tmp_path / "login", body)
    with pytest.raises(CredentialsError, match=re.escape(error)) as caught:
        proof_of(plugin(command, install_hint="get it at x"))
    assert str(caught.value).startswith(f"kc: users[0].user.exec.command: '{command}' ")


def test_plugin_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"cannot be run: No such file or directory \(get it at x\)"):
        proof_of(plugin(f"{tmp_path}/none", install_hint="get it at x"))


def test_plugin_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "EXEC_TIMEOUT", 0.05)
    command = program(tmp_path / "login", f"echo $$ > {tmp_path}/pid; exec sleep 100")
    with pytest.raises(CredentialsError, match="gave no answer within"):
        proof_of(plugin(command))


def test_plugin_that_needs_a_person_is_not_run_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CredentialsError, match="interactiveMode: Always, and standard input is no terminal"):
        proof_of(plugin(str(tmp_path / "x"), mode="Always"))
