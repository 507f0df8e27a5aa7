"""Addresses, ranges of them, and URLs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote

from fairway.apiserver.cel.errors import EvaluationError
from fairway.apiserver.fielderrors import quote

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Ip:
    """net.IP."""

    address: Address
    type_name: ClassVar[str] = "net.IP"

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Cidr:
    """net.CIDR: an address and how many of its bits are the network's."""

    address: Address
    bits: int
    type_name: ClassVar[str] = "net.CIDR"

    def __str__(self) -> str:
        return f"{self.address}/{self.bits}"

    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network((self.address, self.bits), strict=False)


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _ip(text: str) -> Ip:
    found = _address(text)
    if found is None:
        why = f"IP Address {quote(text)} parse error during conversion from string: ParseAddr({quote(text)}): "
        raise EvaluationError(why + _why(text))
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id:
            raise EvaluationError(f"IP address {quote(text)} with zone value is not allowed")
        if found.ipv4_mapped:
            raise EvaluationError(f"IPv4-mapped IPv6 address {quote(text)} is not allowed")
    return Ip(found)


def _why(text: str) -> str:
    """netip.ParseAddr's words for what it meets most often."""
    for char in text:
        if char == ".":
            if "" in text.split("."):
                return "IPv4 field must have at least one digit"
            fields = text.split(".")
            if any(not f.isdecimal() for f in fields):
                return "unexpected character (at " + quote(next(f for f in fields if not f.isdecimal())) + ")"
            if any(len(f) > 1 and f[0] == "0" for f in fields):
                return "IPv4 field has octet with leading zero"
            if len(fields) != 4:
                return "IPv4 address too short" if len(fields) < 4 else "IPv4 address too long"
            return "IPv4 field has value >255"
        if char in ":%":
            break
    return "unable to parse IP"


def _cidr(text: str) -> Cidr:
    head = "network address parse error during conversion from string: "
    address, slash, bits = text.rpartition("/")
    found = _address(address) if slash else None
    whole = bool(re.fullmatch(r"0|[1-9]\d?\d?", bits)) and found is not None and int(bits) <= found.max_prefixlen
    if found is None or not whole or (isinstance(found, ipaddress.IPv6Address) and found.scope_id):
        raise EvaluationError(
            f"{head}{head}netip.ParsePrefix({quote(text)}): {_why_no_prefix(address, slash, bits, found)}"
        )
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        raise EvaluationError(f"{head}IPv4-mapped IPv6 address {quote(text)} is not allowed")
    return Cidr(found, int(bits))


def _why_no_prefix(address: str, slash: str, bits: str, found: Address | None) -> str:
    if not slash:
        return "no '/'"
    if found is None:
        return f"ParseAddr({quote(address)}): {_why(address)}"
    return "prefix length out of range" if bits.isdecimal() else f"bad bits after slash: {quote(bits)}"


def _is(make: Callable[[str], Any]) -> Callable[[str], bool]:
    def run(text: str) -> bool:
        try:
            make(text)
        except EvaluationError:
            return False
        return True

    return run


def _holds(outer: Cidr, inner: Cidr) -> bool:
    if outer.address.version != inner.address.version or outer.bits > inner.bits:
        return False
    return inner.address in outer.network()


def _global(ip: Ip) -> bool:
    """Go's IsGlobalUnicast: private addresses are of these, too."""
    a = ip.address
    none = a.is_unspecified or a.is_loopback or a.is_multicast or a.is_link_local
    return not none and a != ipaddress.IPv4Address("255.255.255.255")


def _link_local_multicast(ip: Ip) -> bool:
    first = ip.address.packed
    return first[:3] == b"\xe0\x00\x00" if len(first) == 4 else first[0] == 0xFF and first[1] & 0x0F == 2


