"""Topology hints of a Service's endpoints: by traffic distribution (KEP-4444, KEP-3015) or by CPU shares (KEP-2433).

Pure arithmetic on endpoints that stand in drafts of slices. What a proxy does with hints is the plan's decision.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

import msgspec

from fairway.kube.administration import ClusterNode
from fairway.kube.discovery import Hint, Hints, SelectorService, SliceEndpoint, SlicePort
from fairway.kube.meta import LABEL_ZONE
from fairway.kube.quantity import parse_quantity
from fairway.values.errors import InvalidValueError

ANNOTATION_MODE = "service.kubernetes.io/topology-mode"
ANNOTATION_OLD_MODE = "service.kubernetes.io/topology-aware-hints"
OVERLOAD = Fraction(1, 5)
"""A zone may get 20 % more traffic per endpoint than its share before hints do more harm than good."""
CONTROL_PLANE_LABELS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


class HintMode(Enum):
    NONE = "none"
    ZONE = "zone"
    NODE = "node"
    SHARES = "shares"


def hint_mode(service: SelectorService) -> HintMode:
    """The annotation wins over the field."""
    annotations = service.metadata.annotation_map
    mode = annotations.get(ANNOTATION_OLD_MODE, annotations.get(ANNOTATION_MODE))
    if mode in ("Auto", "auto"):
        return HintMode.SHARES
    match service.spec.traffic_distribution:
        case "PreferClose" | "PreferSameZone":
            return HintMode.ZONE
        case "PreferSameNode":
            return HintMode.NODE
    return HintMode.NONE


@dataclass(slots=True, eq=False)
class Group:
    """The endpoints of one slice, wanted or present. Hints are set here before the slice is written."""

    ports: tuple[SlicePort, ...]
    endpoints: list[SliceEndpoint]
    is_changed: bool

    def hint(self, index: int, hints: Hints | None) -> None:
        """Give one endpoint other hints."""
        if self.endpoints[index].hints != hints:
            self.endpoints[index] = msgspec.structs.replace(self.endpoints[index], hints=hints)
            self.is_changed = True

    def clear(self) -> None:
        for index in range(len(self.endpoints)):
            self.hint(index, None)


def hint_closeness(groups: Iterable[Group], *, with_nodes: bool) -> None:
    """Every ready endpoint to its own zone, and node where asked for; the others to nowhere."""
    for group in groups:
        for index, endpoint in enumerate(group.endpoints):
            if not endpoint.is_ready and not group.is_changed:
                continue
            if not endpoint.is_ready:
                group.hint(index, None)
                continue
            zones = (Hint(endpoint.zone),) if endpoint.zone else None
            nodes = (Hint(endpoint.node_name),) if with_nodes and endpoint.node_name else None
            group.hint(index, Hints(zones, nodes) if zones or nodes else None)


def clear_hints(groups: Iterable[Group]) -> None:
    for group in groups:
        group.clear()


class Allocation(NamedTuple):
    """How many endpoints a zone should have."""

    minimum: int
    maximum: int
    desired: float


class Refusal(NamedTuple):
    """Why no hints can be given, in the words of the event."""

    message: str


NO_ZONE = Refusal("One or more endpoints do not have a zone specified")
NO_NODES = Refusal("Insufficient Node information: allocatable CPU or zone not specified on one or more nodes")


def cpu_shares(nodes: Iterable[ClusterNode]) -> dict[str, float] | None:
    """Each zone's part of the CPU of all ready workers; None when a node leaves it open, or there is only one zone."""
    by_zone: Counter[str] = Counter()
    for node in nodes:
        if any(label in node.metadata.label_map for label in CONTROL_PLANE_LABELS) or not node.is_ready:
            continue
        zone, milli = node.metadata.label_map.get(LABEL_ZONE), _milli_cpu(node)
        if not zone or not milli:
            return None
        by_zone[zone] += milli
    total = by_zone.total()
    return {zone: milli / total for zone, milli in sorted(by_zone.items())} if len(by_zone) > 1 else None


def _milli_cpu(node: ClusterNode) -> int:
    try:
        return math.ceil(parse_quantity((node.status.allocatable or {}).get("cpu", 0)) * 1000)
    except InvalidValueError:
        return 0


