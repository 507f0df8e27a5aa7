"""What is wrong with an expression before it runs, and what goes wrong when it does."""

from __future__ import annotations

from typing import NamedTuple

from fairway.values.errors import FairwayError


class EvaluationError(FairwayError):
    """An expression has no value: a missing key, an overflow, a division by zero. The message is cel-go's."""


class Issue(NamedTuple):
    """A mistake at a place of the text, counted in characters."""

    place: int
    message: str


class CompileError(FairwayError):
    """An expression is not valid; the message shows each place, as cel-go does."""

    def __init__(self, text: str, issues: list[Issue]) -> None:
        ordered = sorted(issues, key=lambda i: i.place)
        super().__init__("\n".join(_shown(text, issue) for issue in ordered))
        self.issues = ordered


def _shown(text: str, issue: Issue) -> str:
    before = text[: issue.place]
    line = before.count("\n") + 1
    column = issue.place - (before.rfind("\n") + 1)
    shown = text.split("\n")[line - 1].replace("\t", " ")
    dots = "".join("\uff0e" if ord(c) > 127 else "." for c in shown[:column])
    caret = "\uff3e" if column < len(shown) and ord(shown[column]) > 127 else "^"
    return f"ERROR: <input>:{line}:{column + 1}: {issue.message}\n | {shown}\n | {dots}{caret}"
