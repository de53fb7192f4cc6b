from __future__ import annotations

import base64

import pytest

from service.mcp.envelope import INVALID_PARAMS, Fault, Request
from service.mcp.eras import (
    CAPABILITIES_KEY,
    HEADER_MISMATCH,
    LEGACY_VERSIONS,
    MODERN_VERSION,
    UNSUPPORTED_VERSION,
    VERSION_KEY,
    RoutingHeaders,
    check_modern,
    is_modern,
)

pytestmark = pytest.mark.unit

META = {VERSION_KEY: MODERN_VERSION, CAPABILITIES_KEY: {}}


def request(method="tools/list", *, meta=None, **params):
    return Request(7, method, params if meta is None else {**params, "_meta": meta})


def wrapped(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@pytest.mark.parametrize(
    ("meta", "versions", "modern"),
    [
        pytest.param(None, [], False, id="nothing said"),
        *(pytest.param(None, [version], False, id=f"header {version}") for version in LEGACY_VERSIONS),
        *(pytest.param({VERSION_KEY: version}, [], False, id=f"_meta {version}") for version in LEGACY_VERSIONS),
        pytest.param({"progressToken": 1}, ["2025-11-25"], False, id="_meta without a version"),
        pytest.param("modern", [], False, id="_meta no object"),
        pytest.param(META, [MODERN_VERSION], True, id="both modern"),
        pytest.param(META, [], True, id="_meta alone"),
        pytest.param(None, [MODERN_VERSION], True, id="header alone"),
        pytest.param(META, ["2025-11-25"], True, id="modern _meta, legacy header"),
        pytest.param({VERSION_KEY: "2025-11-25"}, [MODERN_VERSION], True, id="legacy _meta, modern header"),
        pytest.param({VERSION_KEY: "2099-01-01"}, [], True, id="_meta of a version to come"),
        pytest.param({VERSION_KEY: ["2025-11-25"]}, [], True, id="_meta version no string"),
        pytest.param(None, ["2025-11-25", MODERN_VERSION], True, id="two headers, one modern"),
    ],
)
def test_the_era(meta, versions, modern):
    assert modern == is_modern(request(meta=meta), RoutingHeaders(version=versions))


def test_the_method_header_says_nothing_of_the_era():
    assert not is_modern(request("initialize"), RoutingHeaders(method=["initialize"], name=["x"]))


@pytest.mark.parametrize("meta", [None, {}, {VERSION_KEY: "2025-11-25"}], ids=repr)
@pytest.mark.parametrize("versions", [["2099-01-01"], ["2025-11-25", "2099-01-01"]], ids=repr)
def test_an_unknown_version_in_the_header_alone_is_refused(meta, versions):
    with pytest.raises(Fault) as caught:
        is_modern(request(meta=meta), RoutingHeaders(version=versions))
    assert (caught.value.code, caught.value.status, caught.value.id) == (UNSUPPORTED_VERSION, 400, 7)
    assert caught.value.data == {"supported": [MODERN_VERSION], "requested": "2099-01-01"}


@pytest.mark.parametrize(
    ("asked", "headers"),
    [
        pytest.param(request(meta=META), {"method": ["tools/list"]}, id="tools/list"),
        pytest.param(request(meta=META), {"method": [" tools/list\t"]}, id="white space around a value"),
        pytest.param(request(meta=META), {"method": ["tools/list"], "name": ["x"]}, id="a name that nobody reads"),
        pytest.param(request("tools/call", meta=META, name="a"), {"method": ["tools/call"], "name": ["a"]}, id="call"),
        pytest.param(
            request("tools/call", meta=META, name="a"),
            {"method": ["tools/call"], "name": [wrapped("a")]},
            id="wrapped name",
        ),
        pytest.param(
            request("tools/call", meta=META, name="é"),
            {"method": ["tools/call"], "name": [wrapped("é")]},
            id="wrapped name beyond ASCII",
        ),
        pytest.param(
            request("tools/call", meta=META, name=""), {"method": ["tools/call"], "name": [wrapped("")]}, id="empty"
        ),
        pytest.param(
            request("tools/call", meta=META), {"method": ["tools/call"], "name": ["a"]}, id="no name: told in dispatch"
        ),
    ],
)
def test_headers_that_repeat_the_body_pass(asked, headers):
    check_modern(asked, RoutingHeaders(version=[MODERN_VERSION], **headers))


CALL = request("tools/call", meta=META, name="a")


@pytest.mark.parametrize(
    ("asked", "version", "headers", "code", "says"),
    [
        pytest.param(request(), [MODERN_VERSION], {}, INVALID_PARAMS, VERSION_KEY, id="a: no _meta"),
        pytest.param(request(), [MODERN_VERSION], {}, INVALID_PARAMS, CAPABILITIES_KEY, id="a: both are named"),
        pytest.param(request(meta=[]), [MODERN_VERSION], {}, INVALID_PARAMS, VERSION_KEY, id="a: _meta no object"),
        pytest.param(
            request(meta={VERSION_KEY: MODERN_VERSION}),
            [],
            {},
            INVALID_PARAMS,
            CAPABILITIES_KEY,
            id="a before b: no capabilities",
        ),
        pytest.param(
            request(meta={**META, CAPABILITIES_KEY: []}),
            [MODERN_VERSION],
            {},
            INVALID_PARAMS,
            CAPABILITIES_KEY,
            id="a: capabilities no object",
        ),
        pytest.param(
            request(meta={**META, VERSION_KEY: 5}), [MODERN_VERSION], {}, INVALID_PARAMS, VERSION_KEY, id="a: a number"
        ),
        pytest.param(request(meta=META), [], {}, HEADER_MISMATCH, "missing", id="b: no header"),
        pytest.param(request(meta=META), ["2025-11-25"], {}, HEADER_MISMATCH, "2025-11-25", id="b: legacy header"),
        pytest.param(request(meta=META), ["2099-01-01"], {}, HEADER_MISMATCH, "2099-01-01", id="b: unknown header"),
        pytest.param(
            request(meta={**META, VERSION_KEY: "2099-01-01"}),
            [MODERN_VERSION],
            {},
            HEADER_MISMATCH,
            "2099-01-01",
            id="b before c",
        ),
        pytest.param(
            request(meta={**META, VERSION_KEY: "2099-01-01"}),
            ["2099-01-01"],
            {},
            UNSUPPORTED_VERSION,
            "2099-01-01",
            id="c: unknown version",
        ),
        pytest.param(request(meta=META), [MODERN_VERSION], {}, HEADER_MISMATCH, "Mcp-Method", id="d: no method"),
        pytest.param(
            request(meta=META),
            [MODERN_VERSION],
            {"method": ["tools/call"]},
            HEADER_MISMATCH,
            "tools/call",
            id="d: another method",
        ),
        pytest.param(
            request(meta=META),
            [MODERN_VERSION],
            {"method": ["Tools/List"]},
            HEADER_MISMATCH,
            "Tools/List",
            id="d: values are case-sensitive",
        ),
        pytest.param(
            request(meta=META),
            [MODERN_VERSION],
            {"method": [wrapped("tools/list")]},
            HEADER_MISMATCH,
            "base64",
            id="d: a method is never wrapped",
        ),
        pytest.param(
            CALL, [MODERN_VERSION], {"method": ["tools/call"]}, HEADER_MISMATCH, "Mcp-Name is missing", id="e: no name"
        ),
        pytest.param(
            CALL,
            [MODERN_VERSION],
            {"method": ["tools/call"], "name": ["b"]},
            HEADER_MISMATCH,
            "Mcp-Name is 'b' but params.name is 'a'",
            id="e: another name",
        ),
        pytest.param(
            CALL,
            [MODERN_VERSION],
            {"method": ["tools/call"], "name": [wrapped("b")]},
            HEADER_MISMATCH,
            "Mcp-Name is 'b'",
            id="e: another name, wrapped",
        ),
        *(
            pytest.param(
                CALL,
                [MODERN_VERSION],
                {"method": ["tools/call"], "name": [name]},
                HEADER_MISMATCH,
                "not readable",
                id=f"e: {what}",
            )
            for what, name in {
                "no Base64": "=?base64?*?=",
                "no padding": "=?base64?YQ?=",
                "not canonical": "=?base64?YR==?=",
                "white space in it": "=?base64?Y Q==?=",
                "not UTF-8": "=?base64?/w==?=",
            }.items()
        ),
        pytest.param(
            request(meta=META),
            [MODERN_VERSION] * 2,
            {"method": ["tools/list"]},
            HEADER_MISMATCH,
            "2 times",
            id="f: version twice",
        ),
        pytest.param(
            request(meta=META),
            [MODERN_VERSION],
            {"method": ["tools/list"] * 2},
            HEADER_MISMATCH,
            "2 times",
            id="f: method twice",
        ),
        pytest.param(
            CALL,
            [MODERN_VERSION],
            {"method": ["tools/call"], "name": ["a", "a"]},
            HEADER_MISMATCH,
            "2 times",
            id="f: name twice",
        ),
        pytest.param(
            request(meta=META),
            [MODERN_VERSION],
            {"method": ["tools/list"], "name": ["a", "a"]},
            HEADER_MISMATCH,
            "2 times",
            id="f: a name twice that nobody reads",
        ),
        pytest.param(
            request("tools/call", meta=META),
            [MODERN_VERSION],
            {"method": ["tools/call"], "name": ["a", "b"]},
            HEADER_MISMATCH,
            "2 times",
            id="f: two names for none",
        ),
    ],
)
def test_the_modern_ladder(asked, version, headers, code, says):
    with pytest.raises(Fault) as caught:
        check_modern(asked, RoutingHeaders(version=version, **headers))
    assert (code, 400, 7) == (caught.value.code, caught.value.status, caught.value.id)
    assert says in caught.value.message


def test_a_mismatch_shows_hostile_values_short_and_encodable():
    asked = request("tools/call", meta=META, name="\ud800" * 9_000)
    with pytest.raises(Fault) as caught:
        check_modern(asked, RoutingHeaders(version=[MODERN_VERSION], method=["tools/call"], name=["x" * 9_000]))
    caught.value.message.encode()
    assert len(caught.value.message) < 400
