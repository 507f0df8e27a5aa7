"""Which kinds the server serves: asked at the start and again from time to time, as new ones may be defined."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from fairway.agents.controllers.performer import ApiWriter
from fairway.controllers.things import ResourceType, preferred_versions, resource_types
from fairway.values.errors import FairwayError

log = logging.getLogger(__name__)


async def read_catalog(api: ApiWriter, known: Sequence[ResourceType] = ()) -> tuple[ResourceType, ...]:
    """Every kind in its group's preferred version. Of a group that does not answer it is what was `known` before.

    Raises FairwayError when the server does not answer at all, or not about the kinds of v1.
    """
    versions = preferred_versions(await _read(api, "/apis"))
    core = resource_types(await _read(api, "/api/v1"))
    lists = await asyncio.gather(*(_read_group(api, version, known) for version in versions))
    return (*core, *(one for found in lists for one in found))


async def _read(api: ApiWriter, path: str) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.json.decode(await api.request("GET", path))
    return tree


async def _read_group(api: ApiWriter, version: str, known: Sequence[ResourceType]) -> list[ResourceType]:
    try:
        return resource_types(await _read(api, f"/apis/{version}"))
    except (FairwayError, msgspec.MsgspecError) as error:
        log.warning("group=%s msg='its kinds stay what they were' error='%s'", version, error)
        return [one for one in known if one.kind.api_version == version]
