"""Which addresses follow from the ranges of a cluster."""

from __future__ import annotations

from fairway.cluster.settings import make_settings


def test_the_host_asks_from_the_last_usable_address_of_each_balancer_range() -> None:
    made = make_settings("dual", {})
    assert [str(one) for one in made.client_addresses] == ["10.97.0.254", "fd00:10:97::ffff"]
    assert make_settings("ipv4", {"lb_cidr": "10.97.0.7/32"}).client_addresses == ()
