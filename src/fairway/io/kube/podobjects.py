"""What pods need of the API when they start: their ConfigMaps and Secrets, asked for, and the Services, known already.

Fulfils `fairway.io.containers.machine.ObjectReader`.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from fairway.io.kube.client import ApiClient, object_path
from fairway.kube.podspec import NodePod
from fairway.kube.status import ApiStatusError, ApiUnreachableError, NotFoundError
from fairway.pods.environment import MissingReferenceError, ServiceAddress, ServicePort, Sources, service_variables
from fairway.pods.references import references
from fairway.state.tables import State
from fairway.values.names import ObjectName

MOST_KEPT: Final = 256


class _ConfigMap(msgspec.Struct, rename="camel"):
    data: dict[str, str] | None = None
    binary_data: dict[str, str] | None = None


class _Secret(msgspec.Struct, rename="camel"):
    data: dict[str, str] | None = None


class _TokenStatus(msgspec.Struct, rename="camel"):
    token: str
    expiration_timestamp: datetime


class _TokenRequest(msgspec.Struct):
    status: _TokenStatus


class PodObjects:
    """Reads for the pods of one node. `state` is that of the node's proxy."""

    def __init__(self, api: ApiClient, state: State, now: Callable[[], float] = time.monotonic) -> None:
        self._api, self._state, self._now = api, state, now
        self._kept: dict[str, tuple[float, bytes]] = {}

    async def sources(self, pod: NodePod, max_age: float = 0.0) -> Sources:
        """Those that exist; raises MissingReferenceError when the server does not answer.

        What was read at most `max_age` seconds ago is not asked for again: pods of a node name the same few.
        """
        named, space = references(pod), pod.metadata.namespace
        oldest = self._now() - max_age
        maps, secrets = {}, {}
        for name in sorted(named.config_maps):
            if (raw := await self._get(object_path("/api/v1/configmaps", name, space), oldest)) is not None:
                read = msgspec.json.decode(raw, type=_ConfigMap)
                binary = {key: _text(value) for key, value in (read.binary_data or {}).items()}
                maps[name] = (read.data or {}) | binary
        for name in sorted(named.secrets):
            if (raw := await self._get(object_path("/api/v1/secrets", name, space), oldest)) is not None:
                data = msgspec.json.decode(raw, type=_Secret).data or {}
                secrets[name] = {key: _text(value) for key, value in data.items()}
        return Sources(maps, secrets)

    async def _get(self, path: str, oldest: float) -> bytes | None:
        known = self._kept.get(path)
        if known is not None and known[0] > oldest:
            return known[1]
        try:
            raw = await self._api.get(path)
        except NotFoundError:
            self._kept.pop(path, None)
            return None
        except (ApiStatusError, ApiUnreachableError) as error:
            raise MissingReferenceError(f"{path.removeprefix('/api/v1/namespaces/')}: {error}") from None
        self._kept[path] = (self._now(), raw)
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return raw

    async def token(self, pod: NodePod, audience: str, seconds: int) -> tuple[str, float]:
        """Raises MissingReferenceError, with the server's words."""
        meta, account = pod.metadata, pod.spec.service_account_name
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid}
        spec = {"audiences": [audience] if audience else [], "expirationSeconds": seconds, "boundObjectRef": bound}
        tree = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = object_path("/api/v1/serviceaccounts", account, meta.namespace) + "/token"
        try:
            answer = await self._api.create(path, msgspec.json.encode(tree))
        except (ApiStatusError, ApiUnreachableError) as error:
            raise MissingReferenceError(f"failed to fetch token: {error}") from None
        status = msgspec.json.decode(answer, type=_TokenRequest).status
        return status.token, status.expiration_timestamp.timestamp()

    async def services(self, pod: NodePod) -> Mapping[str, str]:
        """Variables of the pod's own namespace and of the API server, as kubelet has it."""
        found = []
        for name in self._state.service_names():
            is_own = name.namespace == pod.metadata.namespace and pod.spec.enable_service_links is not False
            if is_own or name == ObjectName("default", "kubernetes"):
                service = self._state.service(name)
                if service is not None and service.cluster_ips:
                    ports = tuple(ServicePort(one.name, one.port, str(one.protocol)) for one in service.ports)
                    found.append(ServiceAddress(name.name, str(service.cluster_ips[0]), ports))
        return service_variables(found)


def _text(value: str) -> str:
    return base64.b64decode(value).decode(errors="surrogateescape")
