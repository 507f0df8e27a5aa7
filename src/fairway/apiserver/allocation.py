"""Cluster IPs and node ports of Services, given out when a Service is written.

What is taken follows from the store: an IPAddress object is an address, a Service's own fields are its ports.
Ranges come from ServiceCIDR objects, so they grow and shrink at run time (KEP-1880). Nothing is stored before the
write itself.
"""

from __future__ import annotations

import ipaddress

from fairway.apiserver import errors, names
from fairway.apiserver.context import Call, decode
from fairway.apiserver.families import NODE_PORT_TYPES, init_families, matching_prefer, refuse
from fairway.apiserver.fielderrors import invalid
from fairway.apiserver.kinds.service_addresses import family_of, is_headless
from fairway.apiserver.request import Json


def needs_health_port(spec: Json) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


# ---- ranges -----------------------------------------------------------------------------------------------------
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def ranges(call: Call, family: str) -> list[Network]:
    """CIDRs of ServiceCIDRs that are not on their way out, of one family."""
    version = 4 if family == "IPv4" else 6
    out: list[Network] = []
    for _, entry in call.store.entries("servicecidrs.networking.k8s.io"):
        obj = decode(entry.data)
        if obj["metadata"].get("deletionTimestamp"):
            continue
        networks = (ipaddress.ip_network(c) for c in obj["spec"].get("cidrs") or [])
        out += [n for n in networks if n.version == version]
    return out


def _usable(network: Network) -> tuple[int, int]:
    """Offset of the first usable address, and how many there are: not the network's own, not IPv4 broadcast."""
    size = network.num_addresses
    count = size - 1 - (1 if network.version == 4 and size > 2 else 0)
    return 1, max(count, 0)


