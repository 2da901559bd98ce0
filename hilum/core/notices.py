"""Being woken by PostgreSQL (``LISTEN``) within an event loop. A notice only says that it is worth looking: what there
is to see lies in tables, and whoever is woken looks by itself every few seconds as well."""

import asyncio
from collections.abc import Callable
from typing import Final, LiteralString

import psycopg

from hilum.core.database import Database

_AGAIN_SECONDS: Final = 5.0


async def listen(database: Database, channel: LiteralString, ring: Callable[[str], None]) -> None:
    """Tell of notices until cancelled, over a connection of its own, which is made again when it is lost.

    Parameters
    ----------
    database
        Where to listen.
    channel
        The name that is notified.
    ring
        Given the payload of each notice; an empty one each time that listening begins, for what came before.
    """
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as connection:
                await connection.execute(f"listen {channel}")
                ring("")
                async for notice in connection.notifies():
                    ring(notice.payload)
        except psycopg.Error:
            await asyncio.sleep(_AGAIN_SECONDS)
