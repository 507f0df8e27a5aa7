"""The cases as scenarios for a kernel: as they are, translated to IPv6, and both at once as dual-stack Services.

A scenario is objects and flows in stages; an expander says how its objects are fed. Whatever the expander, the flows
must come out alike: the result depends on the present objects only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import flow_cases
from fairway.values.address import Address, Family, Prefix
from fairway.values.errors import InvalidValueError
from flow_cases import Case, Flow, Tree

_V6 = Prefix.parse("fd46::/96")
"""a.b.c.d becomes fd46::a.b.c.d."""
_LOCALHOST = {"127.0.0.1": "::1", "127.0.0.0/8": "::1/128", "127.0.0.1/32": "::1/128"}
_LOCALHOST |= {"0.0.0.0": "::", "0.0.0.0/0": "::/0"}
_WORDS = {"IPv4": "IPv6"}


class Check(NamedTuple):
    """A flow, and whether nftables mode may guard its address instead of leaving it untouched."""

    flow: Flow
    is_guarded: bool


class Stage(NamedTuple):
    """All objects in force together, and what must then be true."""

    objects: Sequence[Tree]
    checks: Sequence[Check]


class Scenario(NamedTuple):
    """One node's story."""

    name: str
    configuration: Tree
    node: Sequence[Tree]
    """Objects that stay: the Node and the ServiceCIDR."""
    stages: Sequence[Stage]

    @property
    def ports(self) -> set[int]:
        """Everything that is sent to, before and behind translation."""
        flows = [check.flow for stage in self.stages for check in stage.checks]
        behind = {int(target.rpartition(":")[2]) for flow in flows for target in flow.targets}
        return {flow.packet.port for flow in flows} | behind


def health_check_ports(stories: Iterable[Scenario]) -> set[int]:
    """The health check node ports of all their Services."""
    services = [
        tree for story in stories for stage in story.stages for tree in stage.objects if tree["kind"] == "Service"
    ]
    return {port for tree in services if (port := tree["spec"].get("healthCheckNodePort"))}


def node_addresses() -> list[str]:
    """The interface addresses of the node, IPv4 ones also as their translation."""
    own = list(flow_cases.DEFAULTS["node"]["interfaces"]["eth0"])
    return own + [translate_text(text) for text in own if ":" not in text]


def scenarios() -> list[Scenario]:
    """Every case in every family that it makes sense in."""
    return [scenario for case in flow_cases.cases() for scenario in _expand(case)]


def widest_scenarios() -> list[Scenario]:
    """Every case in as many families at once as it makes sense in: all flows, by fewer stories."""
    return [_expand(case)[-1] for case in flow_cases.cases()]


def groups() -> dict[str, list[Scenario]]:
    """The widest scenarios that one process can play one after another: those with the same configuration."""
    made: dict[str, list[Scenario]] = {}
    for scenario in widest_scenarios():
        made.setdefault(json.dumps(scenario.configuration, sort_keys=True), []).append(scenario)
    return {rows[0].name: rows for rows in made.values()}


def _expand(case: Case) -> list[Scenario]:
    if case.family is Family.IPV6 or case.name in _NOT_TRANSLATED:
        return [plain(case)]
    return [plain(case), plain(translate(case)), dual(case)]


_NOT_TRANSLATED = {
    "family-v4-fields-in-v4-proxy": "it is about fields of the other family, which translation would make its own",
}


# --- as they are ---------------------------------------------------------------------------------------------------


def plain(case: Case) -> Scenario:
    stages = [Stage(one.objects, _checks(case, one.flows)) for one in case.rounds]
    return Scenario(case.name, case.configuration(), [case.node(), *case.service_cidrs()], stages)


def _checks(case: Case, flows: Iterable[Flow]) -> list[Check]:
    return [Check(flow, _is_guarded(case, flow)) for flow in flows if flow.packet.destination.family is case.family]


def _is_guarded(case: Case, flow: Flow) -> bool:
    """As `flow_cases.is_guarded`, of translated addresses too."""
    in_range = any(flow.packet.destination in prefix for prefix in _SERVICE_RANGES)
    return case.settings["backend"] == "iptables" and flow.verdict == "untouched" and in_range


# --- IPv6 ----------------------------------------------------------------------------------------------------------


def translate_text(text: str) -> str:
    """An IPv4 address or block, with or without a port, as IPv6; anything else as it is."""
    if (known := _LOCALHOST.get(text) or _WORDS.get(text)) is not None:
        return known
    blank = text[: len(text) - len(text.lstrip())]
    address, slash, rest = text.strip().partition("/")
    host, colon, port = address.partition(":")
    try:
        found = Address.parse(host)
    except InvalidValueError:
        return text
    if len(found) != 4 or (slash and not rest.isdigit()):
        return text
    made = str(Address(_V6.address[:12] + found))
    if colon:
        return f"[{made}]:{port}"
    return f"{blank}{made}/{int(rest) + _V6.length}" if slash else blank + made


