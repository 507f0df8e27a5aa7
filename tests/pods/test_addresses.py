from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.pods.addresses import FIRST, Leases, NoAddressError, give, strangers, take_back


def test_a_pod_keeps_its_number_and_others_get_the_next_ones() -> None:
    leases = Leases()
    assert [give(leases, uid, 8) for uid in ("a", "b", "a", "c")] == [2, 3, 2, 4]


def test_a_number_given_back_comes_again_only_after_all_others() -> None:
    leases = Leases()
    given_out = []
    for step in range(14):
        given_out.append(give(leases, f"pod-{step}", 4))
        take_back(leases, f"pod-{step}")
    assert given_out == [*range(2, 15), 2]


def test_a_full_range_is_said_so_and_one_that_was_given_back_is_found() -> None:
    leases = Leases()
    for step in range(13):
        give(leases, f"pod-{step}", 4)
    with pytest.raises(NoAddressError, match="13 pods have all 13"):
        give(leases, "one too many", 4)
    assert take_back(leases, "pod-5")
    assert not take_back(leases, "pod-5")
    assert give(leases, "the next", 4) == 7


def test_strangers_are_those_that_are_not_there() -> None:
    leases = Leases({"a": 2, "b": 3, "c": 4}, 4)
    assert strangers(leases, {"b", "x"}) == ("a", "c")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=100))
def test_no_two_pods_ever_have_one_number(steps: list[tuple[bool, int]]) -> None:
    leases = Leases()
    for comes, pod in steps:
        if comes:
            try:
                number = give(leases, f"{pod}", 4)
            except NoAddressError:
                assert len(leases.numbers) == 13
                continue
            assert FIRST <= number < 15
        else:
            take_back(leases, f"{pod}")
        assert len(set(leases.numbers.values())) == len(leases.numbers)
