"""YAML or JSON text → plain values, with the line of each field and the keys that were written twice.

Says where a thing stood, so that an error can; knows nothing of what the fields mean. Scalars are read as
Kubernetes' own reader reads them: no dates, no base-60 numbers (`1:30` is a text).
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import yaml

from fairway.values.errors import ConfigError

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml: slower, the same answers
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

_MAX_NODES = 100_000
"""Aliases of aliases grow without bound; no real configuration comes near."""
_MAX_DEPTH = 50


class Document(NamedTuple):
    """One document of a file."""

    root: Any
    lines: dict[str, int]
    """Field path → line, counted from 1; empty for JSON."""
    duplicates: tuple[str, ...]
    """What is wrong with keys given twice in one mapping, in Kubernetes' words; the last one holds."""


class _Loader(_SafeLoader):
    """Safe, in C where PyYAML has it, without dates and base-60 numbers."""


_INT = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)$")
_FLOAT = re.compile(
    r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9_]+|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$"
)
_Loader.yaml_implicit_resolvers = {}
for _letter, _resolvers in _SafeLoader.yaml_implicit_resolvers.items():
    for _tag, _pattern in _resolvers:
        _kind = _tag.rpartition(":")[2]
        if _kind not in {"timestamp", "value"}:  # `=` is a text too
            _pattern = {"int": _INT, "float": _FLOAT}.get(_kind, _pattern)
            _Loader.add_implicit_resolver(_tag, _pattern, [_letter])


def read_documents(text: str, source: str) -> list[Document]:
    """Every document of `text`; empty ones are left out. Raises ConfigError naming `source` and the line."""
    if text.lstrip().startswith("{"):
        try:
            return [_read_json(text)]
        except ValueError:
            pass  # a YAML flow mapping looks the same; YAML's error says more
    loader = _Loader(text)
    documents = []
    try:
        while loader.check_node():
            walk = _Walk(loader)
            node = loader.get_node()
            root = walk.value(node, "", 0) if node else None
            if root is not None:
                documents.append(Document(root, walk.lines, tuple(walk.duplicates)))
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {_describe(error)}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: {error}") from None
    finally:
        loader.dispose()
    return documents


def join_path(path: str, key: str) -> str:
    """`conntrack` and `min` → `conntrack.min`."""
    return f"{path}.{key}" if path else key


def _describe(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"line {mark.line + 1}: {problem}" if mark else f"not YAML: {problem}"


class _Walk:
    """One pass over a document's nodes."""

    def __init__(self, loader: _Loader) -> None:
        self.lines: dict[str, int] = {}
        self.duplicates: list[str] = []
        self._loader = loader
        self._nodes = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise ValueError(f"line {node.start_mark.line + 1}: too large or nested too deeply for a configuration")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        self._note_duplicates(node)
        self._loader.flatten_mapping(node)  # merge keys: `<<: *other`
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ValueError(f"line {key_node.start_mark.line + 1}: a key must be a plain word")
            at = join_path(path, key_node.value)
            self.lines[at] = key_node.start_mark.line + 1
            result[key_node.value] = self.value(value_node, at, depth + 1)
        return result

    def _note_duplicates(self, node: yaml.MappingNode) -> None:
        """Before merge keys are resolved: overriding what was merged in is what they are for."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                self.duplicates.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
            elif isinstance(key, yaml.ScalarNode):
                seen.add(key.value)


def _read_json(text: str) -> Document:
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in items:
            if key in result:
                duplicates.append(f'duplicate field "{key}"')
            result[key] = value
        return result

    return Document(json.loads(text, object_pairs_hook=pairs), {}, tuple(duplicates))
