"""Kinds of values: how one field is read from YAML, from a flag, and written again.

A kind knows what it takes and says so in its errors; which field has it is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, Protocol

from fairway.config.duration import format_duration, parse_duration, seconds_of
from fairway.config.proxy.settings import NodePortKeyword, SocketAddress, VModule
from fairway.values.address import Address, Prefix
from fairway.values.errors import InvalidValueError


class Kind(Protocol):
    """One kind of value. `read` and `read_flag` raise InvalidValueError with a reason."""

    @property
    def wanted(self) -> str:
        """What is allowed, to follow "wanted:"."""

    @property
    def flag_type(self) -> str:
        """The type that help shows; empty for a switch."""

    def read(self, value: Any) -> Any: ...

    def read_flag(self, text: str) -> Any: ...

    def write(self, value: Any) -> Any: ...


class Bool:
    """true or false; on the command line in any of Go's spellings."""

    wanted = "true or false"
    flag_type = ""
    _true = ("1", "t", "T", "true", "TRUE", "True")
    _false = ("0", "f", "F", "false", "FALSE", "False")

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise InvalidValueError(_not(value, "a boolean"))
        return value

    def read_flag(self, text: str) -> bool:
        if text not in self._true + self._false:
            raise InvalidValueError(f"{text!r} is not a boolean")
        return text in self._true

    def write(self, value: bool) -> bool:
        return value


class Version(Bool):
    """A switch that takes `raw` as well, which means the same here."""

    wanted = "true, false or raw"

    def read_flag(self, text: str) -> bool:
        return text == "raw" or super().read_flag(text)


