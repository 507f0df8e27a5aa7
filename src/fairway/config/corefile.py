"""Corefile text → server blocks of directives, each with its file and line.

Decides tokens, quotes, comments, imports and snippets, as CoreDNS' server type reads them. What a directive means is
`fairway.config.corefile_plugins`' business. Reading other files is handed in, so that this stays pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fairway.values.errors import ConfigError

MAX_DEPTH = 10
"""Of imports inside imports."""

ReadFiles = Callable[[str], list[tuple[str, str]]]
"""Pattern of an `import` → (path, text) of each file that matches, in order."""


class Place(NamedTuple):
    """Where something stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def error(self, problem: str) -> ConfigError:
        return ConfigError(f"{self}: {problem}")


@dataclass(frozen=True, slots=True)
class Directive:
    """A line: its first word, the others, and the lines of its block; None without one."""

    name: str
    args: tuple[str, ...]
    place: Place
    block: tuple[Directive, ...] | None = None

    def error(self, problem: str) -> ConfigError:
        return self.place.error(f"{self.name}: {problem}")


@dataclass(frozen=True, slots=True)
class ServerBlock:
    """`keys { directives }`; keys as written (`.:53`, `tls://example.org`)."""

    keys: tuple[str, ...]
    directives: tuple[Directive, ...]
    place: Place


class _Token(NamedTuple):
    text: str
    place: Place
    is_quoted: bool = False


def parse_corefile(
    text: str, file: str, environ: Mapping[str, str], read_files: ReadFiles = lambda _pattern: []
) -> tuple[ServerBlock, ...]:
    """Read a Corefile. Raises ConfigError naming file and line."""
    return _Parser(environ, read_files).parse(text, file)


_ENVIRONMENT = re.compile(r"\{\$(?P<unix>[^}]+)\}|\{%(?P<windows>[^%]+)%\}")
_WORD = re.compile(r"(?:(?!\\\n)[^\s#])+")


def _lines(text: str, file: str, environ: Mapping[str, str]) -> Iterator[list[_Token]]:
    """Logical lines as tokens; a quoted token may span lines, a backslash at the end joins two.

    Variables are put into every token, quoted or not; a `#` begins a comment even at the end of a word.
    """

    def put(match: re.Match[str]) -> str:
        return environ.get(match["unix"] or match["windows"], "")

    line: list[_Token] = []
    number, at = 1, 0
    while at < len(text):
        char = text[at]
        if char == "\n":
            if line:
                yield line
            line, number, at = [], number + 1, at + 1
        elif text.startswith("\\\n", at):
            number, at = number + 1, at + 2
        elif char.isspace():
            at += 1
        elif char == "#":
            at = end if (end := text.find("\n", at)) >= 0 else len(text)
        elif char == '"':
            quoted, at, crossed = _quoted(text, at, Place(file, number))
            line.append(_Token(_ENVIRONMENT.sub(put, quoted), Place(file, number), is_quoted=True))
            number += crossed
        else:
            word = _WORD.match(text, at)
            assert word is not None
            line.append(_Token(_ENVIRONMENT.sub(put, word[0]), Place(file, number)))
            at = word.end()
    if line:
        yield line


_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def _quoted(text: str, at: int, place: Place) -> tuple[str, int, int]:
    """What stands between quotes, where it ends, and how many lines it crosses; a backslash only escapes a quote."""
    found = _QUOTED.match(text, at)
    if found is None:
        raise place.error("a quote is opened and never closed")
    inside = re.sub(r"\\(.)", lambda m: m[1] if m[1] == '"' else m[0], found[1], flags=re.DOTALL)
    return inside, found.end(), found[0].count("\n")


