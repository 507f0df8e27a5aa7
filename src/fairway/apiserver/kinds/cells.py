"""What the columns of several kinds are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.apiserver.kinds.base import get
from fairway.apiserver.request import Json
from fairway.apiserver.tables import Column

NONE, UNSET, UNKNOWN = "<none>", "<unset>", "<unknown>"


def path_cell(*path: str, default: Any = "") -> Callable[[Json, float], Any]:
    def cell(obj: Json, _now: float) -> Any:
        value = get(obj, *path)
        return default if value is None else value

    return cell


def wide(name: str, cell: Callable[[Json, float], Any], kind: str = "string") -> Column:
    return Column(name, cell, kind, 1)


def listed(items: list[str], total: int, empty: str) -> str:
    text = ",".join(items[:3])
    return f"{text} + {total - 3} more..." if total > 3 else text or empty


def labels_text(labels: Json | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def selector_text(selector: Json | None) -> str:
    """FormatLabelSelector."""
    if selector is None:
        return NONE
    parts = [(k, f"{k}={v}") for k, v in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or []:
        key, values = term.get("key", ""), ",".join(sorted(term.get("values") or []))
        shown = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append((key, shown.get(term.get("operator", ""), "<error>")))
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0])) or NONE


def count(name: str, *path: str) -> Column:
    return Column(name, path_cell(*path, default=0), "integer")
