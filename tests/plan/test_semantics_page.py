"""docs/semantics.md is true: it has every rule, and each test that it links to exists."""

from __future__ import annotations

import re
from pathlib import Path

from fairway.plan.reasons import Reason

PAGE = Path(__file__).parents[2] / "docs" / "semantics.md"
LINK = re.compile(r"\[`(?P<name>[^`]+)`\]\((?P<path>[^)]+)\)")


def test_the_rules_are_numbered_without_a_gap() -> None:
    numbers = [int(n) for n in re.findall(r"^(\d+)\. \*\*", PAGE.read_text(), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 21


def test_every_linked_test_exists() -> None:
    links = LINK.findall(PAGE.read_text())
    assert len(links) > 40
    assert [link for link in links if not _exists(*link)] == []


def _exists(name: str, path: str) -> bool:
    target = (PAGE.parent / path).resolve()
    return target.is_file() and (name.endswith(".py") or f"def {name}(" in target.read_text())


def test_every_reason_names_a_rule() -> None:
    assert {reason.rule for reason in Reason} <= set(range(1, 22))
