"""Keeps small nftables tables as they should be, in the network namespace of the calling thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fairway.values.errors import FairwayError

if TYPE_CHECKING:
    from fairway.dataplanes.nftables.own_tables import OwnTable
    from fairway.io.netlink.own_tables import OwnTableWriter

log = logging.getLogger("fairway.tables")

MEND_SECONDS = 15.0


async def keep_tables(tables: Iterable[OwnTable]) -> None:
    """Make them, and mend what others change, until cancelled. They stay then, for the process that comes next."""
    from fairway.io.netlink.own_tables import OwnTableWriter

    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(OwnTableWriter(table)) for table in tables]
        while True:
            for writer in writers:
                _mend(writer)
            await asyncio.sleep(MEND_SECONDS)


def _mend(writer: OwnTableWriter) -> None:
    try:
        for what in writer.ensure():
            log.info("table=%s family=%s msg='%s'", writer.table.name, writer.table.family, what)
    except FairwayError as error:
        log.warning("table=%s error='%s'", writer.table.name, error)
