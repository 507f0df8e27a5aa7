"""Service and pods to EndpointSlices, as kube-controller-manager's endpointslice-controller does it.

Better than that one in two things: a slice that loses its labels is replaced at once, and a node that comes late is
noticed when it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fairway.controllers import hints
from fairway.controllers.controller import Key, Turn
from fairway.controllers.hints import HintMode, Refusal, hint_mode
from fairway.controllers.membership import (
    ANNOTATION_TRIGGER_TIME,
    TriggerMemory,
    addresses_of,
    has_endpoint,
    hostname_of,
    port_number,
    services_concerned,
    trigger_text,
    trigger_time,
)
from fairway.controllers.slicing import (
    LABEL_MANAGED_BY,
    Draft,
    Dress,
    EndpointKey,
    Packed,
    Ports,
    endpoint_key,
    pack,
    ports_key,
    writes_for,
)
from fairway.controllers.view import View
from fairway.controllers.writes import AnyKind, Create, EventType, Outcome, Record, Write, controlled_by, reference_to
from fairway.kube.administration import ClusterNode
from fairway.kube.discovery import (
    AddressType,
    SelectorService,
    SelectorSpec,
    SliceConditions,
    SliceEndpoint,
    SliceObject,
    SlicePort,
)
from fairway.kube.meta import LABEL_HEADLESS, LABEL_SERVICE_NAME, LABEL_ZONE
from fairway.kube.objectmeta import ObjectReference
from fairway.kube.objects import ENDPOINT_SLICE, NODE, POD, SERVICE
from fairway.kube.pod import Pod
from fairway.values.names import ObjectName

MANAGER = "endpointslice-controller.k8s.io"
RESERVED_LABELS = (LABEL_SERVICE_NAME, LABEL_MANAGED_BY, LABEL_HEADLESS)
MAX_PREFIX = 253
LARGE = 100


class EndpointSliceController:
    """Keeps the slices of Services that have a selector."""

    name = "endpointslice-controller"
    component = "endpoint-slice-controller"
    kinds: tuple[AnyKind, ...] = (SERVICE, POD, NODE, ENDPOINT_SLICE)
    follows_everything = False

    def concerned(self, kind: AnyKind, old: Any, new: Any, view: View) -> Iterable[Key]:
        if kind is POD:
            return services_concerned(old, new, view)
        if kind is NODE:
            return _services_for_node(old, new, view)
        if kind is ENDPOINT_SLICE:
            return _services_for_slice(old, new)
        return {(new or old).metadata.object_name}

    def sync(self, turn: Turn, view: View) -> Outcome:
        service = view.get(SERVICE, turn.key)
        if service is None or not service.selects:
            return Outcome()
        pods = view.pods_matching(turn.key.namespace, service.spec.selector or {})
        memory = turn.memory if isinstance(turn.memory, Memory) else None
        triggered, known = trigger_time(service, pods, memory.trigger if memory else None)
        held = memory.made if memory and memory.spec == service.spec else {}
        made: dict[AddressType, Mapping[str, Made]] = {}
        annotations = {ANNOTATION_TRIGGER_TIME: trigger_text(triggered)} if triggered else {}
        present = [one for one in view.slices_of(turn.key) if one.metadata.label_map.get(LABEL_MANAGED_BY) == MANAGER]
        types = service.address_types
        failed = _failure_record(service)
        writes: list[Write] = []
        missing: list[str] = []
        for address_type in types:
            own = [one for one in present if one.address_type is address_type]
            wanted = wanted_endpoints(service, pods, address_type, view, held.get(address_type, {}))
            if len(pods) > LARGE:
                made[address_type] = wanted.made
            writes += reconcile_family(service, wanted.by_ports, own, address_type, annotations, view)
            missing += wanted.missing
        gone = [one for one in present if one.address_type not in types]
        dress = _dress(service, types[0])
        writes += writes_for(Packed([], [], gone), dress, {}, failed)
        if missing:
            writes.append(failed._replace(message=failed.message.replace("{error}", missing[0])))
        memory = Memory(known, service.spec, made)
        return Outcome(tuple(writes), retry=missing[0] if missing else "", memory=memory)


def _services_for_slice(old: SliceObject | None, new: SliceObject | None) -> set[Key]:
    """A slice of ours that came, went or was changed by its content or labels, and one that stopped being ours."""
    if old is not None and new is not None and old.metadata.generation == new.metadata.generation:
        return set()
    ours = [one for one in (old, new) if one is not None and one.metadata.label_map.get(LABEL_MANAGED_BY) == MANAGER]
    if not ours:
        return set()
    names = {one.metadata.label_map.get(LABEL_SERVICE_NAME) for one in (old, new) if one is not None}
    return {ObjectName(ours[0].metadata.namespace, name) for name in names if name}


def _services_for_node(old: ClusterNode | None, new: ClusterNode | None, view: View) -> set[Key]:
    """Services whose pods waited for the node, and those whose hints by shares do not fit any more."""
    found: set[Key] = set()
    if old is None and new is not None:
        found |= _services_that_wait(new.metadata.name, view)
    if old is None or new is None or _hint_facts(old) != _hint_facts(new):
        hinted = view.hinted_by_shares()
        shares = hints.cpu_shares(view.all(NODE)) if hinted else None
        found |= {one.metadata.object_name for one in hinted if _is_overloaded(one, shares, view)}
    return found


def _services_that_wait(node: str, view: View) -> set[Key]:
    """Services with a pod on this node that is in none of their slices. Others see the node at their next change."""
    waiting: dict[Key, set[str]] = {}
    for pod in view.pods_on(node):
        for name in services_concerned(None, pod, view):
            waiting.setdefault(name, set()).add(pod.metadata.uid)
    return {name for name, uids in waiting.items() if uids - _members(name, view)}


def _members(service: Key, view: View) -> set[str]:
    """The pods in its slices, by uid."""
    members = (member for one in view.slices_of(service) for member in one.members)
    return {member.target_ref.uid for member in members if member.target_ref}


def _hint_facts(node: ClusterNode) -> tuple[object, ...]:
    return (node.is_ready, node.metadata.label_map.get(LABEL_ZONE))


def _is_overloaded(service: SelectorService, shares: Mapping[str, float] | None, view: View) -> bool:
    slices = view.slices_of(service.metadata.object_name)
    return any(
        hints.is_overloaded(
            hints.hinted_zones(e for one in slices if one.address_type is family for e in one.members), shares
        )
        for family in service.address_types
    )


class Made(NamedTuple):
    """A pod's endpoint, and what it was made of: as long as they are the same, so is the endpoint."""

    pod: Pod
    node: ClusterNode | None
    ports: Ports
    key: EndpointKey | None = None
    endpoint: SliceEndpoint | None = None
    """None when the pod has none of this family, or has to wait for its node."""


