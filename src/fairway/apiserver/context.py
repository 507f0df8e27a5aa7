"""What the code of one request works with: the store, the effects, and small helpers over them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fairway.apiserver import gotime
from fairway.apiserver.request import Environment, Json, Request
from fairway.apiserver.store import Store

if TYPE_CHECKING:
    from fairway.apiserver.kinds.base import Resource
    from fairway.apiserver.kinds.registry import Registry
    from fairway.apiserver.tokens import TokenSigner

encoder = msgspec.json.Encoder()
encode: Callable[[Any], bytes] = encoder.encode
_decoder = msgspec.json.Decoder()
decode: Callable[[bytes], Any] = _decoder.decode

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Settings(NamedTuple):
    """How this server was started."""

    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    node_ports: tuple[int, int] = (30000, 32767)
    advertise: tuple[str, int] = ("127.0.0.1", 6443)
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    ca: str = ""
    require_accounts: bool = False


@dataclass(slots=True)
class Server:
    """What lives as long as the server."""

    store: Store
    env: Environment
    settings: Settings
    registry: Registry
    signer: TokenSigner
    documents: dict[str, bytes] = field(default_factory=dict)

    def custom_documents(self) -> dict[str, bytes]:
        """OpenAPI documents of custom resources, by path."""
        return self.documents

    def read(self, resource: Resource | str, key: str) -> Json | None:
        """An object by its resource and key, decoded anew: the caller may change it."""
        name = resource if isinstance(resource, str) else resource.key
        entry = self.store.get(name, key)
        return decode(entry.data) if entry is not None else None

    def write(self, resource: str, key: str, obj: Json, now: float) -> Json:
        """Store an object as its next version."""
        metadata = obj["metadata"]
        metadata["resourceVersion"] = str(self.store.next_version())
        self.store.put(resource, key, encode(obj), now)
        return obj

    def remove(self, resource: str, key: str, obj: Json, now: float) -> str:
        """Take an object away; watches hear what was stored last, with the version of its end, which is returned."""
        version = str(self.store.next_version())
        last = self.read(resource, key) or obj
        last["metadata"]["resourceVersion"] = version
        self.store.delete(resource, key, encode(last), now)
        return version


@dataclass(slots=True)
class Call:
    """One request as the code of a kind sees it."""

    server: Server
    request: Request
    resource: Resource
    namespace: str
    now: float
    dry_run: bool = False
    after: list[Callable[[], None]] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.server.store

    @property
    def time(self) -> str:
        return gotime.from_seconds(self.now)

    def key(self, name: str) -> str:
        return f"{self.namespace}/{name}" if self.resource.namespaced else name

    def warn(self, *texts: str) -> None:
        for text in texts:
            if text not in self.request.warnings:
                self.request.warnings.append(text)

    def new_uid(self) -> str:
        return str(uuid.UUID(bytes=self.server.env.random(16), version=4))

    def suffix(self) -> str:
        """Five letters for a generated name."""
        return "".join(_NAME_LETTERS[b % len(_NAME_LETTERS)] for b in self.server.env.random(5))
