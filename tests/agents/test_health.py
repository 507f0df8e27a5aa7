"""When the proxy is healthy."""

import pytest

from fairway.agents.health import ApiContact, FamilyHealth, HealthTracker, assess
from fairway.values.address import Family

V4, V6 = Family.IPV4, Family.IPV6


@pytest.mark.parametrize(
    ("families", "healthy"),
    [
        ({}, True),
        ({V4: FamilyHealth()}, True),
        ({V4: FamilyHealth(last_updated=5.0)}, True),
        ({V4: FamilyHealth(last_updated=5.0, waiting_since=40.1)}, True),
        ({V4: FamilyHealth(last_updated=5.0, waiting_since=40.0)}, False),
        ({V4: FamilyHealth(last_updated=None, waiting_since=40.0)}, False),
        ({V4: FamilyHealth(last_updated=99.0), V6: FamilyHealth(last_updated=5.0, waiting_since=1.0)}, False),
    ],
)
def test_a_change_that_waits_for_the_timeout_in_any_family_is_unhealthy(families, healthy):
    assert assess(families, 60.0, 100.0, is_node_eligible=True, api=None).is_healthy is healthy


def test_the_oldest_waiting_change_counts_until_everything_is_written():
    tracker = HealthTracker(60.0, [V4], is_node_eligible=True)
    tracker.queued(V4, 0.0)
    tracker.queued(V4, 59.0)
    assert tracker.assess(59.9).is_healthy
    assert not tracker.assess(60.0).is_healthy
    tracker.updated(V4, 61.0)
    assert tracker.assess(500.0).is_healthy
    assert tracker.assess(500.0).last_updated == 61.0


def test_each_family_is_judged_for_itself():
    tracker = HealthTracker(60.0, [V4, V6], is_node_eligible=True)
    tracker.updated(V4, 1.0)
    tracker.queued(V6, 1.0)
    health = tracker.assess(100.0)
    assert {family: is_good for family, (_, is_good) in health.families.items()} == {V4: True, V6: False}


def test_a_node_that_leaves_is_not_eligible_but_its_proxy_is_healthy():
    tracker = HealthTracker(60.0, [V4], is_node_eligible=False)
    assert (tracker.assess(0.0).is_healthy, tracker.assess(0.0).is_node_eligible) == (True, False)
    tracker.set_node_eligible(True)
    assert tracker.assess(0.0).is_node_eligible


def test_a_silent_api_server_is_stale_and_no_reason_to_be_unhealthy():
    tracker = HealthTracker(60.0, [V4], is_node_eligible=True)
    assert tracker.assess(0.0).api is None
    tracker.expect_contact(["services", "endpointslices"], 90.0)
    assert tracker.assess(0.0).api == ApiContact(None, True)
    tracker.contacted("services", 10.0)
    assert tracker.assess(10.0).api == ApiContact(10.0, True)
    tracker.contacted("endpointslices", 20.0)
    assert tracker.assess(100.0).api == ApiContact(20.0, False)
    stale = tracker.assess(100.1)
    assert stale.api == ApiContact(20.0, True)
    assert stale.is_healthy
