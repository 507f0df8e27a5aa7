"""`--controllers`: kube-controller-manager's grammar."""

from __future__ import annotations

import pytest

from fairway.controllers.clusterdns import ClusterDns
from fairway.controllers.registry import ENTRIES, Settings, make_controllers, select_controllers
from fairway.values.address import Address, Prefix
from fairway.values.errors import ConfigError

SETTINGS = Settings(
    root_ca="PEM",
    balancer_ranges=(Prefix.parse("192.0.2.0/24"),),
    cluster_dns=ClusterDns((Address.parse("10.96.0.10"),)),
)
ALL = tuple(entry.name for entry in ENTRIES)


def test_a_star_is_all() -> None:
    assert select_controllers("*") == ALL


def test_none_is_none() -> None:
    assert select_controllers("none") == ()


def test_a_minus_takes_one_out_of_all() -> None:
    assert select_controllers("*,-deployment-controller") == tuple(one for one in ALL if one != "deployment-controller")


def test_names_without_a_star_are_just_these() -> None:
    assert select_controllers("replicaset-controller,namespace-controller") == (
        "replicaset-controller",
        "namespace-controller",
    )


def test_old_names_are_known() -> None:
    assert select_controllers("*,-endpointslice,-deployment") == select_controllers(
        "*,-endpointslice-controller,-deployment-controller"
    )


def test_the_old_life_cycle_of_nodes_had_the_eviction_in_it() -> None:
    gone = {"node-lifecycle-controller", "taint-eviction-controller"}
    assert select_controllers("*,-nodelifecycle") == tuple(one for one in ALL if one not in gone)
    assert "taint-eviction-controller" in select_controllers("*,-node-lifecycle-controller")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'-cloud' is not in the list of known controllers: .*deployment-controller"):
        select_controllers("*,-cloud")


def test_every_controller_says_what_it_is() -> None:
    for entry, controller in zip(ENTRIES, make_controllers(ALL, SETTINGS), strict=True):
        assert controller.name == entry.name
        assert controller.component
        assert controller.kinds or controller.follows_everything


def test_the_root_certificate_is_published_only_where_there_is_one() -> None:
    assert make_controllers(["root-ca-certificate-publisher-controller"], Settings()) == []
