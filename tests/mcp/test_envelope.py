from __future__ import annotations

import json

import orjson
import pytest

from service.mcp.envelope import (
    DEEPEST,
    INVALID_REQUEST,
    PARSE_ERROR,
    Fault,
    Request,
    Unanswered,
    encodable,
    parse,
    read_message,
    render,
    shown,
)

pytestmark = pytest.mark.unit


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b"{}", {}, id="object"),
        pytest.param(b" [1] \n", [1], id="white space around"),
        pytest.param(b"null", None, id="null"),
        pytest.param('"é"'.encode(), "é", id="UTF-8"),
        pytest.param(b'"\\ud83d\\ude00"', "😀", id="surrogate pair"),
        pytest.param(b'"\\ud800"', "\ud800", id="lone surrogate"),
        pytest.param(b'["\\ud800", 1.5, 7]', ["\ud800", 1.5, 7], id="numbers beside a lone surrogate"),
        pytest.param(b'{"a":1,"a":2}', {"a": 2}, id="repeated key: the last"),
        pytest.param(b'"' + b"[" * 1000 + b'"', "[" * 1000, id="brackets in a string are no nesting"),
        pytest.param(b"[" + b"[]," * 1000 + b"[]]", [[]] * 1001, id="many brackets side by side"),
        pytest.param(nested(DEEPEST), json.loads(nested(DEEPEST)), id="as deep as may be"),
    ],
)
def test_json_is_parsed(body, value):
    assert value == parse(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"{'a':1}", id="single quotes"),
        pytest.param(b'{"a":1}{', id="two documents"),
        pytest.param(b"[NaN]", id="NaN"),
        pytest.param(b"[Infinity]", id="Infinity"),
        pytest.param(b"[-Infinity]", id="-Infinity"),
        pytest.param(b"[1e999]", id="a number that no double holds"),
        pytest.param(b"9" * 400, id="an integer that no double holds"),
        pytest.param(b"9" * 10_000, id="an integer that Python does not read"),
        pytest.param(b'["\\ud800", 1e999]', id="a number that no double holds, beside a lone surrogate"),
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b'"\xed\xa0\x80"', id="a surrogate as UTF-8"),
        pytest.param('"é"'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param(nested(DEEPEST + 1), id="one level too deep"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, id="objects too deep"),
        pytest.param(nested(1_100), id="deeper than orjson reads"),
        pytest.param(nested(200_000), id="deeper than Python reads"),
        pytest.param(b"[" * 200_000, id="deep and cut off"),
    ],
)
def test_what_is_no_json_is_a_parse_error(body):
    with pytest.raises(Fault) as caught:
        parse(body)
    assert (caught.value.code, caught.value.status, caught.value.id) == (PARSE_ERROR, 400, None)


@pytest.mark.parametrize("id_", [0, -1, 7, 2**63 - 1, -(2**63), "", "0", "server-discover-probe-1", "é\u0000"])
def test_a_request_has_any_string_or_integer_as_its_id(id_):
    assert Request(id_, "ping", {}) == read_message({"jsonrpc": "2.0", "id": id_, "method": "ping"})


@pytest.mark.parametrize("id_", [None, True, False, 1.0, 1.5, {}, [], [1], 2**63, -(2**63) - 1, "\ud800"], ids=repr)
def test_any_other_id_is_an_invalid_request_that_is_answered_to_nobody(id_):
    with pytest.raises(Fault) as caught:
        read_message({"jsonrpc": "2.0", "id": id_, "method": "ping"})
    assert (caught.value.code, caught.value.status, caught.value.id) == (INVALID_REQUEST, 400, None)


@pytest.mark.parametrize("number", [0, 2**63, 2**64 - 1, 2**64, 10**30, -(2**63), -(2**63) - 1], ids=str)
def test_a_lone_surrogate_does_not_change_how_the_integers_beside_it_are_read(number):
    alone, beside = parse(b"%d" % number), parse(b'[%d, "\\ud800"]' % number)[0]
    assert (type(alone), alone) == (type(beside), beside)


def test_an_integer_that_became_a_float_is_no_id():
    with pytest.raises(Fault):
        read_message(parse(b'{"jsonrpc":"2.0","id":18446744073709551616,"method":"ping"}'))


@pytest.mark.parametrize(
    ("message", "id_"),
    [
        pytest.param("ping", None, id="string"),
        pytest.param(None, None, id="null"),
        pytest.param(5, None, id="number"),
        pytest.param([], None, id="array"),
        pytest.param({}, None, id="empty"),
        pytest.param({"id": 1, "method": "ping"}, 1, id="no jsonrpc"),
        pytest.param({"jsonrpc": "1.0", "id": "a", "method": "ping"}, "a", id="jsonrpc 1.0"),
        pytest.param({"jsonrpc": 2.0, "id": 0, "method": "ping"}, 0, id="jsonrpc a number"),
        pytest.param({"jsonrpc": "2.0", "id": 1}, 1, id="no method"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": None}, 1, id="method null"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": 5}, 1, id="method a number"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": ["ping"]}, 1, id="method an array"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}, 1, id="params an array"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": "{}"}, 1, id="params a string"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": None}, 1, id="params null"),
        pytest.param({"jsonrpc": "2.0", "id": True, "method": 5}, None, id="id not usable either"),
        pytest.param({"jsonrpc": "2.0", "method": "notifications/x", "params": []}, None, id="notification with array"),
    ],
)
def test_what_is_no_message_is_an_invalid_request_with_the_id_if_it_has_one(message, id_):
    with pytest.raises(Fault) as caught:
        read_message(message)
    assert (INVALID_REQUEST, 400, id_) == (caught.value.code, caught.value.status, caught.value.id)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"jsonrpc": "2.0", "method": "notifications/initialized"}, id="notification"),
        pytest.param({"jsonrpc": "2.0", "method": "tools/call", "params": {}}, id="whatever its method"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {}}, id="posted result"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": ""}}, id="posted error"),
        pytest.param({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}}, id="posted error to nobody"),
    ],
)
def test_notifications_and_posted_responses_are_not_answered(message):
    assert isinstance(read_message(message), Unanswered)


def test_what_has_a_method_is_a_request_whatever_else_it_has():
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "result": {}, "error": {}}
    assert read_message(message) == Request(1, "ping", {})


def test_what_is_shown_of_a_clients_text_is_short_and_encodable():
    assert shown("tools/list") == "tools/list"
    assert shown("a\ud800b") == "a\\ud800b"
    assert shown("x" * 100) == "x" * 100
    assert shown("x" * 5_000) == "x" * 100 + "…"
    assert len(shown("\ud800" * 5_000)) == 101


def test_text_that_is_encodable_stays_as_it_is():
    assert encodable("é😀") == "é😀"
    assert encodable("\udfff") == "\\udfff"


def test_rendering_holds_what_orjson_does_not():
    odd = render({"text": "a\ud800é", "big": 2**70})
    assert orjson.loads(odd)["text"] == "a?é"
    assert json.loads(odd)["big"] == 2**70
    assert render({"a": {1}}, default=list) == b'{"a":[1]}'
    with pytest.raises(TypeError):
        render({"a": {1}})
    assert render({"a": [1, "é"]}) == '{"a":[1,"é"]}'.encode()
