"""The recorded cases of cluster DNS (tests/dns/cases/dns.json; its `about` explains the fields): a case's Corefile, its
queries, and what is wrong with an answer."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from dns_world import MemoryServer, MemoryWorld, ScriptedUpstream
from fairway.dns.model import Transport
from fairway.dns.server import Peer

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "dns" / "cases" / "dns.json").read_text())["cases"]
Case = Mapping[str, Any]
Query = Mapping[str, Any]


def corefile(case: Case) -> str:
    """The configuration that a case asks for."""
    found = case["config"]
    zones = " ".join(found.get("zones", [case.get("zone", "cluster.local.")]))
    lines = [" ".join(f"{z}:1053" for z in found.get("listen_zones", ["."])) + " {", "errors"]
    if found.get("autopath"):
        lines.append("autopath @kubernetes")
    if found.get("transfer"):
        lines += ["transfer {", "to *", "}"]
    lines += [f"kubernetes {zones} {{", f"pods {found['pods']}", f"ttl {found['ttl']}"]
    lines += [f"{key} {' '.join(found[key])}" for key in ("namespaces", "multicluster") if found.get(key)]
    lines += [f"{key} {found[key]}" for key in ("namespace_labels", "labels") if found.get(key)]
    lines += [key for key in ("endpoint_pod_names", "noendpoints", "zonal") if found.get(key)]
    if found.get("ignore_empty_service"):
        lines.append("ignore empty_service")
    if found.get("fallthrough"):
        lines.append("fallthrough " + " ".join(z for z in found["fallthrough"] if z != "."))
    lines.append("}")
    if external := found.get("external"):
        zones = " ".join(external["zones"])
        lines += [f"k8s_external {zones} {{", f"apex {external['apex']}", f"ttl {external['ttl']}"]
        lines += ["headless"] if external["headless"] else []
        lines.append("}")
    if found.get("next_records"):
        lines.append("file zone.db cluster.local")
    if found.get("cache"):
        lines.append(f"cache {found['cache']['ttl']}")
    if found.get("upstream") is not None:
        lines.append("forward . 192.0.2.53")
    return "\n".join((*lines, "}")) + "\n"


def server_of(case: Case) -> MemoryServer:
    """A server in the state that a case describes."""
    found = case["config"]
    zone = "cluster.local. 300 IN SOA a. b. 1 2 3 4 5\ncluster.local. 300 IN NS ns.cluster.local.\n"
    zone += "".join(f"{r[0]} 300 IN {r[1]} {r[2]}\n" for r in found.get("next_records", ()))
    return MemoryServer(
        corefile(case),
        case["objects"],
        MemoryWorld(ScriptedUpstream(found.get("upstream") or ())),
        local=tuple(ipaddress.ip_address(a).packed for a in found.get("local_ips", ())),
        synced=found.get("synced", True),
        zone_files={"zone.db": zone},
    )


def query_bytes(query: Query, serial: int | None = None) -> bytes:
    """What goes over the wire."""
    if "raw" in query:
        return bytes.fromhex(query["raw"])
    kind = query["qtype"]
    message = dns.message.make_query(
        dns.name.from_text(query["qname"]),
        int(kind[4:]) if kind.startswith("TYPE") else kind,
        query.get("qclass", "IN"),
    )
    if edns := query.get("edns"):
        options = [dns.edns.GenericOption(int(k), bytes.fromhex(v)) for k, v in edns.get("options", {}).items()]
        flags = 0x8000 if edns.get("do") else 0
        message.use_edns(edns.get("version", 0), flags, edns.get("udp_size", 1232), options=options)
    if kind == "IXFR":
        soa = f". . {serial if query['ixfr_serial'] == 'current' else 1} 0 0 0 0"
        message.authority.append(dns.rrset.from_text(query["qname"], 0, "IN", "SOA", soa))
    return bytes(message.to_wire())


def peer_of(case: Case, query: Query) -> Peer:
    """Who asks."""
    client = socket.inet_aton(case["config"].get("client_ip", "127.0.0.1"))
    return Peer(Transport.TCP if query.get("transport") == "tcp" else Transport.UDP, client, 4242)


def faults(case: Case, query: Query, replies: list[bytes]) -> list[str]:
    """What is wrong with the answer; nothing is good."""
    if query.get("ignored"):
        return ["a reply to what is to be ignored"] if replies else []
    if not replies:
        return ["no reply"]
    if "raw" in query:
        return list(_raw_faults(query, replies[0]))
    is_transfer = query["qtype"] in {"AXFR", "IXFR"}
    messages = [dns.message.from_wire(r, xfr=is_transfer, one_rr_per_rrset=True) for r in replies]
    return [*_header_faults(case, query, messages[0]), *_section_faults(case, query, messages, sum(map(len, replies)))]


def _raw_faults(query: Query, reply: bytes) -> Iterator[str]:
    if int.from_bytes(reply[2:4], "big") != int(query["expect_flags"], 16):
        yield f"flags {reply[2:4].hex()}"
    if reply[:2] != b"\x12\x34":
        yield "id"
    if query["rcode"] in {"NOERROR", "NXDOMAIN"}:
        counts = [int.from_bytes(reply[i : i + 2], "big") for i in (6, 8)]
        if counts != [len(query["answer"]), 1 if query["authority"] else 0]:
            yield f"counts {counts}"


def _header_faults(case: Case, query: Query, reply: dns.message.Message) -> Iterator[str]:
    rcode = dns.rcode.to_text(reply.rcode())
    if rcode.replace("BADSIG", "BADVERS") != query["rcode"]:
        yield f"rcode {rcode}"
    if bool(reply.flags & dns.flags.TC) != query.get("tc", False):
        yield "tc"
    is_ours = query["rcode"] in {"NOERROR", "NXDOMAIN"} or (query["rcode"] == "SERVFAIL" and query["authority"])
    wants_aa = query.get("aa", bool(is_ours))
    if query["qtype"] not in {"AXFR", "IXFR"} and bool(reply.flags & dns.flags.AA) != wants_aa:
        yield "aa"
    if ("edns" in query) != (reply.edns >= 0):
        yield "opt"
    wanted = query.get("expect_opt", {})
    if "do" in wanted and bool(reply.ednsflags & 0x8000) != wanted["do"]:
        yield "do"
    if "udp_size" in wanted and reply.payload != wanted["udp_size"]:
        yield "udp size"
    if "options" in wanted and len(reply.options) != len(wanted["options"]):
        yield f"options {reply.options}"
    del case


def _rows(section: Any, *, is_exact: bool) -> list[tuple[str, ...]]:
    found = []
    for rrset in section:
        if rrset.rdtype == dns.rdatatype.OPT:
            continue
        for rdata in rrset:
            kind, fields = dns.rdatatype.to_text(rrset.rdtype), rdata.to_text().split(" ")
            fields = [b"".join(rdata.strings).decode()] if kind == "TXT" else fields
            fields = [*fields[:2], "*", *fields[3:]] if kind == "SOA" else fields
            found.append(_row([rrset.name.to_text(), kind, *fields], is_exact=is_exact))
    return sorted(found)


def _row(words: list[str], *, is_exact: bool) -> tuple[str, ...]:
    if words[1] == "AAAA":
        words = [*words[:2], str(ipaddress.ip_address(words[2]))]
    return tuple(words) if is_exact else (words[0].lower(), words[1], *(w.lower() for w in words[2:]))


def _section_faults(case: Case, query: Query, messages: list[dns.message.Message], size: int) -> Iterator[str]:
    is_exact = case.get("compare") == "case-sensitive"
    answer = _rows([r for m in messages for r in m.answer], is_exact=is_exact)
    additional = _rows([r for m in messages for r in m.additional], is_exact=is_exact)
    wanted = sorted(_row(list(r), is_exact=is_exact) for r in query["answer"])
    if not query.get("answer_not_listed"):
        is_set = query["qtype"] == "AXFR"
        if (sorted(set(answer)) != sorted(set(wanted))) if is_set else (answer != wanted):
            yield f"answer {answer}, not {wanted}"
        glue = sorted(_row(list(r), is_exact=is_exact) for r in query["extra"])
        if not query.get("extra_ignored") and query["qtype"] not in {"AXFR", "IXFR"} and additional != glue:
            yield f"additional {additional}, not {glue}"
    for key, rows in (("answer_count", answer), ("extra_count", additional)):
        most = query.get(key, len(rows))
        if not (len(rows) == most if isinstance(most, int) else len(rows) < int(most.split()[-1])):
            yield f"{key} {len(rows)}"
    if size > query.get("max_size", size):
        yield f"size {size}"
    missing = [r for r in query.get("contains", ()) if answer.count(_row(list(r), is_exact=is_exact)) != 1]
    if missing:
        yield f"missing {missing}"
    if "srv_weight" in query and any(r[3] != str(query["srv_weight"]) for r in answer if r[1] == "SRV"):
        yield "weight"
    yield from _authority_faults(case, query, messages[0])
    if query["qtype"] not in {"AXFR", "IXFR"}:
        yield from _ttl_faults(case, query, messages[0])


def _authority_faults(case: Case, query: Query, reply: dns.message.Message) -> Iterator[str]:
    if query.get("authority_ignored"):
        return
    if query["authority"] != "SOA":
        if reply.authority:
            yield f"authority {reply.authority}"
        return
    if len(reply.authority) != 1 or reply.authority[0].rdtype != dns.rdatatype.SOA:
        yield f"authority {reply.authority}"
        return
    rrset, ttl = reply.authority[0], case["config"]["ttl"]
    owner = query.get("authority_owner") or (case["config"].get("zones") or ["cluster.local."])[0]
    if dns.name.from_text(owner) != rrset.name:
        yield f"owner {rrset.name}"
    lowest, highest = query.get("soa_ttl_range", [query.get("soa_ttl", min(300, ttl))] * 2)
    if not lowest <= rrset.ttl <= highest or rrset[0].minimum != query.get("soa_minimum", ttl):
        yield f"soa ttl {rrset.ttl} minimum {rrset[0].minimum}"
    if (rrset[0].refresh, rrset[0].retry, rrset[0].expire) != (7200, 1800, 86400):
        yield "soa times"


def _ttl_faults(case: Case, query: Query, reply: dns.message.Message) -> Iterator[str]:
    zones = case["config"].get("zones", ["cluster.local."]) + case["config"].get("external", {}).get("zones", [])
    served = [dns.name.from_text(z) for z in zones]
    for rrset in (*reply.answer, *reply.additional):
        if rrset.rdtype == dns.rdatatype.OPT:
            continue
        lowest, highest = query.get("ttl_range", [query.get("upstream_ttl", rrset.ttl)] * 2)
        wanted = query.get("ttl", case["config"]["ttl"])
        is_served = any(rrset.name.is_subdomain(z) for z in served)
        if "ttl_range" not in query and is_served and isinstance(wanted, int):
            lowest = highest = wanted
        if not lowest <= rrset.ttl <= highest:
            yield f"ttl {rrset.name} {rrset.ttl}"
