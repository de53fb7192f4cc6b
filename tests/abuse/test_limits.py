"""Token buckets by a clock of the test's own, and under which address a client is counted."""

from __future__ import annotations

import asyncio

import pytest

from service.limits import Buckets, Busy, Throttle, TooMany, Turns, client_address

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def throttle(clock):
    """Two calls at once and one a second for a key; three wrong keys a minute for an address."""
    return Throttle(burst=2, calls_per_second=1, wrong_keys_per_minute=3, clock=clock)


def attempt(throttle, key, *, works, address="192.0.2.1"):
    """Try *key* and return the seconds to wait, 0 if it was looked up."""
    try:
        made = throttle.admit(key, lambda: address)
    except TooMany as too_many:
        return too_many.retry_after
    if works is not None:
        throttle.settle(made, works=works)
    return 0


def test_a_bucket_gives_its_burst_and_then_its_rate(clock):
    buckets = Buckets(burst=3, per_second=2, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    clock.now += 0.5
    assert [buckets.take("a") for _ in range(2)] == [0, 0.5]
    clock.now += 1000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_who_is_refused_loses_nothing_by_asking(clock):
    buckets = Buckets(burst=1, per_second=1, clock=clock)
    assert [buckets.take("a") for _ in range(100)] == [0, *[1] * 99]
    clock.now += 1
    assert buckets.take("a") == 0


def test_a_debt_is_waited_for(clock):
    buckets = Buckets(burst=3, per_second=1, clock=clock)
    buckets.charge("a", 10)
    assert buckets.take("a") == 8
    clock.now += 8
    assert buckets.take("a") == 0


def test_a_rate_of_zero_limits_nothing(clock):
    buckets = Buckets(burst=1, per_second=0, clock=clock)
    buckets.charge("a", 100)
    assert {buckets.take("a") for _ in range(1000)} == {0}


def test_only_the_names_used_last_are_remembered(clock):
    buckets = Buckets(burst=1, per_second=1, most=2, clock=clock)
    for name in "abac":
        buckets.take(name)
    assert [name in buckets for name in "abc"] == [True, False, True]
    for number in range(1000):
        buckets.take(number)
    assert len(buckets) == 2


def test_a_key_that_works_has_its_own_bucket(throttle, clock):
    assert [attempt(throttle, "right", works=True) for _ in range(3)] == [0, 0, 1]
    assert attempt(throttle, "another", works=True) == 0
    clock.now += 1
    assert attempt(throttle, "right", works=True) == 0


def test_wrong_keys_use_up_their_address_and_no_other(throttle, clock):
    tried = [attempt(throttle, f"wrong {number}", works=False) for number in range(5)]
    assert tried == [0, 0, 0, 20, 20]
    assert attempt(throttle, "wrong", works=False, address="192.0.2.2") == 0
    clock.now += 20
    assert [attempt(throttle, f"later {number}", works=False) for number in range(2)] == [0, 20]


def test_who_guesses_takes_nothing_from_a_key_that_worked(throttle, clock):
    assert attempt(throttle, "right", works=True) == 0
    for number in range(1000):
        attempt(throttle, f"wrong {number}", works=False)
    assert attempt(throttle, "right", works=True) == 0
    clock.now += 3600
    assert attempt(throttle, "right", works=True) == 0


def test_keys_that_work_do_not_use_up_their_address(throttle):
    assert {attempt(throttle, f"right {number}", works=True) for number in range(1000)} == {0}


def test_one_wrong_key_tried_over_and_over_leaves_its_address_to_others(throttle, clock):
    repeated = [attempt(throttle, "old", works=False) for _ in range(100)]
    assert repeated == [0] * 6 + [10] * 94
    assert [attempt(throttle, f"wrong {number}", works=False) for number in range(3)] == [0, 0, 20]
    clock.now += 10
    assert attempt(throttle, "old", works=True) == 0
    assert attempt(throttle, "old", works=True) == 0


def test_a_key_that_stops_working_is_soon_asked_about_no_more(throttle, clock):
    assert attempt(throttle, "revoked", works=True) == 0
    clock.now += 60
    assert [attempt(throttle, "revoked", works=False) for _ in range(8)] == [0] * 6 + [10] * 2


def test_a_look_up_without_an_answer_costs_nothing(throttle):
    assert {attempt(throttle, f"who knows {number}", works=None) for number in range(1000)} == {0}
    assert [attempt(throttle, f"wrong {number}", works=False) for number in range(4)] == [0, 0, 0, 20]


def test_right_keys_that_are_new_may_come_by_hundreds_at_once(throttle):
    under_way = [throttle.admit(f"right {number}", lambda: "192.0.2.1") for number in range(100)]
    for made in under_way:
        throttle.settle(made, works=True)
    assert {attempt(throttle, f"right {number}", works=True) for number in range(100)} == {0}


def test_wrong_keys_that_come_at_once_leave_no_debt(throttle):
    under_way = [throttle.admit(f"wrong {number}", lambda: "192.0.2.1") for number in range(100)]
    for made in under_way:
        throttle.settle(made, works=False)
    assert attempt(throttle, "one more", works=False) == 20


def test_without_limits_everything_is_looked_up():
    throttle = Throttle()
    assert {attempt(throttle, "right", works=True) for _ in range(1000)} == {0}
    assert {attempt(throttle, "wrong", works=False) for _ in range(1000)} == {0}
    assert {attempt(throttle, f"wrong {number}", works=False) for number in range(1000)} == {0}


async def test_who_waits_too_long_for_a_turn_is_refused_and_takes_it_from_nobody():
    turns = Turns(1, wait_seconds=0.01)
    async with turns.turn():
        with pytest.raises(Busy):
            await turns.turn().__aenter__()
    async with turns.turn():
        pass


async def test_a_turn_ends_with_whoever_has_it_and_with_whoever_waits_for_it():
    turns, began = Turns(1, wait_seconds=60), asyncio.Event()

    async def work():
        async with turns.turn():
            began.set()
            await asyncio.Event().wait()

    at_work = asyncio.ensure_future(work())
    await began.wait()
    waiting = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    for task in (waiting, at_work):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with turns.turn():
        pass


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "proxies", "counted"),
    [
        pytest.param("192.0.2.1", [], 0, "192.0.2.1", id="itself"),
        pytest.param("192.0.2.1", ["198.51.100.7"], 0, "192.0.2.1", id="the header is not trusted"),
        pytest.param("192.0.2.1", ["198.51.100.7"], 1, "198.51.100.7", id="one proxy"),
        pytest.param("192.0.2.1", ["203.0.113.9, 198.51.100.7"], 1, "198.51.100.7", id="what stands before is made up"),
        pytest.param("192.0.2.1", ["203.0.113.9", "198.51.100.7"], 1, "198.51.100.7", id="two headers"),
        pytest.param("192.0.2.1", ["203.0.113.9,198.51.100.7 , 10.0.0.1"], 2, "198.51.100.7", id="two proxies"),
        pytest.param("192.0.2.1", [], 1, "192.0.2.1", id="past the proxy"),
        pytest.param("192.0.2.1", ["198.51.100.7"], 2, "192.0.2.1", id="past one of two"),
        pytest.param("192.0.2.1", ["198.51.100.7:5000"], 1, "198.51.100.7", id="with a port"),
        pytest.param("192.0.2.1", ["[2001:db8::1]:5000"], 1, "2001:db8::/64", id="IPv6 with a port"),
        pytest.param("192.0.2.1", ["no address"], 1, "unknown", id="no address"),
        pytest.param("192.0.2.1", [""], 1, "unknown", id="empty"),
        pytest.param("2001:db8:0:1:ffff::1", [], 0, "2001:db8:0:1::/64", id="IPv6 is counted by its network"),
        pytest.param("::ffff:192.0.2.1", [], 0, "192.0.2.1", id="IPv4 in IPv6"),
        pytest.param("fe80::1%eth0", [], 0, "fe80::/64", id="with a zone"),
        pytest.param(None, [], 0, "unknown", id="a socket without addresses"),
    ],
)
def test_a_client_is_counted_under(peer, forwarded_for, proxies, counted):
    known = (peer, 1234) if peer else None
    assert counted == client_address(known, forwarded_for, trusted_proxies=proxies)