class Memory(NamedTuple):
    """What one look at a Service leaves for the next."""

    trigger: TriggerMemory
    spec: SelectorSpec
    made: Mapping[AddressType, Mapping[str, Made]]
    """By uid of the pod; only of Services with so many pods that making all anew would count."""


class Wanted(NamedTuple):
    """Endpoints by the ports that their pods have, and pods that had to be left out."""

    by_ports: dict[Ports, dict[EndpointKey, SliceEndpoint]]
    missing: list[str]
    made: Mapping[str, Made]


def wanted_endpoints(
    service: SelectorService, pods: Iterable[Pod], address_type: AddressType, view: View, held: Mapping[str, Made]
) -> Wanted:
    """The endpoints of one family. A pod on a node that is not known is left out, unless all are to be published."""
    by_ports: dict[Ports, dict[EndpointKey, SliceEndpoint]] = {}
    missing: list[str] = []
    made: dict[str, Made] = {}
    nodes = {one.metadata.name: one for one in view.all(NODE)} if held else {}
    for pod in pods:
        uid = pod.metadata.uid
        one = held.get(uid)
        if one is None or one.pod is not pod or one.node is not nodes.get(pod.node):
            if not has_endpoint(pod, with_terminating=True):
                continue
            one = _make(service, pod, address_type, view)
        made[uid] = one
        members = by_ports.setdefault(one.ports, {})
        if one.key is not None and one.endpoint is not None:
            members[one.key] = one.endpoint
        elif one.node is None and pod.node and not service.spec.publish_not_ready_addresses:
            name = service.metadata.object_name
            missing.append(f"skipping Pod {pod.metadata.name} for Service {name}: Node {pod.node} Not Found")
    return Wanted(by_ports, missing, made)


def _make(service: SelectorService, pod: Pod, address_type: AddressType, view: View) -> Made:
    ports = _resolved_ports(service, pod)
    node = view.get(NODE, ObjectName("", pod.node))
    addresses = addresses_of(pod, address_type)
    if not addresses or (node is None and not service.spec.publish_not_ready_addresses):
        return Made(pod, node, ports)
    endpoint = _endpoint(service, pod, node, addresses)
    return Made(pod, node, ports, endpoint_key(endpoint), endpoint)


def _resolved_ports(service: SelectorService, pod: Pod) -> Ports:
    resolved = ((port, port_number(pod, port)) for port in service.spec.ports or ())
    return ports_key(
        tuple(
            SlicePort(port.name or "", port.protocol or "TCP", number, port.app_protocol)
            for port, number in resolved
            if number is not None
        )
    )


