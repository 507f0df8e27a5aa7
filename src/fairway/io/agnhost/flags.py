"""Flags as pflag reads them: `--name=value`, `--name value`, and switches."""

from __future__ import annotations

import re
import sys

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")


class FlagError(ValueError):
    """A flag that is not known, or a value that it cannot have."""


def seconds(text: str) -> float:
    """A Go duration. Raises FlagError."""
    if text in ("0", "+0", "-0"):
        return 0.0
    sign, rest = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text.removeprefix("+"))
    if not rest or _PART.sub("", rest):
        raise FlagError(f'time: invalid duration "{text}"')
    return sign * sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(rest))


def parse(arguments: list[str], defaults: dict[str, str], short: dict[str, str] | None = None) -> dict[str, str]:
    """The flags' values, and what is no flag under `""`. A flag whose default is `false` or `true` is a switch."""
    found, plain = dict(defaults), []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        name, has_value, value = word.lstrip("-").partition("=")
        name = (short or {}).get(name, name)
        if name not in defaults:
            raise FlagError(f"unknown flag: --{name}")
        if not has_value and defaults[name] in ("false", "true"):
            value = "true"
        elif not has_value:
            if not rest:
                raise FlagError(f"flag needs an argument: --{name}")
            value = rest.pop(0)
        found[name] = value
    found[""] = " ".join(plain)
    return found


def parsed(arguments: list[str], defaults: dict[str, str], short: dict[str, str] | None = None) -> dict[str, str]:
    """As `parse`, ending the program when it cannot."""
    try:
        return parse(arguments, defaults, short)
    except FlagError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(1)
