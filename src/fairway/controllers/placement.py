"""Where a pod may run and where it runs best: filters and scores over a snapshot of nodes and their pods.

What kube-scheduler's default plugins ask of a node, without volumes and preemption. The reasons are its words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from fairway.controllers.tolerations import (
    NO_EXECUTE,
    NO_SCHEDULE,
    PREFER_NO_SCHEDULE,
    TAINT_UNSCHEDULABLE,
    tolerates,
    untolerated,
)
from fairway.kube.administration import ClusterNode, Taint
from fairway.kube.objectmeta import LabelSelector, Requirement
from fairway.kube.pod import NodeSelectorTerm, Pod, PodAffinityTerm, SpreadConstraint
from fairway.kube.quantity import parse_quantity
from fairway.values.errors import InvalidValueError

RESOURCES = ("cpu", "memory")
NOT_SELECTED = "node(s) didn't match Pod's node affinity/selector"


@dataclass(slots=True, eq=False)
class Place:
    """A node and the pods that run there or are about to."""

    node: ClusterNode
    pods: list[Pod] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.node.metadata.name

    @property
    def labels(self) -> Mapping[str, str]:
        return self.node.metadata.label_map


def reasons_against(pod: Pod, place: Place, places: Sequence[Place]) -> list[str]:
    """Why the pod cannot run there; empty when it can. The first kind of reason is enough, as in kube-scheduler."""
    node = place.node
    if node.spec.unschedulable and not _stands_cordon(pod):
        return ["node(s) were unschedulable"]
    if untolerated(node.taints, pod.spec.tolerations, (NO_SCHEDULE, NO_EXECUTE)):
        return ["node(s) had untolerated taint(s)"]
    if not selects(pod, place):
        return [NOT_SELECTED]
    if _has_port_conflict(pod, place):
        return ["node(s) didn't have free ports for the requested pod ports"]
    return (
        _missing_resources(pod, place) or _spread_reasons(pod, place, places) or _affinity_reasons(pod, place, places)
    )


def _stands_cordon(pod: Pod) -> bool:
    taint = Taint(TAINT_UNSCHEDULABLE, NO_SCHEDULE)
    return any(tolerates(one, taint) for one in pod.spec.tolerations or ())


# -- node selector and affinity


def selects(pod: Pod, place: Place) -> bool:
    """Whether nodeSelector and required node affinity name this node."""
    wanted = pod.spec.node_selector or {}
    if any(place.labels.get(key) != value for key, value in wanted.items()):
        return False
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    if affinity is None or affinity.required is None:
        return True
    return any(_term_matches(term, place) for term in affinity.required.node_selector_terms)


def _term_matches(term: NodeSelectorTerm, place: Place) -> bool:
    """All of a term; an empty one matches nothing."""
    expressions, fields = term.match_expressions or (), term.match_fields or ()
    if not expressions and not fields:
        return False
    own = {"metadata.name": place.name}
    return all(_requires(one, place.labels) for one in expressions) and all(_requires(one, own) for one in fields)


def _requires(one: Requirement, labels: Mapping[str, str]) -> bool:
    if one.operator not in ("Gt", "Lt"):
        return one.matches(labels)
    try:
        held, asked = int(labels[one.key]), int((one.values or ("",))[0])
    except (KeyError, ValueError):
        return False
    return held > asked if one.operator == "Gt" else held < asked


# -- ports and resources


def _host_ports(pod: Pod) -> set[tuple[str, str, int]]:
    containers = (*(pod.spec.containers or ()), *(one for one in pod.spec.init_containers or () if one.is_sidecar))
    return {
        (port.host_ip or "0.0.0.0", port.protocol or "TCP", port.host_port)  # noqa: S104 - compared, not listened on
        for container in containers
        for port in container.ports or ()
        if port.host_port
    }


def _has_port_conflict(pod: Pod, place: Place) -> bool:
    wanted = _host_ports(pod)
    taken = {one for other in place.pods for one in _host_ports(other)} if wanted else set()
    return any(
        (protocol, port) == (other_protocol, other_port) and (ip == other_ip or "0.0.0.0" in (ip, other_ip))  # noqa: S104
        for ip, protocol, port in wanted
        for other_ip, other_protocol, other_port in taken
    )


def requests_of(pod: Pod) -> Mapping[str, Fraction]:
    """What the pod asks for: the sum of its containers, or its largest init container."""
    running = [*(pod.spec.containers or ()), *(one for one in pod.spec.init_containers or () if one.is_sidecar)]
    first = [one for one in pod.spec.init_containers or () if not one.is_sidecar]

    def asked(container_requests: Mapping[str, str | int | float] | None, name: str) -> Fraction:
        return _quantity((container_requests or {}).get(name, 0))

    return {
        name: max(
            sum((asked(one.resources.requests if one.resources else None, name) for one in running), Fraction(0)),
            *(asked(one.resources.requests if one.resources else None, name) for one in first),
            Fraction(0),
        )
        for name in RESOURCES
    }


def _quantity(value: str | float) -> Fraction:
    try:
        return parse_quantity(value)
    except InvalidValueError:
        return Fraction(0)


def _missing_resources(pod: Pod, place: Place) -> list[str]:
    """A node that does not say what it has, has enough."""
    has = place.node.status.allocatable or {}
    missing: list[str] = []
    if "pods" in has and len(place.pods) + 1 > _quantity(has["pods"]):
        missing.append("Too many pods")
    asked = requests_of(pod)
    for name in RESOURCES:
        if asked[name] and name in has:
            used = sum((requests_of(other)[name] for other in place.pods), Fraction(0))
            if used + asked[name] > _quantity(has[name]):
                missing.append(f"Insufficient {name}")
    return missing


# -- spread


def _counts(constraint: SpreadConstraint, pod: Pod, places: Iterable[Place]) -> Counter[str]:
    """Matching pods by domain, over the nodes that the pod could select."""
    counts: Counter[str] = Counter()
    for place in places:
        domain = place.labels.get(constraint.topology_key)
        if domain is not None and selects(pod, place):
            counts[domain] += _matching(constraint.label_selector, pod.metadata.namespace, place.pods)
    return counts


def _matching(selector: LabelSelector | None, namespace: str, pods: Iterable[Pod]) -> int:
    if selector is None:
        return 0
    return sum(
        one.metadata.namespace == namespace and one.is_active and selector.matches(one.metadata.label_map)
        for one in pods
    )


def _spread_reasons(pod: Pod, place: Place, places: Sequence[Place]) -> list[str]:
    said = "node(s) didn't match pod topology spread constraints"
    for constraint in pod.spec.topology_spread_constraints or ():
        if constraint.when_unsatisfiable != "DoNotSchedule":
            continue
        domain = place.labels.get(constraint.topology_key)
        if domain is None:
            return [f"{said} (missing required label)"]
        counts = _counts(constraint, pod, places)
        selector = constraint.label_selector
        own = 1 if selector is not None and selector.matches(pod.metadata.label_map) else 0
        if counts[domain] + own - min(counts.values(), default=0) > constraint.max_skew:
            return [said]
    return []


# -- affinity between pods


def _term_pods(term: PodAffinityTerm, namespace: str, places: Iterable[Place]) -> list[tuple[Pod, Place]]:
    namespaces = term.namespaces or (namespace,)
    return [
        (pod, place)
        for place in places
        for pod in place.pods
        if pod.metadata.namespace in namespaces
        and term.label_selector is not None
        and term.label_selector.matches(pod.metadata.label_map)
    ]


def _same_domain(key: str, a: Place, b: Place) -> bool:
    return key in a.labels and a.labels.get(key) == b.labels.get(key)


def _affinity_reasons(pod: Pod, place: Place, places: Sequence[Place]) -> list[str]:
    affinity, namespace = pod.spec.affinity, pod.metadata.namespace
    for term in (affinity.pod_affinity.required or ()) if affinity and affinity.pod_affinity else ():
        found = _term_pods(term, namespace, places)
        is_first = not found and term.label_selector is not None and term.label_selector.matches(pod.metadata.label_map)
        here = any(_same_domain(term.topology_key, place, other) for _, other in found)
        if not here and not (is_first and term.topology_key in place.labels):
            return ["node(s) didn't match pod affinity rules"]
    for term in (affinity.pod_anti_affinity.required or ()) if affinity and affinity.pod_anti_affinity else ():
        if any(_same_domain(term.topology_key, place, other) for _, other in _term_pods(term, namespace, places)):
            return ["node(s) didn't match pod anti-affinity rules"]
    return _others_objections(pod, place, places)


def _others_objections(pod: Pod, place: Place, places: Iterable[Place]) -> list[str]:
    """Pods that are there already may not want this one beside them."""
    alone = [Place(place.node, [pod])]
    neighbours = ((other, one) for other in places for one in other.pods)
    for there, one in neighbours:
        anti = one.spec.affinity.pod_anti_affinity if one.spec.affinity else None
        for term in (anti.required or ()) if anti else ():
            if _same_domain(term.topology_key, place, there) and _term_pods(term, one.metadata.namespace, alone):
                return ["node(s) didn't satisfy existing pods anti-affinity rules"]
    return []


# -- scores


def best_place(pod: Pod, fitting: Sequence[Place], places: Sequence[Place]) -> Place:
    """Of the places where it can run: preferred, evenly spread, least full; by name when all is equal."""
    spread = [
        (constraint.topology_key, _counts(constraint, pod, places))
        for constraint in pod.spec.topology_spread_constraints or ()
        if constraint.when_unsatisfiable == "ScheduleAnyway"
    ]

    def badness(place: Place) -> tuple[object, ...]:
        crowded = sum(counts[place.labels.get(key, "")] for key, counts in spread)
        disliked = len(untolerated(place.node.taints, pod.spec.tolerations, (PREFER_NO_SCHEDULE,)))
        return (disliked, -_preference(pod, place), crowded, _siblings(pod, place), len(place.pods), place.name)

    return min(fitting, key=badness)


def _preference(pod: Pod, place: Place) -> int:
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    terms = (affinity.preferred or ()) if affinity else ()
    return sum(term.weight for term in terms if _term_matches(term.preference, place))


def _siblings(pod: Pod, place: Place) -> int:
    """Pods of the same owner on the node."""
    owner = pod.metadata.controller
    if owner is None:
        return 0
    return sum(1 for one in place.pods if (ref := one.metadata.controller) is not None and ref.uid == owner.uid)
