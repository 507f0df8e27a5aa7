"""What this machine is like, as far as a cluster on it is concerned: addresses, routes, names, programs, kernel."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from fairway.cluster.preflight import HostFacts, Taken
from fairway.io.host import netns
from fairway.io.netlink.addresses import Links
from fairway.io.netlink.links import LinkWriter
from fairway.io.netlink.socket import NetlinkSocket, Protocol
from fairway.values.address import Address, Prefix
from fairway.values.errors import FairwayError


def host_facts(api_port: int) -> HostFacts:
    """Of the machine now. Changes nothing: kernel features are tried in a namespace without a name."""
    with Links() as links:
        interfaces = {one.number: one.name for one in links.interfaces()}
        found = [
            Taken(
                Prefix.of(one.address, one.prefix_length),
                f"the address {one.address}/{one.prefix_length} of {interfaces.get(one.interface, '?')}",
            )
            for one in links.addresses()
            if not one.address.is_link_local
        ]
    taken = (*found, *_routes())
    return HostFacts(taken, tuple(interfaces.values()), tuple(netns.names("")), _is_free(api_port), tuple(_missing()))


def _routes() -> Iterator[Taken]:
    """The main table, as /proc shows it."""
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
            link, to, _, _, _, _, _, mask, *_ = line.split()
            address = Address(struct.pack("=I", int(to, 16)))
            length = struct.unpack("=I", bytes.fromhex(mask)[::-1])[0].bit_count()
            yield Taken(Prefix(address, length), f"the route {address}/{length} by {link}")
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/proc/net/ipv6_route").read_text(encoding="ascii").splitlines():
            to, bits, *_, link = line.split()
            prefix = Prefix(Address(bytes.fromhex(to)), int(bits, 16))
            if link != "lo" and not prefix.address.is_link_local and prefix.address[0] != 0xFF:
                yield Taken(prefix, f"the route {prefix} by {link}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _missing() -> Iterator[str]:
    if shutil.which("runc") is None:
        yield "runc is missing: apt-get install runc"
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii").split():
        yield "the kernel has no overlay file system: modprobe overlay"
    if not any(Path("/sys/fs/cgroup", one).exists() for one in ("cgroup.controllers", "devices")):
        yield "no cgroups are mounted at /sys/fs/cgroup: mount -t cgroup2 cgroup2 /sys/fs/cgroup"
    try:
        with netns.scratch(), LinkWriter() as links:
            yield from _missing_links(links)
    except FairwayError as error:
        yield f"{error}"
    try:
        NetlinkSocket(Protocol.NETFILTER).close()
    except FairwayError as error:
        yield f"{error}: modprobe nf_tables"


def _missing_links(links: LinkWriter) -> Iterator[str]:
    try:
        links.add_bridge("tried")
    except FairwayError:
        yield "the kernel has no bridges: modprobe bridge"
    try:
        links.add_pair("tried-a", "tried-b")
    except FairwayError:
        yield "the kernel has no veth links: modprobe veth"