# ---- URLs -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Url:
    """The parts of net/url.URL that rules see."""

    scheme: str
    host: str
    path: str
    query: str
    type_name: ClassVar[str] = "kubernetes.URL"

    def hostname(self) -> str:
        inside = re.match(r"\[([^]]*)\]", self.host)
        return inside[1] if inside else self.host.partition(":")[0]

    def port(self) -> str:
        found = re.search(r":(\d*)$", re.sub(r"\[[^]]*\]", "", self.host))
        return found[1] if found else ""


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def _url(text: str) -> Url:
    head = "URL parse error during conversion from string: "
    wrong = url_error(text)
    if wrong:
        raise EvaluationError(head + wrong)
    rest, _, _ = text.partition("#")
    found = _SCHEME.match(rest)
    scheme = found[1].lower() if found else ""
    rest, _, query = rest[found.end() if found else 0 :].partition("?")
    host = ""
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        host, rest = unquote(authority.rpartition("@")[2]), slash + path
    elif not rest.startswith("/"):
        rest = ""  # opaque
    return Url(scheme, host, rest, query)


def url_error(text: str) -> str:
    """Why url.ParseRequestURI refuses a text, or nothing."""
    head = f"parse {quote(text)}: "
    if not text:
        return head + "empty url"
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        return head + "net/url: invalid control character in URL"
    if text[0] == ":":
        return head + "missing protocol scheme"
    found = _SCHEME.match(text)
    rest = text[found.end() if found else 0 :]
    if not rest.startswith("/"):
        return "" if found else head + "invalid URI for request"
    escape = re.search(r"%(?![0-9A-Fa-f]{2}).{0,2}", rest.partition("?")[0])
    if escape:
        return head + f"invalid URL escape {quote(escape[0])}"
    return _authority_error(rest, head) if found and rest.startswith("//") else ""


def _authority_error(rest: str, head: str) -> str:
    host = re.split(r"[/?]", rest[2:], maxsplit=1)[0].rpartition("@")[2]
    after = host.rpartition("]")[2] if host.startswith("[") else host
    port = re.search(r":([^:]*)$", after)
    if host.startswith("[") and "]" not in host:
        return head + "missing ']' in host"
    if port and not re.fullmatch(r"\d*", port[1]):
        return head + f"invalid port {quote(':' + port[1])} after host"
    bad = re.search(r'[ "<>\\^`{|}]', host)
    return head + f"invalid character {quote(bad[0])} in host name" if bad else ""


def _query(url: Url) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for key, value in parse_qsl(url.query, keep_blank_values=True):
        out.setdefault(key, []).append(value)
    return out


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ip(string) -> IP": _ip,
    "isIP(string) -> bool": _is(_ip),
    "ip.isCanonical(string) -> bool": lambda t: str(_ip(t)) == t,
    "string(IP) -> string": str,
    "IP:family() -> int": lambda i: i.address.version,
    "IP:isUnspecified() -> bool": lambda i: i.address.is_unspecified,
    "IP:isLoopback() -> bool": lambda i: i.address.is_loopback,
    "IP:isLinkLocalMulticast() -> bool": _link_local_multicast,
    "IP:isLinkLocalUnicast() -> bool": lambda i: i.address.is_link_local,
    "IP:isGlobalUnicast() -> bool": _global,
    "cidr(string) -> CIDR": _cidr,
    "isCIDR(string) -> bool": _is(_cidr),
    "string(CIDR) -> string": str,
    "CIDR:containsIP(string) -> bool": lambda c, t: _ip(t).address in c.network(),
    "CIDR:containsIP(IP) -> bool": lambda c, i: i.address in c.network(),
    "CIDR:containsCIDR(string) -> bool": lambda c, t: _holds(c, _cidr(t)),
    "CIDR:containsCIDR(CIDR) -> bool": _holds,
    "CIDR:ip() -> IP": lambda c: Ip(c.address),
    "CIDR:prefixLength() -> int": lambda c: c.bits,
    "CIDR:masked() -> CIDR": lambda c: Cidr(c.network().network_address, c.bits),
    "url(string) -> URL": _url,
    "isURL(string) -> bool": lambda t: not url_error(t),
    "URL:getScheme() -> string": lambda u: u.scheme,
    "URL:getHost() -> string": lambda u: u.host,
    "URL:getHostname() -> string": Url.hostname,
    "URL:getPort() -> string": Url.port,
    "URL:getEscapedPath() -> string": lambda u: u.path,
    "URL:getQuery() -> map(string, list(string))": _query,
}
