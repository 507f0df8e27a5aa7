from __future__ import annotations

import pytest

from fairway.apiserver.kinds.poddefaults import default_pod_spec
from fairway.apiserver.kinds.podspec import pod_spec_errors
from fairway.apiserver.request import Json


def errors_of(*sysctls: str) -> list[str]:
    spec: Json = {
        "containers": [{"name": "main", "image": "x"}],
        "securityContext": {"sysctls": [{"name": name, "value": "1"} for name in sysctls]},
    }
    default_pod_spec(spec)
    return [str(error) for error in pod_spec_errors(spec, "spec")]


@pytest.mark.parametrize("name", ["kernel.shmmax", "safe-and-unsafe", "net/ipv4/conf/eth0.100/rp_filter", "a"])
def test_names_of_sysctls_pass_whether_safe_or_not(name: str) -> None:
    assert errors_of(name) == []


@pytest.mark.parametrize("name", ["foo-", "bar..", "Upper", "a" * 254, ""])
def test_what_is_no_name_of_a_sysctl_is_refused_with_its_place(name: str) -> None:
    (words,) = errors_of("kernel.shmmax", name)
    assert words.startswith("spec.securityContext.sysctls[1].name: ")


def test_a_sysctl_has_one_value() -> None:
    assert errors_of("kernel.shmmax", "kernel.shmmax")[0].startswith("spec.securityContext.sysctls[1].name: ")
