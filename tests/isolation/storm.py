"""A storm around the driver: look-ups and calls that are cancelled, lost, ended or refused, and SQL of one's choice.

What broke the isolation once was not a query that Postgres let through, but one that ran after entering the workspace
had failed. So each try of an attack comes when something has just gone wrong, or goes wrong meanwhile, on the same few
connections.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg

from tenancy.connection import admin_connection
from tenancy.errors import DatabaseUnavailable, NotConfirmed
from tenancy.keys import PREFIX
from tenancy.session import Identity

if TYPE_CHECKING:
    from tenancy.session import Gateway

#: How a try may end but by an answer.
REFUSALS = (asyncpg.PostgresError, asyncpg.InterfaceError, DatabaseUnavailable, NotConfirmed, RuntimeError)
#: What is tried on the other workspace and on the control plane: each must be refused wherever it runs.
REACHING = (
    "SELECT count(*) FROM {other}.users",
    "UPDATE {other}.users SET name = 'taken'",
    "SELECT user_id FROM control.authenticate_key('\\x00')",
    "SELECT control.create_own_key({other_id}, 1, 'x', 'planted', 'abcd', sha256('x'), NULL)",
    "SELECT control.issue_link({other_id}, 1, 'invitation', sha256('x'))",
    "SELECT hash FROM control.passwords",
    "SELECT count(*) FROM users u JOIN control.workspaces w ON true",
)
_SLOW = "SELECT count(*) FROM generate_series(1, 3000)"
_TURNS = 8
# Nothing, an error in the middle of entering, and one by which none of its statements is executed, not even BEGIN.
_GATES = ("", "SELECT 1 / 0", "SELECT (")
# The backend of ours that worked last, and again and again: a cancellation that meets no statement is none.
_ONE_OF_OURS = """
WITH one AS MATERIALIZED (
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND (usename = 'testorchestrator_app' OR usename LIKE 'w\\_%')
    ORDER BY state = 'active' DESC, state_change DESC LIMIT 1
)
SELECT {what}(pid), pg_sleep(0.0001) FROM one, generate_series(1, {times})
"""


@dataclass
class Outcome:
    """What came of the tries: *outside* are those that ran as somebody else than the workspace.

    *reached* are those that got at something that is not the workspace's.
    """

    tries: int = 0
    served: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    outside: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)


class Storm:
    """Tries of the workspace *own* on the workspace *other* through *gateway*, whose backends *admin_url* disturbs."""

    def __init__(self, gateway: Gateway, admin_url: str, *, own: str, other: str, other_id: int, seed: int) -> None:
        self._gateway = gateway
        self._admin_url = admin_url
        self._own, self._other, self._other_id = own, other, other_id
        self._dice = random.Random(seed)  # noqa: S311 - which try comes when
        self.outcome = Outcome()

    async def rage(self, tries: int) -> Outcome:
        """Make so many tries."""
        async with admin_connection(self._admin_url) as self._admin:
            await self._rage(tries)
        return self.outcome

    async def _rage(self, tries: int) -> None:
        troubles = (self._cancelled_look_up, self._cancelled_call, self._refused, self._denied, self._cancelled_backend)
        for number in range(tries):
            trouble = self._ended_backend if number % 200 == 199 else self._dice.choice(troubles)
            meanwhile = asyncio.ensure_future(trouble())
            for _ in range(self._dice.randrange(_TURNS)):
                await asyncio.sleep(0)
            if self._dice.random() < 0.5:
                await meanwhile
            await self._try(number)
            await meanwhile
        return self.outcome

    async def _try(self, number: int) -> None:
        outcome = self.outcome
        outcome.tries += 1
        reaching = REACHING[number // 2 % len(REACHING)] if number % 2 else None
        query = "SELECT current_user::text"
        if reaching is not None:
            query = reaching.format(other=self._other, other_id=self._other_id)
        try:
            gate = self._dice.choices(_GATES, weights=(8, 1, 1))[0]
            read_only = self._dice.random() < 0.5
            async with self._gateway.workspace(self._own, read_only=read_only, gate=gate) as connection:
                answer = await connection.fetch(query)
                # At once: it has run, however its transaction ends.
                if reaching is not None:
                    outcome.reached.append(f"{query}: {answer}")
                elif answer[0][0] != self._own:
                    outcome.outside.append(answer[0][0])
            outcome.served += 1
        except REFUSALS as error:
            outcome.refused[type(error).__name__] += 1

    async def _cancelled(self, task: asyncio.Task[object]) -> None:
        for _ in range(self._dice.randrange(_TURNS)):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError, *REFUSALS):
            await task

    async def _cancelled_look_up(self) -> None:
        await self._cancelled(asyncio.ensure_future(self._gateway.authenticate(PREFIX + secrets.token_urlsafe(32))))

    async def _cancelled_call(self) -> None:
        async def call() -> None:
            async with self._gateway.workspace(self._other, read_only=self._dice.random() < 0.5) as connection:
                await connection.fetchval(_SLOW)

        await self._cancelled(asyncio.ensure_future(call()))

    async def _refused(self) -> None:
        """A key that was revoked since it was looked up."""
        gone = Identity(
            workspace_id=self._other_id,
            schema_name=self._other,
            schema_version="1",
            compatible_from="1",
            user_id=1,
            api_key_id=0,
        )
        with suppress(*REFUSALS):
            async with self._gateway.workspace(self._other, read_only=True, recalled=gone) as connection:
                await connection.fetchval("SELECT 1")

    async def _denied(self) -> None:
        with suppress(*REFUSALS):
            async with self._gateway.workspace(self._other, read_only=True, gate="SELECT 1 / 0") as connection:
                await connection.fetchval("SELECT 1")

    async def _cancelled_backend(self) -> None:
        await self._admin.execute(_ONE_OF_OURS.format(what="pg_cancel_backend", times=12))

    async def _ended_backend(self) -> None:
        await self._admin.execute(_ONE_OF_OURS.format(what="pg_terminate_backend", times=1))
