"""The same Corefile, objects and questions for CoreDNS and for Fairway, and what differs in their answers."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype

from dns_upstream import TextUpstream

FAIRWAY = str(Path(sys.executable).with_name("fairway"))


class Question(NamedTuple):
    """One query, and how it is sent."""

    name: str
    kind: str = "A"
    tcp: bool = False
    edns: Mapping[str, Any] | None = None
    rclass: str = "IN"
    flags: int = dns.flags.RD
    source: str = "127.0.0.1"
    pause: float = 0.0
    """Seconds to wait before it."""

    def message(self) -> dns.message.Message:
        """The same each time, but for its id."""
        query = dns.message.make_query(dns.name.from_text(self.name), self.kind, self.rclass)
        query.flags = self.flags
        if self.edns is not None:
            options = [dns.edns.GenericOption(code, data) for code, data in self.edns.get("options", ())]
            flags = 0x8000 if self.edns.get("do") else 0
            query.use_edns(self.edns.get("version", 0), flags, self.edns.get("size", 1232), options=options)
        return query

    def __str__(self) -> str:
        words = [self.name, self.kind, *(["TCP"] if self.tcp else []), *([str(self.edns)] if self.edns else [])]
        return " ".join([*words, *([self.rclass] if self.rclass != "IN" else []), hex(self.flags)])


@dataclass
class Scenario:
    """A Corefile in which `$UP`, `$UP2`, `$API`, `$FOLDER` and `$PORT` stand for what a run has, and what is asked.

    `names` × `kinds` are asked plainly, then a part of them with EDNS, over TCP and in capitals, then `questions`.
    """

    name: str
    corefile: str
    names: Sequence[str] = ()
    kinds: Sequence[str] = ("A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "NS", "SOA", "MX", "HTTPS", "ANY")
    questions: Sequence[Question] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    variants: int = 40
    ignores: Sequence[str] = ()
    """Parts of an answer that chance decides: `answer`, `additional`, `authority`, `ttl`, `case`, `do`."""
    patience: float = 7.0
    """Seconds to wait for an answer."""
    slack: int = 0
    """Seconds by which a TTL may differ, where both count down."""
    env: Mapping[str, str] = field(default_factory=dict)

    def asked(self) -> list[Question]:
        """Every question, in order."""
        plain = [Question(name, kind) for name in self.names for kind in self.kinds]
        dice = random.Random(len(plain))
        return [*plain, *(_varied(dice, dice.choice(plain)) for _ in range(self.variants if plain else 0)),
                *self.questions]  # fmt: skip


def _varied(dice: random.Random, one: Question) -> Question:
    edns = dice.choice([
        None, {"size": 512}, {"size": 1232, "do": True}, {"size": 4096}, {"size": 100},
        {"size": 1232, "options": ((10, b"12345678"),)}, {"size": 1232, "options": ((3, b""), (12, bytes(8)))},
        {"size": 1232, "options": ((65001, b"x"),)}, {"version": 1},
    ])  # fmt: skip
    name = dice.choice([one.name, one.name.upper(), one.name.title()])
    flags = dice.choice([0x0100, 0, 0x0110, 0x0120, 0x0130])
    return one._replace(name=name, edns=edns, tcp=dice.random() < 0.3, flags=flags)


@dataclass
class Program:
    """One of the two servers, running."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, question: Question, patience: float = 7.0) -> list[bytes]:
        """The messages that come back; none after so many seconds of silence."""
        wire = question.message().to_wire()
        try:
            if question.tcp:
                return list(self._over_tcp(wire, question, patience))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(patience)
                sock.bind((question.source, 0))
                sock.connect(("127.0.0.1", self.port))
                sock.send(wire)
                return [sock.recv(65535)]
        except (TimeoutError, ConnectionError):
            return []

    def _over_tcp(self, wire: bytes, question: Question, patience: float) -> Iterator[bytes]:
        with socket.create_connection(("127.0.0.1", self.port), patience, source_address=(question.source, 0)) as sock:
            sock.sendall(len(wire).to_bytes(2, "big") + wire)
            stream, seen = sock.makefile("rb"), 0
            while len(head := stream.read(2)) == 2:
                data = stream.read(int.from_bytes(head, "big"))
                yield data
                if question.kind not in {"AXFR", "IXFR"} or data[3] & 15:
                    return
                records = dns.message.from_wire(data, xfr=True, one_rr_per_rrset=True).answer
                seen += sum(r.rdtype == dns.rdatatype.SOA for r in records)
                if seen >= 2 or (question.kind == "IXFR" and len(records) == 1):
                    return


