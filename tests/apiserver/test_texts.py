"""Answers end as Go's encoder ends them, and are spread out for people."""

from __future__ import annotations

import pytest

from fairway.apiserver.request import Request, Response
from fairway.apiserver.texts import written


def asked(path: str = "/api/v1/pods", agent: str = "kubectl/v1.36", **query: str) -> Request:
    return Request("GET", path, {k: [v] for k, v in query.items()}, {"user-agent": agent})


def test_a_document_ends_with_a_line() -> None:
    assert written(Response(200, b'{"a":1}'), asked()).body == b'{"a":1}\n'


@pytest.mark.parametrize("request_", [asked(agent="curl/8"), asked(pretty="1"), asked("/version")])
def test_people_get_it_indented(request_: Request) -> None:
    assert written(Response(200, b'{"a":[1]}'), request_).body == b'{\n  "a": [\n    1\n  ]\n}'


@pytest.mark.parametrize("answer", [Response(304, b""), Response(200, b"x", "text/plain")])
def test_what_is_no_document_stays(answer: Response) -> None:
    assert written(answer, asked()) == answer


def test_pretty_can_be_refused_by_people_too() -> None:
    assert written(Response(200, b"{}"), asked(agent="curl/8", pretty="0")).body == b"{}\n"
