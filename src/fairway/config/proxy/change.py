"""Old settings against new: what changed, and whether it can be applied while the proxy runs."""

from __future__ import annotations

from typing import Any, NamedTuple

from fairway.config.proxy.fields import FIELDS, Change, Field
from fairway.config.proxy.settings import ProxySettings


class FieldChange(NamedTuple):
    """One field with another value than before."""

    path: str
    old: Any
    new: Any
    """Both as they would stand in a file."""

    def __str__(self) -> str:
        return f"{self.path}: {_show(self.old)} -> {_show(self.new)}"


class Difference(NamedTuple):
    """What changed, in the order of the table of fields."""

    live: tuple[FieldChange, ...]
    """Can be applied at once, without touching a connection."""
    refused: tuple[FieldChange, ...]
    """Need a restart: while there is one of them, the new configuration is refused whole."""
    idle: tuple[FieldChange, ...]
    """Have no effect in this mode, before or after."""

    @property
    def is_applicable(self) -> bool:
        return not self.refused

    @property
    def paths(self) -> frozenset[str]:
        """Of the fields to apply."""
        return frozenset(change.path for change in self.live)


def difference(old: ProxySettings, new: ProxySettings) -> Difference:
    """What a running proxy with settings `old` has to do to have `new`."""
    sorted_out: dict[Change | None, list[FieldChange]] = {Change.LIVE: [], Change.RESTART: [], None: []}
    for field in FIELDS:
        before, after = field.of(old), field.of(new)
        if before != after:
            changed = FieldChange(field.path, field.kind.write(before), field.kind.write(after))
            sorted_out[_what_it_takes(field, old, new)].append(changed)
    return Difference(*(tuple(sorted_out[kind]) for kind in (Change.LIVE, Change.RESTART, None)))


def _what_it_takes(field: Field, old: ProxySettings, new: ProxySettings) -> Change | None:
    return field.change if {old.mode, new.mode} & field.modes else None


def _show(value: Any) -> str:
    return "(empty)" if value in (None, "", [], {}) else str(value)