def _band(count: int) -> int:
    """Addresses at the start that are given out last, so that people can pick them (KEP-3070)."""
    return 0 if count < 32 else min(max(16, count // 16), 256)


def _pick(call: Call, network: Network, taken: set[str]) -> str | None:
    first, count = _usable(network)
    band = _band(count)
    base = int(network.network_address)
    for low, size in ((first + band, count - band), (first, band)):
        if size <= 0:
            continue
        start = int.from_bytes(call.server.env.random(8)) % size
        for step in range(min(size, 1 << 16)):
            address = (
                str(ipaddress.ip_address(base + low + (start + step) % size))
                if network.version == 4
                else str(ipaddress.IPv6Address(base + low + (start + step) % size))
            )
            if address not in taken and call.store.get("ipaddresses.networking.k8s.io", address) is None:
                return address
    return None


class Addresses:
    """The addresses that one write takes and lets go."""

    def __init__(self, call: Call, obj: Json) -> None:
        self._call, self._obj = call, obj
        self.taken: set[str] = set()
        self.released: list[str] = []

    def take_next(self, family: str) -> str:
        call = self._call
        if call.dry_run:  # it does not look for a free one
            return str(ipaddress.ip_network(self._first_range(family)).network_address)
        for network in ranges(call, family):
            address = _pick(call, network, self.taken)
            if address is not None:
                self._check_parent(address)
                self.taken.add(address)
                return address
        name = self._obj["metadata"].get("name", "")
        raise errors.internal(f'failed to allocate a serviceIP for Service "{name}": range is full')

    def _check_parent(self, address: str) -> None:
        """The IPAddress of this Service must be valid, too: it bears its name."""
        name = self._obj["metadata"].get("name", "")
        where = f'failed to allocate IP: IPAddress.networking.k8s.io "{address}" is invalid: spec.parentRef.name: '
        wrong = (
            [f'Invalid value: "{name}": {m}' for m in names.path_segment_name(name, False)]
            if name
            else ["Required value"]
        )
        if wrong:
            given = self._obj["spec"].get("clusterIPs") or [""]
            refuse(self._obj, [invalid("spec.clusterIPs", given, where + wrong[0])])

    def take(self, address: str) -> str:
        spec = self._obj["spec"]
        parsed = names.parse_ip(address)
        assert parsed is not None
        why = ""
        if self._call.dry_run:
            return self._take_dry(address, parsed)
        home = next((n for n in ranges(self._call, family_of(address)) if parsed in n), None)
        if home is None or not 1 <= int(parsed) - int(home.network_address) <= _usable(home)[1]:
            why = "the provided network does not match the current range"
        elif (
            str(parsed) in self.taken or self._call.store.get("ipaddresses.networking.k8s.io", str(parsed)) is not None
        ):
            why = "provided IP is already allocated"
        if why:
            words = f"failed to allocate IP {address}: {why}"
            refuse(self._obj, [invalid("spec.clusterIPs", list(spec.get("clusterIPs") or []), words)])
        self.taken.add(str(parsed))
        return address

    def _take_dry(self, address: str, parsed: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
        """A dry run asks the range of the server's start, not what is taken."""
        first = self._first_range(family_of(address))
        if parsed not in ipaddress.ip_network(first):
            words = f"failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. "
            given = list(self._obj["spec"].get("clusterIPs") or [])
            refuse(self._obj, [invalid("spec.clusterIPs", given, f"{words}The range of valid IPs is {first}")])
        return address

    def _first_range(self, family: str) -> str:
        return next(c for c in self._call.server.settings.service_cidrs if family_of(c.split("/")[0]) == family)

    def write(self) -> None:
        """Runs when the Service itself is written."""
        call, meta = self._call, self._obj["metadata"]
        for address in self.released:
            remove_address(call, address)
        for address in sorted(self.taken):
            family = family_of(address)
            obj: Json = {
                "metadata": {
                    "name": str(names.parse_ip(address)),
                    "uid": call.new_uid(),
                    "creationTimestamp": call.time,
                    "labels": {
                        "ipaddress.kubernetes.io/ip-family": family,
                        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                    },
                },
                "spec": {"parentRef": {"resource": "services", "namespace": meta["namespace"], "name": meta["name"]}},
            }
            call.server.write("ipaddresses.networking.k8s.io", obj["metadata"]["name"], obj, call.now)


def remove_address(call: Call, address: str) -> None:
    parsed = names.parse_ip(address)
    obj = call.server.read("ipaddresses.networking.k8s.io", str(parsed))
    if obj is not None:
        call.server.remove("ipaddresses.networking.k8s.io", str(parsed), obj, call.now)


# ---- node ports -------------------------------------------------------------------------------------------------


def ports_of(spec: Json) -> set[int]:
    """Node ports of a Service: of its ports, and for health checks."""
    out = (
        {p["nodePort"] for p in spec.get("ports") or [] if p.get("nodePort")}
        if spec.get("type") in NODE_PORT_TYPES
        else set()
    )
    if needs_health_port(spec) and spec.get("healthCheckNodePort"):
        out.add(spec["healthCheckNodePort"])
    return out


def taken_ports(call: Call) -> set[int]:
    """Node ports of all Services, kept from write to write as long as no other change came between."""
    out: set[int] = set()
    for _, entry in call.store.entries("services"):
        if b'odePort"' in entry.data:
            out |= ports_of(decode(entry.data)["spec"])
    return out


class PortRefusedError(Exception):
    """The port is taken or out of range; the text says which."""


_BEYOND = 32768


class Ports:
    """The ports that one write takes."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.low, self.high = call.server.settings.node_ports
        self._taken: set[int] | None = None
        self._mine: list[int] = []

    def _all(self) -> set[int]:
        if self._taken is None:
            self._taken = taken_ports(self._call)
        return self._taken

    def take(self, port: int) -> None:
        if not self.low <= port <= self.high and not self._call.dry_run:
            raise PortRefusedError(
                f"provided port is not in the valid range. The range of valid ports is {self.low}-{self.high}"
            )
        if port in self._all():
            raise PortRefusedError("provided port is already allocated")
        self._all().add(port)
        self._mine.append(port)

    def take_next(self) -> int:
        if self._call.dry_run:  # a number that says that it is none
            self._mine.append(max(self._mine, default=_BEYOND) + 1)
            return self._mine[-1]
        taken = self._all()
        count = self.high - self.low + 1
        band = 0 if count < 32 else min(max(16, count // 32), 128)
        for low, size in ((self.low + band, count - band), (self.low, band)):
            if size <= 0:
                continue
            start = int.from_bytes(self._call.server.env.random(4)) % size
            for step in range(size):
                port = low + (start + step) % size
                if port not in taken:
                    taken.add(port)
                    return port
        raise errors.internal("failed to allocate a nodePort: range is full")


# ---- create -----------------------------------------------------------------------------------------------------
def allocate_create(call: Call, obj: Json) -> None:
    spec = obj["spec"]
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    init_families(call, obj, None)
    addresses = Addresses(call, obj)
    _allocate_addresses(obj, addresses)
    ports = Ports(call)
    _allocate_ports(obj, ports)
    call.after.append(addresses.write)


def _allocate_addresses(obj: Json, addresses: Addresses) -> None:
    """One address for each family, given or next."""
    spec = obj["spec"]
    if spec.get("type") == "ExternalName" or is_headless(spec):
        return
    given = list(spec.get("clusterIPs") or [])
    given += [""] * (len(spec.get("ipFamilies") or []) - len(given))
    spec["clusterIPs"] = given
    out: list[str] = []
    for i, family in enumerate(spec.get("ipFamilies") or []):
        address = given[i] if i < len(given) else ""
        out.append(addresses.take(address) if address else addresses.take_next(family))
    spec["clusterIPs"], spec["clusterIP"] = out, out[0]


def _allocate_ports(obj: Json, ports: Ports) -> None:
    spec = obj["spec"]
    if spec.get("type") in NODE_PORT_TYPES:
        wants = spec["type"] == "NodePort" or spec.get("allocateLoadBalancerNodePorts")
        given: dict[int, int] = {}
        for i, port in enumerate(spec.get("ports") or []):
            if port.get("nodePort") or wants:
                _allocate_port(obj, ports, i, given)
    if needs_health_port(spec):
        allocate_health_port(spec, ports)


def _allocate_port(obj: Json, ports: Ports, index: int, given: dict[int, int]) -> None:
    """initNodePorts: ports of one number share a node port."""
    all_ports = obj["spec"]["ports"]
    port = all_ports[index]
    number = port.get("port", 0)
    wanted = next((p["nodePort"] for p in all_ports if p.get("port", 0) == number and p.get("nodePort")), 0)
    if number not in given:
        if wanted:
            _take_port(obj, ports, index, wanted)
        given[number] = port["nodePort"] = wanted or ports.take_next()
    elif not port.get("nodePort"):
        port["nodePort"] = given[number]
    elif port["nodePort"] != given[number]:
        _take_port(obj, ports, index, port["nodePort"])


def _take_port(obj: Json, ports: Ports, index: int, number: int) -> None:
    try:
        ports.take(number)
    except PortRefusedError as refusal:
        refuse(obj, [invalid(f"spec.ports[{index}].nodePort", number, str(refusal))])


def allocate_health_port(spec: Json, ports: Ports) -> None:
    asked = spec.get("healthCheckNodePort", 0)
    if not asked:
        spec["healthCheckNodePort"] = ports.take_next()
        return
    try:
        ports.take(asked)
    except PortRefusedError as refusal:
        raise errors.internal(f"failed to allocate requested HealthCheck NodePort {asked}: {refusal}") from None


# ---- update -----------------------------------------------------------------------------------------------------
def _wants_ports(spec: Json) -> bool:
    """Whether node ports are given out to it (needsNodePort)."""
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def patch_allocated(spec: Json, old: Json) -> None:
    """Values that the server gave out stay when a client leaves them out (patchAllocatedValues)."""
    if spec.get("type") != "ExternalName" and old.get("type") != "ExternalName":
        if not spec.get("clusterIP"):
            spec["clusterIP"] = old.get("clusterIP", "")
        if not spec.get("clusterIPs") and old.get("clusterIPs"):
            spec["clusterIPs"] = list(old["clusterIPs"])
    if _wants_ports(spec) and _wants_ports(old):
        known = {p.get("name", ""): p["nodePort"] for p in old.get("ports") or [] if p.get("nodePort")}
        used = {p["nodePort"] for p in spec.get("ports") or [] if p.get("nodePort")}
        for port in spec.get("ports") or []:
            number = known.get(port.get("name", ""))
            if not port.get("nodePort") and number and number not in used:
                port["nodePort"] = number
    if needs_health_port(old) and needs_health_port(spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort", 0)


def _normalize(spec: Json, old: Json) -> None:
    """normalizeClusterIPs: clients that know only one of clusterIP and clusterIPs."""
    single, was = spec.get("clusterIP", ""), old.get("clusterIP", "")
    same = (spec.get("clusterIPs") or []) == (old.get("clusterIPs") or [])
    if old.get("clusterIPs") and not spec.get("clusterIPs") and single == was:
        spec["clusterIPs"] = list(old["clusterIPs"])
    if single != was and same:
        if was and not single:
            spec.pop("clusterIPs", None)
        else:
            spec["clusterIPs"] = [single]


def allocate_update(call: Call, obj: Json, old: Json) -> None:
    spec, was = obj["spec"], old["spec"]
    patch_allocated(spec, was)
    _normalize(spec, was)
    if not spec.get("clusterIP"):
        spec.pop("clusterIP", None)
    init_families(call, obj, was)
    addresses = Addresses(call, obj)
    _update_addresses(obj, was, addresses)
    ports = Ports(call)
    if spec.get("type") in NODE_PORT_TYPES:
        _update_ports(obj, was, ports)
    if needs_health_port(spec) and not needs_health_port(was):
        allocate_health_port(spec, ports)
    call.after.append(addresses.write)


def _update_addresses(obj: Json, old: Json, addresses: Addresses) -> None:
    spec = obj["spec"]
    if matching_prefer(spec, old):
        return
    if old.get("type") == "ExternalName":
        _allocate_addresses(obj, addresses)
        return
    if is_headless(old):
        return
    had, families_now, families_then = (
        old.get("clusterIPs") or [],
        spec.get("ipFamilies") or [],
        old.get("ipFamilies") or [],
    )
    if spec.get("type") == "ExternalName":
        addresses.released += had
    elif len(families_then) == 1 and len(families_now) == 2:
        given = spec.get("clusterIPs") or []
        second = given[1] if len(given) > 1 else ""
        spec["clusterIPs"] = [*given[:1], addresses.take(second) if second else addresses.take_next(families_now[1])]
    elif len(families_then) == 2 and len(families_now) == 1:
        addresses.released += had[1:]


def _update_ports(obj: Json, old: Json, ports: Ports) -> None:
    spec = obj["spec"]
    wants = _wants_ports(spec)
    known = {p["nodePort"] for p in old.get("ports") or [] if p.get("nodePort")}
    seen: set[tuple[str, int]] = set()
    for i, port in enumerate(spec.get("ports") or []):
        number = port.get("nodePort", 0)
        if number and (port["protocol"], number) in seen:
            raise errors.plain_internal(f"duplicate nodePort: {{{port['protocol']} {number}}}")
        seen.add((port["protocol"], number))
        if number and number not in known:
            _take_port(obj, ports, i, number)
            known.add(number)
        elif not number and wants:
            port["nodePort"] = ports.take_next()


def release(call: Call, obj: Json) -> None:
    """A Service is gone: its addresses, and the Endpoints of its name, go too."""
    spec = obj["spec"]
    if spec.get("type") != "ExternalName" and not is_headless(spec):
        for address in spec.get("clusterIPs") or []:
            remove_address(call, address)
    key = f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"
    endpoints = call.server.read("endpoints", key)
    if endpoints is not None:
        call.server.remove("endpoints", key, endpoints, call.now)
