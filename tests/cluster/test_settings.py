from __future__ import annotations

import msgspec
import pytest

from fairway.cluster.host import host_changes
from fairway.cluster.settings import ClusterSettings, make_settings
from fairway.values.address import Family
from fairway.values.errors import ConfigError


def test_families_have_their_default_ranges_in_their_order() -> None:
    assert make_settings("ipv4", {}) == ClusterSettings()
    dual = make_settings("dual", {})
    assert dual.families == (Family.IPV4, Family.IPV6)
    assert dual.service_cidr == ("10.96.0.0/16", "fd00:10:96::/112")
    assert [str(one) for one in dual.dns_addresses] == ["10.96.0.10", "fd00:10:96::a"]
    assert make_settings("ipv6", {}).pod_cidr == ("fd00:10:244::/56",)


def test_settings_survive_being_written_down() -> None:
    settings = make_settings("dual", {"lb_cidr": "192.0.2.0/24,2001:db8::/64"}, nodes=2, images={"web": "/bin/web"})
    assert msgspec.json.decode(msgspec.json.encode(settings), type=ClusterSettings) == settings


def test_clusters_of_other_names_have_other_names_for_all_they_make() -> None:
    first, second = (make_settings("ipv4", {}, name=name) for name in ("fairway", "other"))
    both = [[str(one) for one in host_changes(each) if "sysctl" not in str(one)] for each in (first, second)]
    assert all(one.replace("fw-", f"{second.prefix}-") == two for one, two in zip(*both, strict=True))
    assert first.prefix != second.prefix
    assert all(len(make_settings("ipv4", {}, name=name).topology.link) <= 15 for name in ("a", "x" * 32))


@pytest.mark.parametrize(
    ("family", "given", "rest", "words"),
    [
        ("both", {}, {}, "--ip-family: 'both' is none of"),
        ("ipv4", {"pod_cidr": "10.244.0.0/16,fd00::/56"}, {}, "--pod-cidr"),
        ("dual", {"pod_cidr": "fd00::/56,10.244.0.0/16"}, {}, "in this order"),
        ("ipv4", {"underlay": "10.244.0.0/24"}, {}, "--underlay 10.244.0.0/24 and --pod-cidr 10.244.0.0/16 overlap"),
        ("ipv4", {"lb_cidr": "10.96.3.0/24"}, {}, "--service-cidr 10.96.0.0/16 and --lb-cidr 10.96.3.0/24 overlap"),
        ("ipv4", {"lb_cidr": "none"}, {}, "--lb-cidr: 'none'"),
        ("ipv4", {}, {"nodes": 300}, "room for 253 nodes"),
        ("ipv4", {}, {"name": "-x"}, "--name: '-x'"),
    ],
)
def test_what_makes_no_sense_is_named(family: str, given: dict[str, str], rest: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_settings(family, given, **rest)
