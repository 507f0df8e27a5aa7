"""What a name is answered with and why: search list, server block, zone, object and field; for a name that does not
exist, what would have to.

Asks the very plugins that serve, then names the rows that they answered from. Which questions a client asks first is
its resolver's rule (`ndots`), told here as glibc and musl follow it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from fairway.dns.cache import Cache
from fairway.dns.cache_items import key_of
from fairway.dns.chain import Chain
from fairway.dns.external import External
from fairway.dns.kubernetes import Kubernetes
from fairway.dns.lookup import NoSuchNameError, ParsedName, PodMode, parse_name, spelt_address
from fairway.dns.model import Reply, Request
from fairway.dns.records import relative_to
from fairway.dns.rows import NO_PORT, ServiceRow
from fairway.dns.small import address_text
from fairway.values.domain import Name, from_text, longest_zone, reverse_address, to_text
from fairway.values.rrtypes import Rcode, RRType, rcode_text, type_text
from fairway.wire.dns_message import Message, Record


class RecordShown(msgspec.Struct, frozen=True):
    """One record of an answer."""

    name: str
    type: str
    ttl: int
    value: str


class NameStep(msgspec.Struct, frozen=True):
    """One question of the search list."""

    name: str
    type: str
    server: str
    """File and line of the server block that answers; empty when none does."""
    plugin: str
    zone: str
    code: str
    """NOERROR, NODATA, NXDOMAIN …"""
    records: tuple[RecordShown, ...]
    sources: tuple[str, ...]
    """Objects and fields that made the records, or what is missing."""
    cache: str
    """hit with the seconds left, miss, or empty where nothing is kept."""
    served: str = ""
    """What a running server answers to the same question, and from where as far as its TTL tells; empty if none was
    asked."""


class NameAnswer(msgspec.Struct, frozen=True):
    """The whole way of a name."""

    schema: str
    question: str
    verdict: str
    """answered, empty (the name exists, not with this type), missing or failed."""
    steps: tuple[NameStep, ...]


SCHEMA = "fairway.explain.dns/v1"


class Client(NamedTuple):
    """How the asking side completes names."""

    search: tuple[Name, ...] = ()
    ndots: int = 5
    address: bytes = b"\x7f\0\0\1"


def candidates(text: str, client: Client) -> list[Name]:
    """The names that a resolver tries, in order. A name that ends in a dot is tried alone."""
    name = from_text(text)
    if text.endswith("."):
        return [name]
    completed = [name[:-1] + suffix for suffix in client.search]
    dots = text.count(".")
    return [name, *completed] if dots >= client.ndots else [*completed, name]


async def explain_name(text: str, rtype: int, client: Client, chains: Sequence[Chain]) -> NameAnswer:
    """Ask as a client would, until a name exists."""
    steps: list[NameStep] = []
    for name in candidates(text, client):
        steps.append(await _step(name, rtype, client, chains))
        # musl and glibc both stop at the first name that exists, even without the wanted type.
        if steps[-1].code != Rcode.NXDOMAIN.name:
            break
    last = steps[-1]
    verdict = {"NOERROR": "answered", "NODATA": "empty", "NXDOMAIN": "missing"}.get(last.code, "failed")
    return NameAnswer(SCHEMA, f"{text} {type_text(rtype)}", verdict, tuple(steps))


async def _step(name: Name, rtype: int, client: Client, chains: Sequence[Chain]) -> NameStep:
    key, kind = name.lower(), type_text(rtype)
    chain = _block(key, chains)
    if chain is None:
        why = "no server block serves this name or a parent of it: it is refused"
        return NameStep(to_text(name), kind, "", "", "", "REFUSED", (), (why,), "")
    request = Request(name, key, rtype, flags=0x0100, client=client.address)
    cached = _cache_state(chain, request)
    reply = await chain.first.serve(replace(request))
    code = "NODATA" if reply.rcode == Rcode.NOERROR and not reply.answer else rcode_text(reply.rcode)
    plugin, zone, sources = _why(chain, request, reply)
    records = tuple(_shown(record) for record in reply.answer)
    return NameStep(to_text(name), kind, chain.settings.place, plugin, zone, code, records, sources, cached)


def served(step: NameStep, server: str, answer: Message | None) -> NameStep:
    """The step with what a running server said: whether it agrees, and whether its answer counts down in a cache."""
    if answer is None:
        return msgspec.structs.replace(step, served=f"{server} does not answer")
    rcode = answer.flags & 15
    code = "NODATA" if rcode == Rcode.NOERROR and not answer.answer else rcode_text(rcode)
    found = {(r.type, r.value) for r in map(_shown, answer.answer)}
    agrees = code == step.code and found == {(r.type, r.value) for r in step.records}
    said = "the same" if agrees else "; ".join([code, *sorted(f"{kind} {value}" for kind, value in found)])
    whole = max((r.ttl for r in step.records), default=0)
    left = max((r.ttl for r in answer.answer), default=0)
    where = f", from its cache: {left} of {whole} s left" if left < whole else ""
    return msgspec.structs.replace(step, served=f"{server} answers {said}{where}")


def _block(key: Name, chains: Sequence[Chain]) -> Chain | None:
    found = [(len(zone), i) for i, c in enumerate(chains) for zone in c.settings.zones if longest_zone(key, (zone,))]
    return chains[max(found)[1]] if found else None


def _cache_state(chain: Chain, request: Request) -> str:
    for cache in chain.caches:
        if longest_zone(request.key, cache.settings.zones) is not None:
            return _kept(cache, request)
    return ""


def _kept(cache: Cache, request: Request) -> str:
    key = key_of(request)
    for kind, items in cache.items.items():
        if key in items:
            return f"hit ({kind}), {items[key].left(cache.now()):d} s left"
    return "miss"


def _why(chain: Chain, request: Request, reply: Reply) -> tuple[str, str, tuple[str, ...]]:
    """Plugin, zone, and the objects behind the answer."""
    for settings, plugin in chain.kubernetes:
        zone = longest_zone(request.key, settings.zones)
        if zone is None or (reply.source and reply.source != "kubernetes"):
            continue
        if reply.rcode == Rcode.NXDOMAIN:
            return "kubernetes", to_text(zone), tuple(_missing(plugin, request.key, zone))
        return "kubernetes", to_text(zone), tuple(_sources(plugin, request, reply, zone))
    for external in chain.external if reply.source == "k8s_external" else ():
        zone = longest_zone(request.key, external.options.zones)
        if zone is not None:
            return "k8s_external", to_text(zone), tuple(_external_sources(external, request, reply, zone))
    return reply.source, "", (reply.cause,) if reply.cause else tuple(_elsewhere(chain, request, reply))


def _elsewhere(chain: Chain, request: Request, reply: Reply) -> Iterator[str]:
    """Where an answer comes from that no cluster gave, or none under this name."""
    match reply.source:
        case "forward":
            upstreams = [host.upstream.name for forward in chain.forwards for host in forward.hosts]
            yield f"asked upstream: {', '.join(upstreams)}"
        case "hosts":
            for hosts in chain.hosts:
                if list(hosts.addresses(request.key)) or request.type == RRType.PTR:
                    yield f"a line of {hosts.settings.file or 'the hosts block'} or of the block itself"
        case "file":
            for settings, _ in chain.files:
                if longest_zone(request.key, settings.zones) is not None:
                    yield f"zone file {settings.file}"
        case "kubernetes":
            yield "a rewrite led the question to a name of the cluster"


def _shown(record: Record) -> RecordShown:
    rdata, rtype = record.rdata, record.type
    if rtype in {RRType.A, RRType.AAAA}:
        value = address_text(rdata)
    elif rtype in {RRType.CNAME, RRType.PTR, RRType.NS}:
        value = to_text(rdata)
    elif rtype == RRType.SRV:
        numbers = [str(int.from_bytes(rdata[i : i + 2], "big")) for i in (0, 2, 4)]
        value = " ".join((*numbers, to_text(rdata[6:])))
    else:
        value = _text(rtype, rdata)
    return RecordShown(to_text(record.name), type_text(rtype), record.ttl, value)


def _text(rtype: int, rdata: bytes) -> str:
    """As a zone file has it."""
    import dns.exception
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    kind = dns.rdatatype.RdataType.make(rtype)
    try:
        return dns.rdata.from_wire(dns.rdataclass.IN, kind, rdata, 0, len(rdata)).to_text()
    except dns.exception.DNSException:
        return rdata.hex()


# -- what made it


def _own_source(request: Request, reply: Reply, relative: list[bytes]) -> str:
    """Of records that a zone has without any object; empty for others."""
    if relative == [b"dns-version"]:
        return "the version of the Kubernetes DNS specification"
    if not relative and reply.answer and request.type == RRType.SOA:
        return "the zone's own SOA record: its serial is the time of the last change"
    if relative == [b"ns", b"dns"] or (not relative and reply.answer):
        return "the Services whose endpoints this server is, else its own addresses"
    return ""


def _sources(plugin: Kubernetes, request: Request, reply: Reply, zone: Name) -> Iterator[str]:
    address = reverse_address(request.key)
    if address is not None:
        yield from _reverse_sources(plugin, address)
        return
    own = _own_source(request, reply, relative_to(request.key, zone))
    if own:
        yield own
        return
    try:
        name = _parsed(plugin, request.key, zone)
    except NoSuchNameError:
        return
    if name.kind == "pod" and name.service:
        yield f"pods {plugin.options.lookup.pods.value}: the name spells the address"
        for pod in plugin.state.pods_at(spelt_address(name.service)):
            if pod.name.namespace == name.namespace:
                yield f"Pod {pod.name}: status.podIPs"
        return
    if not name.service:
        yield "an empty name above others: it exists and has no records of its own"
        return
    if zone in plugin.options.multicluster:
        yield f"ServiceImport {name.namespace}/{name.service} and the EndpointSlices of its clusters"
        return
    service = plugin.state.service(name.namespace, name.service)
    if service is not None:
        yield from _service_sources(plugin, service)
    elif reply.answer and reply.answer[0].type == RRType.CNAME:
        yield f"autopath: the next name of the client's search list that exists, {to_text(reply.answer[0].rdata)}"


def _external_sources(plugin: External, request: Request, reply: Reply, zone: Name) -> Iterator[str]:
    relative = relative_to(request.key, zone)
    if not relative or relative[-1] == plugin.options.apex:
        yield "the zone's own records: external addresses of the Services whose endpoints this server is, else its own"
        return
    state, address = plugin.cluster.state, reverse_address(request.key)
    services = list(state.services_outside(address_text(address))) if address is not None else []
    if len(relative) > 1 and address is None:
        found = state.service(relative[-1].decode("latin-1"), relative[-2].decode("latin-1"))
        services += [found] if found is not None else []
    for service in services:
        shown = ", ".join(service.external) or "none"
        yield f"Service {service.name}: spec.externalIPs and status.loadBalancer=[{shown}]; TTL {plugin.options.ttl}"
        if service.is_headless and plugin.options.headless:
            yield from _slice_sources(plugin.cluster, service)
    if not services and reply.rcode == Rcode.NXDOMAIN:
        yield f"no Service of that name with an external address: names here are SERVICE.NAMESPACE.{to_text(zone)}"


def _slice_sources(plugin: Kubernetes, service: ServiceRow) -> Iterator[str]:
    for row in plugin.state.slices_of(service.name.namespace, service.name.name):
        shown = ", ".join(address_text(row.address(i)) for i in range(len(row)))
        yield f"EndpointSlice {row.name}: ready endpoints [{shown}]"


def _service_sources(plugin: Kubernetes, service: ServiceRow) -> Iterator[str]:
    if service.external_name is not None:
        yield f"Service {service.name}: spec.externalName={service.external_name}"
    elif not service.is_headless:
        shown = ", ".join(map(address_text, service.cluster_ips))
        yield f"Service {service.name}: spec.clusterIPs=[{shown}], {_ports(service)}; TTL {plugin.options.ttl}"
    else:
        yield f"Service {service.name}: headless (spec.clusterIP=None); TTL {plugin.options.ttl}"
        yield from _slice_sources(plugin, service)


def _ports(service: ServiceRow) -> str:
    named = [f"{p.name or '(unnamed)'}/{p.protocol}:{p.number}" for p in service.ports if p.number != NO_PORT]
    return f"ports {', '.join(named)}" if named else "no ports"


def _reverse_sources(plugin: Kubernetes, address: bytes) -> Iterator[str]:
    for service in plugin.state.services_at(address):
        yield f"Service {service.name}: spec.clusterIPs has {address_text(address)}"
    for row in plugin.state.slices_at(address):
        yield f"EndpointSlice {row.name} of Service {row.service}: endpoints have {address_text(address)}"


def _parsed(plugin: Kubernetes, key: Name, zone: Name) -> ParsedName:
    is_multicluster = zone in plugin.options.multicluster
    relative = relative_to(key, zone)
    return parse_name(relative, is_multicluster=is_multicluster, is_zonal=plugin.options.lookup.zonal)


# -- what is missing


def _missing(plugin: Kubernetes, key: Name, zone: Name) -> Iterator[str]:
    address = reverse_address(key)
    if address is not None:
        yield f"no Service has the cluster IP {address_text(address)}, and no ready endpoint that address"
        return
    try:
        name = _parsed(plugin, key, zone)
    except NoSuchNameError:
        yield "names here are SERVICE.NAMESPACE.svc, _PORT._PROTOCOL.SERVICE.NAMESPACE.svc or ADDRESS.NAMESPACE.pod"
        return
    if not plugin.lookup.is_exposed(name.namespace):
        yield from _missing_namespace(plugin, name.namespace)
    elif name.kind == "pod":
        yield _missing_pod(plugin.options.lookup.pods, name.service)
    else:
        yield from _missing_service(plugin, name)


def _missing_pod(mode: PodMode, label: str) -> str:
    if mode is PodMode.DISABLED:
        return "pods disabled: the Corefile answers no pod names (`pods insecure` or `pods verified` would)"
    whose = " of a pod in this namespace" if mode is PodMode.VERIFIED else ""
    return f"pods {mode.value}: {label} spells no address{whose}"


def _missing_namespace(plugin: Kubernetes, namespace: str) -> Iterator[str]:
    wanted = plugin.options.lookup.namespaces
    if plugin.state.has_namespace(namespace) and wanted:
        yield f"namespace {namespace} exists and is not exposed (Corefile: namespaces {' '.join(sorted(wanted))})"
        return
    known = [row.name.name for row in plugin.state.namespaces]
    yield f"namespace {namespace} does not exist{_close(namespace, known)}"


def _missing_service(plugin: Kubernetes, name: ParsedName) -> Iterator[str]:
    state, service = plugin.state, plugin.state.service(name.namespace, name.service)
    if service is None:
        here = [row.name.name for row in state.services if row.name.namespace == name.namespace]
        elsewhere = sorted(row.name.namespace for row in state.services if row.name.name == name.service)
        yield f"Service {name.namespace}/{name.service} does not exist{_close(name.service, here)}"
        if elsewhere:
            yield f"a Service of that name exists in {', '.join(elsewhere)}"
        return
    slices = state.slices_of(name.namespace, name.service)
    ready = sum(map(len, slices))
    if service.is_headless and not ready:
        yield f"Service {service.name} is headless and none of its endpoints is ready ({len(slices)} EndpointSlices)"
    elif name.endpoint:
        labels = [plugin.lookup.endpoint_label(row, i) for row in slices for i in range(len(row))]
        yield f"no ready endpoint of Service {service.name} is called {name.endpoint}{_close(name.endpoint, labels)}"
    elif name.port or name.protocol:
        yield f"Service {service.name} has no port {name.port}/{name.protocol}: {_ports(service)}"
    elif not ready:
        yield f"Service {service.name} has no ready endpoint (Corefile: ignore empty_service)"


def _close(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, sorted(set(known)), 3)
    return f"; close to it: {', '.join(near)}" if near else ""


def pod_search(namespace: str, domain: str = "cluster.local") -> tuple[Name, ...]:
    """The search list that a kubelet gives a pod of a namespace."""
    zone = from_text(domain)
    svc = b"\x03svc" + zone
    return (from_text(namespace)[:-1] + svc, svc, zone)
