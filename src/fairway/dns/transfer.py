"""The `transfer` plugin: AXFR and IXFR (always answered whole, RFC 1995 allows it) to those who may."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from fairway.config.corefile_settings import TransferRule, TransferSettings
from fairway.dns.model import Handler, Reply, Request, refusal
from fairway.values.domain import Name, is_subdomain
from fairway.values.rrtypes import Rcode, RRType
from fairway.wire.dns_message import Record, soa_serial

BATCH_BYTES = 60000
"""Of records in one message: names cost at most this much more than they are counted."""


class Transferable(Protocol):
    """A zone that can be handed over."""

    def transfer(self, zone: Name) -> tuple[Record, Iterable[Record]] | None:
        """SOA and all other records of exactly this zone; None when it is not this plugin's."""
        ...


class Transfer:
    """Hands zones over, passes all other questions on."""

    def __init__(self, settings: TransferSettings, sources: Sequence[Transferable], following: Handler) -> None:
        self.rules = settings.rules
        self.sources = sources
        self.following = following

    async def serve(self, request: Request) -> Reply:
        """Transfer if that is asked."""
        if request.type not in {RRType.AXFR, RRType.IXFR}:
            return await self.following.serve(request)
        if not request.is_stream:
            return refusal(Rcode.REFUSED)
        rule = self.rule(request.key)
        if rule is None:
            return await self.following.serve(request)
        if not _may(rule, request.client):
            return Reply(rcode=Rcode.REFUSED)
        serial = 0
        if request.type == RRType.IXFR:
            if len(request.authority) != 1 or request.authority[0].type != RRType.SOA:
                return refusal(Rcode.SERVFAIL, "an IXFR without a SOA record")
            serial = soa_serial(request.authority[0].rdata)
        for source in self.sources:
            found = source.transfer(request.key)
            if found is not None:
                return _reply(*found, serial)
        return await self.following.serve(request)

    def rule(self, name: Name) -> TransferRule | None:
        """Who may have a zone."""
        best: tuple[int, TransferRule] | None = None
        for rule in self.rules:
            for zone in rule.zones:
                if is_subdomain(name, zone) and (best is None or len(zone) > best[0]):
                    best = (len(zone), rule)
        return best[1] if best else None


def _may(rule: TransferRule, client: bytes) -> bool:
    return rule.is_open or client in {ipaddress.ip_address(host).packed for host, _port in rule.to}


def _reply(soa: Record, records: Iterable[Record], serial: int) -> Reply:
    if serial and serial == soa_serial(soa.rdata):
        return Reply(aa=True, answer=[soa], source="transfer")
    first, *rest = _batches(soa, records)
    return Reply(aa=True, answer=first, stream=rest, source="transfer")


def _batches(soa: Record, records: Iterable[Record]) -> Iterator[list[Record]]:
    batch, size = [soa], 0
    for record in records:
        size += len(record.name) + len(record.rdata) + 10
        if size > BATCH_BYTES:
            yield batch
            batch, size = [], len(record.name) + len(record.rdata) + 10
        batch.append(record)
    batch.append(soa)
    yield batch
