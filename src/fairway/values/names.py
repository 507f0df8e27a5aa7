"""Names of API objects and of what is made of them."""

from __future__ import annotations

from typing import NamedTuple

from fairway.values.protocol import Protocol


class ObjectName(NamedTuple):
    """Namespace and name; the namespace is empty for cluster-wide kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class ServicePortName(NamedTuple):
    """One service port: the unit of planning. `port` is the port's name, empty when it has none."""

    service: ObjectName
    port: str
    protocol: Protocol

    def __str__(self) -> str:
        """`ns/name:port/tcp`; without a port name `ns/name/tcp`."""
        return f"{self.service}:{self.port}/{self.protocol}" if self.port else f"{self.service}/{self.protocol}"
