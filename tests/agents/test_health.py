"""When the proxy is healthy."""

import pytest

from fairway.agents.health import ApiContact, FamilyHealth, ProxyHealth, assess
from fairway.agents.proxy import ProxyStatus
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


def test_each_family_is_judged_for_itself():
    families = {V4: FamilyHealth(1.0), V6: FamilyHealth(1.0, waiting_since=1.0)}
    health = assess(families, 60.0, 100.0, is_node_eligible=True, api=None)
    assert {family: is_good for family, (_, is_good) in health.families.items()} == {V4: True, V6: False}
    assert health.last_updated == 1.0


class Source:
    last_contact: float | None = None
    stale_since: float | None = None


def proxy(status, *api, eligible=True):
    return ProxyHealth(status, [V4, V6], lambda: 60.0, lambda: eligible, api)


def test_a_loop_is_unhealthy_while_its_oldest_change_waits_too_long():
    status = ProxyStatus(queued_at=0.0)
    assert proxy(status).assess(59.9).is_healthy
    assert not proxy(status).assess(60.0).is_healthy
    status.queued_at, status.synced_at = None, 61.0
    health = proxy(status).assess(500.0)
    assert (health.is_healthy, health.last_updated, set(health.families)) == (True, 61.0, {V4, V6})


def test_a_node_that_leaves_is_not_eligible_but_its_proxy_is_healthy():
    health = proxy(ProxyStatus(), eligible=False).assess(0.0)
    assert (health.is_healthy, health.is_node_eligible) == (True, False)


def test_a_silent_api_server_is_stale_and_no_reason_to_be_unhealthy():
    one, two = Source(), Source()
    reader = proxy(ProxyStatus(), one, two)
    assert reader.assess(0.0).api == ApiContact(None, True)
    one.last_contact = 10.0
    assert reader.assess(10.0).api == ApiContact(10.0, True)
    two.last_contact = 20.0
    assert reader.assess(100.0).api == ApiContact(20.0, False)
    one.stale_since = 100.0
    stale = reader.assess(100.0)
    assert stale.api == ApiContact(20.0, True)
    assert stale.is_healthy


def test_without_an_api_server_there_is_none_to_show():
    assert proxy(ProxyStatus()).assess(0.0).api is None
