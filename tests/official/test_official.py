"""The harness of the official suite: which titles a run means, and what its page keeps."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def official() -> ModuleType:
    loader = SourceFileLoader("official", str(ROOT / "tools" / "official"))
    spec = importlib.util.spec_from_loader("official", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


DATA = {
    "groups": {"one": ["[a] first", "[a] second"], "two": ["[b] third [Serial]"]},
    "left_out": [{"title": "[c] fourth", "why": "no such image"}],
}
REPORT = """<testsuites><testsuite>
<testcase name="[It] [a] first" status="passed" time="3.4"/>
<testcase name="[It] [a] second" status="failed" time="61.2">
<failure message="timed out | after&#10;60s">long</failure></testcase>
<testcase name="[It] [a] other" status="skipped" time="0"><skipped message="skipped"/></testcase>
<testcase name="[BeforeSuite]" status="passed" time="1"/>
</testsuite></testsuites>"""


def test_a_focus_matches_its_titles_and_no_longer_ones(official: ModuleType) -> None:
    pattern = re.compile(official.focus_of(["[a] x (y) [Conformance]", "[b] a.b"]))
    assert pattern.search("Kubernetes e2e suite [a] x (y) [Conformance]")
    assert pattern.search("Kubernetes e2e suite [b] a.b")
    assert not pattern.search("Kubernetes e2e suite [b] a.b and more")
    assert not pattern.search("Kubernetes e2e suite [b] axb")


def test_serial_titles_run_alone_and_last(official: ModuleType) -> None:
    titles = ["a", "b [Serial]", "c", "d"]
    assert official.shares(titles, 2) == ([["a", "d"], ["c"]], [["b [Serial]"]])


def test_a_page_has_every_title_and_keeps_rows_of_groups_that_did_not_run(official: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    official.write_page(page, official.read_report(REPORT), ["one"], DATA)
    official.write_page(page, {"[b] third [Serial]": official.Result(False, 0.0, "did not run")}, ["two"], DATA)
    lines = page.read_text().splitlines()
    assert "| [a] first | pass | 3 |  |" in lines
    assert "| [a] second | FAIL | 61 | timed out / after 60s |" in lines
    assert "| [b] third [Serial] | FAIL | 0 | did not run |" in lines
    assert "| [c] fourth | no such image |" in lines
    assert any(re.fullmatch(r"\| one \| 1 \| 2 \| \d{4}-\d\d-\d\d \|", line) for line in lines)


def test_titles_are_pinned(official: ModuleType) -> None:
    groups = json.loads(official.TITLES.read_text())["groups"]
    counts = {name: len(titles) for name, titles in groups.items()}
    assert counts == {
        "conformance": 47,
        "network": 79,
        "dual-stack": 22,
        "load-balancer": 17,
        "cli": 15,
        "apps": 34,
        "api": 40,
    }
