"""One packet through the plan: which frontend, which treatment, which backends, each with the reason.

Repeats no policy: it reads what the planner decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fairway.explain.model import BackendAnswer, Layer, Origin, Path, Step, Verdict
from fairway.kube.endpointslice import EndpointSlice
from fairway.plan import model
from fairway.plan.model import Frontend, FrontendKey, FrontendKind, PlannedPort, Source, Treatment
from fairway.plan.planner import Planner
from fairway.plan.reasons import Reason
from fairway.plan.view import NodeView
from fairway.state.tables import State
from fairway.values.address import Address
from fairway.values.names import ServicePortName
from fairway.values.packet import Packet

_VERDICTS = {
    model.Verdict.FORWARD: Verdict.FORWARD,
    model.Verdict.REJECT: Verdict.REJECT,
    model.Verdict.DROP: Verdict.DROP,
}
_SOURCES = {
    Source.POD: "a local pod",
    Source.NODE: "this node itself",
    Source.OUTSIDE: "neither a local pod nor this node",
}


def plan_path(packet: Packet, planner: Planner, state: State) -> tuple[Path, ServicePortName | None]:
    """The plan's answer, and the service port that the packet is for."""
    view = planner.view
    key = FrontendKey(packet.destination, packet.protocol, packet.port)
    holder = planner.holder(key)
    found = _find(planner, holder, key) if holder else None
    if holder is None or found is None:
        return _not_a_frontend(packet, planner), None
    port, frontend = found
    steps = [*_frontend_steps(port, frontend), _source_step(packet, view)]
    treatment = frontend.treatments.of(view.source_of(packet))
    ranges = _range_step(packet, frontend, port)
    if ranges is not None:
        steps.append(ranges)
        if not any(packet.source in prefix for prefix in frontend.source_ranges):
            return Path(Verdict.DROP, (), tuple(steps)), holder
    steps += [_reason_step(reason, port) for reason in treatment.reasons]
    verdict = _VERDICTS[treatment.verdict]
    if treatment.verdict is not model.Verdict.FORWARD:
        return Path(verdict, (), tuple(steps)), holder
    selection = port.cluster if treatment.scope is model.Scope.CLUSTER else port.local
    steps.append(_reason_step(selection.reason, port))
    if port.affinity_seconds:
        steps.append(_affinity_step(port))
    slices = list(state.slices(holder.service))
    backends = tuple(_backends(packet, port, treatment, slices))
    if any(b.address == str(packet.source) for b in backends):
        steps.append(_reason_step(Reason.HAIRPIN, port))
    return Path(verdict, backends, tuple(steps)), holder


def _find(planner: Planner, name: ServicePortName, key: FrontendKey) -> tuple[PlannedPort, Frontend] | None:
    planned = planner.planned(name.service)
    for port in planned.ports if planned else ():
        for frontend in port.frontends:
            if port.name == name and frontend.key == key:
                return port, frontend
    return None


def _frontend_steps(port: PlannedPort, frontend: Frontend) -> Iterator[Step]:
    fields = {
        FrontendKind.CLUSTER_IP: "spec.clusterIPs",
        FrontendKind.EXTERNAL_IP: "spec.externalIPs",
        FrontendKind.LOAD_BALANCER_IP: "status.loadBalancer.ingress[].ip",
        FrontendKind.NODE_PORT: "spec.ports[].nodePort",
    }
    origin = Origin(object=f"Service {port.name.service}", field=fields[frontend.kind], rule=17)
    yield Step(Layer.PLAN, f"{frontend.key} is a {frontend.kind.value} of service port {port.name}", origin)
    for key, winner in port.lost:
        lost = Origin(object=f"Service {winner.service}", field="metadata.creationTimestamp", rule=17)
        yield Step(Layer.PLAN, f"this service port also claims {key}, which {winner} holds", lost)


def _source_step(packet: Packet, view: NodeView) -> Step:
    source = view.source_of(packet)
    origin = Origin(object="KubeProxyConfiguration", field="detectLocalMode", rule=10)
    return Step(Layer.PLAN, f"the source {packet.source} is {_SOURCES[source]}", origin)


def _range_step(packet: Packet, frontend: Frontend, port: PlannedPort) -> Step | None:
    if not frontend.source_ranges:
        return None
    hit = next((prefix for prefix in frontend.source_ranges if packet.source in prefix), None)
    reason = Reason.SOURCE_RANGE_DENIED if hit is None else Reason.SOURCE_RANGE_ALLOWED
    step = _reason_step(reason, port)
    shown = str(hit) if hit else ", ".join(str(p) for p in frontend.source_ranges)
    return Step(step.layer, f"{step.text} ({shown})", step.source)


def _reason_step(reason: Reason, port: PlannedPort) -> Step:
    kind, _, field = reason.field.partition(".")
    names = {"Service": str(port.name.service), "EndpointSlice": f"of Service {port.name.service}"}
    name = names.get(kind, "")
    return Step(Layer.PLAN, reason.sentence, Origin(object=f"{kind} {name}".strip(), field=field, rule=reason.rule))


def _affinity_step(port: PlannedPort) -> Step:
    origin = Origin(object=f"Service {port.name.service}", field="spec.sessionAffinityConfig", rule=18)
    return Step(Layer.PLAN, f"a client keeps its backend for {port.affinity_seconds} s after its last new one", origin)


def _backends(
    packet: Packet, port: PlannedPort, treatment: Treatment, slices: Iterable[EndpointSlice]
) -> Iterator[BackendAnswer]:
    backends = port.backends(treatment.scope)
    for backend in backends:
        slice_name, node = _origin_of(backend.address, slices)
        yield BackendAnswer(
            address=str(backend.address),
            port=backend.port,
            probability=1 / len(backends),
            masquerade=treatment.masquerade or backend.address == packet.source,
            endpoint=slice_name,
            node=node,
        )


def _origin_of(address: Address, slices: Iterable[EndpointSlice]) -> tuple[str, str]:
    for one in slices:
        for endpoint in one.endpoints:
            if endpoint.address == address:
                return f"EndpointSlice {one.name}", endpoint.node
    return "", ""


def _not_a_frontend(packet: Packet, planner: Planner) -> Path:
    """Rule 17: unknown ports of cluster IPs, unowned addresses of service ranges, and everybody else's packets."""
    for planned in planner.all_planned():
        if packet.destination in planned.cluster_ips:
            return _end(Verdict.REJECT, Reason.UNKNOWN_PORT, f"Service {planned.name}")
    for cidr in planner.view.service_cidrs:
        if packet.destination in cidr:
            return _end(Verdict.DROP, Reason.UNALLOCATED, f"ServiceCIDR with {cidr}")
    if packet.destination in planner.view.addresses and _is_node_port(packet, planner):
        return _end(Verdict.UNTOUCHED, Reason.NODE_PORT_ELSEWHERE, "KubeProxyConfiguration")
    return _end(Verdict.UNTOUCHED, Reason.NOT_OURS, "Service")


def _is_node_port(packet: Packet, planner: Planner) -> bool:
    ports = (port for planned in planner.all_planned() for port in planned.ports)
    return any(port.name.protocol is packet.protocol and packet.port in _node_ports(port) for port in ports)


def _node_ports(port: PlannedPort) -> set[int]:
    return {f.key.port for f in port.frontends if f.kind is FrontendKind.NODE_PORT}


def _end(verdict: Verdict, reason: Reason, name: str) -> Path:
    field = reason.field.partition(".")[2]
    return Path(verdict, (), (Step(Layer.PLAN, reason.sentence, Origin(object=name, field=field, rule=reason.rule)),))
