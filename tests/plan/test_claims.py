"""Claims (rule 17): the oldest Service has a frontend, then the first name; heirs take over."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.plan.claims import Claim, Claims
from fairway.plan.model import FrontendKey, FrontendKind
from fairway.values.address import Address
from fairway.values.names import ObjectName, ServicePortName
from fairway.values.protocol import Protocol

KEY = FrontendKey(Address.parse("192.168.0.2"), Protocol.TCP, 80)


def claim(name: str, created: str = "", kind: FrontendKind = FrontendKind.EXTERNAL_IP) -> Claim:
    return Claim.of(kind, created, ServicePortName(ObjectName("ns", name), "", Protocol.TCP))


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        pytest.param(claim("b", "2024"), claim("a", "2025"), id="the older Service"),
        pytest.param(claim("a", "2024"), claim("b", "2024"), id="of one age the first name"),
        pytest.param(claim("b", "2024"), claim("a", ""), id="one with a creation time before one without"),
        pytest.param(claim("b", "2025"), claim("a", "2024", FrontendKind.NODE_PORT), id="address before node port"),
    ],
)
def test_who_holds_a_frontend(winner: Claim, loser: Claim) -> None:
    for first, second in permutations((winner, loser)):
        claims = Claims()
        claims.add(KEY, first)
        claims.add(KEY, second)
        assert claims.holder(KEY) == winner.name


def test_everyone_whose_frontend_is_held_anew_is_told() -> None:
    claims = Claims()
    old, middle, young = (claim(n, n) for n in "abc")
    assert claims.add(KEY, middle) == []
    assert claims.add(KEY, young) == []
    assert claims.add(KEY, old) == [middle.name, young.name]
    assert claims.remove(KEY, young) == []
    assert claims.add(KEY, young) == []
    assert claims.remove(KEY, old) == [middle.name, young.name]
    assert claims.remove(KEY, middle) == [young.name]
    assert claims.remove(KEY, young) == []
    assert claims.holder(KEY) is None


def test_other_frontends_are_not_touched() -> None:
    claims = Claims()
    claims.add(KEY, claim("a"))
    for other in (KEY._replace(port=81), KEY._replace(protocol=Protocol.UDP)):
        assert claims.holder(other) is None


def test_a_claim_that_was_never_made_can_be_taken_back() -> None:
    claims = Claims()
    assert claims.remove(KEY, claim("a")) == []


NAMES = st.sampled_from("abcde")


@given(st.lists(st.tuples(st.booleans(), NAMES), max_size=30))
def test_the_holder_depends_on_the_claims_in_force_alone(events: list[tuple[bool, str]]) -> None:
    claims, alive = Claims(), set[str]()
    told: dict[str, str | None] = {}
    all_claims = {n: claim(n, created) for n, created in zip("abcde", ("2", "1", "2", "", "3"), strict=True)}
    for is_added, name in events:
        if is_added is (name in alive):
            continue
        change = claims.add if is_added else claims.remove
        (alive.add if is_added else alive.discard)(name)
        changed = {one.service.name for one in change(KEY, all_claims[name])}
        expected = min((all_claims[n] for n in alive), default=None)
        holder = claims.holder(KEY)
        assert holder == (expected.name if expected else None)
        now = dict.fromkeys(alive, holder.service.name if holder else None)
        assert {n for n in now if n != name and told.get(n) != now[n]} == changed
        told = now
