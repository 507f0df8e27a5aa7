"""Links of a page that came through a proxy: those that lead to the page's own host lead through the proxy again.

As k8s.io/apimachinery/pkg/util/proxy does it, tag by tag; all other text stays byte for byte.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import accumulate
from urllib.parse import urlsplit, urlunsplit

ATTRIBUTES = {
    "a": ("href",),
    "applet": ("codebase",),
    "area": ("href",),
    "audio": ("src",),
    "base": ("href",),
    "blockquote": ("cite",),
    "body": ("background",),
    "button": ("formaction",),
    "command": ("icon",),
    "del": ("cite",),
    "embed": ("src",),
    "form": ("action",),
    "frame": ("longdesc", "src"),
    "head": ("profile",),
    "html": ("manifest",),
    "iframe": ("longdesc", "src"),
    "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"),
    "ins": ("cite",),
    "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"),
    "q": ("cite",),
    "script": ("src",),
    "source": ("src",),
    "video": ("poster", "src"),
}


def rewrite(url: str, prefix: str, host: str) -> str:
    """`url` as it is written on a page of `host` that the client sees below `prefix`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.netloc not in ("", host) or not parts.path.startswith("/"):
        return url
    path = parts.path if parts.path.startswith(prefix) else prefix + parts.path
    return urlunsplit(("", "", path, parts.query, parts.fragment))


def through_proxy(page: str, prefix: str, host: str) -> str:
    """The page with its links rewritten."""
    tags = _Tags(page, lambda url: rewrite(url, prefix, host))
    tags.feed(page)
    tags.close()
    out, at = [], 0
    for start, old, new in tags.changed:
        out += [page[at:start], new]
        at = start + len(old)
    return "".join([*out, page[at:]])


class _Tags(HTMLParser):
    """Finds the tags whose links change: place, old text, new text."""

    def __init__(self, page: str, rewritten: Callable[[str], str]) -> None:
        super().__init__(convert_charrefs=False)
        self.changed: list[tuple[int, str, str]] = []
        self._rewritten = rewritten
        self._lines = [0, *accumulate(len(line) + 1 for line in page.split("\n"))]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        links = ATTRIBUTES.get(tag, ())
        new = [(name, self._rewritten(value) if value and name in links else value) for name, value in attrs]
        text = self.get_starttag_text() or ""
        if new != attrs:
            line, column = self.getpos()
            self.changed.append((self._lines[line - 1] + column, text, _tag(tag, new, text.endswith("/>"))))

    handle_startendtag = handle_starttag


def _tag(tag: str, attrs: list[tuple[str, str | None]], is_closed: bool) -> str:
    shown = [name if value is None else f'{name}="{html.escape(value)}"' for name, value in attrs]
    return f"<{' '.join([tag, *shown])}{'/' if is_closed else ''}>"
