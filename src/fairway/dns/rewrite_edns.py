"""EDNS options that `rewrite edns0` sets, replaces or removes on the way to the next plugin, and takes back again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairway.config.corefile_settings import EdnsRule
from fairway.dns.model import Request, Transport
from fairway.values.domain import to_text
from fairway.wire.dns_message import Edns

Options = tuple[tuple[int, bytes], ...]
ADDED_SIZE = 4096
"""The size that upstreams are told when the client spoke no EDNS."""


def with_option(rule: EdnsRule, request: Request) -> Request | None:
    """The request with the rule's option; None when the rule does not match."""
    edns = request.edns or Edns(ADDED_SIZE)
    others = tuple(o for o in edns.options if o[0] != rule.code)
    if rule.action == "unset":
        return replace(request, edns=edns._replace(options=others))
    has = len(others) < len(edns.options)
    if has and rule.action == "append" and (rule.variable or rule.kind == "subnet"):
        return None
    if not has and rule.action == "replace":
        return None
    kept = edns.options if rule.action == "append" else others
    return replace(request, edns=edns._replace(options=(*kept, (rule.code, _data(rule, request)))))


def _data(rule: EdnsRule, request: Request) -> bytes:
    if rule.kind == "subnet":
        return _subnet(request.client, rule.mask4 if len(request.client) == 4 else rule.mask6)
    match rule.variable:
        case "qname":
            return to_text(request.name).encode()
        case "qtype":
            return request.type.to_bytes(2, "big")
        case "client_ip":
            return request.client
        case "client_port":
            return request.client_port.to_bytes(2, "big")
        case "server_ip":
            return request.local
        case "server_port":
            return request.local_port.to_bytes(2, "big")
        case "protocol":
            return b"udp" if request.transport is Transport.UDP else b"tcp"
    return rule.data


def _subnet(client: bytes, bits: int) -> bytes:
    """The client's network (RFC 7871): family, bits, scope, and as many bytes as the bits need."""
    family = 1 if len(client) == 4 else 2
    number = int.from_bytes(client, "big") >> (8 * len(client) - bits) << (8 * len(client) - bits)
    address = number.to_bytes(len(client), "big")[: -(-bits // 8)]
    return family.to_bytes(2, "big") + bytes((bits, 0)) + address


def put_back_options(rules: Sequence[EdnsRule], asked: Options, original: Options) -> Options:
    """What the client is sent back: options that rules know as they were asked with, those that `revert` as before."""
    known = {rule.code for rule in rules if rule.kind == "local"}
    reverting = {rule.code for rule in rules if rule.reverts}
    kept = tuple(o for o in asked if o[0] in known - reverting)
    return (*kept, *(o for o in original if o[0] in known & reverting))
