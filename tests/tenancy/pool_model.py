"""The pool on a loop and a clock of the test's own: whatever can happen at once does, and the same each time.

What is tested is who gets a place, when, and whether it comes back: thousands of schedules, among them such as a real
server never shows twice. So the connections are not real: the pool is given a function to connect by, and sees of a
connection only what `Line` has. What real ones do then is in test_shares.py, test_kernel.py and test_strict.py.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tenancy.errors import DatabaseUnavailable, TenancyError
from tenancy.pool import Pool

# More than it takes until nothing is left to do that needs no time.
_ALL_TURNS = 16


class Loop(asyncio.SelectorEventLoop):
    """Its time passes when the test says so, and it goes on turn by turn."""

    now = 0.0

    def time(self):
        return self.now

    def turn(self, times=1):
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def rest(self):
        self.turn(_ALL_TURNS)


class Line:
    """A connection as the pool sees it; *is_busy* while something is under way on it, which delays its closing."""

    def __init__(self, server, login):
        self.server = server
        self.login = login
        self.is_lost = self.is_busy = self.in_transaction = False
        self.closing = None

    def is_closed(self):
        return self.is_lost or self.closing is not None

    def is_in_transaction(self):
        return self.in_transaction

    def terminate(self):
        if self.is_busy and self in self.server.lines:
            self.server.faults.append("terminated in the middle of a statement")
        self.lose()

    async def close(self, **_):
        if not self.is_closed():
            self.closing = self.server.loop.create_future()
            if self.is_busy:
                await self.closing
            self.is_busy = False
            self.lose()

    def lose(self):
        self.is_lost = True
        self.server.lines.pop(self, None)


class Server:
    """The other end of all lines: who is connected, who is connecting, and what went wrong."""

    def __init__(self, loop):
        self.loop = loop
        # In the order of their making.
        self.lines = {}
        self.connecting = []
        self.faults = []

    async def connect(self, _url, *, login, **_):
        answer = self.loop.create_future()
        self.connecting.append(answer)
        try:
            if not await answer:
                raise TenancyError("refused")
        finally:
            self.connecting.remove(answer)
        line = Line(self, login)
        self.lines[line] = line
        return line


@dataclass(eq=False)
class Caller:
    """One request for a connection, *since* then; it ends when it is told how."""

    workspace: str | None
    since: float
    end: Any
    task: Any = None
    lent: Any = None


class Calls:
    """A pool of *kind* with its server, and all who call."""

    def __init__(self, kind=Pool, *, size, strict=False, **options):
        self.loop = Loop()
        self.server = Server(self.loop)
        self.is_strict = strict
        login_of = (lambda workspace: workspace) if strict else None
        self.pool = kind("", size=size, login_of=login_of, connect=self.server.connect, **options)
        self.size = size
        self.callers = []
        # Who had each line last.
        self.had = {}

    def call(self, workspace):
        caller = Caller(workspace, self.loop.now, self.loop.create_future())
        caller.task = self.loop.create_task(self._work(caller))
        self.callers.append(caller)
        return caller

    async def _work(self, caller):
        async with self.pool.lend(caller.workspace) as lent:
            line = lent.connection
            if line.is_busy or line.in_transaction:
                self.server.faults.append("lent in the middle of something")
            if any(other.lent is not None and other.lent.connection is line for other in self.callers):
                self.server.faults.append("lent twice")
            if self.is_strict and line.login != caller.workspace:
                self.server.faults.append("lent to another workspace")
            caller.lent, line.is_busy = lent, True
            self.had[line] = caller.workspace
            try:
                end = await caller.end
                line.is_busy = end == "unsettled"
                line.in_transaction = end == "in a transaction"
                if end != "unsettled":
                    lent.settle()
            finally:
                caller.lent = None

    def connect_all(self):
        """Let all have what they wait for and may have."""
        self.loop.rest()
        while self.server.connecting:
            for answer in self.server.connecting:
                answer.set_result(True)
            self.loop.rest()

    def pass_time(self, seconds):
        self.connect_all()
        self.loop.now += seconds
        self.connect_all()

    def holders(self, workspace=...):
        return [one for one in self.callers if one.lent and workspace in (..., one.workspace)]

    def is_over(self, workspace):
        async def ask():
            return self.pool._shares.is_over(workspace)

        return self.loop.run_until_complete(ask())

    def outcome(self, caller):
        """Return "waits", "works", "done" or why not."""
        if not caller.task.done():
            return "works" if caller.lent else "waits"
        if caller.task.cancelled():
            return "gone"
        error = caller.task.exception()
        if error is not None and not isinstance(error, DatabaseUnavailable):
            raise error
        return "done" if error is None else str(error)

    def go(self):
        """Cancel all who are there, and let every line go."""
        for caller in self.callers:
            caller.task.cancel()
        for _ in range(3):
            self.loop.rest()
            for line in self.server.lines:
                if line.closing is not None and not line.closing.done():
                    line.closing.set_result(None)

    def finish(self):
        """Let all go, and see that the pool is whole: all of its places can be had at once."""
        self.go()
        assert self.pool.usage.in_use == self.pool.usage.waiting == self.pool.usage.closing == 0
        # Whoever has held too much is forgiven.
        self.pass_time(1000)
        last = [self.call(f"last-{number}") for number in range(self.size)]
        for _ in range(8):
            self.pass_time(0.25)
        assert [self.outcome(caller) for caller in last] == ["works"] * self.size
        assert {caller.lent.number for caller in last} == set(range(self.size))
        for caller in last:
            caller.end.set_result("settled")
        self.loop.rest()
        self.loop.run_until_complete(self.pool.close())
        assert not self.server.faults
        assert not self.server.lines

    def end(self):
        """Leave nothing behind, whatever has failed."""
        self.go()
        tasks = asyncio.all_tasks(self.loop) | {caller.task for caller in self.callers}
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))
        for task in tasks:
            if not task.cancelled():
                task.exception()
        self.loop.close()


@contextmanager
def calling(kind, **options):
    """A pool and its callers, which is whole when all have gone."""
    calls = Calls(kind, **options)
    try:
        yield calls
        calls.finish()
    finally:
        calls.end()


# How many turns of the loop go by between two things that happen: none, some, or all that it takes.
_TURNS = (0, 0, 0, 1, 2, _ALL_TURNS, _ALL_TURNS)
_WORKSPACES = (None, "w_a", "w_a", "w_b", "w_c")
_SECONDS = (0.05, 0.05, 0.2, 0.2, 0.5, 1.5, 15)


class Schedule:
    """Everything that can happen to a pool, in an order of *seed*'s, and much of it in the same turn of its loop."""

    def __init__(self, kind, seed):
        self.dice = random.Random(seed)  # noqa: S311 - a load, not a secret
        self.is_strict = self.dice.random() < 0.5
        self.calls = Calls(kind, size=self.dice.randint(1, 5), strict=self.is_strict)
        self.loop, self.server, self.pool = self.calls.loop, self.calls.server, self.calls.pool

    def run(self, steps):
        try:
            for _ in range(steps):
                self.step()
                self.loop.turn(self.dice.choice(_TURNS))
                assert not self.server.faults
                assert len(self.server.lines) + len(self.server.connecting) <= self.calls.size
                if self.dice.random() < 0.2:
                    self.rest()
            self.calls.finish()
        finally:
            self.calls.end()

    def step(self):
        """Let one thing happen that can happen now, those more often that move things on."""
        working = [one for one in self.calls.callers if one.lent and not one.end.done()]
        here = [one for one in self.calls.callers if not one.task.done()]
        connecting = [answer for answer in self.server.connecting if not answer.done()]
        closing = [line for line in self.server.lines if line.closing and not line.closing.done()]
        idle = [line for line in self.server.lines if line.closing is None]
        events = [
            (4, self.call, _WORKSPACES),
            (4, self.end_work, working),
            (2, self.cancel, here),
            (4, self.connect, connecting),
            (3, self.let_go, closing),
            (1, self.lose, idle),
            (2, self.pass_time, _SECONDS),
        ]
        possible = [event for event in events if event[2]]
        [(_, work, choices)] = self.dice.choices(possible, [weight for weight, *_ in possible])
        work(self.dice.choice(choices))

    def call(self, workspace):
        self.calls.call("w_a" if self.is_strict and workspace is None else workspace)

    def end_work(self, caller):
        caller.end.set_result(self.dice.choice(["settled", "settled", "settled", "unsettled", "in a transaction"]))

    def cancel(self, caller):
        caller.task.cancel()

    def connect(self, answer):
        answer.set_result(self.dice.random() < 0.8)

    def let_go(self, line):
        line.closing.set_result(None)

    def lose(self, line):
        line.lose()

    def pass_time(self, seconds):
        self.loop.now += seconds

    def rest(self):
        """When all is done that needs no time, each place is accounted for, and nobody waits for what may be had."""
        self.loop.rest()
        calls, usage = self.calls, self.pool.usage
        connecting = len(self.server.connecting)
        closing = [line for line in self.server.lines if line.closing]
        assert usage.in_use == len(calls.holders()) + connecting
        assert usage.closing == len(closing)
        waiting = [one for one in calls.callers if calls.outcome(one) == "waits"]
        assert usage.waiting == len(waiting) - connecting
        # While some connect, one cannot see from here who does.
        if calls.size > usage.in_use + usage.closing and not connecting:
            for caller in waiting:
                holds = calls.holders(caller.workspace) or caller.workspace in map(calls.had.get, closing)
                if self.loop.now - caller.since > 0.2 and not calls.is_over(caller.workspace):
                    assert holds, "somebody waits for a place that there is"