def translate_tree(tree: Any) -> Any:
    """The same for every text in an object, but for names and labels."""
    if isinstance(tree, str):
        return translate_text(tree)
    if isinstance(tree, Mapping):
        return {key: value if key == "metadata" else translate_tree(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [translate_tree(value) for value in tree]
    return tree


def translate(case: Case) -> Case:
    """The case in IPv6, where localhost node ports do not exist (rule 16)."""
    settings = {**case.settings, "ipFamily": "IPv6"}
    for key in ("nodePortAddresses", "serviceCIDRs"):
        settings[key] = [translate_text(text) for text in case.settings[key]]
    settings["clusterCIDR"] = translate_text(case.settings["clusterCIDR"])
    rounds = [
        flow_cases.Round([translate_tree(tree) for tree in one.objects], [translate_flow(flow) for flow in one.flows])
        for one in case.rounds
    ]
    return _Translated(f"{case.name} in IPv6", settings, rounds)


class _Translated(Case):
    @property
    def primary_address(self) -> str:
        return translate_text(flow_cases.DEFAULTS["node"]["primaryIP"]["IPv4"])


def translate_flow(flow: Flow) -> Flow:
    if flow.packet.destination.family is Family.IPV6:
        return flow
    packet = flow.packet._replace(
        source=Address.parse(translate_text(str(flow.packet.source))),
        destination=Address.parse(translate_text(str(flow.packet.destination))),
    )
    if packet.destination.is_loopback:
        return flow._replace(packet=packet, verdict="untouched", targets=frozenset(), masquerade=False)
    return flow._replace(packet=packet, targets=frozenset(map(translate_text, flow.targets)))


_SERVICE_RANGES = (Prefix.parse("172.30.0.0/16"), Prefix.parse(translate_text("172.30.0.0/16")))


# --- dual stack ----------------------------------------------------------------------------------------------------


def dual(case: Case) -> Scenario:
    """Each Service with both families' addresses, each slice beside its translation, one process for all."""
    other = translate(case)
    stages = []
    for one, two in zip(case.rounds, other.rounds, strict=True):
        objects: list[Tree] = []
        for four, six in zip(one.objects, two.objects, strict=True):
            objects += [_dual_service(four, six)] if four["kind"] == "Service" else [four, _renamed(six)]
        stages.append(Stage(objects, [*_checks(case, one.flows), *_checks(other, two.flows)]))
    four, six = case.configuration(), other.configuration()
    both = {
        **four,
        "clusterCIDR": ",".join(filter(None, (four["clusterCIDR"], six["clusterCIDR"]))),
        "nodePortAddresses": [*four["nodePortAddresses"], *six["nodePortAddresses"]],
    }
    node = case.node()
    addresses = [*node["status"]["addresses"], *other.node()["status"]["addresses"]]
    cidrs = [_renamed(tree) for tree in other.service_cidrs()]
    return Scenario(
        f"{case.name} in dual stack",
        both,
        [{**node, "status": {"addresses": addresses}}, *case.service_cidrs(), *cidrs],
        stages,
    )


def _dual_service(four: Tree, six: Tree) -> Tree:
    spec, more = dict(four["spec"]), six["spec"]
    for key in ("clusterIPs", "ipFamilies", "externalIPs", "loadBalancerSourceRanges"):
        if key in spec and spec[key] != more[key]:
            spec[key] = [*spec[key], *more[key]]
    if len(spec.get("ipFamilies", ())) == 2:
        spec["ipFamilyPolicy"] = "RequireDualStack"
    status = four.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    more_status = six.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    ingress = [*status, *(row for row in more_status if row not in status)]
    return {**four, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}}


def _renamed(tree: Tree) -> Tree:
    return {**tree, "metadata": {**tree["metadata"], "name": tree["metadata"]["name"] + "-v6"}}


# --- expanders -----------------------------------------------------------------------------------------------------


class Step(Enum):
    """What happens beside objects."""

    SYNC = "plan and write"
    RESTART = "the proxy is killed and starts anew"
    FAIL = "the kernel refuses the next writes"


class Put(NamedTuple):
    tree: Tree


class Remove(NamedTuple):
    tree: Tree


Event = Put | Remove | Step
Expander = Callable[[Sequence[Put | Remove]], Iterator[Event]]


def at_once(events: Sequence[Put | Remove]) -> Iterator[Event]:
    """All, then one sync."""
    yield from events
    yield Step.SYNC


def reversed_order(events: Sequence[Put | Remove]) -> Iterator[Event]:
    """Slices before their Services, the last Service first."""
    yield from reversed(events)
    yield Step.SYNC


def one_by_one(events: Sequence[Put | Remove]) -> Iterator[Event]:
    """A sync after each."""
    for event in events:
        yield event
        yield Step.SYNC


def twice(events: Sequence[Put | Remove]) -> Iterator[Event]:
    """Each event twice, and all of it again."""
    for _ in range(2):
        for event in events:
            yield event
            yield event
        yield Step.SYNC


def restarted(events: Sequence[Put | Remove]) -> Iterator[Event]:
    """Killed half way, after a sync, and again at the end."""
    half = len(events) // 2
    yield from events[:half]
    yield Step.SYNC
    yield Step.RESTART
    yield from events[half:]
    yield Step.SYNC
    yield Step.RESTART


def failing(events: Sequence[Put | Remove]) -> Iterator[Event]:
    """Each sync is refused a few times, in one way after another."""
    for event in events:
        yield event
        yield Step.FAIL
        yield Step.SYNC


EXPANDERS: Mapping[str, Expander] = {
    expander.__name__: expander for expander in (at_once, reversed_order, one_by_one, twice, restarted, failing)
}


def difference(before: Sequence[Tree], after: Sequence[Tree]) -> list[Put | Remove]:
    """From one set of objects to another."""
    kept = {identity(tree) for tree in after}
    return [Remove(tree) for tree in before if identity(tree) not in kept] + [Put(tree) for tree in after]


def identity(tree: Tree) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    meta = tree["metadata"]
    return tree["kind"], meta.get("namespace", ""), meta["name"]
