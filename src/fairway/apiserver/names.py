"""Rules for names, labels, annotations and addresses, with the API's words for what breaks them."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required, too_long

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"

LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
LABEL_1035_WORDS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    f"'{_LABEL_1035}')"
)
_QUALIFIED_WORDS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
_LABEL_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_LABEL_VALUE}')"
)

NameRule = Callable[[str, bool], list[str]]
_matchers = {p: re.compile(p) for p in (_LABEL, _SUBDOMAIN, _LABEL_1035, _QUALIFIED, _LABEL_VALUE, _CONFIG_KEY)}


def _full(pattern: str, text: str) -> bool:
    return _matchers[pattern].fullmatch(text) is not None


def _limit(text: str, most: int, unit: str = "bytes") -> list[str]:
    return [f"must be no more than {most} {unit}"] if len(text.encode()) > most else []


def dns_label_errors(text: str) -> list[str]:
    errors = _limit(text, 63, "characters")
    if not _full(_LABEL, text):
        errors.append("must not contain dots" if not errors and _full(_SUBDOMAIN, text) else LABEL_WORDS)
    return errors


def dns_1035_errors(text: str) -> list[str]:
    return _limit(text, 63, "characters") + ([] if _full(_LABEL_1035, text) else [LABEL_1035_WORDS])


def subdomain_errors(text: str) -> list[str]:
    return _limit(text, 253, "characters") + ([] if _full(_SUBDOMAIN, text) else [SUBDOMAIN_WORDS])


def label_value_errors(text: str) -> list[str]:
    return _limit(text, 63) + ([] if _full(_LABEL_VALUE, text) else [_LABEL_VALUE_WORDS])


def config_key_errors(text: str) -> list[str]:
    errors = _limit(text, 253, "characters")
    if not _full(_CONFIG_KEY, text):
        errors.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
            f"'KEY_NAME',  or 'key-name', regex used for validation is '{_CONFIG_KEY}')"
        )
    if text in (".", "..") or text.startswith(".."):
        errors.append(f"must not be '{text}'" if text in (".", "..") else "must not start with '..'")
    return errors


@functools.lru_cache(maxsize=4096)
def qualified_name_messages(text: str) -> tuple[str, ...]:
    """A label key: an optional DNS prefix and `/`, then a name."""
    prefix, slash, name = text.rpartition("/")
    if text.count("/") > 1:
        return (
            "a valid label key "
            + _QUALIFIED_WORDS.removesuffix("'" + _QUALIFIED + "')")
            + "'"
            + _QUALIFIED
            + "')"
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    out: list[str] = []
    if slash:
        if not prefix:
            out.append("prefix part must be non-empty")
        else:
            out += [
                f"prefix part {m.replace('characters', 'bytes') if '253' in m else m}" for m in subdomain_errors(prefix)
            ]
    if not name:
        out.append("name part must be non-empty")
    elif len(name) > 63:
        out.append("name part must be no more than 63 bytes")
    if not _full(_QUALIFIED, name):
        out.append(f"name part {_QUALIFIED_WORDS}")
    return tuple(out)


def qualified_name_errors(path: str, text: str) -> list[FieldError]:
    return [invalid(path, text, m) for m in qualified_name_messages(text)]


# ---- names of objects: (name, is a prefix) → messages -----------------------------------------------------------
def _masked(text: str, prefix: bool) -> str:
    """A generateName is a prefix: its trailing dash will not stay last."""
    return text[:-1] + "a" if prefix and len(text) > 1 and text.endswith("-") else text


def subdomain_name(text: str, prefix: bool) -> list[str]:
    return subdomain_errors(_masked(text, prefix))


def label_name(text: str, prefix: bool) -> list[str]:
    return dns_label_errors(_masked(text, prefix))


def label_1035_name(text: str, prefix: bool) -> list[str]:
    return dns_1035_errors(_masked(text, prefix))


def long_name(text: str, prefix: bool) -> list[str]:
    """A name that the API's declarative rules check: in bytes, and not the prefix of a generated one."""
    return [
        m.replace("characters", "bytes") if "no more" in m else m for m in ([] if prefix else subdomain_errors(text))
    ]


def path_segment_name(text: str, prefix: bool) -> list[str]:
    if prefix:
        return []
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{c}'" for c in ("/", "%") if c in text]


def ip_name(text: str, prefix: bool) -> list[str]:
    """Names of IPAddress objects: an address in canonical form."""
    return ip_messages(text, strict=True)


