"""Label selectors, as kubectl and the API server read them."""

import pytest

from fairway.kube.selector import LabelSelector
from fairway.values.errors import InvalidValueError

LABELS = {"app": "web", "tier": "front", "size": "10", "empty": "", "service.kubernetes.io/headless": ""}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("app", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier=front", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("other!=x", True),
        ("!other", True),
        ("!app", False),
        ("! app", False),
        ("!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name", False),
        ("!service.kubernetes.io/service-proxy-name", True),
        ("app in (web, db),tier", True),
        ("app in (db)", False),
        ("app notin (db,x)", True),
        ("other notin (db)", True),
        ("app notin (web)", False),
        ("empty=", True),
        ("empty", True),
        ("other=", False),
        ("empty in (,x)", True),
        ("size>9", True),
        ("size>10", False),
        ("size<11", True),
        ("other>1", False),
        ("app>1", False),
    ],
)
def test_selector_selects_as_the_api_server_does(selector: str, expected: bool) -> None:
    assert LabelSelector.parse(selector).matches(LABELS) is expected


@pytest.mark.parametrize(
    "selector", ["app=web=x", "=web", "app in web", "a b", "app,,tier", "app in (-)", "size>x", "-a"]
)
def test_wrong_selector_names_itself(selector: str) -> None:
    with pytest.raises(InvalidValueError, match="label selector"):
        LabelSelector.parse(selector)
