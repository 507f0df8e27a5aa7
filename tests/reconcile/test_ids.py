"""Ids: stable, unique, recovered as they were, and not given out again early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.reconcile.ids import Ids

NAMES = st.sampled_from("abcdef")
ACTIONS = st.lists(st.tuples(st.sampled_from(["of", "release"]), NAMES), max_size=40)


def test_a_name_keeps_its_number() -> None:
    ids = Ids()
    assert ids.of("a") == ids.of("a")
    assert ids.get("a") == ids.of("a")
    assert ids.get("b") is None


@given(ACTIONS)
def test_no_two_names_share_a_number(actions: list[tuple[str, str]]) -> None:
    ids, given_out = Ids(last=7), dict[str, int]()
    for action, name in actions:
        if action == "of":
            given_out[name] = ids.of(name)
        else:
            ids.release(name)
            given_out.pop(name, None)
    assert len(set(given_out.values())) == len(given_out) == len(ids)
    assert all(ids.get(name) == number for name, number in given_out.items())


@given(st.integers(1, 30))
def test_a_freed_number_comes_back_only_after_all_others(size: int) -> None:
    ids = Ids(last=size)
    freed = ids.of("first")
    ids.release("first")
    later = [ids.of(number) for number in range(size)]
    assert later.index(freed) == size - 1


@given(st.dictionaries(NAMES, st.integers(-5, 100), max_size=6), st.lists(NAMES, max_size=6))
def test_recovered_numbers_are_kept_and_never_given_to_others(held: dict[str, int], asked: list[str]) -> None:
    unique = {number: name for name, number in held.items() if 1 <= number <= 50}
    ids = Ids(last=50)
    ids.recover(held.items())
    for number, name in unique.items():
        if held[name] == number and list(held.values()).count(number) == 1:
            assert ids.get(name) == number
    numbers = {name: ids.of(name) for name in asked}
    assert len(set(numbers.values())) == len(numbers)
    assert all(1 <= number <= 50 for number in numbers.values())


def test_the_first_name_found_with_a_number_has_it() -> None:
    ids = Ids()
    ids.recover([("a", 5), ("b", 5), ("a", 6)])
    assert ids.get("a") == 5
    assert ids.get("b") is None
    assert ids.of("b") > 5


def test_recovery_does_not_take_numbers_from_the_living() -> None:
    ids = Ids()
    number = ids.of("a")
    ids.recover([("b", number), ("a", number + 9)])
    assert ids.get("a") == number
    assert ids.get("b") is None


def test_all_numbers_taken_is_an_error_and_a_release_ends_it() -> None:
    ids = Ids(last=2)
    ids.of("a"), ids.of("b")
    with pytest.raises(OverflowError):
        ids.of("c")
    ids.release("a")
    assert ids.of("c") == 1


def test_recovering_the_last_number_wraps_around() -> None:
    ids = Ids(last=3)
    ids.recover([("a", 3)])
    assert [ids.of("b"), ids.of("c")] == [1, 2]


def test_releasing_an_unknown_name_does_nothing() -> None:
    ids = Ids()
    ids.release("nobody")
    assert len(ids) == 0
