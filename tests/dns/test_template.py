"""Templates of Go as far as CoreDNS users write them."""

from __future__ import annotations

import pytest

from fairway.dns.go_template import GoTemplate
from fairway.dns.go_template_run import TemplateError

VALUES = {
    "Name": "ip-10-0-0-1.test.",
    "Zone": "test.",
    "Match": ["ip-10-0-0-1.test.", "10", "ff"],
    "Group": {"0": "ip-10-0-0-1.test.", "1": "10", "hex": "ff", "none": ""},
    "Remote": "10.0.0.9",
    "Question": {"Name": "IP-10-0-0-1.test.", "Qtype": 1},
    "Meta": lambda _name: "",
    "Var": {},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ .Name }} 60 IN A 10.0.0.1", "ip-10-0-0-1.test. 60 IN A 10.0.0.1"),
        ("{{.Group.hex}}", "ff"),
        ('{{ index .Group "1" }}.{{ index .Match 2 }}', "10.ff"),
        ("{{ parseInt .Group.hex 16 8 }}", "255"),
        ("{{ parseInt (index .Group `hex`) 16 8 }}", "255"),
        ("{{ if .Group.none }}a{{ else }}b{{ end }}", "b"),
        ('{{ if eq .Group.hex "aa" "ff" }}yes{{ end }}', "yes"),
        ("{{ if .Group.none }}a{{ else if gt (len .Match) 2 }}c{{ else }}b{{ end }}", "c"),
        ("{{ with .Group.hex }}<{{ . }}>{{ end }}", "<ff>"),
        ("{{ with .Group.none }}<{{ . }}>{{ else }}nothing{{ end }}", "nothing"),
        ('a {{- " b" -}} c', "a bc"),
        ('{{ .Group.hex | printf "%s-%q" "x" }}', 'x-"ff"'),
        ("{{ .Question.Name }} {{ .Question.Qtype }}", "IP-10-0-0-1.test. 1"),
        ('{{ .Meta "kubernetes/namespace" }}.', "."),
        ("{{/* a note */}}x", "x"),
        ("{{ .Group.absent }}", "<no value>"),
        ('{{ and (ne .Zone "a") (not .Group.none) }}', "true"),
    ],
)
def test_expands(text: str, expected: str) -> None:
    assert GoTemplate(text).expand(VALUES) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ .Name", "without"),
        ("{{ if .Name }}a", "'if' without 'end'"),
        ("{{ end }}", "end without a beginning"),
        ("{{ range .Match }}", "'range' without 'end'"),
        ("{{ $x }}", r"\$x is not known"),
        ("{{ if .Name }}{{ $x := 1 }}{{ end }}{{ $x }}", r"\$x is not known"),
        ("{{ break }}", "break outside of a range"),
        ("{{ template `a` }}", "'template' is not known"),
        ("{{ .Name := 1 }}", "declares no variable"),
        ("{{ nonsense .Name }}", "'nonsense' is not known"),
        ("{{ (.Name }}", "without"),
        ("{{ }}", "empty action"),
        ("{{ 'ab' }}", "is not one character"),
    ],
)
def test_what_is_not_known_is_said_when_it_is_read(text: str, problem: str) -> None:
    with pytest.raises(TemplateError, match=problem):
        GoTemplate(text)


@pytest.mark.parametrize("text", ["{{ .Nonsense }}", "{{ parseInt .Group.hex 10 8 }}", "{{ index .Match 9 }}"])
def test_what_cannot_be_filled_in_is_an_error(text: str) -> None:
    with pytest.raises(TemplateError):
        GoTemplate(text).expand(VALUES)
