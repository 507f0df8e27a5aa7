"""Framing against arbitrary bytes, and requests, dumps and overruns on the real kernel."""

import errno
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netns
from fairway.io.netlink import socket as netlink
from fairway.io.netlink.socket import NetlinkSocket, OverrunError, Protocol
from fairway.values.errors import KernelError, UnavailableError

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
IFINFO = struct.Struct("=BxHiII")
RTNLGRP_LINK = 1
NLM_F_CREATE = 0x400


@pytest.fixture
def route():
    with netns.private(), NetlinkSocket(Protocol.ROUTE) as opened:
        yield opened


@given(st.lists(st.tuples(st.integers(16, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=60)), max_size=6))
def test_framed_messages_read_back(rows):
    chunk = b"".join(netlink.message(kind, flags, payload, 7) for kind, flags, payload in rows)
    read = [(m.type, m.flags, m.sequence, bytes(m.payload)) for m in netlink.messages(chunk)]
    assert read == [(kind, flags, 7, payload) for kind, flags, payload in rows]


@given(st.lists(st.tuples(st.integers(0, netlink.NLA_TYPE_MASK), st.binary(max_size=40)), max_size=6))
def test_framed_attributes_read_back(rows):
    framed = b"".join(netlink.attribute(kind, value) for kind, value in rows)
    assert [(kind, bytes(value)) for kind, value in netlink.attributes(framed)] == rows


@given(st.binary(max_size=200))
def test_arbitrary_bytes_end_the_iteration_without_error(noise):
    for one in netlink.messages(noise):
        netlink.failure(one)
    list(netlink.attributes(noise))


def test_the_attributes_of_a_nest_are_read_from_its_value():
    ((kind, value),) = netlink.attributes(netlink.nest(5, netlink.attribute(1, b"a"), netlink.attribute(2, b"bcdef")))
    assert (kind, [(k, bytes(v)) for k, v in netlink.attributes(value)]) == (5, [(1, b"a"), (2, b"bcdef")])


@pytest.mark.kernel
def test_a_dump_yields_every_row(route):
    netns.run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
    rows = [p for chunk in route.dump(RTM_GETLINK, IFINFO.pack(0, 0, 0, 0, 0)) for p in chunk]
    names = {bytes(v).rstrip(b"\0") for row in rows for k, v in netlink.attributes(row[IFINFO.size :]) if k == 3}
    assert names == {b"lo", b"left", b"right"}


@pytest.mark.kernel
def test_a_dump_that_is_given_up_does_not_block_the_next_one(route):
    for number in range(100):
        netns.run("ip", "link", "add", f"left{number}", "type", "veth", "peer", "name", f"right{number}")
    given_up = route.dump(RTM_GETLINK, IFINFO.pack(0, 0, 0, 0, 0))
    assert len(next(given_up)) < 201
    given_up.close()
    assert sum(map(len, route.dump(RTM_GETLINK, IFINFO.pack(0, 0, 0, 0, 0)))) == 201


@pytest.mark.kernel
def test_a_request_returns_the_answer_that_came_before_its_acknowledgement(route):
    (answer,) = route.request(RTM_GETLINK, IFINFO.pack(0, 0, 1, 0, 0))
    assert (answer.type, IFINFO.unpack_from(answer.payload)[2]) == (RTM_NEWLINK, 1)


@pytest.mark.kernel
def test_a_refused_request_names_errno_and_what_was_asked(route):
    with pytest.raises(KernelError, match="link 4711: ENODEV: No such device") as caught:
        route.request(RTM_GETLINK, IFINFO.pack(0, 0, 4711, 0, 0), what="link 4711")
    assert caught.value.errno == errno.ENODEV


@pytest.mark.kernel
def test_the_kernels_own_words_are_part_of_the_error(route):
    kind = netlink.nest(18, netlink.attribute(1, b"nonesuch"))
    with pytest.raises(KernelError, match="EOPNOTSUPP: Operation not supported; Unknown device type"):
        route.request(RTM_NEWLINK, IFINFO.pack(0, 0, 0, 0, 0) + kind, flags=NLM_F_CREATE, what="a link of no kind")


@pytest.mark.kernel
def test_requests_of_several_threads_each_get_their_own_answer(route):
    """Pods that start at once have their links made by threads that share one socket."""

    def ask(number: int) -> set[int]:
        answers = (route.request(RTM_GETLINK, IFINFO.pack(0, 0, 1, 0, 0)) for _ in range(200))
        return {len(answer) for answer in answers}

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, number) for number in range(8)]
        assert [one.result(timeout=30) for one in asked] == [{1}] * 8


@pytest.mark.kernel
def test_a_socket_serves_requests_after_a_refused_one(route):
    for _ in range(3):
        with pytest.raises(KernelError):
            route.request(RTM_GETLINK, IFINFO.pack(0, 0, 4711, 0, 0))
        assert route.request(RTM_GETLINK, IFINFO.pack(0, 0, 1, 0, 0))


@pytest.mark.kernel
def test_lost_notifications_are_reported_and_the_socket_goes_on():
    with netns.private(), NetlinkSocket(Protocol.ROUTE, groups=(RTNLGRP_LINK,), buffer=2048) as listener:
        for _ in range(20):
            netns.run("ip", "link", "set", "lo", "down")
            netns.run("ip", "link", "set", "lo", "up")
        with pytest.raises(OverrunError, match="ENOBUFS"):
            _drain(listener)
        _drain(listener)
        netns.run("ip", "link", "set", "lo", "down")
        assert listener.receive_now() is not None


def _drain(listener: NetlinkSocket) -> None:
    while listener.receive_now() is not None:
        pass


def _exit_code_without_rights() -> int:
    """In a child that gives up root: 0 if the kernel's refusal is told as a missing right."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.setresuid(65534, 65534, 65534)
            with NetlinkSocket(Protocol.ROUTE) as opened:
                opened.request(RTM_DELLINK, IFINFO.pack(0, 0, 1, 0, 0), what="remove lo")
        except UnavailableError as error:
            code = 0 if "remove lo: EPERM: this process lacks CAP_NET_ADMIN" in str(error) else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.kernel
def test_a_missing_right_is_told_as_such():
    with netns.private():
        assert _exit_code_without_rights() == 0


def test_a_protocol_that_the_kernel_lacks_is_told_as_such(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(UnavailableError, match="no netfilter netlink"):
        NetlinkSocket(Protocol.NETFILTER)
