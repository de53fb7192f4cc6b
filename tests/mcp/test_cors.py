"""Web pages of other origins: those that are allowed may call and read every answer, all others are refused."""

from __future__ import annotations

import secrets

import pytest

from tests.conftest import serving
from tests.mcp.conftest import Wire

PAGE = "https://inspector.example"
OTHER = "https://elsewhere.example"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
#: What a browser client of MCP sends; all of it makes the browser ask first.
SENT = {
    "accept",
    "authorization",
    "content-type",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
}


@pytest.fixture(scope="module")
def shared(world, endpoint, server):
    """The service, with a page that may call and few tries."""
    with serving(
        world.service_url,
        server=server,
        allowed_origins=f"{PAGE}, http://localhost:6274",
        wrong_keys_per_minute=3,
        calls_per_second=0.001,
        calls_burst=3,
    ) as (host, port):
        yield Wire(host, port, endpoint.key)


def preflight(wire, origin, *, method="POST", **headers):
    """What a browser asks before it lets a page send something; a key it never sends."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ",".join(sorted(SENT)),
        "Authorization": None,
        "Content-Type": None,
        "Content-Length": None,
    }
    return wire.send(method="OPTIONS", headers=asked | headers)


def names(reply, header):
    return {name.strip().lower() for name in (reply.headers[header] or "").split(",")}


def is_readable(reply, origin=PAGE):
    return (
        reply.headers.get_all("Access-Control-Allow-Origin") == [origin]
        and reply.headers.get_all("Vary") == ["Origin"]
        and names(reply, "Access-Control-Expose-Headers") >= {"www-authenticate", "retry-after"}
        and reply.headers["Access-Control-Allow-Credentials"] is None
    )


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:6274"])
def test_an_allowed_page_may_send_what_a_client_sends(shared, origin):
    reply = preflight(shared, origin)
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (204, b"", None)
    assert is_readable(reply, origin)
    assert names(reply, "Access-Control-Allow-Methods") == {"post"}
    assert names(reply, "Access-Control-Allow-Headers") == SENT


@pytest.mark.parametrize("origin", [OTHER, "null", "", f"{PAGE}:8443", f"{PAGE}.evil.example", [PAGE, OTHER]])
def test_any_other_page_may_not(shared, origin):
    for reply in (preflight(shared, origin), shared.send(PING, headers={"Origin": origin})):
        assert reply.status == 403
        assert OTHER not in str(reply.headers)
        assert not is_readable(reply, OTHER)


def test_without_allowed_origins_no_page_may(wire):
    reply = preflight(wire, PAGE)
    assert reply.status == 403
    assert not {name.lower() for name in reply.headers} & {"access-control-allow-origin", "vary"}


def test_options_that_is_no_preflight_is_no_method(shared):
    reply = shared.send(method="OPTIONS", headers={"Origin": PAGE})
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


def test_an_allowed_page_may_read_every_answer(shared):
    page = {"Origin": PAGE}
    replies = {
        200: shared.send(PING, headers=page),
        400: shared.send(b"{", headers=page),
        401: shared.send(PING, headers={**page, "Authorization": None}),
        405: shared.send(method="GET", headers=page),
        415: shared.send(PING, headers={**page, "Content-Type": "text/plain"}),
    }
    # More calls than there may be.
    replies[429] = shared.send(PING, headers=page)
    assert {status: reply.status for status, reply in replies.items()} == {status: status for status in replies}
    assert all(is_readable(reply) for reply in replies.values())
    assert replies[401].headers["WWW-Authenticate"]
    assert replies[429].headers["Retry-After"]


def test_who_names_no_origin_is_told_that_answers_depend_on_it(shared):
    reply = shared.send(PING, headers={"Authorization": f"Bearer to_live_{secrets.token_urlsafe(32)}"})
    assert reply.status == 401
    assert reply.headers["Vary"] == "Origin"
    assert reply.headers["Access-Control-Allow-Origin"] is None
