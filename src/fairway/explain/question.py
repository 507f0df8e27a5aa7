"""A question as people type it, `pod/shop/web -> svc/shop/cart:http/tcp`, to packets.

Names are resolved by what the caller knows; an address is taken as it is.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from fairway.values.address import Address, Family
from fairway.values.errors import InvalidValueError
from fairway.values.names import ObjectName
from fairway.values.packet import Packet
from fairway.values.protocol import Protocol as Transport


class Names(Protocol):
    """What names stand for. Each returns nothing when the name is not known."""

    def pod(self, name: ObjectName) -> tuple[Address, ...]:
        """A pod's addresses."""
        ...

    def node(self, name: str) -> tuple[Address, ...]:
        """A node's addresses."""
        ...

    def service(self, name: ObjectName) -> tuple[Address, ...]:
        """A Service's cluster IPs."""
        ...

    def service_port(self, name: ObjectName, port: str, protocol: Transport) -> int | None:
        """The number of a Service's named port."""
        ...


class Question(NamedTuple):
    """One question, resolved."""

    text: str
    packet: Packet


_SHAPE = re.compile(
    r"^\s*(?P<source>\S+)\s*->\s*(?P<target>\S+?):(?P<port>[A-Za-z0-9-]+)(?:/(?P<protocol>\w+))?"
    r"(?:\s+via\s+(?P<interface>\S+))?\s*$"
)


def parse_question(text: str, names: Names) -> Question:
    """Read one question. Raises InvalidValueError that says what is wrong and what was expected."""
    match = _SHAPE.match(text)
    if match is None:
        raise InvalidValueError(f"{text.strip()!r} is no question; expected 'SOURCE -> TARGET:PORT/tcp'")
    protocol = Transport.parse(match["protocol"] or "tcp")
    targets = _resolve(match["target"], names)
    sources = _resolve(match["source"], names)
    source, target = _same_family(match["source"], sources, match["target"], targets)
    port = _port(match["port"], match["target"], protocol, names)
    return Question(text.strip(), Packet(source, target, protocol, port, match["interface"] or ""))


def _resolve(word: str, names: Names) -> tuple[Address, ...]:
    kind, _, rest = word.partition("/")
    found: tuple[Address, ...] | None = None
    match kind, rest.split("/") if rest else []:
        case "pod", [namespace, name]:
            found = names.pod(ObjectName(namespace, name))
        case (("svc" | "service"), [namespace, name]):
            found = names.service(ObjectName(namespace, name))
        case "node", [name]:
            found = names.node(name)
        case _, []:
            return (Address.parse(word.removeprefix("[").removesuffix("]")),)
        case _:
            raise InvalidValueError(f"{word!r} is neither an address nor pod/NS/NAME, svc/NS/NAME or node/NAME")
    if not found:
        raise InvalidValueError(f"{word}: not found, or without an address")
    return found


def _same_family(
    source: str, sources: tuple[Address, ...], target: str, targets: tuple[Address, ...]
) -> tuple[Address, Address]:
    """The first pair of one family, IPv4 before IPv6 only as the objects say."""
    for there in targets:
        for here in sources:
            if here.family is there.family:
                return here, there
    raise InvalidValueError(f"{source} and {target} have no IP family in common: {_families(sources, targets)}")


def _families(*groups: tuple[Address, ...]) -> str:
    return " against ".join("/".join(str(f) for f in Family if any(a.family is f for a in g)) for g in groups)


def _port(word: str, target: str, protocol: Transport, names: Names) -> int:
    if word.isdigit():
        number = int(word)
        if not 1 <= number <= 65535:
            raise InvalidValueError(f"{word} is not a port (1 to 65535)")
        return number
    parts = target.split("/")
    if len(parts) == 3 and parts[0] in ("svc", "service"):
        found = names.service_port(ObjectName(parts[1], parts[2]), word, protocol)
        if found is not None:
            return found
        raise InvalidValueError(f"{target} has no {protocol} port named {word!r}")
    raise InvalidValueError(f"{word!r}: a port's name needs a Service as its target")
