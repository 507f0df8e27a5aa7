"""services/proxy and pods/proxy: the client's request is sent on to an address, the answer comes back as it is."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from urllib.parse import quote, urlencode

from fairway.apiserver import errors
from fairway.apiserver.context import encode
from fairway.apiserver.request import Upgrade
from fairway.io.http.duplex import Duplex
from fairway.io.http.wire_head import head

_DROPPED = ("host", "authorization", "connection", "content-length", "transfer-encoding", "keep-alive", "expect")


async def proxy(upgrade: Upgrade, duplex: Duplex) -> None:
    """One request, one answer; an upgrade (WebSocket) goes on both ways."""
    assert upgrade.target is not None
    scheme, address, port = upgrade.target
    try:
        tls = _any_certificate() if scheme == "https" else None
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port, ssl=tls), 10)
    except (OSError, TimeoutError) as error:
        refusal = errors.service_unavailable(f"error trying to reach service: dial tcp {address}:{port}: {error}")
        body = encode(refusal.status())
        await duplex.write(head(refusal.code, "application/json", (), len(body), keep=False) + body)
        return
    try:
        writer.write(_request(upgrade, address, port))
        await writer.drain()
        back = asyncio.ensure_future(_answer(reader, duplex))
        forth = asyncio.ensure_future(_more(writer, duplex))
        await asyncio.wait({back, forth}, return_when=asyncio.FIRST_COMPLETED)
        for task in (back, forth):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task
    finally:
        writer.close()


def _any_certificate() -> ssl.SSLContext:
    """Pods have certificates that nobody signed; the real server's proxy does not check them either."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _request(upgrade: Upgrade, address: str, port: int) -> bytes:
    request = upgrade.request
    path = "/" + quote(upgrade.rest, safe="/%:@!$&'()*+,;=~")
    query = urlencode(request.query, doseq=True)
    host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    lines = [f"{request.method} {path}{'?' + query if query else ''} HTTP/1.1", f"Host: {host}"]
    lines += [f"{k}: {v}" for k, v in request.headers.items() if k not in _DROPPED]
    upgrades = "upgrade" in request.headers
    lines.append("Connection: Upgrade" if upgrades else "Connection: close")
    if request.body:
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + request.body


async def _answer(reader: asyncio.StreamReader, duplex: Duplex) -> None:
    while data := await reader.read(65536):
        await duplex.write(data)


async def _more(writer: asyncio.StreamWriter, duplex: Duplex) -> None:
    while data := await duplex.read():
        writer.write(data)
        await writer.drain()
