"""Conditions and sparse numbers: how statuses are put together, in the API's manner."""

from __future__ import annotations

import msgspec

from fairway.kube.objectmeta import Condition, condition_of

Conditions = tuple[Condition, ...]


def without_condition(conditions: Conditions, kind: str) -> Conditions:
    return tuple(one for one in conditions if one.type != kind)


def replace_condition(conditions: Conditions, new: Condition) -> Conditions:
    """The new one last. Nothing changes when status and reason are the same; a status that stays keeps its time."""
    held = condition_of(conditions, new.type)
    if held is not None and held.status == new.status and held.reason == new.reason:
        return conditions
    if held is not None and held.status == new.status:
        new = msgspec.structs.replace(new, last_transition_time=held.last_transition_time)
    return (*without_condition(conditions, new.type), new)


def sparse(**numbers: int | str | None) -> dict[str, int | str | None]:
    """For a merge patch: what is 0 or empty is taken out of the object, as the API leaves such fields out."""
    return {name: value or None for name, value in numbers.items()}
