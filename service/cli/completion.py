"""What a shell is told when somebody presses the tabulator: names from the database, quickly or not at all."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from service.cli.secret_files import read_secret_files

_PATIENCE_SECONDS = 1


def complete_workspace(incomplete: str) -> list[str]:
    """Return names of workspaces that begin so; none where DATABASE_URL leads nowhere, as nobody could read why."""
    with suppress(Exception):
        read_secret_files()
        return asyncio.run(_slugs(os.environ["DATABASE_URL"], incomplete))
    return []


async def _slugs(url: str, beginning: str) -> list[str]:
    from tenancy.catalog import slugs_that_begin
    from tenancy.connection import admin_connection

    async with asyncio.timeout(_PATIENCE_SECONDS), admin_connection(url) as admin:
        return await slugs_that_begin(admin, beginning)
