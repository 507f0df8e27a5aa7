"""The API server without sockets, files or clocks: requests in, answers out, every write durable at once."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from fairway.apiserver.api import Api
from fairway.apiserver.bootstrap import bootstrap
from fairway.apiserver.context import Server, Settings, encode
from fairway.apiserver.errors import ApiError
from fairway.apiserver.kinds.registry import Registry
from fairway.apiserver.request import Answer, Request, Response, WatchStream
from fairway.apiserver.store import Store, Window
from fairway.apiserver.tokens import ADMIN, Authenticator, StaticToken, TokenSigner

TOKEN = "secret"
KEY = ec.derive_private_key(12345, ec.SECP256R1())


@dataclass
class CountedEnvironment:
    """Time stands still until it is moved; randomness comes from a seed."""

    time: float = 1_767_322_800.0
    seed: random.Random = field(default_factory=lambda: random.Random(7))

    def now(self) -> float:
        return self.time

    def random(self, count: int) -> bytes:
        return self.seed.randbytes(count)


class World:
    """One server and its admin."""

    def __init__(
        self, *, cidrs: tuple[str, ...] = ("172.30.0.0/16", "fd00:172:30::/112"), window: Window | None = None
    ) -> None:
        self.env = CountedEnvironment()
        self.store = Store(window)
        signer = TokenSigner(KEY, "https://kubernetes.default.svc.cluster.local")
        self.server = Server(self.store, self.env, Settings(cidrs), Registry(), signer)
        bootstrap(self.server)
        self.commit()
        self.api = Api(self.server, Authenticator(signer, (StaticToken(TOKEN, ADMIN),), self.store))

    def commit(self) -> None:
        changes, _ = self.store.take_pending(self.env.now())
        self.store.publish(changes)

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """`more`: query, headers, token (None for nobody)."""
        headers = {"authorization": f"Bearer {more.get('token', TOKEN)}", "user-agent": "tests/1"}
        if more.get("token", TOKEN) is None:
            del headers["authorization"]
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if raw:
            headers["content-type"] = "application/json"
        for key, value in (more.get("headers") or {}).items():
            headers.pop(key.lower(), None)
            if value is not None:
                headers[key.lower()] = value
        query = {k: [v] if isinstance(v, str) else list(v) for k, v in (more.get("query") or {}).items()}
        request = Request(method, path, query, headers, raw)
        try:
            request.user = self.api.authenticate(request, None)
        except ApiError as error:
            return Response(error.code, encode(error.status()))
        answer = self.api.handle(request)
        self.commit()
        return answer

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """Status code and decoded body."""
        answer = self.send(method, path, body, **more)
        assert isinstance(answer, Response), answer
        return answer.code, json.loads(answer.body)

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        code, answer = self.call(method, path, body, **more)
        assert code < 300, answer
        return answer

    def watch(self, path: str, **query: str) -> WatchStream:
        answer = self.send("GET", path, query={"watch": "1", **query})
        assert isinstance(answer, WatchStream), answer
        return answer


def events(stream: WatchStream) -> list[dict[str, Any]]:
    """What a watch has to send now."""
    return [json.loads(line) for line in stream.pull().splitlines()]
