"""Formats of texts in schemas that are checked (strfmt of kube-openapi); all others are remarks."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import re
from collections.abc import Callable

from fairway.apiserver import names

_UUID = r"(?i:[0-9a-f]{8}-?[0-9a-f]{4}-?%s[0-9a-f]{3}-?%s[0-9a-f]{3}-?[0-9a-f]{12})"
_ANY, _VARIANT = "[0-9a-f]", "[89ab]"
_SPAN = r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"[+-]?{_SPAN}(?:{_SPAN})*")
_UNITS = "ns|us|\u00b5s|\u03bcs|ms|sec|s|min|m|hr|h|d|wk|w|(?:nano|micro|milli)s?|(?:nano|micro|milli)?seconds?"
_SCALA = re.compile(rf"\d+\s*(?:{_UNITS}|minutes?|hours?|days?|weeks?)")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-]\d\d:?\d\d)")
_HOST = r"([a-zA-Z0-9_]|[a-zA-Z0-9_][a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])"


def _re(pattern: str) -> Callable[[str], bool]:
    found = re.compile(pattern)
    return lambda text: found.fullmatch(text) is not None


def _address(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version and "%" not in text
        except ValueError:
            return False

    return check


def _cidr(text: str) -> bool:
    address, slash, bits = text.partition("/")
    try:
        return bool(slash) and bits.isdecimal() and int(bits) <= ipaddress.ip_address(address).max_prefixlen
    except ValueError:
        return False


def _date(text: str) -> bool:
    try:
        return len(text) == 10 and dt.date.fromisoformat(text) is not None
    except ValueError:
        return False


def _date_time(text: str) -> bool:
    found = _TIME.fullmatch(text)
    if found is None:
        return False
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        dt.date(year, month, day)
    except ValueError:
        return False
    return hour < 24 and minute < 60 and second < 60


def _base64(text: str) -> bool:
    try:
        return base64.b64decode(text, validate=True) is not None and bool(text)
    except binascii.Error:
        return False


def _uri(text: str) -> bool:
    from fairway.apiserver.cel.library.network import url_error

    return not url_error(text)


_CHECKS: dict[str, Callable[[str], bool]] = {
    "uri": _uri,
    "email": _re(r"[^@\s<>,;:]+@[^@\s<>,;:]+"),
    "hostname": lambda t: len(t) <= 255 and re.fullmatch(rf"{_HOST}(\.{_HOST})*\.?", t) is not None,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": _cidr,
    "mac": _re(
        r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}([:-][0-9a-fA-F]{2}){0,14}|([0-9a-fA-F]{4}\.){2,9}[0-9a-fA-F]{4}"
    ),
    "uuid": _re(_UUID % (_ANY, _ANY)),
    "uuid3": _re(_UUID % ("3", _ANY)),
    "uuid4": _re(_UUID % ("4", _VARIANT)),
    "uuid5": _re(_UUID % ("5", _VARIANT)),
    "hexcolor": _re(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "byte": _base64,
    "date": _date,
    "datetime": _date_time,
    "duration": lambda t: t == "0" or bool(_DURATION.fullmatch(t) or _SCALA.search(t)),
    "k8sshortname": lambda t: not names.dns_label_errors(t),
    "k8slongname": lambda t: not names.subdomain_errors(t),
}


def valid(form: str, text: str) -> bool:
    """Whether a text has a format; one that nobody knows every text has."""
    check = _CHECKS.get(form.replace("-", ""))
    return check is None or check(text)