# ---- labels and annotations -------------------------------------------------------------------------------------
def labels_errors(labels: Mapping[str, str] | None, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    for key, value in (labels or {}).items():
        out += qualified_name_errors(path, key)
        out += [invalid(path, value, m) for m in label_value_errors(value)]
    return out


def annotations_errors(annotations: Mapping[str, str] | None, path: str) -> list[FieldError]:
    out: list[FieldError] = []
    size = 0
    for key, value in (annotations or {}).items():
        out += [invalid(path, key, m) for m in qualified_name_messages(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > 256 * 1024:
        out.append(too_long(path, 256 * 1024))
    return out


_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def label_selector_errors(selector: dict[str, Any] | None, path: str) -> list[FieldError]:
    """`metav1.LabelSelector`: matchLabels and matchExpressions."""
    if not selector:
        return []
    out = labels_errors(selector.get("matchLabels"), f"{path}.matchLabels")
    for i, term in enumerate(selector.get("matchExpressions") or []):
        at = f"{path}.matchExpressions[{i}]"
        operator, values = term.get("operator", ""), term.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                out.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                out.append(
                    forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
                )
        else:
            out.append(invalid(f"{at}.operator", operator, "not a valid selector operator"))
        out += qualified_name_errors(f"{at}.key", term.get("key", ""))
        for j, value in enumerate(values):
            out += [invalid(f"{at}.values[{j}]", value, m) for m in label_value_errors(value)]
    return out


# ---- addresses --------------------------------------------------------------------------------------------------
IP_WORDS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_WORDS = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def _sloppy(text: str) -> str:
    """Decimal octets without leading zeros, which Go's old parser took."""
    if re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", text):
        return ".".join(str(int(o)) for o in text.split("."))
    return text


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as the API takes it (leading zeros too); an IPv4-mapped one is its IPv4."""
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(_sloppy(text))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_ipv6(text: str) -> bool:
    address = parse_ip(text)
    return address is not None and address.version == 6


def ip_messages(text: str, *, strict: bool = False) -> list[str]:
    """What is wrong with an address in a field; `strict` also wants the canonical form."""
    address = parse_ip(text)
    if address is None:
        return [IP_WORDS]
    if address.version == 4 and ":" in text:
        return ["must not be an IPv4-mapped IPv6 address"]
    if _sloppy(text) != text:
        return ["must not have leading 0s"]
    if strict and str(address) != text:
        return [f'must be in canonical form ("{address}")']
    return []


def ip_errors(path: str, text: str, existing: list[str] | None = None) -> list[FieldError]:
    """Fields that always took sloppy addresses: what is already stored stays allowed."""
    if existing and text in existing:
        return []
    return [invalid(path, text, m) for m in ip_messages(text)]


def cidr_errors(path: str, text: str, existing: list[str] | None = None, *, strict: bool = False) -> list[FieldError]:
    if existing and text in existing:
        return []
    address_text, slash, length = text.partition("/")
    address = parse_ip(address_text)
    bits = 32 if address is not None and ":" not in address_text else 128
    if not slash or address is None or not length.isdigit() or int(length) > bits:
        return [invalid(path, text, CIDR_WORDS)]
    if address.version == 4 and ":" in address_text:
        return [invalid(path, text, "must not have an IPv4-mapped IPv6 address")]
    out: list[FieldError] = []
    if _sloppy(address_text) != address_text or (len(length) > 1 and length.startswith("0")):
        out.append(invalid(path, text, "must not have leading 0s in IP or prefix length"))
    network = ipaddress.ip_network(f"{address}/{int(length)}", strict=False)
    if network.network_address != address:
        out.append(invalid(path, text, "must not have bits set beyond the prefix length"))
    if strict and not out and str(network) != text:
        out.append(invalid(path, text, f'must be in canonical form ("{network}")'))
    return out


def endpoint_ip_errors(text: str, path: str) -> list[FieldError]:
    """Addresses that no endpoint may have."""
    address = parse_ip(text)
    if address is None:
        return [invalid(path, text, "must be a valid IP address")]
    out: list[FieldError] = []
    if address.is_unspecified:
        out.append(invalid(path, text, f"may not be unspecified ({text})"))
    if address.is_loopback:
        out.append(invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if address.is_link_local:
        out.append(invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    packed = address.packed
    if (address.version == 4 and packed[:3] == b"\xe0\x00\x00") or (
        address.version == 6 and packed[0] == 0xFF and packed[1] & 0x0F == 2
    ):
        out.append(invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
    return out


# ---- ports ------------------------------------------------------------------------------------------------------
PORT_WORDS = "must be between 1 and 65535, inclusive"


def port_errors(path: str, port: int) -> list[FieldError]:
    return [] if 1 <= port <= 65535 else [invalid(path, port, PORT_WORDS)]


def port_name_messages(text: str) -> list[str]:
    """An IANA service name, as container ports have."""
    out: list[str] = []
    if len(text) > 15:
        out.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", text):
        out.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", text):
        out.append("must contain at least one letter (a-z)")
    if "--" in text:
        out.append("must not contain consecutive hyphens")
    if text and (text[0] == "-" or text[-1] == "-"):
        out.append("must not begin or end with a hyphen")
    return out


def port_or_name_errors(value: int | str, path: str) -> list[FieldError]:
    if isinstance(value, int):
        return port_errors(path, value)
    return [invalid(path, value, m) for m in port_name_messages(value)]
