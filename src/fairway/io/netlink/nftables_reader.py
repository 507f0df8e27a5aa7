"""What stands in the fairway table of this network namespace, read by dumps on sockets of their own."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from fairway.dataplanes.nftables import decode, elements, layout
from fairway.dataplanes.nftables.codec import parse, read_number, text
from fairway.dataplanes.nftables.elements import Form
from fairway.dataplanes.nftables.encode import Kind, family_header, table_header
from fairway.dataplanes.nftables.expressions import Rule
from fairway.dataplanes.nftables.skeleton import SETS, SetSpec, Skeleton
from fairway.io.netlink.socket import (
    HEADER,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    DumpInterruptedError,
    NetlinkSocket,
    Protocol,
    failure,
    kernel_error,
    message,
    messages,
)
from fairway.values.address import Family
from fairway.values.errors import KernelError

_ATTEMPTS = 20
_COUNT = 20
"""NFTA_SET_COUNT"""
_T = TypeVar("_T")


def has_table(family: Family, name: str = layout.TABLE) -> bool:
    """Whether our table, or another, stands."""
    with NetlinkSocket(Protocol.NETFILTER) as sock:
        try:
            sock.request(Kind.GET_TABLE, family_header(family) + text(1, name), what="nftables: get table")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
    return True


def generation() -> int:
    """The number of the last transaction, whoever made it, in this network namespace."""
    with NetlinkSocket(Protocol.NETFILTER) as sock:
        (answer,) = sock.request(Kind.GET_GENERATION, family_header(Family.IPV4), what="nftables: get generation")
    return read_number(dict(parse(bytes(answer.payload)[4:])).get(1, b""))


def read_skeleton(family: Family, table: str = layout.TABLE, specs: Sequence[SetSpec] = SETS) -> Skeleton | None:
    """The table's sets, chains, rules and verdict maps, all of one moment; None when there is no table."""
    return _consistently(lambda: _read_skeleton(family, table, specs))


def _consistently(read: Callable[[], _T]) -> _T:
    """Read again when the table changed meanwhile. Raises DumpInterruptedError when it never stands still."""
    for attempt in range(_ATTEMPTS):
        try:
            return read()
        except DumpInterruptedError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _read_skeleton(family: Family, table: str, specs: Sequence[SetSpec]) -> Skeleton | None:
    if not has_table(family, table):
        return None
    head = table_header(family, table=table)
    found_sets = (decode.decode_set(family, payload, table, specs) for payload in _dump(Kind.GET_SET, head))
    all_sets = {spec.name: spec for spec in found_sets if spec is not None}
    sets = {name: spec for name, spec in all_sets.items() if not decode.is_anonymous(spec)}
    anonymous = {
        name: decode.decode_protocols(b"".join(dump_raw(family, name, table, strict=True)))
        for name in all_sets.keys() - sets.keys()
    }
    rules: dict[str, list[Rule]] = {}
    for payload in _dump(Kind.GET_RULE, head):
        found = decode.decode_rule(payload, table)
        if found is not None:
            rules.setdefault(found.chain, []).append(decode.with_anonymous(found.rule, anonymous))
    decoded = (decode.decode_chain(payload, table) for payload in _dump(Kind.GET_CHAIN, family_header(family)))
    chains = {c.name: c._replace(rules=tuple(rules.get(c.name, ()))) for c in decoded if c is not None}
    verdicts = {
        name: decode.decode_verdicts(b"".join(dump_raw(family, name, table, strict=True)))
        for name, spec in sets.items()
        if spec.leads
    }
    return Skeleton(family, sets, chains, verdicts)


def read_ranges(family: Family, container: str) -> list[tuple[bytes, bytes, bytes]]:
    """(first, last, data) of the ranges of an interval set."""
    form = elements.form_of(family, container)

    def read() -> list[elements.Bound]:
        raws = dump_raw(family, container, strict=True)
        return [bound for raw in raws for bound in elements.decode_bounds(form, raw)]

    return elements.join_bounds(_consistently(read))


def read_bounds(family: Family, container: str) -> dict[int, dict[tuple[bytes, bool], bytes]]:
    """The bounds in `shares`, by the N that they are for: (key, whether it ends a range) to data."""
    form = elements.form_of(family, container)

    def read() -> dict[int, dict[tuple[bytes, bool], bytes]]:
        found: dict[int, dict[tuple[bytes, bool], bytes]] = {}
        for raw in dump_raw(family, container, strict=True):
            for key, is_end, data in elements.decode_bounds(form, raw):
                found.setdefault(elements.count_of_bound(key, is_end=is_end), {})[key, is_end] = data
        return found

    return _consistently(read)


def read_counts(family: Family) -> set[int]:
    """Each N in `counts`, but 0."""
    form = elements.form_of(family, layout.COUNTS)
    found: set[int] = set()
    for raw in dump_raw(family, layout.COUNTS):
        found.update(layout.unpack_number(value) for _, value in elements.decode_commented(form, raw))
    return found - {0}


def dump_raw(family: Family, container: str, table: str = layout.TABLE, *, strict: bool = False) -> Iterator[bytes]:
    """The lists of elements of a container as the kernel makes them; nothing where table or set is missing.

    Raises DumpInterruptedError at its end, when `strict`, if the container changed meanwhile.
    """
    try:
        for payload in _dump(Kind.GET_ELEMENTS, table_header(family, container, table)):
            yield elements.elements_of(payload)
    except DumpInterruptedError:
        if strict:
            raise
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise


def _dump(kind: Kind, payload: bytes) -> Iterator[bytes]:
    with NetlinkSocket(Protocol.NETFILTER) as sock:
        for chunk in sock.dump(kind, payload, what=f"nftables: {kind.name.lower().replace('_', ' ')}"):
            for each in chunk:
                yield bytes(each)


def find(sock: NetlinkSocket, form: Form, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Those of the keys that the container has, with their values."""
    found: dict[bytes, bytes] = {}
    decode_list = elements.decode_commented if form.shape is elements.Shape.COMMENTED else elements.decode_plain
    body = HEADER.size + len(form.head) + elements.LIST_HEADER_BYTES
    at = 0
    while at < len(keys):
        *answers, end = _ask(sock, elements.key_request(form, keys[at:]))
        found.update(decode_list(form, b"".join([answer[body:] for answer in answers])))
        if not _is_missing(end, form):
            break
        at += len(answers) + 1
    return found


def _ask(sock: NetlinkSocket, request: bytes) -> list[bytes]:
    """A datagram for each key in order, up to the first that is not there; then the end or the error."""
    sock.send(message(Kind.GET_ELEMENTS, NLM_F_REQUEST | NLM_F_ACK, request, sock.next_sequence()))
    answers = []
    while (answer := sock.receive_now()) is not None:
        answers.append(answer)
    return answers


def _is_missing(end: bytes, form: Form) -> bool:
    """Whether the request ended at an element that is not there, rather than at its end."""
    (answer,) = messages(end)
    number, words = failure(answer)
    if answer.type != NLMSG_ERROR or number not in (0, errno.ENOENT):
        raise kernel_error(f"nftables: get from {form.container}", number or errno.EIO, words)
    return number == errno.ENOENT


def count(family: Family, container: str) -> int | None:
    """How many elements a container has; None where the kernel does not say (6.1; 6.18 does)."""
    with NetlinkSocket(Protocol.NETFILTER) as sock:
        try:
            (answer,) = sock.request(Kind.GET_SET, table_header(family, container), what="nftables: get set")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return 0
            raise
    fields = dict(parse(bytes(answer.payload)[4:]))
    return read_number(fields[_COUNT]) if _COUNT in fields else None
