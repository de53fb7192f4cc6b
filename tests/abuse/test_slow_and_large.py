"""Clients that send too much, too slowly or nothing at all, and some that do not read: all are got rid of."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from tests.abuse.conftest import PING, SECONDS

LIMIT = 4096


def connected(wire):
    return socket.create_connection((wire.host, wire.port), timeout=SECONDS)


def head(wire, *lines):
    start = ("POST /mcp HTTP/1.1", f"Host: {wire.host}", f"Authorization: Bearer {wire.key}")
    return "\r\n".join([*start, "Content-Type: application/json", *lines]).encode()


def rest_of(connection):
    """What still comes, until the other side has closed."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return bytes(received)


def drip(connection, part):
    """Send *part* over and over until the other side has had enough, and return what it said."""
    until = time.monotonic() + SECONDS
    connection.settimeout(0.02)
    received = b""
    while time.monotonic() < until:
        try:
            connection.sendall(part)
            received += (got := connection.recv(65536))
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            return received
        if not got:
            return received
    raise AssertionError("the other side has endless patience")


@pytest.fixture(scope="module")
def strict(serve):
    """The service with little patience and little room."""
    with serve(body_timeout_seconds=0.3, keep_alive_seconds=0.3, max_header_bytes=LIMIT, max_body_bytes=10_000) as wire:
        yield wire


@pytest.fixture(autouse=True)
def _is_served_afterwards(strict):
    yield
    assert strict.send(PING).status == 200


def test_a_body_that_drips_is_not_waited_for(strict):
    with connected(strict) as connection:
        connection.sendall(head(strict, "Content-Length: 10000", "", ""))
        answer = drip(connection, b" ")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == -32600


def test_a_body_that_drips_in_chunks_is_not_waited_for(strict):
    with connected(strict) as connection:
        connection.sendall(head(strict, "Transfer-Encoding: chunked", "", ""))
        answer = drip(connection, b"1\r\n \r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("part", [pytest.param(b"a", id="one name"), pytest.param(b"A: b\r\n", id="line by line")])
def test_headers_that_drip_are_not_waited_for(strict, part):
    with connected(strict) as connection:
        connection.sendall(head(strict, ""))
        assert drip(connection, part) == b""


def test_a_connection_that_sends_nothing_is_closed(strict):
    with connected(strict) as connection:
        assert rest_of(connection) == b""


def test_a_connection_that_sends_nothing_more_is_closed(strict):
    body = json.dumps(PING).encode()
    with connected(strict) as connection:
        connection.sendall(head(strict, f"Content-Length: {len(body)}", "", "") + body)
        assert rest_of(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["X-Long: " + "a" * LIMIT], id="a long one"),
        pytest.param([f"X-{number}: a" for number in range(LIMIT // 8)], id="many"),
        pytest.param(["A:"] * (LIMIT // 4), id="many empty ones"),
        pytest.param(["Authorization: Bearer x"] * (LIMIT // 20), id="many keys"),
        pytest.param(["A" * LIMIT + ": a"], id="a long name"),
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 1000], ids=["at once", "in pieces"])
def test_large_headers_are_refused(strict, lines, size):
    request = head(strict, "Content-Length: 0", *lines, "", "")
    with connected(strict) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(request), size):
                connection.sendall(request[start : start + size])
        assert rest_of(connection).startswith(b"HTTP/1.1 431 ")


def test_headers_without_end_are_refused(strict):
    with connected(strict) as connection:
        connection.sendall(head(strict, ""))
        assert drip(connection, b"A: b\r\n" * 1000).startswith(b"HTTP/1.1 431 ")


def test_headers_of_an_ordinary_size_are_not_refused(strict):
    assert strict.send(PING, headers={"X-Long": "a" * (LIMIT - 1000)}).status == 200


def test_a_client_that_does_not_read_is_given_up(strict):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    request = head(strict, f"Content-Length: {len(body)}", "", "") + body
    until = time.monotonic() + SECONDS
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((strict.host, strict.port))
        connection.settimeout(0.1)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < until:
                with suppress(TimeoutError):
                    connection.sendall(request)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(413, b"[" * 50_000, id="nested too deep and too large"),
        pytest.param(413, b" " * 5_000_000, id="too large"),
        pytest.param(400, b"[" * 9_999, id="nested without end"),
        pytest.param(400, b"[" * 5_000 + b"]" * 5_000, id="lists nested too deep"),
        pytest.param(400, b'{"a":' * 1_500 + b"1" + b"}" * 1_500, id="objects nested too deep"),
        pytest.param(400, b"1" * 10_000, id="a number of ten thousand digits"),
        pytest.param(400, b'{"jsonrpc": "2.0", "id": ' + b"1" * 5_000 + b', "method": "ping"}', id="an id like that"),
        pytest.param(400, b'"' + b"a" * 9_990, id="a text without end"),
        pytest.param(400, b"\x00" * 10_000, id="zeros"),
        pytest.param(400, b"\xff" * 10_000, id="no UTF-8"),
        pytest.param(400, b"{" + b",".join(b'"%d":0' % n for n in range(900)) + b"}", id="many names"),
        pytest.param(400, b"[" + b"0," * 4_900 + b"0]", id="a long batch"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["", "chunked"])
def test_hostile_bodies_are_refused(strict, status, body, chunked):
    reply = strict.send(body, chunked=chunked)
    assert reply.status == status
    assert reply.document["error"]["code"] in {-32600, -32700}
    assert len(reply.body) < 1000


def test_a_body_of_very_many_chunks_is_a_body(serve):
    body = json.dumps(PING).encode().ljust(5_000)
    with serve(keep_alive_seconds=0.3) as patient, connected(patient) as connection:
        connection.sendall(head(patient, "Transfer-Encoding: chunked", "", ""))
        connection.sendall(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert rest_of(connection).startswith(b"HTTP/1.1 200 ")


def early(wire, *lines):
    """The head of a request that is refused by its head alone."""
    return head(wire, *lines).replace(b"Bearer to_live_", b"Bearer ")


def test_who_is_refused_while_still_sending_is_told_that_the_connection_ends(strict):
    with connected(strict) as connection:
        connection.sendall(early(strict, "Content-Length: 20", "", ""))
        reply = strict.reply(connection)
        connection.sendall(b" " * 20)
        # An end, and no reset: that would take the answer from who has not read it yet.
        assert connection.recv(1) == b""
    assert (reply.status, reply.headers["Connection"]) == (401, "close")


def test_who_is_refused_after_sending_all_may_use_the_connection_again(strict):
    body = json.dumps(PING).encode()
    with connected(strict) as connection:
        connection.sendall(early(strict, f"Content-Length: {len(body)}", "", "") + body)
        reply = strict.reply(connection)
        connection.sendall(head(strict, f"Content-Length: {len(body)}", "", "") + body)
        assert strict.reply(connection).status == 200
    assert (reply.status, reply.headers["Connection"]) == (401, None)


def test_hundreds_of_connections_that_say_nothing_keep_nobody_out(serve):
    with serve() as wire, ExitStack() as opened:
        for number in range(300):
            connection = opened.enter_context(connected(wire))
            connection.sendall(head(wire, "Content-Length: 100", "", "") if number % 2 else b"POST /mcp HTTP/1.1\r\n")
        assert [wire.send(PING).status for _ in range(20)] == [200] * 20
