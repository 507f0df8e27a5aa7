"""How an answer is written: as YAML, for people's eyes, or as Go's encoder ends a document."""

from __future__ import annotations

import msgspec
import yaml

from fairway.apiserver.context import decode
from fairway.apiserver.request import Request, Response

_PEOPLE = ("curl", "Wget", "Mozilla/5.0")
_INDENTED = ("/", "/version")


def written(response: Response, request: Request) -> Response:
    """The answer in the form that the request wants."""
    if response.content_type == "application/yaml":
        return as_yaml(response)
    if not response.content_type.startswith("application/json") or request.path.startswith("/openapi"):
        return response
    if not response.body:
        return response
    if _is_pretty(request):
        return response._replace(body=msgspec.json.format(response.body, indent=2))
    return response._replace(body=response.body + b"\n")


def _is_pretty(request: Request) -> bool:
    wanted = request.first("pretty")
    if wanted:
        return wanted in ("1", "t", "T", "true", "TRUE", "True")
    return request.path in _INDENTED or request.headers.get("user-agent", "").startswith(_PEOPLE)


def as_yaml(response: Response) -> Response:
    """A JSON answer as YAML."""
    text = yaml.dump(decode(response.body), Dumper=_Dumper, default_flow_style=False, allow_unicode=True)
    return response._replace(body=text.encode(), content_type="application/yaml")


class _Dumper(yaml.CSafeDumper):
    """YAML as sigs.k8s.io/yaml writes it: what would be read as no string is in double quotes, lines are lines."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    tag: str = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    if tag != "tag:yaml.org,2002:str" or text in ("y", "Y", "n", "N"):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
