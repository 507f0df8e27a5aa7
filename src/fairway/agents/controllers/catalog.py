"""Which kinds the server serves: asked at the start and again from time to time, as new ones may be defined."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from fairway.agents.controllers.performer import ApiWriter
from fairway.controllers.things import ResourceType, preferred_versions, resource_types
from fairway.values.errors import FairwayError

log = logging.getLogger(__name__)


async def read_catalog(api: ApiWriter) -> tuple[ResourceType, ...]:
    """Every kind in its group's preferred version. A group that does not answer is left out.

    Raises FairwayError when the server does not answer at all.
    """
    versions = preferred_versions(await _read(api, "/apis"))
    paths = ["/api/v1", *(f"/apis/{version}" for version in versions)]
    lists = await asyncio.gather(*(_read_group(api, path) for path in paths))
    return tuple(one for found in lists for one in found)


async def _read(api: ApiWriter, path: str) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.json.decode(await api.request("GET", path))
    return tree


async def _read_group(api: ApiWriter, path: str) -> list[ResourceType]:
    try:
        return resource_types(await _read(api, path))
    except (FairwayError, msgspec.MsgspecError) as error:
        log.warning("path=%s msg='this group is left out' error='%s'", path, error)
        return []
