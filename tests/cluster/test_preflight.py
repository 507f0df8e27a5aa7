from __future__ import annotations

from fairway.cluster.preflight import OUR_LINK, OURS, HostFacts, Taken, missing_of, problems
from fairway.cluster.settings import make_settings
from fairway.values.address import Prefix

SETTINGS = make_settings("dual", {}, nodes=2)


def taken(prefix: str, what: str = "the route of somebody") -> Taken:
    return Taken(Prefix.parse(prefix), what)


def test_nothing_stands_in_the_way_on_an_empty_machine_or_beside_other_ranges() -> None:
    assert problems(SETTINGS, HostFacts()) == []
    others = (taken("0.0.0.0/0"), taken("::/0"), taken("192.168.0.0/16"), taken("10.95.0.0/16"))
    assert problems(SETTINGS, HostFacts(others, ("eth0",), ("blue",))) == []


def test_a_range_inside_or_around_ours_is_named_once_with_the_flag_that_moves_ours() -> None:
    inside = problems(SETTINGS, HostFacts((taken("10.96.7.0/24", "the route x"), taken("10.96.9.0/24"))))
    assert inside == ["10.96.0.0/16 overlaps the route x: choose another range with --service-cidr"]
    around = problems(SETTINGS, HostFacts((taken("10.0.0.0/8"), taken("fd00::/16"))))
    assert [one.rpartition(" ")[2] for one in around] == [
        *("--underlay", "--underlay", "--pod-cidr", "--pod-cidr"),
        *("--service-cidr", "--service-cidr", "--lb-cidr", "--lb-cidr"),
    ]


def test_names_the_port_and_what_the_machine_lacks_are_named() -> None:
    facts = HostFacts(
        (), ("fw-underlay",), ("fw-switch", "fw-node-2", "fw-node-3"), False, ("runc is missing: get it",)
    )
    found = problems(SETTINGS, facts)
    assert found[0] == "runc is missing: get it"
    assert [one.split(":")[0] for one in found[1:]] == [
        "an interface fw-underlay is there already",
        "a network namespace fw-node-2 is there already",
        "a network namespace fw-switch is there already",
        "port 6443 of this machine is taken",
    ]


def test_what_went_from_a_running_cluster_is_named() -> None:
    there = {"fw-switch", "fw-node-1"}
    assert missing_of(SETTINGS.topology, {"eth0"}, there.__contains__) == (
        "the network namespace fw-node-2",
        "the interface fw-underlay",
    )


def test_our_names_are_told_from_others() -> None:
    uid = "1f0c2b3a-0000-4000-8000-000000000000"
    assert all(OURS.fullmatch(one) for one in ("fw-switch", "fw-node-12", f"fw-node-1-{uid}", "fw3fa2-node-1"))
    assert not any(OURS.fullmatch(one) for one in ("fw-client", "fwd-node-1", "fw-node-x", "myfw-node-1", "fw"))
    assert OUR_LINK.fullmatch("fw00ff-underlay")
    assert not OUR_LINK.fullmatch("fw-underlay2")
