"""The pool: whatever happens to it, no place is lost, nothing is lent that is in use, and everybody has a share."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import pytest

import tenancy.pool
import tenancy.shares
from tenancy.pool import Pool
from tests.tenancy.pool_model import Schedule, calling

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEDULES = 100
STEPS = 100
SHARE = "the workspace has its share of the connections"


def no_schedule_breaks(kind):
    for seed in range(SCHEDULES):
        Schedule(kind, seed).run(STEPS)


def a_greedy_workspace_leaves_the_last_quarter(kind):
    for size, most in ((1, 1), (2, 1), (3, 2), (4, 3), (10, 8), (12, 9)):
        for strict in (False, True):
            with calling(kind, size=size, strict=strict) as calls:
                greedy = [calls.call("w_greedy") for _ in range(50)]
                calls.pass_time(0.3)
                assert len(calls.holders()) == most
                # Others still get theirs, one after the other, and the service its look-ups.
                for workspace in ("w_a", "w_b", None) if size > 1 and not strict else ("w_a", "w_b")[: size - 1]:
                    for _ in range(3):
                        other = calls.call(workspace)
                        calls.pass_time(0.3)
                        assert calls.outcome(other) == "works"
                        other.end.set_result("settled")
                        calls.connect_all()
                calls.pass_time(2)
                ends = [calls.outcome(one) for one in greedy]
                assert ends == ["works"] * most + [SHARE] * (50 - most)


def places_go_to_those_who_hold_the_fewest(kind):
    with calling(kind, size=8) as calls:
        for workspace in ("w_a", "w_a", "w_a", "w_a", "w_b", "w_b"):
            calls.call(workspace)
            calls.pass_time(0.1)
        waiting = [calls.call(workspace) for workspace in ("w_a", "w_a", "w_b")]
        calls.pass_time(0.1)
        order = []
        for _ in range(2):
            calls.holders("w_a")[0].end.set_result("settled")
            calls.connect_all()
            order += [caller.workspace for caller in waiting if caller.lent and caller.workspace not in order]
        assert order == ["w_b", "w_a"]


def who_has_waited_for_long_comes_before_those_who_hold_less(kind):
    with calling(kind, size=8) as calls:
        for workspace in ("w_a", "w_a", "w_a", "w_a", "w_b", "w_b"):
            calls.call(workspace)
            calls.pass_time(0.1)
        first = calls.call("w_a")
        calls.pass_time(0.6)
        second = calls.call("w_b")
        calls.pass_time(0.1)
        calls.holders("w_b")[0].end.set_result("settled")
        calls.connect_all()
        assert [calls.outcome(one) for one in (first, second)] == ["works", "waits"]


def what_the_service_looks_up_keeps_its_turn(kind):
    with calling(kind, size=1) as calls:
        calls.call("w_a")
        calls.pass_time(0.1)
        waiting = [calls.call(workspace) for workspace in (None, None, "w_b")]
        calls.pass_time(0.1)
        for caller in waiting:
            calls.holders()[0].end.set_result("settled")
            calls.connect_all()
            assert calls.holders() == [caller]


def who_came_first_of_a_workspace_is_served_first(kind):
    with calling(kind, size=1) as calls:
        callers = [calls.call("w_a") for _ in range(5)]
        for caller in callers:
            calls.pass_time(0.1)
            assert calls.holders() == [caller]
            caller.end.set_result("settled")


def who_held_too_much_lately_is_held_to_its_share(kind):
    with calling(kind, size=8) as calls:
        greedy = [calls.call(workspace) for workspace in ("w_greedy", "w_other_greedy") for _ in range(20)]
        calls.pass_time(0.1)
        more = [calls.call(f"w_more{number}") for number in range(2)]
        calls.pass_time(0.1)
        assert len(calls.holders()) == 8
        calls.pass_time(20)
        late = calls.call("w_late")
        calls.pass_time(0.1)
        assert calls.outcome(late) == "waits"
        again = [calls.call("w_greedy") for _ in range(5)]
        calls.connect_all()
        for caller in calls.holders("w_greedy"):
            caller.end.set_result("settled")
        calls.pass_time(0.1)
        # What comes free is not taken again by who had it, and of the last quarter it gets none.
        assert calls.outcome(late) == "works"
        assert not calls.holders("w_greedy")
        for caller in calls.holders("w_other_greedy"):
            caller.end.set_result("settled")
        calls.pass_time(0.1)
        assert len(calls.holders("w_greedy")) == 8 // 4
        # Refused after a part of the wait.
        calls.pass_time(0.3)
        assert [calls.outcome(one) for one in again].count(SHARE) == 3
        for workspace in ("w_new", "w_newer"):
            calls.call(workspace)
            calls.pass_time(0.1)
            assert len(calls.holders(workspace)) == 1
        # It is forgotten.
        for caller in calls.holders():
            caller.end.set_result("settled")
        calls.pass_time(60)
        for _ in range(10):
            calls.call("w_greedy")
        calls.pass_time(0.1)
        assert len(calls.holders("w_greedy")) == 6
        assert all(calls.outcome(one) for one in greedy + more)


def four_open_at_once_and_the_next_as_soon_as_one_has(kind):
    with calling(kind, size=6) as calls:
        callers = [calls.call(None) for _ in range(6)]
        calls.loop.rest()
        assert len(calls.server.connecting) == 4
        calls.server.connecting[0].set_result(True)
        calls.loop.rest()
        assert len(calls.server.connecting) == 4
        calls.connect_all()
        assert calls.holders() == callers


def who_goes_when_it_is_served_takes_no_turn_to_open_along(kind):
    with calling(kind, size=4) as calls:
        first = [calls.call(None) for _ in range(4)]
        calls.connect_all()
        then = [calls.call(None) for _ in range(4)]
        calls.loop.rest()
        for caller in first:
            caller.lent.connection.lose()
            caller.end.set_result("settled")
        calls.loop.turn()
        for caller in then:
            caller.task.cancel()
        calls.loop.rest()
        last = calls.call(None)
        calls.connect_all()
        assert calls.outcome(last) == "works"


def a_connection_that_was_lost_at_rest_is_replaced(kind):
    for strict in (False, True):
        with calling(kind, size=1, strict=strict) as calls:
            for _ in range(2):
                caller = calls.call("w_a")
                calls.connect_all()
                line = caller.lent.connection
                assert not line.is_closed()
                caller.end.set_result("settled")
                calls.loop.rest()
                line.lose()


CHECKS = (
    four_open_at_once_and_the_next_as_soon_as_one_has,
    who_goes_when_it_is_served_takes_no_turn_to_open_along,
    a_connection_that_was_lost_at_rest_is_replaced,
    no_schedule_breaks,
    a_greedy_workspace_leaves_the_last_quarter,
    places_go_to_those_who_hold_the_fewest,
    who_has_waited_for_long_comes_before_those_who_hold_less,
    what_the_service_looks_up_keeps_its_turn,
    who_came_first_of_a_workspace_is_served_first,
    who_held_too_much_lately_is_held_to_its_share,
)


@pytest.mark.parametrize("check", CHECKS)
def test_the_pool(check):
    check(Pool)


class Mutation(NamedTuple):
    """In the source of *module*, *old* becomes *new*; *check* finds it."""

    module: ModuleType
    old: str
    new: str
    check: Callable[[type[Pool]], None] = no_schedule_breaks


MUTATIONS = {
    "what is not settled is closed": Mutation(tenancy.pool, "if place.is_open and not is_settled:", "if False:"),
    "what is in a transaction is closed": Mutation(tenancy.pool, " and not self.connection.is_in_transaction()", ""),
    "what is closed ends its statement": Mutation(
        tenancy.pool, "await place.connection.close(timeout=_CLOSE_SECONDS)", "place.empty()"
    ),
    "a place is free when its connection is gone": Mutation(
        tenancy.pool,
        "closing.add_done_callback(partial(self._closed_one, place))",
        "self._closed_one(_Place(place.number, holder=place.holder), closing)",
    ),
    "the race in the wait": Mutation(tenancy.pool, "self._take_back(waiter.turn.result(), is_settled=True)", "pass"),
    "the turn to open that nobody takes": Mutation(
        tenancy.pool,
        "        self._opening.discard(place)\n        self._free[",
        "        self._free[",
        who_goes_when_it_is_served_takes_no_turn_to_open_along,
    ),
    "who opened lets the next one open": Mutation(
        tenancy.pool,
        "        self._serve()\n        return place\n",
        "        return place\n",
        four_open_at_once_and_the_next_as_soon_as_one_has,
    ),
    "a login is a workspace's own": Mutation(tenancy.pool, "and place.workspace != workspace", "and False"),
    "a lost connection is not lent": Mutation(
        tenancy.pool,
        "return self.connection is not None and not self.connection.is_closed()",
        "return self.connection is not None",
        a_connection_that_was_lost_at_rest_is_replaced,
    ),
    "who waits is served when a place comes free": Mutation(
        tenancy.pool,
        "        self._free[place.number] = place\n        self._serve()\n",
        "        self._free[place.number] = place\n",
    ),
    "few open at once": Mutation(
        tenancy.pool, "_OPENING_AT_ONCE = 4", "_OPENING_AT_ONCE = 5", four_open_at_once_and_the_next_as_soon_as_one_has
    ),
    "the last quarter": Mutation(
        tenancy.shares,
        "if free > self._spare:",
        "if True:",
        a_greedy_workspace_leaves_the_last_quarter,
    ),
    "the last quarter, for who held too much": Mutation(
        tenancy.shares,
        "return not self.held(workspace) and not self.is_over(workspace)",
        "return not self.held(workspace)",
        who_held_too_much_lately_is_held_to_its_share,
    ),
    "the equal share": Mutation(
        tenancy.shares,
        "or self.held(workspace) < self._equal",
        "or True",
        who_held_too_much_lately_is_held_to_its_share,
    ),
    "the average of lately": Mutation(
        tenancy.shares, "> self._equal\n", "> self._size\n", who_held_too_much_lately_is_held_to_its_share
    ),
    "the early refusal": Mutation(
        tenancy.pool,
        "if self._shares.is_over(waiter.workspace):\n            self._refuse",
        "if False:\n            self._refuse",
        who_held_too_much_lately_is_held_to_its_share,
    ),
    "the shortage": Mutation(tenancy.pool, "self._shares.miss(", "(", who_held_too_much_lately_is_held_to_its_share),
    "it is forgotten": Mutation(
        tenancy.shares,
        "_LATELY_SECONDS = 10.0",
        "_LATELY_SECONDS = 10000.0",
        who_held_too_much_lately_is_held_to_its_share,
    ),
    "the fewest first": Mutation(
        tenancy.pool,
        "0 if waiter.is_due else self._shares.held(workspace)",
        "0",
        places_go_to_those_who_hold_the_fewest,
    ),
    "the patience": Mutation(
        tenancy.pool,
        "0 if waiter.is_due else self._shares.held(workspace)",
        "self._shares.held(workspace)",
        who_has_waited_for_long_comes_before_those_who_hold_less,
    ),
    "the turn of what is looked up": Mutation(
        tenancy.pool,
        "if waiter.workspace is not None and waiter.workspace in",
        "if waiter.workspace in",
        what_the_service_looks_up_keeps_its_turn,
    ),
    "the first of a workspace": Mutation(
        tenancy.pool,
        "for waiter in queue if not",
        "for waiter in reversed(queue) if not",
        who_came_first_of_a_workspace_is_served_first,
    ),
}


@pytest.fixture
def mutated(monkeypatch):
    """Makes the Pool of copies of both modules with a change in the source of one."""

    def make(mutation: Mutation) -> type[Pool]:
        changed = {}
        for module in (tenancy.shares, tenancy.pool):
            source = Path(module.__file__).read_text()
            if module is mutation.module:
                assert source.count(mutation.old) == 1
                source = source.replace(mutation.old, mutation.new)
            source = source.replace("from tenancy.shares", "from tenancy.shares_changed")
            copy = changed[module] = ModuleType(f"{module.__name__}_changed")
            # Where its dataclasses, and the other, look for it.
            monkeypatch.setitem(sys.modules, copy.__name__, copy)
            exec(compile(source, copy.__name__, "exec"), copy.__dict__)  # noqa: S102 - our own source
        return changed[tenancy.pool].Pool

    return make


@pytest.mark.parametrize("protection", MUTATIONS)
def test_a_protection_that_is_missing_is_found(protection, mutated):
    mutation = MUTATIONS[protection]
    with pytest.raises(AssertionError):
        mutation.check(mutated(mutation))
