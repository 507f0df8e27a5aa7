"""Difference: whatever happens, the pending steps lead the kernel to exactly what all owners want together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fairway.reconcile.difference import Difference, Drift
from fairway.reconcile.items import Action, Container, Item, Operation

A, B = Container("a", 0, 3), Container("b", 2, 1)
CONTAINERS = (A, B)


def difference(known: Mapping[str, Mapping[Hashable, Hashable]] | None = None) -> Difference:
    made = Difference(CONTAINERS)
    for container in CONTAINERS:
        made.load_known(container.name, (known or {}).get(container.name, {}))
    return made


def steps(made: Difference) -> list[tuple[str, str, Hashable, Hashable]]:
    return [(s.action.value, *s.item) for s in made.pending()]


def test_a_wanted_item_is_added() -> None:
    made = difference()
    made.set_wanted("x", [Item("a", 1, "one")])
    assert steps(made) == [("add", "a", 1, "one")]


def test_an_item_that_the_kernel_holds_is_left_alone() -> None:
    made = difference({"a": {1: "one"}})
    made.set_wanted("x", [Item("a", 1, "one")])
    assert steps(made) == []


def test_another_value_is_replaced() -> None:
    made = difference({"a": {1: "old"}})
    made.set_wanted("x", [Item("a", 1, "new")])
    assert steps(made) == [("replace", "a", 1, "new")]


def test_a_removal_names_the_value_that_goes() -> None:
    made = difference({"a": {1: "one"}})
    made.set_wanted("x", [Item("a", 1, "one")])
    made.set_wanted("x", [])
    assert steps(made) == [("remove", "a", 1, "one")]


def test_an_item_of_two_owners_stays_until_both_let_go() -> None:
    made = difference({"a": {1: "one"}})
    for owner in ("x", "y"):
        made.set_wanted(owner, [Item("a", 1, "one")])
    made.set_wanted("x", [])
    assert steps(made) == []
    made.set_wanted("y", [])
    assert steps(made) == [("remove", "a", 1, "one")]


def test_an_item_that_its_owner_names_twice_counts_once() -> None:
    made = difference()
    twice = [Item("a", 1, "one"), Item("a", 1, "one")]
    made.set_wanted("x", twice)
    made.set_wanted("x", twice[:1])
    made.set_wanted("x", [])
    assert dict(made.wanted("a")) == {}


def test_owners_that_disagree_settle_on_one_value_whatever_the_order() -> None:
    for first, second in (("x", "y"), ("y", "x")):
        made = difference()
        made.set_wanted(first, [Item("a", 1, f"by {first}")])
        made.set_wanted(second, [Item("a", 1, f"by {second}")])
        assert dict(made.wanted("a")) == {1: "by x"}


def test_what_nobody_ever_wanted_stays_until_pruning() -> None:
    made = difference({"a": {7: "leftover"}})
    assert steps(made) == []
    made.start_pruning()
    assert steps(made) == [("remove", "a", 7, "leftover")]


def test_what_is_found_before_pruning_stays_too() -> None:
    made = difference()
    assert made.found("a", 7, "leftover") == Drift("a", 7, None, "leftover")
    assert steps(made) == []
    made.start_pruning()
    assert steps(made) == [("remove", "a", 7, "leftover")]


def test_after_pruning_began_a_fresh_reading_is_pruned_at_once() -> None:
    made = difference()
    made.start_pruning()
    made.load_known("a", {7: "leftover"})
    assert steps(made) == [("remove", "a", 7, "leftover")]


def test_steps_come_in_the_order_of_their_stages() -> None:
    made = difference({"a": {1: "one"}, "b": {1: "one"}})
    made.set_wanted("x", [Item("a", 1, "one"), Item("b", 1, "one")])
    made.set_wanted("x", [Item("b", 2, "two"), Item("a", 2, "two")])
    assert [(s.action.value, s.item.container) for s in made.pending()] == [
        ("add", "a"),
        ("remove", "b"),
        ("add", "b"),
        ("remove", "a"),
    ]
    assert [made.stage_of(s) for s in made.pending()] == [0, 1, 2, 3]


def test_a_failed_write_stays_pending() -> None:
    made = difference()
    made.set_wanted("x", [Item("a", 1, "one"), Item("a", 2, "two")])
    first, second = made.pending()
    made.applied([first])
    assert made.pending() == [second]


def test_drift_is_named_once_and_mended() -> None:
    made = difference({"a": {1: "one"}})
    made.set_wanted("x", [Item("a", 1, "one")])
    assert made.found("a", 1, None, exists=False) == Drift("a", 1, "one", None)
    assert made.found("a", 1, None, exists=False) is None
    assert steps(made) == [("add", "a", 1, "one")]


def test_suspects_are_exactly_what_differs() -> None:
    made = difference({"a": {1: "one", 2: "two", 3: "three"}})
    assert set(made.suspects("a", {1: "one", 2: "zwei", 4: "four"})) == {2, 3, 4}
    assert list(made.suspects("a", {1: "one", 2: "two", 3: "three"})) == []


class _CountingDict(dict):  # type: ignore[type-arg]
    """A table that counts how often it is asked."""

    asked = 0

    def get(self, key: Hashable, default: object = None) -> object:
        self.asked += 1
        return super().get(key, default)


def test_a_change_of_one_owner_costs_its_own_items_only() -> None:
    """However large the tables are: counted in look-ups, not in time."""
    costs = []
    for size in (10, 1000):
        made = difference()
        for owner in range(size):
            made.set_wanted(owner, [Item("a", owner, "x"), Item("b", owner, "x")])
        made.applied(made.pending())
        tables = made._tables["a"]
        tables.wanted, tables.known = _CountingDict(tables.wanted), _CountingDict(tables.known)
        made.set_wanted(0, [Item("a", 0, "y"), Item("b", 0, "x")])
        made.applied(made.pending())
        costs.append(tables.wanted.asked + tables.known.asked)
    assert costs[0] == costs[1] <= 10


KEYS, VALUES, OWNERS = st.integers(0, 4), st.sampled_from("uvw"), st.sampled_from("xyz")
ITEMS = st.builds(Item, st.sampled_from(["a", "b"]), KEYS, VALUES)
HELD = st.fixed_dictionaries({name: st.dictionaries(KEYS, VALUES) for name in ("a", "b")})


class Kernel(RuleBasedStateMachine):
    """A model kernel that refuses what the real one refuses, an owner's changes, failed writes, and meddlers."""

    @initialize(held=HELD)
    def start(self, held: dict[str, dict[Hashable, Hashable]]) -> None:
        self.held = {name: dict(content) for name, content in held.items()}
        self.made = difference(self.held)
        self.owned: dict[str, list[Item]] = {}
        self.ever_wanted: set[tuple[str, Hashable]] = set()
        self.is_pruning = False

    @rule(owner=OWNERS, items=st.lists(ITEMS, max_size=5))
    def want(self, owner: str, items: list[Item]) -> None:
        self.made.set_wanted(owner, items)
        self.owned[owner] = items
        self.ever_wanted |= {(i.container, i.key) for i in items}

    @rule(count=st.integers(1, 9))
    def write(self, count: int) -> None:
        """The first steps go in; the rest fail and must stay pending."""
        done = self.made.pending()[:count]
        for step in done:
            self.take(step)
        self.made.applied(done)

    def take(self, step: Operation) -> None:
        action, (container, key, value) = step
        table = self.held[container]
        match action:
            case Action.ADD:
                assert key not in table, "EEXIST"
                table[key] = value
            case Action.REPLACE:
                assert key in table, "ENOENT"
                table[key] = value
            case Action.REMOVE:
                assert table.pop(key) == value
                assert self.is_pruning or (container, key) in self.ever_wanted

    @rule(item=ITEMS, exists=st.booleans())
    def meddle(self, item: Item, exists: bool) -> None:
        """Somebody else changes the kernel, and it is noticed."""
        table = self.held[item.container]
        before = table.get(item.key)
        if exists:
            table[item.key] = item.value
        else:
            table.pop(item.key, None)
        after = table.get(item.key)
        drift = self.made.found(item.container, item.key, after, exists=exists)
        assert drift == (None if before == after else Drift(item.container, item.key, before, after))

    @rule()
    def prune(self) -> None:
        self.made.start_pruning()
        self.is_pruning = True

    @rule(held=HELD)
    def reload(self, held: dict[str, dict[Hashable, Hashable]]) -> None:
        """The table was lost and read anew."""
        self.held = {name: dict(content) for name, content in held.items()}
        for name, content in self.held.items():
            self.made.load_known(name, content)

    @invariant()
    def pending_leads_to_what_is_wanted(self) -> None:
        copy = {name: dict(content) for name, content in self.held.items()}
        for action, (container, key, value) in self.made.pending():
            if action is Action.REMOVE:
                copy[container].pop(key)
            else:
                copy[container][key] = value
        wanted: dict[str, dict[Hashable, set[Hashable]]] = {"a": {}, "b": {}}
        for items in self.owned.values():
            for container, key, value in items:
                wanted[container].setdefault(key, set()).add(value)
        for name, content in copy.items():
            assert {k: v for k, v in content.items() if k in wanted[name]}.keys() == wanted[name].keys()
            assert all(content[key] in values for key, values in wanted[name].items())
            if self.is_pruning:
                assert content.keys() == wanted[name].keys()

    @invariant()
    def belief_is_the_kernel(self) -> None:
        for name, content in self.held.items():
            assert dict(self.made.known(name)) == content


Kernel.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestKernel = Kernel.TestCase


@given(st.lists(st.tuples(OWNERS, st.lists(ITEMS, max_size=4)), max_size=12))
def test_only_the_last_wish_of_each_owner_counts(wishes: list[tuple[str, list[Item]]]) -> None:
    """The order and number of changes on the way leave no trace in what is wanted."""
    made, fresh = difference(), difference()
    for owner, items in wishes:
        made.set_wanted(owner, items)
    for owner, items in sorted(dict(wishes).items()):
        fresh.set_wanted(owner, items)
    for container in CONTAINERS:
        assert made.wanted(container.name) == fresh.wanted(container.name)
    assert sorted(steps(made)) == sorted(steps(fresh))
