"""A name under a cluster zone → the Services, endpoints and pods that it stands for.

Decides what a name means (Kubernetes DNS specification 1.1.0) and whether it exists; which records that makes for a
question's type is `fairway.dns.records`' decision. Pure: state in, targets out.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from fairway.dns.rows import NO_PORT, Port, ServiceRow, SliceRow, packed
from fairway.dns.state import ClusterState
from fairway.values.domain import Name, from_labels, from_text, labels


class PodMode(Enum):
    """Whether `1-2-3-4.namespace.pod` has an address."""

    DISABLED = "disabled"
    INSECURE = "insecure"
    """Any that spells one."""
    VERIFIED = "verified"
    """Only those of existing pods."""


class NoSuchNameError(Exception):
    """Neither the name nor anything below it exists: NXDOMAIN."""


class Target(NamedTuple):
    """One thing a name stands for: an address with a port, or another name."""

    owner: tuple[bytes, ...]
    """Labels of its own name, relative to the zone."""
    address: bytes = b""
    port: int = NO_PORT
    alias: Name = b""
    """The name that an ExternalName Service points to."""


@dataclass(frozen=True, slots=True)
class LookupOptions:
    """How the `kubernetes` plugin reads its state."""

    pods: PodMode = PodMode.DISABLED
    namespaces: frozenset[str] = frozenset()
    """Exposed ones; empty for all."""
    endpoint_pod_names: bool = False
    ignore_empty_service: bool = False
    zonal: bool = False


class ParsedName(NamedTuple):
    """The parts of a name below the zone."""

    kind: str = ""
    """`svc`, `pod`, or empty for the zone itself."""
    namespace: str = ""
    service: str = ""
    port: str = ""
    protocol: str = ""
    endpoint: str = ""
    cluster: str = ""
    zone: str = ""
    prefers_zone: bool = False
    is_imported: bool = False
    """Below a multicluster zone: endpoints are those of ServiceImports."""


def parse_name(relative: list[bytes], *, is_multicluster: bool = False, is_zonal: bool = False) -> ParsedName:
    """Labels in lower case, relative to the zone. Raises NoSuchNameError for what can never exist.

    service.namespace.svc, endpoint.service…, _port._protocol.service…, endpoint.cluster.service… (multicluster),
    zone.pin|prefer._zone.service… (zonal), address.namespace.pod.
    """
    if not relative:
        return ParsedName()
    # latin-1 maps every byte to a character and back, so odd bytes match nothing instead of failing.
    texts = [label.decode("latin-1") for label in relative]
    kind, rest = texts[-1], texts[:-1]
    if kind not in {"svc", "pod"}:
        raise NoSuchNameError
    match rest:
        case []:
            return ParsedName("" if kind else kind)
        case [namespace]:
            return ParsedName(kind, namespace)
        case [service, namespace]:
            return ParsedName(kind, namespace, service)
        case [endpoint, service, namespace]:
            return ParsedName(kind, namespace, service, endpoint=endpoint)
        case [first, second, service, namespace]:
            if not is_multicluster or first.startswith("_") or second.startswith("_"):
                return ParsedName(kind, namespace, service, first.removeprefix("_"), second.removeprefix("_"))
            return ParsedName(kind, namespace, service, endpoint=first, cluster=second)
    return _parse_zonal(kind, rest, is_known=is_zonal and not is_multicluster and kind == "svc")


def _parse_zonal(kind: str, rest: list[str], *, is_known: bool) -> ParsedName:
    *zone, directive, anchor, service, namespace = rest
    if not is_known or anchor != "_zone" or directive not in {"pin", "prefer"}:
        raise NoSuchNameError
    return ParsedName(kind, namespace, service, zone=".".join(zone), prefers_zone=directive == "prefer")


class Lookup:
    """Finds targets of names in one cluster's state."""

    def __init__(self, state: ClusterState, options: LookupOptions) -> None:
        self.state = state
        self.options = options

    def is_exposed(self, namespace: str) -> bool:
        """The namespace exists (as far as its labels are selected) and is not left out by configuration."""
        wanted = self.options.namespaces
        return (not wanted or namespace in wanted) and self.state.has_namespace(namespace)

    def find(self, relative: list[bytes], *, is_multicluster: bool = False, is_reverse: bool = False) -> list[Target]:
        """What the name stands for; empty when it exists without standing for anything.

        Raises NoSuchNameError.
        """
        name = parse_name(relative, is_multicluster=is_multicluster, is_zonal=self.options.zonal)
        name = name._replace(is_imported=is_multicluster)
        if not name.kind:
            return []
        if is_reverse or not self.is_exposed(name.namespace):
            raise NoSuchNameError
        if name.kind == "pod":
            return self._find_pods(name)
        return self._find_services(name, is_multicluster=is_multicluster)

    # -- pods

    def _find_pods(self, name: ParsedName) -> list[Target]:
        if self.options.pods is PodMode.DISABLED:
            raise NoSuchNameError
        label = name.service
        if not label:
            return []
        text = spelt_address(label)
        address = packed(text)
        if self.options.pods is PodMode.INSECURE:
            if address is None:
                raise NoSuchNameError
            count = 1
        else:
            count = sum(p.name.namespace == name.namespace for p in self.state.pods_at(text))
        if not count or address is None:
            raise NoSuchNameError
        owner = _owner(label, name.namespace, "pod")
        return [Target(owner, address, 0)] * count

    # -- services

    def _find_services(self, name: ParsedName, *, is_multicluster: bool) -> list[Target]:
        if not name.service:
            return []
        service = self._service(name, is_multicluster=is_multicluster)
        if service is None:
            raise NoSuchNameError
        slices = self._slices(service, is_multicluster=is_multicluster)
        if self._is_hidden(service, slices) or (name.zone and not service.is_headless):
            raise NoSuchNameError
        if service.external_name is not None:
            return self._alias(service, name)
        if service.is_headless or name.endpoint:
            return self._endpoints(service, name, slices)
        ports = [p for p in service.ports if _matches(name, p)]
        if not ports:
            raise NoSuchNameError
        owner = _owner(service.name.name, service.name.namespace, "svc")
        return [Target(owner, address, port.number) for port in ports for address in service.cluster_ips]

    def _service(self, name: ParsedName, *, is_multicluster: bool) -> ServiceRow | None:
        if is_multicluster:
            return self.state.service_import(name.namespace, name.service)
        return self.state.service(name.namespace, name.service)

    def _slices(self, service: ServiceRow, *, is_multicluster: bool) -> list[SliceRow]:
        find = self.state.slices_of_import if is_multicluster else self.state.slices_of
        return list(find(service.name.namespace, service.name.name))

    def _is_hidden(self, service: ServiceRow, slices: list[SliceRow]) -> bool:
        if not self.options.ignore_empty_service or service.external_name is not None or service.is_headless:
            return False
        return not any(map(len, slices))

    @staticmethod
    def _alias(service: ServiceRow, name: ParsedName) -> list[Target]:
        text = service.external_name or ""
        if name.endpoint or name.port or name.protocol or packed(text) is not None:
            raise NoSuchNameError
        return [Target(_owner(service.name.name, service.name.namespace, "svc"), alias=from_text(text))]

    def _endpoints(self, service: ServiceRow, name: ParsedName, slices: list[SliceRow]) -> list[Target]:
        found = list(self._endpoints_in(service, name, slices, name.zone))
        if not found and name.prefers_zone:
            found = list(self._endpoints_in(service, name, slices, ""))
        if not found and not name.zone:
            raise NoSuchNameError
        return found

    def _endpoints_in(
        self, service: ServiceRow, name: ParsedName, slices: list[SliceRow], zone: str
    ) -> Iterator[Target]:
        for row in slices:
            if name.is_imported and name.endpoint and row.imported and row.cluster.lower() != name.cluster:
                continue
            ports = [p for p in row.ports if _matches(name, p)]
            if not ports:
                continue
            for i in range(len(row)):
                if zone and (row.zones is None or row.zones[i] != zone):
                    continue
                label = self.endpoint_label(row, i)
                if name.endpoint and label.lower() != name.endpoint:
                    continue
                owner = self.endpoint_owner(service, row, label, is_imported=name.is_imported)
                for port in ports:
                    yield Target(owner, row.address(i), port.number)

    def endpoint_owner(self, service: ServiceRow, row: SliceRow, label: str, *, is_imported: bool) -> tuple[bytes, ...]:
        """The endpoint's own name; with its cluster, if the slice comes from another one."""
        above = _owner(service.name.name, service.name.namespace, "svc")
        return (
            label.encode(),
            *((row.cluster.encode(),) if is_imported and row.cluster and row.imported else ()),
            *above,
        )

    def endpoint_label(self, row: SliceRow, index: int) -> str:
        """The first label of an endpoint's name: its host name, its pod's name if asked for, else its address."""
        if row.hostnames is not None and row.hostnames[index]:
            return row.hostnames[index]
        if row.pod_names is not None and row.pod_names[index]:
            return row.pod_names[index]
        return address_label(row.address(index))

    # -- reverse

    def reverse(self, address: bytes) -> list[tuple[bytes, ...]]:
        """Names, relative to the primary zone, that an address belongs to: a Service's, else those of endpoints."""
        for service in self.state.services_at(address):
            if self.is_listed(service.name.namespace):
                return [_owner(service.name.name, service.name.namespace, "svc")]
        names: list[tuple[bytes, ...]] = []
        for row in self.state.slices_at(address):
            if self.is_listed(row.name.namespace):
                above = _owner(row.service, row.name.namespace, "svc")
                same = (i for i in range(len(row)) if row.address(i) == address)
                names.extend((self.endpoint_label(row, i).encode(), *above) for i in same)
        return names

    def is_listed(self, namespace: str) -> bool:
        """Reverse names lead there: unless namespaces are named, even one that does not exist any more."""
        return not self.options.namespaces or self.is_exposed(namespace)


def _matches(name: ParsedName, port: Port) -> bool:
    return (not name.port or name.port == port.name) and (not name.protocol or name.protocol == port.protocol)


def _owner(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


def address_label(address: bytes) -> str:
    """`10-0-0-1`, `fd00--1`; a label cannot end in a dash, so `fd00::` becomes `fd00--0`."""
    if len(address) == 4:
        return socket.inet_ntoa(address).replace(".", "-")
    label = socket.inet_ntop(socket.AF_INET6, address).replace(":", "-")
    return label + "0" if label.endswith("-") else label


def spelt_address(label: str) -> str:
    """The address that a pod's label spells, if it does."""
    return label.replace("-", "." if label.count("-") == 3 and "--" not in label else ":")


def absolute(owner: tuple[bytes, ...], zone: Name) -> Name:
    """A relative name's labels in front of the zone, spelt as the zone was asked for."""
    return from_labels(owner, zone)


def relative_labels(name: Name, zone: Name) -> list[bytes]:
    """The labels of a name in front of the zone that holds it."""
    return labels(name[: len(name) - len(zone)] + b"\0")
