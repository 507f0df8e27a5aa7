"""Named formats: `format.dns1123Label().validate(x)` is none, or what is wrong."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from fairway.apiserver import names
from fairway.apiserver.cel.library.network import url_error
from fairway.apiserver.cel.values import NONE, Optional, parse_timestamp, some

Check = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class Format:
    """kubernetes.NamedFormat."""

    name: str
    check: Check
    type_name: ClassVar[str] = "kubernetes.NamedFormat"


def _named(rule: Callable[[str, bool], list[str]], *, prefix: bool) -> Check:
    return lambda text: rule(text, prefix)


def _pattern(pattern: str, words: str) -> Check:
    return lambda text: [] if re.fullmatch(pattern, text) else [words]


def _date(text: str) -> list[str]:
    try:
        dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC)
    except ValueError:
        return ["invalid date"]
    return [] if len(text) == 10 else ["invalid date"]


def _uri(text: str) -> list[str]:
    wrong = url_error(text)
    return [wrong] if wrong else []


_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})"
_UUID = r"(?i:[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})"
_FORMATS: dict[str, Check] = {
    "dns1123Label": _named(names.label_name, prefix=False),
    "dns1123Subdomain": _named(names.subdomain_name, prefix=False),
    "dns1035Label": _named(names.label_1035_name, prefix=False),
    "qualifiedName": lambda text: list(names.qualified_name_messages(text)),
    "dns1123LabelPrefix": _named(names.label_name, prefix=True),
    "dns1123SubdomainPrefix": _named(names.subdomain_name, prefix=True),
    "dns1035LabelPrefix": _named(names.label_1035_name, prefix=True),
    "labelValue": names.label_value_errors,
    "uri": _uri,
    "uuid": _pattern(_UUID, "does not match the UUID format"),
    "byte": _pattern(_BASE64, "invalid base64"),
    "date": _date,
    "datetime": lambda text: [] if parse_timestamp(text) else ["invalid datetime"],
}


def _validate(form: Format, text: str) -> Optional:
    found = form.check(text)
    return some(found) if found else NONE


def _find(name: str) -> Optional:
    return some(Format(name, _FORMATS[name])) if name in _FORMATS else NONE


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Format:validate(string) -> optional(list(string))": _validate,
    "format.named(string) -> optional(Format)": _find,
    **{f"format.{name}() -> Format": lambda n=name: Format(n, _FORMATS[n]) for name in _FORMATS},
}
