"""Which old value a new one stands for, and whether it is the same.

On updates, what is wrong with a value that did not change is let pass (KEP-4008): a schema may have become stricter
since the object was stored. Items of list-maps stand for each other by their keys; items of other lists for nothing.
"""

from __future__ import annotations

from typing import Any

from fairway.apiserver.schema import Json


def same(a: Any, b: Any) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and isinstance(a, bool) == isinstance(b, bool)


class Correlation:
    """A new value beside the old one that it stands for."""

    __slots__ = ("_equal", "_index", "new", "old", "schema")

    def __init__(self, new: Any, old: Any, schema: Json) -> None:
        self.new, self.old, self.schema = new, old, schema
        self._equal: bool | None = None
        self._index: dict[str, Any] | None = None

    def unchanged(self) -> bool:
        """Whether nothing in here differs; the order of a list-map does not count."""
        if self._equal is None:
            self._equal = self._compare()
        return self._equal

    def _compare(self) -> bool:
        new, old = self.new, self.old
        if isinstance(new, dict) and isinstance(old, dict):
            return len(new) == len(old) and all((c := self.key(k)) is not None and c.unchanged() for k in new)
        if isinstance(new, list) and isinstance(old, list) and self._is_map():
            return len(new) == len(old) and all(
                (c := self.index(i)) is not None and c.unchanged() for i in range(len(new))
            )
        return same(new, old)

    def _is_map(self) -> bool:
        return self.schema.get("x-kubernetes-list-type") == "map"

    def key(self, name: str) -> Correlation | None:
        """The field or map value of this name, if both sides have it."""
        if not isinstance(self.new, dict) or not isinstance(self.old, dict):
            return None
        if name not in self.new or name not in self.old:
            return None
        inside = (self.schema.get("properties") or {}).get(name)
        if inside is None:
            inside = self.schema.get("additionalProperties")
        return Correlation(self.new[name], self.old[name], inside) if isinstance(inside, dict) else None

    def index(self, at: int) -> Correlation | None:
        """The item that has the same keys in the old list-map."""
        if not isinstance(self.new, list) or not isinstance(self.old, list) or not self._is_map():
            return None
        found = old_item(self.old_items(), self.new[at], self.schema)
        return Correlation(self.new[at], found, self.schema.get("items") or {}) if found is not None else None

    def old_items(self) -> dict[str, Any]:
        if self._index is None:
            self._index = index_of(self.old, self.schema)
        return self._index


def _item_key(item: Json, schema: Json) -> str:
    properties = (schema.get("items") or {}).get("properties") or {}
    keys = schema.get("x-kubernetes-list-map-keys") or []
    return repr([item.get(k, properties.get(k, {}).get("default")) for k in keys])


def index_of(items: Any, schema: Json) -> dict[str, Any]:
    """Items of a list-map by their keys; of any other list none."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(items, list):
        return {}
    out: dict[str, Any] = {}
    for item in items:
        if isinstance(item, dict):
            out.setdefault(_item_key(item, schema), item)
    return out


def old_item(index: dict[str, Any], item: Any, schema: Json) -> Any:
    return index.get(_item_key(item, schema)) if index and isinstance(item, dict) else None
