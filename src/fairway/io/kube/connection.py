"""How to reach one API server and who to say one is: what a kubeconfig, a pod's service account or flags come down to.

Values only; `kubeconfig` makes them, `credentials`, `tls` and `client` use them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairway.kube.status import ApiUnreachableError


class CredentialsError(ApiUnreachableError):
    """What proves who we are, or who the server is, cannot be had now; the message names file or command and field.

    Counts as the server being out of reach: a certificate that is being rotated comes back.
    """


@dataclass(frozen=True, slots=True)
class Pem:
    """Certificates or a key, inline or in a file that may be replaced while we run."""

    origin: str
    """`FILE: users[0].user.client-key`, for messages."""
    data: bytes = b""
    path: Path | None = None

    def __repr__(self) -> str:
        return f"Pem({self.origin!r}, {'data=…' if self.data else self.path!r})"

    def read(self) -> bytes:
        """The PEM text as it is now."""
        if self.path is None:
            return self.data
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise CredentialsError(f"{self.origin}: {self.path}: {error.strerror}") from None

    def version(self) -> object:
        """Changes when the file is replaced, also behind a symbolic link."""
        return file_version(self.path) if self.path else None


def file_version(path: Path) -> tuple[int, int, int, int] | None:
    """What tells one content of a file from the next without reading it; None when it is not there."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - a microsecond less on each request
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Whom to trust, and the certificate to show."""

    authorities: Pem | None = None
    """None: the machine's own."""
    certificate: Pem | None = None
    key: Pem | None = None
    server_name: str = ""
    """Asked for and checked in place of the server's host name."""
    is_insecure: bool = False


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A fixed token."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token in a file that somebody rotates (a pod's service account)."""

    path: Path
    origin: str


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """Name and password."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints an ExecCredential (client.authentication.k8s.io)."""

    origin: str
    api_version: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    install_hint: str = ""
    provides_cluster_info: bool = False
    interactive_mode: str = "IfAvailable"
    cluster_config: object = None
    """The `client.authentication.k8s.io/exec` extension of the cluster, handed to the program as it stands."""


Identity = BearerToken | TokenFile | BasicAuth | ExecPlugin | None


@dataclass(frozen=True, slots=True)
class Connection:
    """One API server, and who we are to it."""

    server: str
    """`https://host:port`, perhaps with a path, without a slash at the end."""
    tls: TlsSettings = field(default_factory=TlsSettings)
    identity: Identity = None
    proxy_url: str = ""
    impersonate: tuple[tuple[str, str], ...] = ()
    """Headers that ask to act as somebody else."""
    namespace: str = "default"
    origin: str = ""
    """Where all this comes from, for messages."""
