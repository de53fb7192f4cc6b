"""HTTP/1.1 in clear text and nothing else, by either server; what others may read differently is refused."""

from __future__ import annotations

import base64
import http.client
import json
import socket

import h2.config
import h2.connection
import pytest
import structlog

PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = base64.urlsafe_b64encode(b"\x00\x03\x00\x00\x00\x64").rstrip(b"=").decode()
SECONDS = 10


def request(wire, *lines, line="POST /mcp HTTP/1.1", body=PING, length=True):
    """A request with a right key and these lines in its head."""
    ordinary = [
        line,
        "Host: localhost",
        f"Authorization: Bearer {wire.key}",
        "Content-Type: application/json",
        *([f"Content-Length: {len(body)}"] if length else []),
        *lines,
    ]
    return "\r\n".join([*ordinary, "", ""]).encode() + body


def answer(wire, data):
    """The status of the answer, its headers, and whether the connection ended with it."""
    with socket.create_connection((wire.host, wire.port), timeout=SECONDS) as connection:
        connection.sendall(data)
        response = http.client.HTTPResponse(connection)
        response.begin()
        response.read()
        if response.getheader("Connection") != "close":
            return response.status, False
        assert connection.recv(1) == b""
        return response.status, True


CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(PING), PING)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda wire: request(wire, "Transfer-Encoding: chunked", body=CHUNKED), id="two lengths"),
        pytest.param(lambda wire: request(wire, line="POST /mcp HTTP/2.0"), id="HTTP/2.0"),
        pytest.param(lambda wire: request(wire, line="POST /mcp HTTP/3.0"), id="HTTP/3.0"),
        pytest.param(lambda wire: request(wire, "X: a\nY: b"), id="a bare line feed"),
        pytest.param(lambda wire: request(wire).replace(b"\r\n", b"\n"), id="bare line feeds"),
        pytest.param(
            lambda wire: request(wire, body=b"").replace(b"\r\n\r\n", b"\r\n\n"), id="a bare line feed at the end"
        ),
        pytest.param(lambda wire: request(wire, "X: a", " b"), id="a folded line"),
        pytest.param(lambda wire: request(wire, "X: a", "\tTransfer-Encoding: chunked"), id="a line folded by a tab"),
        pytest.param(lambda wire: request(wire, "X: a\rY: b"), id="a bare carriage return"),
        pytest.param(lambda wire: request(wire, "X : a"), id="a space before the colon"),
        pytest.param(lambda wire: request(wire, "Content-Length: 1"), id="two of one length"),
        pytest.param(lambda wire: request(wire, line="POST mcp HTTP/1.1"), id="no path"),
        pytest.param(lambda wire: request(wire, line="GET ?a HTTP/1.1", length=False, body=b""), id="an empty path"),
        pytest.param(lambda wire: request(wire, line="CONNECT a:1 HTTP/1.1", length=False, body=b""), id="a tunnel"),
        pytest.param(lambda _: PREFACE, id="the preface of HTTP/2"),
        pytest.param(lambda _: PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", id="the preface and settings"),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(wire, make):
    assert answer(wire, make(wire)) == (400, True)


@pytest.mark.parametrize("part", [1, 7, 100])
def test_what_comes_in_parts_is_refused_too(wire, part):
    data = request(wire, "X: a\nY: b")
    with socket.create_connection((wire.host, wire.port), timeout=SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, data.index(b"\nY"), part):
            connection.sendall(data[start : start + part])
        connection.sendall(b"\nY: b\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"


def test_the_second_request_of_a_connection_is_looked_at_as_the_first(wire):
    with socket.create_connection((wire.host, wire.port), timeout=SECONDS) as connection:
        connection.sendall(request(wire))
        assert wire.reply(connection).status == 200
        connection.sendall(request(wire, "X: a", " b"))
        assert wire.reply(connection).status == 400


def test_a_body_may_look_like_anything(wire):
    body = b'{"jsonrpc":"2.0",\n "id":1,\n\t"method":"ping"}\n\n'
    assert answer(wire, request(wire, body=body)) == (200, False)


def test_who_offers_http_2_is_answered_over_http_1(wire, server):
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", f"HTTP2-Settings: {SETTINGS}")
    for line, length, body, status in [
        ("GET /mcp HTTP/1.1", False, b"", 405),
        # uvicorn's parser takes the body for what follows the upgrade.
        ("POST /mcp HTTP/1.1", True, PING, {"hypercorn": 200, "uvicorn": 400}[server]),
        ("GET /healthz HTTP/1.1", False, b"", 200),
    ]:
        found, _ = answer(wire, request(wire, *upgrade, line=line, length=length, body=body))
        assert found == status


def test_a_client_of_http_2_gets_no_frame(wire):
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(1, [(":method", "GET"), (":authority", "a"), (":scheme", "http"), (":path", "/healthz")])
    with socket.create_connection((wire.host, wire.port), timeout=SECONDS) as connection:
        connection.sendall(client.data_to_send())
        assert connection.recv(9) == b"HTTP/1.1 "


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/mcp", 405),
        ("/elsewhere", 404),
        ("/healthz", 200),
        ("/w/acme/sign-in", 200),
        ("/w/acme/x", 404),
        ("//mcp", 404),
    ],
)
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), id="whole"),
        pytest.param(("Sec-WebSocket-Version: 13",), id="without a key"),
        pytest.param(("Sec-WebSocket-Version: 99", "Sec-WebSocket-Key: x"), id="of another version"),
    ],
)
def test_a_websocket_is_answered_as_any_other_get(wire, path, status, lines):
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", *lines)
    data = request(wire, *upgrade, line=f"GET {path} HTTP/1.1", length=False, body=b"")
    with structlog.testing.capture_logs() as logs:
        assert answer(wire, data) == (status, False)
    assert {log["event"] for log in logs} <= {"call", "page"}