def _endpoint(
    service: SelectorService, pod: Pod, node: ClusterNode | None, addresses: tuple[str, ...]
) -> SliceEndpoint:
    meta, serving, terminating = pod.metadata, pod.is_ready, pod.metadata.is_leaving
    ready = bool(service.spec.publish_not_ready_addresses) or (serving and not terminating)
    return SliceEndpoint(
        addresses=addresses,
        conditions=SliceConditions(ready, serving, terminating),
        hostname=hostname_of(pod, service),
        target_ref=ObjectReference("Pod", meta.namespace, meta.name, meta.uid),
        node_name=pod.node or None,
        zone=(node.metadata.label_map.get(LABEL_ZONE) or None) if node else None,
    )


def reconcile_family(
    service: SelectorService,
    wanted: Mapping[Ports, Mapping[EndpointKey, SliceEndpoint]],
    present: list[SliceObject],
    address_type: AddressType,
    annotations: Mapping[str, str],
    view: View,
) -> list[Write]:
    """The writes that make the slices of one family right."""
    dress = _dress(service, address_type)
    by_ports: dict[Ports, list[SliceObject]] = {}
    dropped: list[SliceObject] = []
    for one in present:
        if any(ref.uid == service.metadata.uid and ref.kind == "Service" for ref in one.metadata.owners):
            by_ports.setdefault(ports_key(one.ports), []).append(one)
        else:
            dropped.append(one)
    total = Packed([], [], dropped)
    for ports in sorted(wanted.keys() | by_ports.keys(), key=repr):
        if ports not in wanted:
            total.dropped.extend(by_ports[ports])
            continue
        kept, made, emptied = pack(wanted[ports], ports, by_ports.get(ports, []), dress)
        total.kept.extend(kept)
        total.made.extend(made)
        total.dropped.extend(emptied)
    if not total.kept and not total.made:
        _add_placeholder(total, dress)
    records = _give_hints(service, total, present, address_type, view)
    writes = writes_for(total, dress, annotations, _failure_record(service))
    if service.metadata.is_leaving:  # else a slice made now would race with the collection of the Service's garbage
        writes = [one for one in writes if not isinstance(one, Create)]
    return [*writes, *records]


def _add_placeholder(packed: Packed, dress: Dress) -> None:
    """A slice without endpoints says that the Service is looked after; one that is there already will do."""
    if len(packed.dropped) == 1:
        one = packed.dropped[0]
        is_plain = not one.members and not one.ports and one.metadata.label_map == dress.labels
        if is_plain and one.metadata.owners == (dress.owner,):
            packed.dropped.clear()
            packed.kept.append(Draft((), [], False, one))
            return
    packed.made.append(Draft((), [], True))


def _give_hints(
    service: SelectorService,
    packed: Packed,
    present: list[SliceObject],
    address_type: AddressType,
    view: View,
) -> list[Write]:
    """Set hints on the drafts; returns the events that say so."""
    groups = [*packed.kept, *packed.made]
    match hint_mode(service):
        case HintMode.NONE:
            hints.clear_hints(groups)
        case HintMode.ZONE | HintMode.NODE as mode:
            hints.hint_closeness(groups, with_nodes=mode is HintMode.NODE)
        case HintMode.SHARES:
            refusal = hints.hint_shares(groups, hints.cpu_shares(view.all(NODE)))
            had_hints = any(one.hints for slice_ in present for one in slice_.members)
            return _hint_events(service, refusal, had_hints, address_type)
    return []


def _hint_events(
    service: SelectorService, refusal: Refusal | None, had_hints: bool, address_type: AddressType
) -> list[Write]:
    about = reference_to(SERVICE, service)
    if refusal is not None:
        said = f"{refusal.message}, addressType: {address_type.value}"
        return [Record(about, EventType.WARNING, "TopologyAwareHintsDisabled", said)]
    if had_hints:
        return []
    said = f"Topology Aware Hints has been enabled, addressType: {address_type.value}"
    return [Record(about, EventType.NORMAL, "TopologyAwareHintsEnabled", said)]


def _dress(service: SelectorService, address_type: AddressType) -> Dress:
    meta = service.metadata
    labels = {key: value for key, value in meta.label_map.items() if key not in RESERVED_LABELS}
    labels[LABEL_SERVICE_NAME] = meta.name
    labels[LABEL_MANAGED_BY] = MANAGER
    if service.is_headless:
        labels[LABEL_HEADLESS] = ""
    return Dress(meta.namespace, name_prefix(meta.name), address_type, labels, controlled_by(SERVICE, service))


def name_prefix(name: str) -> str:
    """What a slice's name begins with."""
    return f"{name}-" if len(name) < MAX_PREFIX else name


def _failure_record(service: SelectorService) -> Record:
    name = service.metadata.object_name
    said = f"Error updating Endpoint Slices for Service {name}: {{error}}"
    return Record(reference_to(SERVICE, service), EventType.WARNING, "FailedToUpdateEndpointSlices", said)
