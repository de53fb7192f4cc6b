"""How often a call goes to the database and back, counted on the wire between the service and PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_HEADER = struct.Struct("!cI")
_READY = b"Z"
_COMPLETE = b"C"


@dataclass
class Traffic:
    """What has come from the server so far: answers (one a round trip), and the statements that they completed."""

    round_trips: int = 0
    statements: int = 0


@contextlib.asynccontextmanager
async def counted(folder: Path, upstream: Path) -> AsyncIterator[Traffic]:
    """Pass on to the socket *upstream* what comes to one of the same name in *folder*, and count the answers."""
    traffic = Traffic()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reads, writes = await asyncio.open_unix_connection(upstream)
        await asyncio.gather(_pass(reader, writes), _count(reads, writer, traffic), return_exceptions=True)

    server = await asyncio.start_unix_server(client, folder / upstream.name)
    try:
        yield traffic
    finally:
        server.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def _count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            header = await reader.readexactly(_HEADER.size)
            kind, length = _HEADER.unpack(header)
            writer.write(header + await reader.readexactly(length - 4))
            traffic.round_trips += kind == _READY
            traffic.statements += kind == _COMPLETE
    writer.close()