def allocate(count: int, shares: Mapping[str, float] | None) -> dict[str, Allocation] | Refusal:
    """How many of `count` ready endpoints each zone should have, unless a zone would be overloaded."""
    if shares is None:
        return NO_NODES
    said = f"({count} endpoints, {len(shares)} zones)"
    if len(shares) > count:
        return Refusal(f"Insufficient number of endpoints {said}")
    minimums = {zone: _minimum(share * count) for zone, share in shares.items()}
    spare = count - sum(minimums.values())
    if spare < 0:
        return Refusal(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold " + said
        )
    return {
        zone: Allocation(minimum, minimum + spare, max(shares[zone] * count, float(minimum)))
        for zone, minimum in minimums.items()
    }


def _minimum(desired: float) -> int:
    return math.ceil(desired * (1 / (1 + float(OVERLOAD))))


def is_overloaded(hinted: Mapping[str, int], shares: Mapping[str, float] | None) -> bool:
    """Whether hints that were given do not fit the zones any more."""
    if not hinted:
        return False
    if not shares:
        return True
    total = sum(hinted.values())
    return any(zone not in hinted or hinted[zone] < _minimum(total * share) for zone, share in shares.items())


def hinted_zones(endpoints: Iterable[SliceEndpoint]) -> Counter[str]:
    """How many endpoints are hinted to each zone."""
    return Counter(hint.name for one in endpoints if one.is_ready and one.hints for hint in one.hints.for_zones or ())


def hint_shares(groups: Sequence[Group], shares: Mapping[str, float] | None) -> Refusal | None:
    """Hints in proportion to the zones' shares, all or nothing. Groups whose hints are still right stay as they are."""
    count = sum(one.is_ready for group in groups for one in group.endpoints)
    allocations = allocate(count, shares)
    if isinstance(allocations, Refusal):
        clear_hints(groups)
        return allocations
    given: Counter[str] = Counter()
    free = [group for group in groups if not _keeps_hints(group, given, allocations)]
    if any(one.is_ready and not one.zone for group in free for one in group.endpoints):
        clear_hints(groups)
        return NO_ZONE
    for group in free:
        given.update(one.zone for one in group.endpoints if one.is_ready and one.zone)
    moves = _moves(allocations, given)
    for group in free:
        for index, endpoint in enumerate(group.endpoints):
            if endpoint.is_ready and endpoint.zone:
                group.hint(index, Hints((Hint(_take_move(moves, endpoint.zone)),)))
            else:
                group.hint(index, None)
    return None


def _keeps_hints(group: Group, given: Counter[str], allocations: Mapping[str, Allocation]) -> bool:
    """Whether an unchanged group's hints can stay; if so they count as given."""
    if group.is_changed or any(one.is_ready and not (one.hints and one.hints.for_zones) for one in group.endpoints):
        return False
    own = hinted_zones(group.endpoints)
    if any(zone not in allocations or number + given[zone] > allocations[zone].maximum for zone, number in own.items()):
        return False
    given.update(own)
    return True


def _moves(allocations: Mapping[str, Allocation], given: Mapping[str, int]) -> dict[str, list[str]]:
    """From which zone how many endpoints go to which other zones."""
    surplus = {zone: given.get(zone, 0) - one.desired for zone, one in allocations.items()}
    givers = {zone: number for zone, number in surplus.items() if number > 0}
    takers = {zone: -number for zone, number in surplus.items() if number < 0}
    moves: dict[str, list[str]] = {}
    while givers and takers:
        giver = max(givers, key=lambda zone: (givers[zone], zone))
        taker = max(takers, key=lambda zone: (takers[zone], zone))
        least, most = sorted((givers[giver], takers[taker]))
        if least < 0.5 or most < 1.0:
            break
        moves.setdefault(giver, []).append(taker)
        givers[giver] -= 1
        takers[taker] -= 1
    return moves


def _take_move(moves: dict[str, list[str]], zone: str) -> str:
    waiting = moves.get(zone)
    return waiting.pop(0) if waiting else zone