class _Parser:
    def __init__(self, environ: Mapping[str, str], read_files: ReadFiles) -> None:
        self._environ = environ
        self._read_files = read_files
        self._snippets: dict[str, tuple[Directive, ...]] = {}

    def parse(self, text: str, file: str) -> tuple[ServerBlock, ...]:
        return tuple(self._blocks(text, file, 0))

    def _blocks(self, text: str, file: str, depth: int) -> Iterator[ServerBlock]:
        lines = _Reader(list(_lines(text, file, self._environ)))
        while (line := lines.next()) is not None:
            place = line[0].place
            if line[0].text == "import" and len(line) == 2:
                for path, content in self._import(line[1], depth):
                    yield from self._blocks(content, path, depth + 1)
                continue
            keys = self._keys(lines, line)
            if len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")"):
                if keys[0][1:-1] in self._snippets:
                    raise place.error(f"the snippet {keys[0]} was written before")
                self._snippets[keys[0][1:-1]] = self._directives(lines, place, depth)
                continue
            yield ServerBlock(keys, self._directives(lines, place, depth), place)

    @staticmethod
    def _keys(lines: _Reader, line: list[_Token]) -> tuple[str, ...]:
        """Zone names up to the brace; a comma at the end of a line goes on in the next."""
        keys: list[str] = []
        while True:
            brace = next((i for i, token in enumerate(line) if token.text == "{" and not token.is_quoted), None)
            words = line[:brace]
            keys += [k for token in words for k in token.text.split(",") if k]
            if brace is not None:
                lines.put_back(line[brace + 1 :])
                break
            following = lines.next() if words[-1].text.endswith(",") or lines.opens() else None
            if following is None:
                raise line[0].place.error(f"a server block for {' '.join(keys)} needs '{{' at the end of its line")
            line = following
        if not keys:
            raise line[0].place.error("a server block without a zone")
        return tuple(keys)

    def _directives(self, lines: _Reader, opened: Place, depth: int) -> tuple[Directive, ...]:
        found: list[Directive] = []
        while (line := lines.next()) is not None:
            name, place = line[0].text, line[0].place
            if name == "}" and not line[0].is_quoted:
                if len(line) > 1:
                    raise place.error(f"{line[1].text!r} after '}}'")
                return tuple(found)
            if name == "import":
                if len(line) != 2:
                    raise place.error(f"import: takes one snippet, file or pattern, not {len(line) - 1}")
                found += self._imported(line[1], depth)
                continue
            found.append(self._directive(lines, line, depth))
        raise opened.error("a '{' is never closed")

    def _directive(self, lines: _Reader, line: list[_Token], depth: int) -> Directive:
        name, place = line[0].text, line[0].place
        if line[-1].text == "{" and not line[-1].is_quoted:
            block = self._directives(lines, place, depth)
            return Directive(name, tuple(t.text for t in line[1:-1]), place, block)
        if [(t.text, t.is_quoted) for t in line[-2:]] == [("{", False), ("}", False)]:
            return Directive(name, tuple(t.text for t in line[1:-2]), place, ())
        if len(line) > 2 and line[-1].text == "}" and any(t.text == "{" for t in line):
            raise place.error(f"{name}: the lines of a block stand on lines of their own")
        return Directive(name, tuple(t.text for t in line[1:]), place)

    def _imported(self, token: _Token, depth: int) -> Iterator[Directive]:
        if token.text in self._snippets:
            yield from self._snippets[token.text]
            return
        for path, content in self._import(token, depth):
            lines = _Reader(list(_lines(content, path, self._environ)))
            while (line := lines.next()) is not None:
                yield self._directive(lines, line, depth + 1)

    def _import(self, token: _Token, depth: int) -> list[tuple[str, str]]:
        if depth >= MAX_DEPTH:
            raise token.place.error(f"import {token.text}: imports {MAX_DEPTH} deep: a circle?")
        files = self._read_files(token.text)
        if not files and not any(c in token.text for c in "*?["):
            raise token.place.error(f"import {token.text}: neither a snippet of that name nor a file")
        return files


class _Reader:
    """Lines, one after the other, with a look at the next."""

    def __init__(self, lines: list[list[_Token]]) -> None:
        self._lines = lines
        self._at = 0

    def next(self) -> list[_Token] | None:
        if self._at >= len(self._lines):
            return None
        self._at += 1
        return self._lines[self._at - 1]

    def put_back(self, line: list[_Token]) -> None:
        """Read this next, if there is anything in it."""
        if line:
            self._lines.insert(self._at, line)

    def opens(self) -> bool:
        """The next line is a lone brace."""
        return self._at < len(self._lines) and [t.text for t in self._lines[self._at]] == ["{"]
