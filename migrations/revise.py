"""Write a new revision from the difference between the tables and the revisions: `python -m migrations.revise`.

The written file is a draft to read and complete: Alembic does not see changed checks, functions or privileges.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from migrations.trees import Tree, configuration, statements
from tenancy.embedded import embedded_server

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def _write(connection: Connection, tree: Tree, message: str) -> None:
    config = configuration(tree)
    config.attributes["connection"] = connection
    number = len(list((Path(__file__).parent / tree / "versions").glob("*.py"))) + 1
    command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")


async def _revise(url: str, tree: Tree, message: str) -> None:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        await connection.execute(text("CREATE SCHEMA control"))
        try:
            current = statements(tree)
        except RuntimeError:
            current = ()
        for statement in current:
            await connection.execute(text(statement.replace(":", r"\:")))
        await connection.commit()
        await connection.run_sync(_write, tree, message)
    await engine.dispose()


def main() -> None:
    """Draft the next revision of the tree named first, with the message that follows."""
    if len(sys.argv) != 3:  # noqa: PLR2004
        sys.exit('usage: python -m migrations.revise control|workspace "what changes"')
    with tempfile.TemporaryDirectory() as folder, embedded_server(Path(folder) / "data", durable=False) as server:
        asyncio.run(_revise(server.dsn(), Tree(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    main()
