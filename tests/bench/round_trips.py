"""How often a call goes to the database and back, counted on the wire between the service and PostgreSQL.

The wire is a slow one, so that what the service sends without waiting for an answer has come before that has gone back.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_DELAY_SECONDS = 0.01


@dataclass
class Traffic:
    """How often the service has sent something after an answer so far, its first word included."""

    round_trips: int = 0
    has_answered: bool = True

    async def total(self) -> int:
        """Return it once all that was sent until now is counted."""
        await asyncio.sleep(3 * _DELAY_SECONDS)
        return self.round_trips


@contextlib.asynccontextmanager
async def counted(folder: Path, upstream: Path) -> AsyncIterator[Traffic]:
    """Pass on to the socket *upstream* what comes to one of the same name in *folder*, and count the answers."""
    traffic = Traffic()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reads, writes = await asyncio.open_unix_connection(upstream)
        await asyncio.gather(_ask(reader, writes, traffic), _answer(reads, writer, traffic), return_exceptions=True)

    server = await asyncio.start_unix_server(client, folder / upstream.name)
    try:
        yield traffic
    finally:
        server.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic) -> None:
    while data := await reader.read(65536):
        traffic.round_trips += traffic.has_answered
        traffic.has_answered = False
        writer.write(data)
    writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic) -> None:
    while data := await reader.read(65536):
        await asyncio.sleep(_DELAY_SECONDS)
        traffic.has_answered = True
        writer.write(data)
    writer.close()
