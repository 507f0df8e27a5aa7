"""Objects made at random out of a structural schema: mostly valid, now and then not."""

from __future__ import annotations

import json
import random
import re
from typing import Any

Json = dict[str, Any]
_TEXT = """
a example.com *.example.com gateway.networking.k8s.io Gateway Service HTTPRoute 10.0.0.1 10.0.0.0/24 fd00::1 1s 500ms
10m /path / x-header Content-Type Same All core foo-bar ns1 HTTP HTTPS TCP Terminate PathPrefix Exact Hostname IPAddress
RequestHeaderModifier RequestMirror URLRewrite ReplaceFullPath ReplacePrefixMatch GET https RequestRedirect ExtensionRef
Core 443 Secret 64512 100.64.0.1 gRPC Method 302 true
"""
_WORDS = [*_TEXT.split(), ""]
_FORMATS = {"date-time": ["2024-01-01T00:00:00Z"] * 5 + ["x"], "duration": ["1s", "1h", "500ms", "1.5h", "0s", "3m"]}
_JUNK: tuple[Any, ...] = (None, 5, "x", True, [], {}, 1.5, [1], {"a": 1})


class Maker:
    """One stream of objects; `wild` is the part that breaks the schema."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.wild = 0.05

    def value(self, schema: Json, depth: int = 0) -> Any:
        if self.random.random() < self.wild / 3:
            return self.random.choice(_JUNK)
        if "enum" in schema and self.random.random() < 0.9:
            return self.random.choice(schema["enum"])
        if schema.get("x-kubernetes-int-or-string"):
            return self.random.choice([5, "50%", "x", 1])
        make = getattr(self, f"_{schema.get('type', 'any')}")
        return make(schema, depth)

    def altered(self, value: Json, schema: Json) -> Json:
        """The same with something changed in it somewhere."""
        new, fresh = json.loads(json.dumps(value)), self.value(schema)
        for key in [*new] if isinstance(fresh, dict) else []:
            if self.random.random() < 0.5 and key in fresh:
                new[key] = fresh[key]
            elif isinstance(new[key], dict) and isinstance(fresh.get(key), dict):
                new[key] |= {k: v for k, v in fresh[key].items() if k in new[key] and self.random.random() < 0.3}
        return new  # type: ignore[no-any-return]

    def _object(self, schema: Json, depth: int) -> Json:
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            return {self.random.choice(_WORDS): self.value(extra, depth + 1) for _ in range(self.random.randint(0, 3))}
        made, required = {}, schema.get("required") or []
        for name, inner in (schema.get("properties") or {}).items():
            is_wanted = name in required and self.random.random() > self.wild / 2
            if is_wanted or self.random.random() < (0.75 if depth < 3 else 0.3):
                made[name] = self.value(inner, depth + 1)
        if self.random.random() < self.wild:
            made["bogus"] = 1
        return made

    def _array(self, schema: Json, depth: int) -> list[Any]:
        most = schema.get("maxItems") or 3
        count = self.random.choice([0, 1, 1, 2, 2, 3])
        if self.random.random() < self.wild / 2 and most < 20:
            count = most + 1
        items = [self.value(schema.get("items") or {}, depth + 1) for _ in range(count)]
        if items and self.random.random() < 0.15:
            items.append(json.loads(json.dumps(items[0])))
        return items

    def _integer(self, schema: Json, depth: int) -> int:
        low, high = int(schema.get("minimum", -2)), int(schema.get("maximum", 70000))
        below = low - 1 if self.random.random() < self.wild * 3 else low
        return self.random.choice([low, high, self.random.randint(low, high), below])

    def _boolean(self, schema: Json, depth: int) -> bool:
        return self.random.random() < 0.5

    def _number(self, schema: Json, depth: int) -> float:
        return self.random.choice([1, 1.5, 0])

    def _string(self, schema: Json, depth: int) -> str:
        words = _FORMATS.get(schema.get("format", ""))
        if words:
            return self.random.choice(words)
        word = ""
        for _ in range(30):
            word = self.random.choice(_WORDS)
            if _fits(word, schema) or self.random.random() < self.wild / 4:
                break
        return word

    def _any(self, schema: Json, depth: int) -> Any:
        return self.random.choice([{}, "x", 1])


def _fits(word: str, schema: Json) -> bool:
    if not schema.get("minLength", 0) <= len(word) <= schema.get("maxLength", 999):
        return False
    try:
        return not schema.get("pattern") or bool(re.search(schema["pattern"], word))
    except re.error:
        return True
