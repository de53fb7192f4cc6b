"""Working through many workspaces over a few connections."""

from __future__ import annotations

import asyncio
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    Connecting = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]

Item = TypeVar("Item")

# A backend keeps memory of every workspace that it has touched, and nothing but its end frees it.
_RENEW_AFTER = 50


async def for_each(
    items: Iterable[Item],
    work: Callable[[asyncpg.Connection, Item], Awaitable[None]],
    *,
    connecting: Connecting,
    connections: int,
) -> None:
    """Do *work* with each item, over so many connections at a time, which are renewed now and then.

    What *work* raises ends it all; a connection that it leaves closed is replaced.
    """
    waiting = iter(items)
    workers = [asyncio.ensure_future(_work_through(waiting, work, connecting)) for _ in range(connections)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _work_through(
    waiting: Iterator[Item], work: Callable[[asyncpg.Connection, Item], Awaitable[None]], connecting: Connecting
) -> None:
    # The workers share the one iterator, so each item is taken once.
    for first in waiting:
        async with connecting() as connection:
            for item in chain([first], islice(waiting, _RENEW_AFTER - 1)):
                await work(connection, item)
                if connection.is_closed():
                    break
