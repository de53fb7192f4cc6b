"""Every argument of every tool, given what it must not be: the answer is one of three, and never a fault of ours.

Ids that name nothing the caller may see get the one answer for that; values of another shape JSON-RPC's -32602;
values that are not allowed an INVALID_VALUE that says what is.
"""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from service.errors import Code
from service.tools.catalog import TOOLS
from tests.conftest import MISSING, RpcFailed
from tests.tools.conftest import each_tool, example, new_case, sort_of

if TYPE_CHECKING:
    from service.tools.registry import Tool

NUL = "a\x00b"
LONE = "a\ud800b"


@dataclass(frozen=True)
class Place:
    """Where a value stands in a tool's arguments, and what is published of it. In arrays it is the first item."""

    tool: Tool
    path: tuple[str | int, ...]
    schema: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the argument."""
        return next(part for part in reversed(self.path) if isinstance(part, str))

    @property
    def told(self) -> str:
        """The path as faults tell it."""
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).lstrip(".")

    @property
    def kind(self) -> str:
        schema = self.schema
        if "anyOf" in schema:
            return "case" if sort_of(self.tool, self.name) == "case" else "tag"
        if schema["type"] == "string":
            if "enum" in schema:
                return "choice"
            return "text" if "maxLength" in schema else "day" if schema.get("format") == "date" else "moment"
        if schema["type"] == "integer":
            return "number" if "minimum" in schema else "id"
        return schema["type"]

    def put(self, arguments: dict[str, Any], value: Any) -> dict[str, Any]:
        """Return *arguments* with *value* here, and with arrays on the way of one item."""
        changed = copy.deepcopy(arguments)
        inner: Any = changed
        for part, following in zip(self.path, [*self.path[1:], None], strict=True):
            if following is None:
                inner[part] = value
            elif isinstance(part, str):
                held = inner.get(part)
                if isinstance(following, int):
                    is_in_object = isinstance(self.path[-1], str)
                    assert held or not is_in_object, f"teach the fixture arguments a value of {part}"
                    inner[part] = held[:1] if held else [None]
                elif held is None:
                    inner[part] = {}
                inner = inner[part]
            else:
                inner = inner[part]
        return changed


def places(tool, schema, path=()):
    if path:
        yield Place(tool, path, schema)
    for name, inner in schema.get("properties", {}).items():
        yield from places(tool, inner, (*path, name))
    if "items" in schema:
        yield from places(tool, schema["items"], (*path, 0))


PLACES = [place for tool in TOOLS for place in places(tool, tool.listing()["inputSchema"])]


def each_place(*kinds, where=lambda _: True):
    chosen = [place for place in PLACES if place.kind in kinds and where(place)]
    return pytest.mark.parametrize("place", chosen, ids=[f"{place.tool.name} {place.told}" for place in chosen])


STEPS = [{"position": 1, "status": "pass"}]


@pytest.fixture(scope="module")
def executed(lead, objects):
    """A run of one case with steps."""
    steps = [{"step": "Open"}, {"step": "Close"}]
    case = new_case(lead, objects.project, "With steps", fields={"steps": steps})["id"]
    return lead.call("start_test_run", project=objects.project, title="With steps", caseIds=[case])["id"], case


@pytest.fixture
def arguments(runnable, request):
    """Arguments of a tool that work, of each list one item; tried out only where it writes."""

    def make(tool):
        given = runnable(tool)
        given = {name: value[:1] if isinstance(value, list) else value for name, value in given.items()}
        for place in PLACES:
            if place.tool is tool and place.path[-1] == "stepResults":
                given["runId"], case = request.getfixturevalue("executed")
                given = place.put(given, STEPS)
                [result] = given.get("results", [given])
                result["caseId"] = case
        return given if tool.read_only else {**given, "dryRun": True}

    return make


# What a caller may be told of bad values; the other codes are faults of ours, or for others at work.
ANSWERS = set(Code) - {Code.BUSY, Code.TIMEOUT, Code.SERVER_FAULT}


def error_of(result):
    assert result.get("isError"), result
    error = result["structuredContent"]["error"]
    assert result["content"] == [{"type": "text", "text": error["message"]}]
    return error


def assert_no_fault_of(place, result):
    """Fail if the value at *place* was refused for what it is; the rules may still refuse it beside others."""
    if result.get("isError"):
        error = error_of(result)
        assert error["code"] in ANSWERS, error
        assert place.told not in {told.get("path") for told in error.get("errors", ())}, error


def shape_fault(client, tool, arguments):
    with pytest.raises(RpcFailed) as raised:
        client.result(tool.name, **arguments)
    assert raised.value.code == -32602
    data = raised.value.error["data"]
    assert set(data) <= {"path", "reason", "expected", "faults"}
    assert f"{data['path']}: {data['reason']} (expected {data['expected']})" in raised.value.error["message"]
    return data


# Ids


@pytest.fixture(scope="module")
def denied(lead):
    """The one answer to what is missing or forbidden, byte by byte."""
    answer = lead.result("get_folders", project=MISSING)
    assert answer["structuredContent"] == {
        "error": {"code": "NOT_FOUND_OR_DENIED", "message": "not found or access denied"}
    }
    return json.dumps(answer)


@pytest.fixture(scope="module")
async def strangers(objects, secret_objects, globex_objects, acme, sql):
    """Ids of no object that the caller may name, by the sort that is asked for."""
    run_tag = await sql.value("INSERT INTO tags (context, name) VALUES ('RUNS', 'bad-input') RETURNING id")

    def of(sort):
        ids = {
            "missing": MISSING,
            # Tags know no projects: one of the other set then.
            "another project's": {"tag": run_tag, "run_tag": objects.ids["tag"]}.get(
                sort, secret_objects.ids.get(sort)
            ),
            "another workspace's": globex_objects.ids.get(sort),
            "negative": -1,
            "very negative": -(2**63),
            "2**63 - 1": 2**63 - 1,
            "2**63": 2**63,
            "10**30": 10**30,
            "of another sort": objects.ids["status" if sort != "status" else "folder"],
        }
        if sort == "project":
            ids["another project's"] = acme.projects["secret"]
            ids["another workspace's"] = globex_objects.project
        if sort == "user":
            ids["another project's"] = acme.people["outsider"].id
        assert None not in ids.values(), sort
        return ids

    return of


@each_place("id", "case", "tag")
def test_an_id_of_no_object_in_reach_gets_the_one_answer(place, lead, arguments, strangers, denied):
    sort = "project" if place.name == "project" else sort_of(place.tool, place.name)
    given = arguments(place.tool)
    for which, value in strangers(sort).items():
        answer = lead.result(place.tool.name, **place.put(given, value))
        assert json.dumps(answer) == denied, which
        if place.kind != "tag":
            as_text = lead.result(place.tool.name, **place.put(given, str(value)))
            assert json.dumps(as_text) == denied, f"{which}, as text"


@each_place("case")
def test_a_number_of_no_case_in_the_project_gets_the_one_answer(place, lead, arguments, denied):
    given = arguments(place.tool)
    for value in ("C-0", "C-99999", "C-2147483647", "C-2147483648", f"C-{10**30}"):
        assert json.dumps(lead.result(place.tool.name, **place.put(given, value))) == denied, value


@each_place("id", "case", "tag")
def test_what_is_no_id_is_a_shape_fault(place, lead, arguments):
    given = arguments(place.tool)
    for value in ("abc", True, None, 1.5, [], {}, "", NUL, LONE, "C-", "C-x", "1_0", "0x10"):
        if place.kind == "tag" and isinstance(value, str) and value not in {NUL, LONE}:
            error = error_of(lead.result(place.tool.name, **place.put(given, value)))
            assert error["code"] == "INVALID_VALUE", value
            continue
        assert shape_fault(lead, place.tool, place.put(given, value))["path"] == place.told, value


@each_tool(where=lambda tool: tool.in_project)
def test_in_a_project_out_of_reach_every_tool_gives_the_one_answer(
    *, tool, lead, person, globex, acme, globex_objects, arguments, denied
):
    given = arguments(tool)
    for project in (acme.projects["secret"], globex_objects.project):
        assert json.dumps(lead.result(tool.name, **{**given, "project": project})) == denied
    assert json.dumps(person("lead", globex).result(tool.name, **given)) == denied


# Texts

FINE = {
    "right to left": "שלום \u202eשבת\u202c",
    "emoji": "👩‍👩‍👧‍👦 🇩🇪",
    "four bytes": "\U00020000\U0001d518\U0010fffd",
    "combining": "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢",
    "like SQL": "'; DROP TABLE cases; --",
    "like a pattern": "%_\\",
    "like JSON": '{"a": [1]}',
    "like HTML": "<script>alert(1)</script>",
    "controls": "a\x01\x1b[31m\x7f",
    "line separators": "a\u2028b\u0085c",
    "byte order mark": "\ufeffa",
}
DOMAIN_CODES = {"INVALID_VALUE", "INVALID_CURSOR", "IDEMPOTENCY_CONFLICT"}


@each_place("text")
def test_a_text_that_no_database_can_hold_is_a_shape_fault(place, lead, arguments):
    given = arguments(place.tool)
    for value in (NUL, LONE, "\x00", "\udfff", 1, True, None, [], {}):
        data = shape_fault(lead, place.tool, place.put(given, value))
        assert data["path"] == place.told
        assert data["expected"]


@each_place("text")
def test_an_empty_or_too_long_text_is_refused_with_its_limits(place, lead, arguments):
    given = arguments(place.tool)
    longest = place.schema["maxLength"]
    wrong = ["x" * (longest + 1), "😀" * (longest + 1), "x" * 100_000]
    if place.schema.get("minLength"):
        wrong += ["", " ", "\t\n\u3000"]
    for value in wrong:
        error = error_of(lead.result(place.tool.name, **place.put(given, value)))
        assert (error["code"], error["errors"][0]["path"]) == ("INVALID_VALUE", place.told)
        assert f"{longest:,}" in error["message"]


# What people write; anything else that is a text has a form of its own.
PROSE = {"title", "name", "description", "body", "notes", "comment"}


@each_place("text")
def test_a_text_in_any_script_is_taken_as_it_is_or_refused_with_a_reason(place, lead, arguments):
    given = arguments(place.tool)
    if place.name == "idempotencyKey":
        del given["dryRun"]
    for which, value in {**FINE, "longest": "😀" * place.schema["maxLength"]}.items():
        result = lead.result(place.tool.name, **place.put(given, value))
        if result.get("isError"):
            error = error_of(result)
            assert place.name not in PROSE, which
            assert error["code"] in DOMAIN_CODES, which
            assert len(error["message"]) > 20


def seen_again(lead, tool, given, answer):
    """Return what is read of that which a tool has written."""
    project = given["project"]
    if tool.name.startswith("record_"):
        [result] = given.get("results", [given])
        return lead.call("get_test_run", project=project, runId=given["runId"], caseId=result["caseId"])
    [item] = answer.get("items", [answer])
    match tool.handler.__module__.rpartition(".")[2]:
        case "cases":
            return lead.call("get_test_case", project=project, caseId=item["id"])
        case "runs":
            return lead.call("get_test_run", project=project, runId=item["id"])
        case "folders":
            return lead.call("update_folder", project=project, folderId=item["id"], dryRun=True)
        case "cycles":
            return lead.call("update_cycle", project=project, cycleId=item["id"], dryRun=True)
        case "comments":
            case_id = given.get("caseId") or answer["caseId"]
            page = {"limit": 200}
            while page:
                read = lead.call("get_comments", project=project, caseId=case_id, **page)
                page = {"limit": 200, "cursor": read["nextCursor"]} if "nextCursor" in read else {}
                if found := [comment for comment in read["items"] if comment["id"] == item["id"]]:
                    return found
    raise AssertionError(f"teach seen_again where {tool.name} is read again")


@each_place("text", where=lambda place: not place.tool.read_only and place.name in PROSE)
def test_a_text_in_any_script_is_stored_and_comes_back_as_it_is(place, lead, arguments):
    for which, value in {**FINE, "longest": "😀" * place.schema["maxLength"]}.items():
        given = place.put(arguments(place.tool), value)
        del given["dryRun"]
        answer = lead.call(place.tool.name, **given)
        assert json.dumps(value) in json.dumps(seen_again(lead, place.tool, given, answer)), which


# Numbers, words, times, switches


@each_place("number")
def test_a_number_out_of_range_is_refused_with_the_range(place, lead, arguments):
    given = arguments(place.tool)
    least, most = place.schema["minimum"], place.schema["maximum"]
    for value in (least - 1, most + 1, -(10**30), 10**30, 2**63, str(most + 1)):
        error = error_of(lead.result(place.tool.name, **place.put(given, value)))
        assert (error["code"], error["errors"][0]["path"]) == ("INVALID_VALUE", place.told), value
        assert f"from {least} to {most}" in error["message"]
    for value in ("abc", 1.5, True, None, [], {}, "", NUL):
        assert shape_fault(lead, place.tool, place.put(given, value))["path"] == place.told
    for value in (least, most, str(least), float(most) if most < 2**31 else most):
        result = lead.result(place.tool.name, **place.put(given, value))
        assert_no_fault_of(place, result)


@each_place("choice")
def test_a_word_that_is_no_choice_is_refused_with_the_choices(place, lead, arguments):
    given = arguments(place.tool)
    for value in ("x", "", place.schema["enum"][0].swapcase(), " ", "😀", "x" * 100_000):
        error = error_of(lead.result(place.tool.name, **place.put(given, value)))
        assert (error["code"], error["errors"][0]["path"]) == ("INVALID_VALUE", place.told)
        assert ", ".join(place.schema["enum"]) in error["message"]
        assert len(error["message"]) < 400
    for value in (1, True, None, [], {}, NUL, LONE):
        assert shape_fault(lead, place.tool, place.put(given, value))["path"] == place.told
    for value in place.schema["enum"]:
        assert_no_fault_of(place, lead.result(place.tool.name, **place.put(given, value)))


@each_place("moment")
def test_a_time_that_is_none_is_refused_with_an_example(place, lead, arguments):
    given = arguments(place.tool)
    for value in ("", "now", "2026-13-01", "2026-02-30T00:00:00Z", "12:00", "0000-01-01", "99999-01-01", "1e9", "😀"):
        error = error_of(lead.result(place.tool.name, **place.put(given, value)))
        assert (error["code"], error["errors"][0]["path"]) == ("INVALID_VALUE", place.told), value
        assert "2026-11-22T09:00:00Z" in error["message"]
    for value in (1, True, None, [], {}, NUL, LONE):
        assert shape_fault(lead, place.tool, place.put(given, value))["path"] == place.told
    for value in (
        "0001-01-01",
        "0001-01-01T00:00:00-23:59",
        "9999-12-31T23:59:59.999999Z",
        "2026-01-01T00:00:00+14:00",
    ):
        assert not lead.result(place.tool.name, **place.put(given, value)).get("isError"), value


@each_place("day")
def test_a_date_that_is_none_is_refused_with_an_example(place, lead, arguments):
    given = arguments(place.tool)
    for value in (
        *("", " ", "tomorrow", "2026-02-30", "2026-13-01", "2026-00-10", "2025-02-29", "20261101", "2026-W47-7"),
        *("2026-1-1", "01.11.2026", "2026-11-22T09:00:00Z", "0000-01-01", "10000-01-01", "-2026-01-01", " 2026-11-22"),
        *("2026-11-22\n", "\u0662\u0660\u0662\u0666-11-22", FINE["right to left"], "😀", "x" * 100_000),
    ):
        error = error_of(lead.result(place.tool.name, **place.put(given, value)))
        assert (error["code"], error["errors"][0]["path"]) == ("INVALID_VALUE", place.told), value
        assert "2026-11-22" in error["message"]
        assert len(error["message"]) < 400
    for value in (0, 20261101, 1.5, True, None, [], ["2026-11-22"], {}, NUL, LONE):
        assert shape_fault(lead, place.tool, place.put(given, value))["path"] == place.told
    for value in ("0001-01-01", "2024-02-29", "9999-12-31"):
        assert_no_fault_of(place, lead.result(place.tool.name, **place.put(given, value)))


@each_place("boolean")
def test_a_switch_is_true_or_false(place, lead, arguments):
    given = arguments(place.tool)
    for value in (0, 1, "yes", "True", "", None, [], {}, NUL):
        assert shape_fault(lead, place.tool, place.put(given, value))["path"] == place.told
    for value in (True, "true"):
        assert not lead.result(place.tool.name, **place.put(given, value)).get("isError")


# Arrays and objects


@each_place("array")
def test_an_array_has_its_number_of_items(place, lead, arguments):
    given = arguments(place.tool)
    for value in (1, True, None, {}, "x", '{"a": 1}'):
        assert shape_fault(lead, place.tool, place.put(given, value))["path"] == place.told
    wrong = [[1] * (place.schema["maxItems"] + 1), *([[]] if place.schema.get("minItems") else [])]
    for value in wrong:
        error = error_of(lead.result(place.tool.name, **place.put(given, value)))
        assert (error["code"], error["errors"][0]["path"]) == ("INVALID_VALUE", place.told)
        assert str(place.schema["maxItems"]) in error["message"]


@each_place("array")
def test_every_wrong_item_of_an_array_is_told_and_doubles_are_no_fault_of_ours(place, lead, arguments):
    given = arguments(place.tool)
    data = shape_fault(lead, place.tool, place.put(given, [None, True, None]))
    assert data["path"] == f"{place.told}[0]"
    assert {fault["path"] for fault in data["faults"]} == {f"{place.told}[{index}]" for index in range(3)}
    inner = next((value for value in (given.get(place.name), [1, "x"]) if value), None)
    for value in ([], inner * 2, inner * 3):
        try:
            result = lead.result(place.tool.name, **place.put(given, value))
        except RpcFailed as failed:
            assert failed.code == -32602, value  # noqa: PT017 - what is no item is a shape fault
        else:
            assert not result.get("isError") or error_of(result)["code"] in ANSWERS, (value, result)


DEEP: Any = []
for _ in range(40):
    DEEP = [DEEP]
ODD_VALUES = [
    None, True, 0, -1, 1.5, 10**30, 1e308, 5e-324, "", " ", "x", "x" * 100_000, "😀", [], {}, [[]], [None], [{}], [""],
    DEEP,
    {"step": 1}, [{"step": None}], [{"step": "a", "step ": "b"}], [{"": "a"}], [["a"]], ["a"] * 201, "[", '["\\u0000"]',
    '[{"step": "\\u0000"}]', '["\\ud800"]', "[" * 2000 + "]" * 2000, "null", "NaN", "1e999", "-0", "٣", "2026-02-30",
]  # fmt: skip


@each_place("object")
def test_fields_of_any_kind_are_stored_or_refused_but_never_a_fault(place, lead, arguments, objects):
    given = arguments(place.tool)
    for value in (1, True, None, [], "x", "[]", {"priority": NUL}, {NUL: 1}, {"steps": [{"step": LONE}]}, {LONE: 1}):
        fault = shape_fault(lead, place.tool, place.put(given, value))
        assert fault["path"].startswith(place.told)
    if place.schema.get("properties"):
        return
    for key in ("priority", "preconditions", "steps", "nowhere", "", " ", "😀", "x" * 10_000, str(objects.project)):
        for value in ODD_VALUES:
            result = lead.result(place.tool.name, **place.put(given, {key: value}))
            if result.get("isError"):
                error = error_of(result)
                assert error["code"] == "INVALID_VALUE", (key, value)
                assert len(error["message"]) < 1_000


# Whole calls


@each_tool()
def test_a_missing_or_unknown_argument_is_a_shape_fault(tool, lead, arguments):
    given = arguments(tool)
    for argument in tool.arguments:
        if argument.required:
            without = {name: value for name, value in given.items() if name != argument.name}
            data = shape_fault(lead, tool, without)
            assert (data["path"], data["reason"]) == (argument.name, "missing")
        misspelt = f"{argument.name}s" if not argument.name.endswith("s") else argument.name[:-1]
        if misspelt not in {known.name for known in tool.arguments}:
            data = shape_fault(lead, tool, {**given, misspelt: 1})
            assert (data["path"], data["expected"]) == (misspelt, f"perhaps {argument.name}")
    assert shape_fault(lead, tool, {**given, "": 1})["reason"] == "unknown argument"
    assert shape_fault(lead, tool, {**given, LONE: 1})["path"] == "a\\ud800b"


NASTY = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 1.5, 1e308, "", "x", "1", "true", "C-1", "null", "[]", "{}",
    NUL, LONE,    "😀" * 300, [], [1], [None], ["x"], [[]], {}, {"": None}, {"priority": "High"},
    {"steps": [{"step": "x"}]}, "2026-01-01", "2026-02-30", "9999-12-31", "0001-01-01", -(2**63), -0.0, 1e18,
    "x" * 1_001, "שלום \u202e", "Failed", "ACTIVE", {"caseId": "C-1", "statusId": "Passed"}, [1, 1], ["C-1", "C-1"],
    "[1, 2]", '{"title": "x"}', [{"title": "x"}], [{}],
]  # fmt: skip


@each_tool()
def test_arguments_thrown_together_never_make_a_fault_of_ours(tool, lead, arguments):
    dice = random.Random(tool.name)  # noqa: S311 - the same throws in every run
    here = [place for place in PLACES if place.tool is tool]
    given = arguments(tool)
    for _ in range(60):
        thrown = given
        for place in dice.sample(here, k=min(len(here), dice.randint(1, 4))):
            try:
                thrown = place.put(thrown, dice.choice(NASTY))
            except (AttributeError, TypeError, KeyError, IndexError):
                continue
        try:
            result = lead.result(tool.name, **thrown)
        except RpcFailed as failed:
            assert failed.code == -32602, thrown  # noqa: PT017 - either way to answer is right
        else:
            assert not result.get("isError") or error_of(result)["code"] in ANSWERS, (thrown, result)


def test_every_tool_and_argument_has_been_tried(capsys):
    kinds = {place.kind for place in PLACES}
    assert kinds <= {"id", "case", "tag", "text", "number", "choice", "day", "moment", "boolean", "array", "object"}
    assert all(example(tool) is not None for tool in TOOLS)
    with capsys.disabled():
        print(f"\n{len(TOOLS)} tools, {len(PLACES)} places for a value in their arguments")  # noqa: T201
