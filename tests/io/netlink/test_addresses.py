"""Interfaces, addresses and routes of real network namespaces, and that changes are told, each whole and once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netns
from fairway.io.netlink import addresses as module
from fairway.io.netlink.addresses import (
    AddressFlag,
    AddressWatch,
    InterfaceAddress,
    Links,
    decode_address,
    decode_interface,
    decode_route,
)
from fairway.io.netlink.socket import DumpInterruptedError, NetlinkSocket, Protocol, attribute
from fairway.values.address import Address

LOOPBACK = ["127.0.0.1", "::1"]
NO_DAD = "nodad"


def ip(command: str) -> None:
    netns.run("ip", *command.split())


@pytest.fixture
def namespace():
    with netns.private() as opened:
        yield opened


@pytest.fixture
def links(namespace):
    with Links() as opened:
        yield opened


@pytest.fixture
def veth(namespace):
    ip("link add left type veth peer name right")
    ip("link set left up")
    ip("link set right up")
    netns.run("sysctl", "-qw", "net.ipv6.conf.left.addr_gen_mode=1", "net.ipv6.conf.right.addr_gen_mode=1")
    for name in ("left", "right"):
        ip(f"-6 address flush dev {name}")


def texts(found) -> list[str]:
    return [str(address) for address in found]


@pytest.mark.kernel
@pytest.mark.usefixtures("veth")
class TestNow:
    def test_addresses_of_all_interfaces_and_both_families(self, links):
        ip("address add 192.168.0.2/24 dev left")
        ip("address add 192.168.0.3/24 dev left")
        ip(f"address add fd00::2/64 dev right {NO_DAD}")
        assert texts(links.usable_addresses()) == ["127.0.0.1", "192.168.0.2", "192.168.0.3", "::1", "fd00::2"]

    def test_an_address_is_known_by_interface_prefix_and_scope(self, links):
        ip("address add 192.168.0.2/24 dev left scope link")
        left = next(one.number for one in links.interfaces() if one.name == "left")
        (found,) = (row for row in links.addresses() if row.interface == left)
        assert (str(found.address), found.prefix_length, found.scope) == ("192.168.0.2", 24, 253)

    def test_an_address_with_a_peer_is_the_nodes_own(self, links):
        ip("address add 192.168.0.2 peer 192.168.0.9/32 dev left")
        ip(f"address add fd00::2 peer fd00::9/128 dev left {NO_DAD}")
        assert texts(links.usable_addresses()) == ["127.0.0.1", "192.168.0.2", "::1", "fd00::2"]

    def test_an_address_on_two_interfaces_counts_once(self, links):
        ip("address add 192.168.0.2/24 dev left")
        ip("address add 192.168.0.2/32 dev right")
        assert texts(links.usable_addresses()) == ["127.0.0.1", "192.168.0.2", "::1"]

    def test_a_deprecated_address_is_usable(self, links):
        ip(f"address add fd00::2/64 dev left preferred_lft 0 {NO_DAD}")
        assert "fd00::2" in texts(links.usable_addresses())

    def test_an_address_whose_duplicate_was_found_is_not_usable(self, links):
        ip(f"address add fd00::2/64 dev left {NO_DAD}")
        with NetlinkSocket(Protocol.ROUTE, groups=(module._RTNLGRP_IPV6_IFADDR,)) as events:
            ip("address add fd00::2/64 dev right")
            while not any(row.flags & AddressFlag.DAD_FAILED for row in links.addresses()):
                events.receive()
        ip("address del fd00::2/64 dev left")
        assert "fd00::2" not in texts(links.usable_addresses())

    def test_interfaces_with_kind_and_bridge(self, links):
        ip("link add cni0 type bridge")
        ip("link set left master cni0")
        by_name = {one.name: one for one in links.interfaces()}
        assert {name: one.kind for name, one in by_name.items() if name in ("cni0", "left", "right")} == {
            "cni0": "bridge",
            "left": "veth",
            "right": "veth",
        }
        assert by_name["left"].master == by_name["cni0"].number
        assert by_name["right"].master == 0

    def test_the_interface_towards_an_address(self, links):
        ip("address add 10.1.0.1/24 dev left")
        ip("route add 10.2.0.0/16 dev right")
        ip("-6 route add fd00:2::/64 dev right")
        towards = {text: links.interface_towards(Address.parse(text)) for text in ("10.1.0.9", "10.2.0.9", "fd00:2::9")}
        assert {text: one.name for text, one in towards.items()} == {
            "10.1.0.9": "left",
            "10.2.0.9": "right",
            "fd00:2::9": "right",
        }
        assert links.interface_towards(Address.parse("10.1.0.1")).name == "lo"

    @pytest.mark.parametrize("route", ["", "blackhole", "prohibit", "unreachable", "throw"])
    def test_no_interface_leads_to_an_address_without_a_route(self, links, route):
        for destination in ("10.9.0.0/16", "fd00:9::/64"):
            if route:
                ip(f"route add {route} {destination}")
        assert links.interface_towards(Address.parse("10.9.0.9")) is None
        assert links.interface_towards(Address.parse("fd00:9::9")) is None

    def test_a_dump_that_was_interrupted_is_taken_again(self, links, monkeypatch):
        dump, failures = links._socket.dump, iter([True, True])

        def interrupted(*arguments, **options):
            if next(failures, False):
                raise DumpInterruptedError("EINTR", 4)
            return dump(*arguments, **options)

        monkeypatch.setattr(links._socket, "dump", interrupted)
        assert texts(links.usable_addresses()) == LOOPBACK

    def test_a_table_that_never_holds_still_is_an_error(self, links, monkeypatch):
        def interrupted(*arguments, **options):
            raise DumpInterruptedError("EINTR", 4)

        monkeypatch.setattr(links._socket, "dump", interrupted)
        with pytest.raises(DumpInterruptedError, match="list addresses: EINTR: the table changes all the time"):
            links.addresses()


async def following(changes: AsyncIterator[tuple[Address, ...]]) -> list[str]:
    return texts(await asyncio.wait_for(anext(changes), 10))


@pytest.mark.kernel
@pytest.mark.usefixtures("veth")
class TestWatch:
    def watch(self, scenario) -> None:
        """Run a scenario that gets the changes; the watch sees this namespace."""

        async def main() -> None:
            with AddressWatch() as watch:
                changes = watch.usable_addresses()
                await scenario(changes)
                await changes.aclose()

        asyncio.run(main())

    def test_the_first_list_is_what_is_there(self):
        async def scenario(changes) -> None:
            assert await following(changes) == LOOPBACK

        ip("-6 address flush dev right")
        self.watch(scenario)

    def test_an_address_that_comes_and_goes_is_told(self):
        async def scenario(changes) -> None:
            await following(changes)
            ip("address add 192.168.0.2/24 dev left")
            assert await following(changes) == ["127.0.0.1", "192.168.0.2", "::1"]
            ip(f"address add fd00::2/64 dev left {NO_DAD}")
            assert await following(changes) == ["127.0.0.1", "192.168.0.2", "::1", "fd00::2"]
            ip("address del 192.168.0.2/24 dev left")
            assert await following(changes) == ["127.0.0.1", "::1", "fd00::2"]

        self.watch(scenario)

    def test_an_interface_takes_its_addresses_along(self):
        async def scenario(changes) -> None:
            ip("address add 192.168.0.2/24 dev left")
            ip(f"address add fd00::2/64 dev left {NO_DAD}")
            assert await following(changes) == ["127.0.0.1", "192.168.0.2", "::1", "fd00::2"]
            ip("link del left")
            assert await following(changes) == LOOPBACK

        self.watch(scenario)

    def test_an_address_is_told_when_duplicate_detection_is_over(self):
        async def scenario(changes) -> None:
            assert await following(changes) == LOOPBACK
            ip("address add fd00::2/64 dev left")
            assert await following(changes) == ["127.0.0.1", "::1", "fd00::2"]

        self.watch(scenario)

    def test_many_changes_at_once_are_told_as_one(self):
        async def scenario(changes) -> None:
            await following(changes)
            batch = "".join(f"address add 10.0.{n // 250}.{n % 250 + 1}/32 dev left\n" for n in range(1000))
            netns.run("ip", "-batch", "-", stdin=batch)
            seen = [await following(changes)]
            while len(seen[-1]) < 1002:
                seen.append(await following(changes))
            assert len(seen) <= 3

        self.watch(scenario)

    def test_lost_notifications_lose_no_change(self, monkeypatch):
        """A socket with hardly any buffer overruns for sure: the list is read anew all the same."""
        make = module.NetlinkSocket
        monkeypatch.setattr(
            module, "NetlinkSocket", lambda protocol, groups=(): make(protocol, groups=groups, buffer=2048)
        )

        async def scenario(changes) -> None:
            await following(changes)
            batch = "".join(f"address add 10.0.{n // 250}.{n % 250 + 1}/32 dev left\n" for n in range(1000))
            netns.run("ip", "-batch", "-", stdin=batch + "address add 192.168.0.2/24 dev left\n")
            found = await following(changes)
            while "192.168.0.2" not in found:
                found = await following(changes)
            ip("address del 192.168.0.2/24 dev left")
            assert "192.168.0.2" not in await following(changes)

        self.watch(scenario)

    def test_an_interface_without_addresses_wakes_nobody(self):
        async def scenario(changes) -> None:
            await following(changes)
            waiting = asyncio.ensure_future(anext(changes))
            ip("link add pod1 type veth peer name pod2")
            ip("link del pod1")
            ip("address add 192.168.0.2/24 dev left")
            assert texts(await asyncio.wait_for(waiting, 10)) == ["127.0.0.1", "192.168.0.2", "::1"]

        self.watch(scenario)


@pytest.mark.parametrize(
    ("flags", "is_usable"),
    [
        (0, True),
        (AddressFlag.TENTATIVE, False),
        (AddressFlag.TENTATIVE | AddressFlag.OPTIMISTIC, True),
        (AddressFlag.TENTATIVE | AddressFlag.DAD_FAILED, False),
        (AddressFlag.DAD_FAILED, False),
        (AddressFlag.DEPRECATED, True),
    ],
)
def test_which_addresses_are_usable(flags, is_usable):
    assert InterfaceAddress(Address.parse("fd00::2"), 64, 1, 0, flags).is_usable is is_usable


@given(st.binary(max_size=120), st.sampled_from([b"\2", b"\x0a", b""]))
def test_arbitrary_bytes_are_never_an_error(noise, family):
    for decode in (decode_address, decode_interface, decode_route):
        decode(memoryview(family + noise))


def test_an_address_of_another_family_or_width_is_none():
    for head in (bytes((2, 24, 0, 0)), bytes((10, 24, 0, 0)), bytes((7, 24, 0, 0))):
        assert decode_address(memoryview(head + bytes(4) + attribute(1, bytes(5)))) is None
