"""Addresses of Services of type LoadBalancer, as a cloud's service controller gives them: finalizer, status, events.

An address stays with its Service as long as the Service wants one, over restarts too, since the status is the record.
How packets get to a node is not known here (`announce/`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fairway.controllers.addresspool import AddressPool
from fairway.controllers.controller import Key, Turn
from fairway.controllers.view import BALANCER_IP, View
from fairway.controllers.writes import (
    AnyKind,
    EventType,
    Outcome,
    Patch,
    Record,
    Tree,
    Write,
    reference_to,
    versioned,
)
from fairway.kube.discovery import SelectorService
from fairway.kube.objects import SERVICE
from fairway.values.address import Address, Family
from fairway.values.errors import InvalidValueError
from fairway.values.names import ObjectName

FINALIZER: Final = "service.kubernetes.io/load-balancer-cleanup"
CLASS: Final = "fairway/lb"
"""The spec.loadBalancerClass that is ours; Services of another are left to others, those of none are ours."""


class NoAddressError(Exception):
    """A Service cannot have the address that it wants; the message says why, for its events."""


class LoadBalancerController:
    """Gives out the addresses of a pool. Beside its settings it holds only what was given out and is not written yet:
    two Services are looked at at a time, and must not be given the same address."""

    name = "service-lb-controller"
    component = "service-controller"
    kinds: tuple[AnyKind, ...] = (SERVICE,)
    follows_everything = False

    def __init__(self, pool: AddressPool) -> None:
        self._pool = pool
        self._waiting: set[Key] = set()

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        keys = {(new or old).metadata.object_name}
        if old is not None and set(old.balancer_ips) - set(new.balancer_ips if new is not None else ()):
            keys |= self._waiting
        return keys

    def sync(self, turn: Turn, view: View) -> Outcome:
        service = view.get(SERVICE, turn.key)
        if service is None or not _wants_address(service):
            self._pool.settle(turn.key)
            self._waiting.discard(turn.key)
            return Outcome(tuple(_cleanup(service)) if service is not None else ())
        if FINALIZER not in (service.metadata.finalizers or ()):
            finalizers = [*(service.metadata.finalizers or ()), FINALIZER]
            ensuring = _record(service, "EnsuringLoadBalancer", "Ensuring load balancer")
            # What follows is decided when the Service is seen with it.
            return Outcome((ensuring, Patch(SERVICE, turn.key, versioned(service, finalizers=finalizers))))
        try:
            wanted = self._addresses(service, view)
        except NoAddressError as error:
            self._waiting.add(turn.key)
            said = f"Error syncing load balancer: {error}"
            return Outcome((_record(service, "SyncLoadBalancerFailed", said, EventType.WARNING),), str(error))
        self._waiting.discard(turn.key)
        if wanted == service.balancer_ips:
            self._pool.settle(turn.key)
            return Outcome()
        ensured = _record(service, "EnsuredLoadBalancer", "Ensured load balancer")
        return Outcome((_status(service, wanted, ensured),))

    # -- which

    def _addresses(self, service: SelectorService, view: View) -> tuple[str, ...]:
        """One address a family. Raises NoAddressError."""
        held = [address for text in service.balancer_ips if (address := _parse(text)) is not None]
        asked = self._asked(service, view)
        found = []
        for kind in service.address_types:
            family = Family.IPV4 if kind.value == "IPv4" else Family.IPV6
            if asked is not None and asked.family is family:
                self._pool.claim(asked, service.metadata.object_name)
                found.append(asked)
            else:
                found.append(self._kept_or_new(service, family, held, view))
        return tuple(str(address) for address in found)

    def _asked(self, service: SelectorService, view: View) -> Address | None:
        """What spec.loadBalancerIP names, if it can be given."""
        text = service.spec.load_balancer_ip
        if not text:
            return None
        address = _parse(text)
        if address is None or address not in self._pool:
            ranges = ", ".join(str(one) for one in self._pool.ranges)
            raise NoAddressError(f"spec.loadBalancerIP {text} is not in the pool ({ranges})")
        if str(address.family) not in {kind.value for kind in service.address_types}:
            raise NoAddressError(f"spec.loadBalancerIP {text} is of no family that spec.ipFamilies names")
        if not self._may_hold(service, address, view):
            raise NoAddressError(f"spec.loadBalancerIP {text} is in use by another Service")
        return address

    def _kept_or_new(self, service: SelectorService, family: Family, held: list[Address], view: View) -> Address:
        for address in held:
            if address.family is family and address in self._pool and self._may_hold(service, address, view):
                return address
        owner = service.metadata.object_name
        new = self._pool.take(family, owner, lambda one: not view.cache(SERVICE).count(BALANCER_IP, str(one)))
        if new is None:
            ranges = ", ".join(str(one) for one in self._pool.ranges if one.family is family) or f"it has no {family}"
            raise NoAddressError(f"no {family} address is left in the pool ({ranges})")
        return new

    def _may_hold(self, service: SelectorService, address: Address, view: View) -> bool:
        """Nobody else has it. Of two that both have it (somebody else wrote a status) the older one keeps it."""
        if self._pool.holder(address) not in (None, service.metadata.object_name):
            return False
        holders = [one for one in view.cache(SERVICE).by(BALANCER_IP, str(address)) if _wants_address(one)]
        return not holders or min(holders, key=_age).metadata.object_name == service.metadata.object_name


def _age(service: SelectorService) -> tuple[Any, ObjectName]:
    return service.metadata.created, service.metadata.object_name


def _parse(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except InvalidValueError:
        return None


def _wants_address(service: SelectorService) -> bool:
    return (
        service.spec.type == "LoadBalancer"
        and (service.spec.load_balancer_class or CLASS) == CLASS
        and not service.metadata.is_leaving
    )


def _cleanup(service: SelectorService) -> Iterable[Write]:
    """The address goes first, then the finalizer that kept the Service until then."""
    if FINALIZER not in (service.metadata.finalizers or ()):
        return
    if service.balancer_ips:
        yield _record(service, "DeletingLoadBalancer", "Deleting load balancer")
        yield _status(service, (), None)
        # The rest is decided when the Service is seen without the address.
        return
    kept = [one for one in service.metadata.finalizers or () if one != FINALIZER]
    deleted = _record(service, "DeletedLoadBalancer", "Deleted load balancer")
    body = versioned(service, finalizers=kept or None)
    yield Patch(SERVICE, service.metadata.object_name, body, done=deleted)


def _status(service: SelectorService, addresses: tuple[str, ...], done: Record | None) -> Patch:
    ingress = [{"ip": address, "ipMode": "VIP"} for address in addresses]
    body: Tree = {"status": {"loadBalancer": {"ingress": ingress or None}}}
    return Patch(SERVICE, service.metadata.object_name, versioned(service, body), "status", done)


def _record(service: SelectorService, reason: str, message: str, kind: EventType = EventType.NORMAL) -> Record:
    return Record(reference_to(SERVICE, service), kind, reason, message)
