"""Status line and headers of HTTP/1.1 answers."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

_REASONS = {s.value: s.phrase.encode() for s in HTTPStatus}
_date = (0, "")


def _now_header() -> str:
    global _date  # noqa: PLW0603 - one text a second
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]


def head(
    code: int, content_type: str, headers: tuple[tuple[str, str], ...], length: int | None, *, keep: bool
) -> bytes:
    """`length` None means chunks."""
    lines = [f"HTTP/1.1 {code} ".encode() + _REASONS.get(code, b"Status")]
    if not any(k == "Cache-Control" for k, _ in headers):
        lines.append(b"Cache-Control: no-cache, private")
    if content_type:
        lines.append(f"Content-Type: {content_type}".encode())
    lines.append(f"Date: {_now_header()}".encode())
    lines += [f"{k}: {v}".encode("utf-8", "replace") for k, v in headers]
    if length is None:
        lines.append(b"Transfer-Encoding: chunked")
    elif code != 304:
        lines.append(f"Content-Length: {length}".encode())
    if not keep:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"
