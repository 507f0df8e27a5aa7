"""A list read in pages: follows `continue`, and starts over when the server has forgotten the snapshot in the middle.

Does not know what the objects are nor why somebody lists them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fairway.agents.api import ApiReader, Query
from fairway.kube.status import GoneError

PAGE_SIZE = 500
"""As client-go's pager. A server may ignore it and send everything at once."""


async def read_list(
    api: ApiReader,
    path: str,
    query: Query,
    take: Callable[[list[msgspec.Raw]], None],
    restart: Callable[[], None],
) -> str:
    """Hand every object of a list to `take`, and return the list's resourceVersion.

    `restart` is called when what was taken so far is void. A continue token that expires twice (objects change faster
    than pages can be read) ends the paging: the third try asks for everything in one answer.
    """
    page: dict[str, str] = {**query, "limit": str(PAGE_SIZE)}
    expired = 0
    while True:
        try:
            version, token = await _read_page(api, path, page, take)
        except GoneError:
            if "continue" not in page:
                raise
            expired += 1
            restart()
            page = {**query, "limit": str(PAGE_SIZE)} if expired < 2 else dict(query)
            continue
        if not token:
            return version
        page["continue"] = token
        # The token carries the snapshot; naming a version beside it is an error to the server.
        page.pop("resourceVersion", None)
        page.pop("resourceVersionMatch", None)


async def _read_page(
    api: ApiReader, path: str, query: Query, take: Callable[[list[msgspec.Raw]], None]
) -> tuple[str, str]:
    """Hand over one answer; returns its resourceVersion and its continue token, empty at the end."""
    async with api.open_list(path, query) as stream:
        async for items in stream:
            take(items)
    return stream.resource_version, stream.continue_token
