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
            async with api.open_list(path, page) as stream:
                async for items in stream:
                    take(items)
        except GoneError:
            if "continue" not in page:
                raise
            expired += 1
            restart()
            page = {**query, "limit": str(PAGE_SIZE)} if expired < 2 else dict(query)
            continue
        if not stream.continue_token:
            return stream.resource_version
        page["continue"] = stream.continue_token
        # The token carries the snapshot; naming a version beside it is an error to the server.
        page.pop("resourceVersion", None)
        page.pop("resourceVersionMatch", None)
