"""YAML means what it means to kubectl: a table answered by sigs.k8s.io/yaml 1.6.0, and what is stricter here."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.kube.yaml import GROWTH, YAMLError, read_yaml

TABLE: list[dict[str, Any]] = json.loads((Path(__file__).parent / "kubectl_yaml.json").read_text())
STRICTER = ("{a: 1, a: 2}", "a: 1\na: 2")
"""kubectl takes the second of two values and says nothing."""


@pytest.mark.parametrize("row", [r for r in TABLE if r["yaml"] not in STRICTER], ids=lambda r: repr(r["yaml"]))
def test_text_means_what_it_means_to_kubectl(row: dict[str, Any]) -> None:
    if row.get("error"):
        with pytest.raises(YAMLError):
            read_yaml(row["yaml"])
        return
    made = read_yaml(row["yaml"])
    # By their JSON: 1 and True are equal to Python, and not to us.
    assert json.dumps(made, sort_keys=True) == json.dumps(row["json"], sort_keys=True)


@pytest.mark.parametrize("text", STRICTER)
def test_key_that_stands_twice_is_an_error(text: str) -> None:
    with pytest.raises(YAMLError, match="the key 'a' stands twice"):
        read_yaml(text)


def test_errors_have_line_and_column() -> None:
    with pytest.raises(YAMLError) as caught:
        read_yaml("a: 1\nb: ]")
    assert (caught.value.line, caught.value.column) == (2, 4)


def test_aliases_cannot_blow_a_text_up() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    with pytest.raises(YAMLError, match="grow too large"):
        read_yaml("\n".join(lines))


def test_alias_that_contains_itself_is_an_error() -> None:
    with pytest.raises(YAMLError, match="contains itself"):
        read_yaml("a: &a [*a]")


def test_a_large_text_without_aliases_is_no_bomb() -> None:
    assert read_yaml("[" + "1," * (GROWTH // 50) + "1]") == [1] * (GROWTH // 50 + 1)


def test_reads_the_same_without_libyaml() -> None:
    """On a machine whose PyYAML was built without libyaml, the slow parser gives the same trees."""
    program = f"""
import yaml, json, sys
yaml.__with_libyaml__ = False
from fairway.kube.yaml import read_yaml, YAMLError
for row in json.load(open({str(Path(__file__).parent / "kubectl_yaml.json")!r})):
    try:
        print(json.dumps(read_yaml(row["yaml"]), sort_keys=True))
    except YAMLError:
        print("error")
"""
    slow = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    fast = []
    for row in TABLE:
        try:
            fast.append(json.dumps(read_yaml(row["yaml"]), sort_keys=True))
        except YAMLError:
            fast.append("error")
    assert slow.splitlines() == fast


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(TREES)
def test_json_is_yaml_and_means_the_same(tree: Any) -> None:
    text = json.dumps({"v": tree})
    if any(mark in text for mark in ("\\ud", "\\u007f", "\\u008", "\\u009")):
        return  # lone surrogates and control characters are no YAML
    made = read_yaml(text)
    assert made == {"v": tree}


@given(st.text(max_size=60))
def test_any_text_gives_a_tree_or_an_error(text: str) -> None:
    with contextlib.suppress(YAMLError):
        json.dumps(read_yaml(text))