class Beside:
    """Both servers for one scenario after another."""

    def __init__(self, folder: Path, coredns: str, api: str, upstreams: Sequence[TextUpstream]) -> None:
        self._folder = folder
        self._coredns = coredns
        self._api = api
        self._upstreams = upstreams

    @contextlib.contextmanager
    def running(
        self, scenario: Scenario, ports: Mapping[str, tuple[int, int]] | None = None
    ) -> Iterator[list[Program]]:
        """CoreDNS, then Fairway, both answering; `ports` for metrics and health by their names."""
        programs = []
        try:
            for name, command in (("coredns", [self._coredns, "-conf"]), ("fairway", [FAIRWAY, "dns", "--conf"])):
                programs.append(self._start(name, command, scenario, (ports or {}).get(name, (0, 0))))
            for one in programs:
                self._wait(one)
            yield programs
        finally:
            for one in programs:
                one.process.terminate()
            for one in programs:
                one.process.wait(20)

    def _start(self, name: str, command: list[str], scenario: Scenario, http: tuple[int, int]) -> Program:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        port = free_port()
        places = {
            "$PORT": str(port),
            "$METRICS": str(http[0]),
            "$HEALTH": str(http[1]),
            "$API": self._api,
            "$FOLDER": str(folder),
            "$UP2PORT": str(self._upstreams[1].port),
            "$UP2": f"127.0.0.1:{self._upstreams[1].port}",
            "$UP": f"127.0.0.1:{self._upstreams[0].port}",
        }

        def filled(text: str) -> str:
            for key, value in places.items():
                text = text.replace(key, value)
            return text

        for file, content in ({"Corefile": scenario.corefile} | dict(scenario.files)).items():
            (folder / file).write_text(filled(content))
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, str(folder / "Corefile")], stdout=out, stderr=out, cwd=folder,
                env={"PATH": "/usr/bin:/bin", **{k: filled(v) for k, v in scenario.env.items()}},
            )  # fmt: skip
        return Program(name, port, process, log)

    @staticmethod
    def _wait(one: Program) -> None:
        end = time.monotonic() + 20
        query = dns.message.make_query("ready.invalid.", "A").to_wire()
        while True:
            assert one.process.poll() is None, f"{one.name} ended: {one.log.read_text()[-2000:]}"
            assert time.monotonic() < end, f"{one.name} does not answer: {one.log.read_text()[-2000:]}"
            # Over TCP, since an access list may drop what comes by UDP without a word.
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", one.port), 1) as sock:
                sock.sendall(len(query).to_bytes(2, "big") + query)
                return
            time.sleep(0.02)

    def differences(self, scenario: Scenario) -> list[str]:
        """One line for each question that the two answer differently."""
        with self.running(scenario) as (theirs, ours):
            return differences(scenario, theirs, ours)


