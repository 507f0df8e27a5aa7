"""IPv4-mapped IPv6 addresses: kube-apiserver 1.36 refuses them wherever a proxy reads one, and so does the door."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.kube.decode import ENDPOINT_SLICE, SERVICE
from fairway.values.errors import ObjectError

META = {"name": "web", "namespace": "shop"}


@pytest.mark.parametrize(
    "spec",
    [{"clusterIP": "::ffff:10.96.0.1"}, {"clusterIP": "10.96.0.1", "externalIPs": ["::ffff:1.2.3.4"]}],
    ids=["cluster IP", "external IP"],
)
def test_a_service_with_a_mapped_address_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ObjectError, match=r"Service shop/web: spec\.\w+.*IPv4-mapped"):
        SERVICE.decode({"metadata": META, "spec": spec})


def test_a_slice_with_a_mapped_address_is_refused() -> None:
    one = {"metadata": META, "addressType": "IPv6", "endpoints": [{"addresses": ["::ffff:10.0.0.1"]}]}
    with pytest.raises(ObjectError, match=r"endpoints\[0\]\.addresses\[0\]"):
        ENDPOINT_SLICE.decode(one)
