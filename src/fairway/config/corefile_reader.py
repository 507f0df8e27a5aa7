"""Reads one directive's arguments and block lines, so that every mistake is named with its file and line.

Each plugin's parser is a function from a `Directive` to its settings; the helpers here know argument counts, numbers,
durations, zones and the form of a block, not what any of them is for.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from fairway.config.corefile import Directive
from fairway.config.duration import parse_duration
from fairway.config.go_regexp import compile_pattern
from fairway.values.domain import ROOT, Name, from_text, labels, reverse_name
from fairway.values.errors import InvalidValueError

T = TypeVar("T")
SCHEMES = ("dns", "tls", "quic", "grpc", "https", "https3")


class Line:
    """One directive with helpers to read it; each raises ConfigError."""

    def __init__(self, directive: Directive) -> None:
        self.directive = directive
        self.name = directive.name
        self.args = directive.args

    def fail(self, problem: str) -> NoReturn:
        raise self.directive.error(problem)

    def count(self, least: int, most: int | None = None) -> tuple[str, ...]:
        """The arguments, if there are that many."""
        most = least if most is None else most
        if not least <= len(self.args) <= most:
            wanted = str(least) if least == most else f"{least} to {most}" if most < MANY else f"at least {least}"
            self.fail(f"takes {wanted} arguments, not {len(self.args)}: {' '.join(self.args) or 'none'}")
        return self.args

    def ignore(self, _value: object) -> None:
        """What is read for its mistakes alone."""

    def flag(self) -> None:
        """A word that stands for itself."""
        self.count(0)

    def no_block(self) -> None:
        if self.directive.block is not None:
            self.fail("takes no block")

    def number(self, text: str, least: int = 0, most: int | None = None) -> int:
        try:
            value = int(text)
        except ValueError:
            self.fail(f"{text!r} is not a number")
        if value < least or (most is not None and value > most):
            self.fail(f"{value} is not in the range [{least}, {most if most is not None else '…'}]")
        return value

    def decimal(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            self.fail(f"{text!r} is not a number")
        if not 0 <= value < math.inf:
            self.fail(f"{text} is not a number from 0 on")
        return value

    def pattern(self, text: str) -> str:
        """A regular expression."""
        try:
            compile_pattern(text)
        except InvalidValueError as error:
            self.fail(str(error))
        return text

    def duration(self, text: str, least: float = 0.0) -> float:
        try:
            value = parse_duration(text)
        except InvalidValueError as error:
            self.fail(str(error))
        if value < least:
            self.fail(f"{text} is less than {least:g}s")
        return value

    def choice(self, text: str, known: Sequence[str]) -> str:
        if text not in known:
            self.fail(f"{text!r} is not one of {', '.join(known)}")
        return text

    def zone(self, text: str) -> Name:
        zones = self.zone_list(text)
        return zones[0]

    def zone_list(self, text: str) -> tuple[Name, ...]:
        """A zone, or the reverse zones of a CIDR block."""
        try:
            return normal_zones(text)
        except InvalidValueError as error:
            self.fail(str(error))

    def zones(self, texts: Sequence[str], default: tuple[Name, ...] = (ROOT,)) -> tuple[Name, ...]:
        """Zones of the arguments, or the default when there are none."""
        return tuple(zone for text in texts for zone in self.zone_list(text)) or default

    def network(self, text: str) -> str:
        try:
            return str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            self.fail(f"{text!r} is not an address or a CIDR block")

    def address(self, text: str) -> str:
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            self.fail(f"{text!r} is not an address")

    def host_port(self, text: str, default: int) -> tuple[str, int]:
        """An address, perhaps with a port."""
        try:
            scheme, host, port = split_key(text)
        except InvalidValueError as error:
            self.fail(str(error))
        if scheme:
            self.fail(f"{text!r}: an address or ADDRESS:PORT, without {scheme}://")
        return self.address(host), self.number(port, 1, 65535) if port else default

    def place_to_listen(self, text: str) -> str:
        """`:8080`, `127.0.0.1:8080`, `localhost:8080`."""
        host, colon, port = text.rpartition(":")
        if not colon or not port or (":" in host and not (host.startswith("[") and host.endswith("]"))):
            self.fail(f"{text!r} is not HOST:PORT")
        return text

    def each(self, known: dict[str, Callable[[Line], None]]) -> None:
        """Read the lines of the block, each by the function of its first word."""
        for directive in self.directive.block or ():
            read = known.get(directive.name)
            if read is None:
                raise directive.place.error(
                    f"{self.name}: unknown property {directive.name!r} (known: {', '.join(sorted(known)) or 'none'})"
                )
            read(Line(directive))


MANY = 10**6


def normal_zones(text: str) -> tuple[Name, ...]:
    """`Example.ORG`, `dns://example.org:53`, `10.0.0.0/24` → zones in lower case. Raises InvalidValueError."""
    _scheme, host, _port = split_key(text)
    if "/" in host:
        return _reverse_zones(host)
    return (from_text(host).lower(),)


def split_key(text: str) -> tuple[str, str, str]:
    """Scheme, host and port of a server key or an address; each may be empty."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "", text
    elif scheme not in SCHEMES:
        raise InvalidValueError(f"{text!r}: unknown scheme {scheme!r} (known: {', '.join(SCHEMES)})")
    if rest.startswith("["):
        host, _, after = rest[1:].partition("]")
        if after and not after.removeprefix(":").isdecimal():
            raise InvalidValueError(f"{text!r}: {after!r} is not a port")
        return scheme, host, after.removeprefix(":")
    host, colon, port = rest.rpartition(":")
    if not colon or ":" in host or (port and not port.isdecimal()):
        return scheme, rest, ""
    return scheme, host, port


def _reverse_zones(text: str) -> tuple[Name, ...]:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidValueError(f"{text!r} is neither a zone nor a CIDR block") from None
    step = 8 if network.version == 4 else 4
    whole = min(network.max_prefixlen, -(-network.prefixlen // step) * step)
    # CoreDNS serves a block that ends inside a label by the shorter zone's children: 10.0.0.0/23 is two zones.
    subnets = network.subnets(new_prefix=whole) if whole > network.prefixlen else iter((network,))
    dropped = (network.max_prefixlen - whole) // step
    return tuple(_without_labels(reverse_name(subnet.network_address.packed), dropped) for subnet in subnets)


def _without_labels(name: Name, count: int) -> Name:
    skipped = sum(len(label) + 1 for label in labels(name)[:count])
    return name[skipped:]