def free_port() -> int:
    """Free for UDP and TCP, as far as one can know."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def differences(scenario: Scenario, theirs: Program, ours: Program) -> list[str]:
    """One line for each question that the two answer differently now."""
    found = []
    for question in scenario.asked():
        time.sleep(question.pause)
        wanted, got = theirs.ask(question, scenario.patience), ours.ask(question, scenario.patience)
        faults = compare(wanted, got, question, scenario)
        if faults:
            found.append(f"{question}: {'; '.join(faults)}")
    log = ours.log.read_text()
    if "Traceback" in log:
        found.append(f"an exception in the log: {log[-3000:]}")
    return found


def compare(wanted: list[bytes], got: list[bytes], question: Question, scenario: Scenario) -> list[str]:
    """What differs; nothing is good. Sections are sets, except that a CNAME comes before what it leads to."""
    if bool(wanted) != bool(got):
        return [f"CoreDNS sends {len(wanted)} messages, we {len(got)}"]
    is_transfer, ignores = question.kind in {"AXFR", "IXFR"}, list(scenario.ignores)
    if question.edns is None:
        # CoreDNS' acl and template answer with an OPT record whom none was sent by; RFC 6891 forbids that.
        ignores.append("edns")
        if got and dns.message.from_wire(got[0], xfr=is_transfer).edns >= 0:
            return ["an OPT record that nobody asked for"]
    a = _Shown(wanted, is_transfer, ignores)
    faults: list[str] = []
    for later in range(-scenario.slack, scenario.slack + 1):
        b = _Shown(got, is_transfer, ignores, later)
        faults = [
            f"{part}: {_difference(left, right)}"
            for part in a.__dict__
            if part not in ignores and (left := getattr(a, part)) != (right := getattr(b, part, None))
        ]
        if not faults:
            break
    return faults


def _difference(left: object, right: object) -> str:
    """What only one side has."""
    if isinstance(left, Counter) and isinstance(right, Counter):
        return f"CoreDNS alone {sorted((left - right).elements())}, we alone {sorted((right - left).elements())}"
    return f"CoreDNS {left}, we {right}"


class _Shown:
    """An answer as it is compared."""

    def __init__(self, replies: list[bytes], is_transfer: bool, ignores: Sequence[str], later: int = 0) -> None:
        if not replies:
            return
        try:
            messages = [dns.message.from_wire(r, xfr=is_transfer, one_rr_per_rrset=True) for r in replies]
        except dns.exception.DNSException as error:
            self.broken = f"{type(error).__name__} {replies[0].hex()}"
            return
        first, add = messages[0], None if "ttl" in ignores else later
        fold: Callable[[str], str] = str.lower if "case" in ignores else str
        self.rcode = dns.rcode.to_text(first.rcode())
        self.flags = dns.flags.to_text(first.flags)
        self.question = [str(q) for q in first.question]
        records = [r for m in messages for r in m.answer]
        self.answer = _rows(records, add, fold)
        if is_transfer:
            self.answer = Counter(set(self.answer))
        self.authority = _rows(first.authority, add, fold)
        self.additional = _rows(first.additional, add, fold)
        self.edns = _edns(first, has_do="do" not in ignores) if first.edns >= 0 else None
        aliases = [fold(r.name.to_text()) for r in records if r.rdtype == dns.rdatatype.CNAME]
        self.chain = [] if is_transfer else aliases


def _edns(message: dns.message.Message, *, has_do: bool) -> tuple[object, ...]:
    options = sorted((int(o.otype), (o.to_wire() or b"").hex()) for o in message.options)
    return message.edns, message.payload, bool(message.ednsflags & 0x8000) and has_do, options


def _rows(section: Sequence[Any], add: int | None, fold: Callable[[str], str]) -> Counter[str]:
    """Records as text; `add` to their TTLs, which are left out for None."""
    rows: Counter[str] = Counter()
    for rrset in section:
        for rdata in rrset:
            text = rdata.to_text()
            if rrset.rdtype == dns.rdatatype.SOA and b"hostmaster" in rdata.rname.labels:
                words = text.split()
                text = " ".join([*words[:2], "SERIAL", *words[3:]])
            kind = dns.rdatatype.to_text(rrset.rdtype)
            rows[fold(f"{rrset.name} {'' if add is None else rrset.ttl + add} {kind} {text}")] += 1
    return rows
