"""YAML and JSON text → values with lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.config.document import read_documents
from fairway.values.errors import ConfigError


def one(text):
    (document,) = read_documents(text, "f.yaml")
    return document


def test_each_field_has_its_line():
    document = one("# comment\na: 1\nb:\n  c: x\n  d: [1, {e: 2}]\n")
    assert document.root == {"a": 1, "b": {"c": "x", "d": [1, {"e": 2}]}}
    lines = {path: document.lines[path] for path in ("a", "b", "b.c", "b.d", "b.d[1].e")}
    assert lines == {"a": 2, "b": 3, "b.c": 4, "b.d": 5, "b.d[1].e": 5}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("'5'", "5"),
        ("5", 5),
        ("0x10", 16),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("no", False),
        ("~", None),
        ("", None),
        ("=", "="),
        ("1.2.3", "1.2.3"),
    ],
)
def test_scalars_are_read_as_kubernetes_reads_them(written, value):
    assert one(f"a: {written}\nb: 0").root["a"] == value


def test_keys_given_twice_are_told_with_the_line_of_the_second():
    assert one("a: 1\nb: 2\na: 3\n").duplicates == ('line 3: key "a" already set in map',)
    assert one('{"a": 1, "a": 2}').duplicates == ('duplicate field "a"',)


def test_overriding_what_was_merged_is_no_duplicate():
    document = one("base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  x: 5\n")
    assert (document.root["mine"], document.duplicates) == ({"x": 5, "y": 2}, ())


def test_empty_documents_are_left_out():
    assert [d.root for d in read_documents("---\n---\na: 1\n---\n# nothing\n", "f")] == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2\n", r"f\.yaml: line \d: "),
        ("a: 1\n  b: 2\n", r"f\.yaml: line 2: "),
        ("a: !!python/object:os.system x\n", r"f\.yaml: line 1: could not determine a constructor"),
        ("? [1, 2]\n: 3\n", r"f\.yaml: line 1: a key must be a plain word"),
        ("a: \x00\n", r"f\.yaml: "),
        ('{"a": 1', r"f\.yaml: line \d: "),
        ("x: " + "[" * 60 + "]" * 60, r"f\.yaml: line 1: too large or nested too deeply"),
        ("a: &a [*a]\n", r"f\.yaml: "),
    ],
)
def test_what_is_not_yaml_is_an_error_with_file_and_line(text, said):
    with pytest.raises(ConfigError, match=said):
        read_documents(text, "f.yaml")


def test_aliases_of_aliases_do_not_blow_up():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    with pytest.raises(ConfigError, match="too large"):
        read_documents(bomb, "f.yaml")


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_with_a_message(text):
    try:
        read_documents(text, "f.yaml")
    except ConfigError as error:
        assert str(error).startswith("f.yaml: ")  # noqa: PT017 - other exceptions must pass through