class Int(NamedTuple):
    """A whole number of 32 bits, within bounds."""

    low: int = -(2**31)
    high: int = 2**31 - 1
    flag_type: str = "int32"

    @property
    def wanted(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def read(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidValueError(_not(value, "a whole number"))
        if not self.low <= value <= self.high:
            raise InvalidValueError(f"{value} is out of range")
        return value

    def read_flag(self, text: str) -> int:
        base = 8 if re.fullmatch(r"[+-]?0[0-7]+", text) else 0  # as Go reads it, and Python does not
        try:
            number = int(text, base)
        except ValueError:
            raise InvalidValueError(f"{text!r} is not a whole number") from None
        return self.read(number)

    def write(self, value: int) -> int:
        return value


class Number:
    """A number; fractions are allowed."""

    wanted = "a number"
    flag_type = "float32"

    def read(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 3.5e38:
            raise InvalidValueError(_not(value, "a number"))
        return float(value)

    def read_flag(self, text: str) -> float:
        try:
            return self.read(float(text))
        except ValueError as error:
            raise InvalidValueError(f"{text!r} is not a number") from error

    def write(self, value: float) -> float:
        return int(value) if value.is_integer() else value


class Text(NamedTuple):
    """A text; with `check`, one that passes it."""

    wanted: str = "a text"
    check: Callable[[str], bool] = lambda _: True
    flag_type: str = "string"

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise InvalidValueError(_not(value, "a text") + _QUOTE_HINT[isinstance(value, bool | int | float)])
        if not self.check(value):
            raise InvalidValueError(f"{value!r} is not allowed")
        return value

    def read_flag(self, text: str) -> str:
        return self.read(text)

    def write(self, value: str) -> str:
        return value


_QUOTE_HINT = {True: " (put it in quotes)", False: ""}


class Duration(NamedTuple):
    """A Go duration, in seconds, at least `low` (above it when `above`)."""

    low: float = 0.0
    above: bool = False
    takes_nanoseconds: bool = False
    """A plain number is read as nanoseconds (only logging.flushFrequency)."""
    flag_type: str = "duration"

    @property
    def wanted(self) -> str:
        bound = (
            f"greater than {format_duration(self.low)}" if self.above else f"of at least {format_duration(self.low)}"
        )
        return f"a duration such as 30s, 1h30m or 250ms, {bound}"

    def read(self, value: Any) -> float:
        if self.takes_nanoseconds and isinstance(value, int) and not isinstance(value, bool):
            return self._bounded(seconds_of(value))
        if not isinstance(value, str):
            raise InvalidValueError(_not(value, "a duration"))
        return self._bounded(parse_duration(value))

    def read_flag(self, text: str) -> float:
        return self._bounded(parse_duration(text))

    def write(self, value: float) -> str:
        return format_duration(value)

    def _bounded(self, seconds: float) -> float:
        if seconds < self.low or (self.above and seconds == self.low):
            raise InvalidValueError(f"{format_duration(seconds)} is too small")
        return seconds


class OneOf(NamedTuple):
    """One word of an enum."""

    words: type[Enum]
    hint: str = ""
    flag_type: str = "string"

    @property
    def wanted(self) -> str:
        return "one of " + ", ".join(str(word.value) for word in self.words) + self.hint

    def read(self, value: Any) -> Enum:
        try:
            return self.words(value)
        except ValueError:
            raise InvalidValueError(f"{value!r} is not known") from None

    def read_flag(self, text: str) -> Enum:
        return self.read(text)

    def write(self, value: Enum) -> Any:
        return value.value


class IpAddress:
    """An IP address."""

    wanted = "an IPv4 or IPv6 address"
    flag_type = "ip"

    def read(self, value: Any) -> Address:
        return Address.parse(_text(value, "an IP address"))

    def read_flag(self, text: str) -> Address:
        return Address.parse(text)

    def write(self, value: Address) -> str:
        return str(value)


class Socket(NamedTuple):
    """`10.0.0.1:10256`, `[::]:10256`, or an address alone, which takes the default port. Port 0: no server."""

    port: int
    flag_type: str = "ipport"

    @property
    def wanted(self) -> str:
        return f"ADDRESS:PORT, [ADDRESS]:PORT for IPv6, or an address alone (port {self.port}); port 0 for no server"

    def read(self, value: Any) -> SocketAddress:
        text = _text(value, "an address and port")
        try:
            return SocketAddress(Address.parse(text), self.port)
        except InvalidValueError:
            pass
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not colon or (":" in host and not bracketed):
            raise InvalidValueError(f"{text!r} is not an address and port")
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise InvalidValueError(f"{port!r} is not a port")
        return SocketAddress(Address.parse(host[1:-1] if bracketed else host), int(port))

    def read_flag(self, text: str) -> SocketAddress:
        return self.read(text)

    def write(self, value: SocketAddress) -> str:
        return str(value)


class Cidrs:
    """A list of CIDR blocks."""

    wanted = "a list of CIDR blocks such as 10.0.0.0/8 or fd00::/64"
    flag_type = "strings"

    def read(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise InvalidValueError(_not(value, "a list"))
        return tuple(self.item(_text(item, "a text")) for item in value)

    def read_flag(self, text: str) -> tuple[Any, ...]:
        return tuple(self.item(item) for item in text.split(",")) if text else ()

    def write(self, value: tuple[Any, ...]) -> list[str] | None:
        return [str(item.value) if isinstance(item, Enum) else str(item) for item in value] or None

    def item(self, text: str) -> Any:
        return Prefix.parse(text.strip())


class NodePorts(Cidrs):
    """CIDR blocks and the words that stand for addresses."""

    wanted = "a list of CIDR blocks (10.0.0.0/8, fd00::/64) and of the words primary, localhost, all"

    def item(self, text: str) -> Prefix | NodePortKeyword:
        word = text.strip()
        return NodePortKeyword(word) if word in {k.value for k in NodePortKeyword} else Prefix.parse(word)


class ClusterCidrs(Cidrs):
    """One CIDR block, or one of each family, with a comma between."""

    wanted = "one CIDR block, or one of each family with a comma between (10.244.0.0/16,fd00:10:244::/56)"
    flag_type = "string"

    def read(self, value: Any) -> tuple[Any, ...]:
        blocks = self.read_flag(_text(value, "a text"))
        if len(blocks) > 2 or (len(blocks) == 2 and blocks[0].family is blocks[1].family):
            raise InvalidValueError(f"{value!r} is neither one block nor a pair of both families")
        return blocks

    def write(self, value: tuple[Any, ...]) -> Any:
        return ",".join(str(block) for block in value)


class FeatureGates:
    """Names to booleans."""

    wanted = "a mapping of names to true or false"
    flag_type = "mapStringBool"

    def read(self, value: Any) -> tuple[tuple[str, bool], ...]:
        if not isinstance(value, dict):
            raise InvalidValueError(_not(value, "a mapping"))
        bad = [f"{name}: {_show(on)}" for name, on in value.items() if not isinstance(on, bool)]
        if bad:
            raise InvalidValueError(f"{', '.join(bad)} is not a boolean")
        return tuple(sorted(value.items()))

    def read_flag(self, text: str) -> tuple[tuple[str, bool], ...]:
        gates: dict[str, bool] = {}
        for part in filter(None, text.split(",")):
            name, equals, on = part.partition("=")
            if not equals:
                raise InvalidValueError(f"{part!r} is not NAME=true or NAME=false")
            gates[name.strip()] = Bool().read_flag(on.strip())
        return tuple(sorted(gates.items()))

    def write(self, value: tuple[tuple[str, bool], ...]) -> dict[str, bool]:
        return dict(value)


class VModules:
    """Patterns of file names, each with a verbosity."""

    wanted = "a list of {filePattern, verbosity}"
    flag_type = "pattern=N,..."
    _keys = frozenset({"filePattern", "verbosity"})

    def read(self, value: Any) -> tuple[VModule, ...]:
        if not isinstance(value, list) or not all(isinstance(item, dict) and set(item) <= self._keys for item in value):
            raise InvalidValueError(_not(value, "a list of {filePattern, verbosity}"))
        return tuple(self._item(item.get("filePattern", ""), item.get("verbosity", 0)) for item in value)

    def read_flag(self, text: str) -> tuple[VModule, ...]:
        parts = [part.partition("=") for part in text.split(",") if part]
        return tuple(self._item(pattern, Int(0).read_flag(level)) for pattern, _, level in parts)

    def write(self, value: tuple[VModule, ...]) -> list[dict[str, Any]]:
        return [{"filePattern": item.pattern, "verbosity": item.verbosity} for item in value]

    def _item(self, pattern: Any, verbosity: Any) -> VModule:
        if not _text(pattern, "a text") or "=" in pattern or "," in pattern:
            raise InvalidValueError(f"{pattern!r} is not a file pattern")
        return VModule(pattern, Int(0).read(verbosity))


class Quantity:
    """A number of bytes as Kubernetes writes it: 512, 4Ki, 2M; kept as written."""

    wanted = "a number of bytes such as 512, 4Ki or 2M"
    flag_type = "quantity"
    _form = re.compile(r"[0-9]+(\.[0-9]+)?([KMGTPE]i|[kKMGTPE])?", re.ASCII)

    def read(self, value: Any) -> str:
        return self.read_flag(str(value) if type(value) is int else _text(value, "a number of bytes"))

    def read_flag(self, text: str) -> str:
        if not self._form.fullmatch(text):
            raise InvalidValueError(f"{text!r} is not a number of bytes")
        return text

    def write(self, value: str) -> str:
        return value


def _text(value: Any, wanted: str) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(_not(value, wanted))
    return value


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)


def _not(value: Any, wanted: str) -> str:
    return f"{_show(value)} is not {wanted}"
