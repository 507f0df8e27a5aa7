"""Which addresses to listen on, and which of them other machines can know this server by."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from fairway.config.corefile_settings import BindSettings
from fairway.io.netlink.addresses import Links
from fairway.values.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A local address to bind; `::` stands for all of both families."""

    host: str
    port: int
    is_tls: bool = False

    def __str__(self) -> str:
        """As CoreDNS' metrics call it: `dns://:53`, `tls://10.0.0.1:853`."""
        host = "" if self.host == "::" else f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.is_tls else 'dns'}://{host}:{self.port}"


def interface_addresses() -> dict[str, list[str]]:
    """Addresses by the interface that has them."""
    with Links() as links:
        interfaces = links.interfaces()
        found: dict[int, list[str]] = {one.number: [] for one in interfaces}
        names = {one.number: one.name for one in interfaces}
        for row in links.addresses():
            found.setdefault(row.interface, []).append(str(row.address))
    return {names.get(index, str(index)): addresses for index, addresses in found.items()}


def listen_hosts(bind: BindSettings, place: str) -> tuple[str, ...]:
    """Addresses that a server block binds. Raises ConfigError for what is neither an address nor an interface."""
    if not bind.names:
        return ("::",)
    interfaces = interface_addresses()
    excepted = {a for name in bind.excepted for a in interfaces.get(name, [name])}
    hosts: list[str] = []
    for name in bind.names:
        if name in interfaces:
            hosts += [a for a in interfaces[name] if not ipaddress.ip_address(a).is_link_local or ":" not in a]
            continue
        try:
            hosts.append(str(ipaddress.ip_address(name)))
        except ValueError:
            known = ", ".join(sorted(interfaces))
            raise ConfigError(f"{place}: bind: {name!r} is neither an address nor an interface ({known})") from None
    return tuple(dict.fromkeys(host for host in hosts if host not in excepted))


def known_addresses(bind: BindSettings, place: str) -> tuple[bytes, ...]:
    """Packed addresses that others reach this server by: those it binds, or all of the machine's, without loopback."""
    hosts = listen_hosts(bind, place)
    if hosts == ("::",):
        hosts = tuple(a for addresses in interface_addresses().values() for a in addresses)
    found = (ipaddress.ip_address(host) for host in hosts)
    usable = (a for a in found if not a.is_loopback and not (a.version == 6 and a.is_link_local))
    return tuple(dict.fromkeys(a.packed for a in usable if not a.is_unspecified))


def unmapped(host: str) -> bytes:
    """Packed address as a socket gives it: IPv4 in IPv6 unwrapped, scope left out."""
    if ":" not in host:
        return socket.inet_aton(host)
    address = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return address[12:] if address.startswith(_MAPPED) else address


_MAPPED = bytes(10) + b"\xff\xff"
