"""Field values: the ten types, options, what a project overrides, required fields, defaults, changing the template."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from tests.tools.conftest import new_case

OPTIONS = {"v1": "First", "v2": "Second", "First": "Third", "1": "2", "2": "1"}
TYPES = ("TEXT", "STRING", "INTEGER", "FLOAT", "DATE", "CHECKBOX", "LINK", "DROPDOWN", "MULTI_SELECT", "STEPS")


WITH_OPTIONS = {"DROPDOWN", "MULTI_SELECT"}


@dataclass(frozen=True)
class Everything:
    template: int
    fields: dict[str, int]


@pytest.fixture(scope="module")
async def everything(sql, project):
    """A template with a field of each type, named like e_text."""
    fields = {
        kind: await sql.new_field(f"e_{kind.lower()}", kind, options=OPTIONS if kind in WITH_OPTIONS else None)
        for kind in TYPES
    }  # fmt: skip
    return Everything(await sql.new_template("Everything", project=project, fields=tuple(fields.values())), fields)


@pytest.fixture
def stored(lead, project, everything):
    """Creates a case with one value and returns what it holds, by a dry run."""

    def store(kind, value):
        key = f"e_{kind.lower()}"
        case = new_case(lead, project, templateId=everything.template, fields={key: value}, dryRun=True)
        return case["fields"].get(key)

    return store


ACCEPTED = [
    ("TEXT", "One line", "One line"),
    ("TEXT", "😀 עברית \u202e", "😀 עברית \u202e"),
    ("TEXT", "x" * 1000, "x" * 1000),
    ("TEXT", " ", None),
    ("TEXT", "", None),
    ("TEXT", None, None),
    ("STRING", "Two\nlines", "Two\nlines"),
    ("STRING", "x" * 20_000, "x" * 20_000),
    ("STRING", "", None),
    ("INTEGER", 0, 0),
    ("INTEGER", -7, -7),
    ("INTEGER", 7.0, 7),
    ("INTEGER", "7", 7),
    ("INTEGER", 10**15, 10**15),
    ("INTEGER", "", None),
    ("FLOAT", 0.1, 0.1),
    ("FLOAT", 5, 5),
    ("FLOAT", "2.50", 2.5),
    ("FLOAT", "-1e3", -1000),
    ("FLOAT", 1e-9, 1e-9),
    ("DATE", "2026-02-28", "2026-02-28"),
    ("DATE", "20260228", "2026-02-28"),
    ("DATE", "", None),
    ("CHECKBOX", True, True),
    ("CHECKBOX", False, False),
    ("CHECKBOX", "true", True),
    ("CHECKBOX", "false", False),
    ("CHECKBOX", None, None),
    ("LINK", "https://example.test/a?b=c#d", "https://example.test/a?b=c#d"),
    ("LINK", "http://localhost:8080", "http://localhost:8080"),
    ("LINK", "", None),
    ("DROPDOWN", "v1", "v1"),
    ("DROPDOWN", "V1", "v1"),
    ("DROPDOWN", "Second", "v2"),
    ("DROPDOWN", "second ", "v2"),
    ("DROPDOWN", "", None),
    ("DROPDOWN", "first", "First"),
    ("DROPDOWN", "1", "1"),
    ("DROPDOWN", "2", "2"),
    ("MULTI_SELECT", ["v1", "Second"], ["v1", "v2"]),
    ("MULTI_SELECT", ["v2", "v1", "V2"], ["v2", "v1"]),
    ("MULTI_SELECT", "v1", ["v1"]),
    ("MULTI_SELECT", '["v1", "v2"]', ["v1", "v2"]),
    ("MULTI_SELECT", [], None),
    ("MULTI_SELECT", None, None),
    ("STEPS", ["Go", {"step": "Stop"}], [{"step": "Go"}, {"step": "Stop"}]),
    ("STEPS", '["Go", {"step": "Stop"}]', [{"step": "Go"}, {"step": "Stop"}]),
    ("STEPS", [{"expectedResult": "It goes"}], [{"expectedResult": "It goes"}]),
    ("STEPS", [{"step": "a", "notes": None, "actualResult": ""}], [{"step": "a"}]),
    ("STEPS", [{"Step": "a", "EXPECTEDRESULT": "b"}], [{"step": "a", "expectedResult": "b"}]),
    ("STEPS", ["x"] * 200, [{"step": "x"}] * 200),
    ("STEPS", [], None),
    ("STEPS", None, None),
]


@pytest.mark.parametrize(("kind", "value", "expected"), ACCEPTED, ids=[f"{k} {v!r}"[:60] for k, v, _ in ACCEPTED])
def test_a_value_of_its_type_is_stored(stored, kind, value, expected):
    assert stored(kind, value) == expected


REFUSED = [
    ("TEXT", 5, "text"),
    ("TEXT", "two\nlines", "one line"),
    ("TEXT", "x" * 1001, "1,000"),
    ("STRING", 5, "text"),
    ("STRING", "x" * 20_001, "20,000"),
    ("INTEGER", 1.5, "whole number"),
    ("INTEGER", "1.5", "whole number"),
    ("INTEGER", "one", "no number"),
    ("INTEGER", "1_0", "no number"),
    ("INTEGER", True, "number"),
    ("INTEGER", 10**16, "too large"),
    ("INTEGER", 1e300, "too large"),
    ("INTEGER", [1], "number"),
    ("FLOAT", "nan", "no number"),
    ("FLOAT", "inf", "no number"),
    ("FLOAT", "1e400", "too large"),
    ("FLOAT", 2**63, "too large"),
    ("DATE", "2026-02-30", "2026-11-22"),
    ("DATE", "tomorrow", "2026-11-22"),
    ("DATE", 20260228, "2026-11-22"),
    ("DATE", "2026-02-28T10:00:00Z", "2026-11-22"),
    ("CHECKBOX", 1, "true or false"),
    ("CHECKBOX", "yes", "true or false"),
    ("CHECKBOX", [], "true or false"),
    ("LINK", "example.test", "http"),
    ("LINK", "javascript:alert(1)", "http"),
    ("LINK", "https://", "http"),
    ("LINK", "https://a b", "http"),
    ("LINK", "http://[", "http"),
    ("LINK", 5, "http"),
    ("DROPDOWN", "Fourth", "First, Second, Third"),
    ("DROPDOWN", 1, "First, Second, Third"),
    ("DROPDOWN", ["v1"], "First, Second, Third"),
    ("MULTI_SELECT", ["v1", "x"], "First, Second, Third"),
    ("MULTI_SELECT", {"v1": True}, "array"),
    ("MULTI_SELECT", [None], "First, Second, Third"),
    ("STEPS", "Go", "array"),
    ("STEPS", {"step": "Go"}, "array"),
    ("STEPS", [5], "step 1"),
    ("STEPS", ["a", ""], "step 2 is empty"),
    ("STEPS", [{}], "step 1 is empty"),
    ("STEPS", [{"step": "a"}, {"expected": "b"}], "step, expectedResult, actualResult, notes"),
    ("STEPS", [{"step": ["a"]}], "step 1"),
    ("STEPS", [{"step": "x" * 20_001}], "20,000"),
    ("STEPS", ["x"] * 201, "200 steps"),
    ("STEPS", ["x" * 20_000] * 4, "60,000"),
]


@pytest.mark.parametrize(("kind", "value", "words"), REFUSED, ids=[f"{k} {v!r}"[:60] for k, v, _ in REFUSED])
def test_a_value_of_another_type_is_refused_with_what_would_do(*, failing, project, everything, kind, value, words):
    key = f"e_{kind.lower()}"
    error = failing("create_test_case", project=project, title="x", templateId=everything.template, fields={key: value})
    assert error["code"] == "INVALID_VALUE"
    assert error["field"] in {key, "fields"}
    assert words in error["message"]
    assert len(error["message"]) < 500


@pytest.mark.parametrize("form", ["id", "system name", "label", "LABEL", "label with spaces"])
def test_a_field_is_named_by_id_system_name_or_label(lead, project, everything, form):
    key = {
        "id": str(everything.fields["TEXT"]),
        "system name": "e_text",
        "label": "E text",
        "LABEL": "E TEXT",
        "label with spaces": " E text ",
    }[form]
    case = new_case(lead, project, templateId=everything.template, fields={key: "here"})
    assert case["fields"] == {"e_text": "here"}


async def test_a_system_name_beats_the_label_of_another_field(lead, project, sql):
    fields = [
        await sql.new_field("mixed_a", "TEXT", label="mixed_b"),
        await sql.new_field("mixed_b", "TEXT", label="A"),
    ]
    template = await sql.new_template("Mixed", project=project, fields=tuple(fields))
    case = new_case(lead, project, templateId=template, fields={"mixed_b": "here"})
    assert case["fields"] == {"mixed_b": "here"}


async def test_a_label_that_two_fields_share_is_refused_and_so_is_a_field_given_twice(failing, lead, project, sql):
    fields = [await sql.new_field(f"twin_{n}", "TEXT", label="Twin") for n in (1, 2)]
    template = await sql.new_template("Twins", project=project, fields=tuple(fields))
    arguments = {"project": project, "title": "x", "templateId": template}
    error = failing("create_test_case", **arguments, fields={"Twin": "here"})
    assert "twin_1, twin_2" in error["message"]
    error = failing("create_test_case", **arguments, fields={"twin_1": "here", str(fields[0]): "there"})
    assert "twice" in error["message"]
    assert lead.call("create_test_case", **arguments, fields={"twin_2": "here"})["fields"] == {"twin_2": "here"}


def test_an_unknown_field_is_refused_with_those_of_the_template(failing, project):
    error = failing("create_test_case", project=project, title="x", fields={"prio": "High"})
    assert (error["code"], error["field"]) == ("INVALID_VALUE", "prio")
    assert "preconditions, priority, steps" in error["message"]


def test_fields_may_come_as_json_text(lead, project):
    case = new_case(lead, project, fields=json.dumps({"priority": "Low", "steps": ["Go"]}))
    assert case["fields"] == {"priority": "Low", "steps": [{"step": "Go"}]}


# What a project overrides


@pytest.fixture
async def one_field(sql, own_project):
    """Makes a template of one field for the project; *over* is the project's override. Template, field, its name."""

    async def make(kind, *, options=None, required=False, default=None, over=None):
        name = f"o{own_project}_{kind.lower()}_{len(await sql.rows('SELECT id FROM fields'))}"
        field = await sql.new_field(name, kind, options=options)
        template = await sql.new_template("Over", project=own_project, fields=(field,))
        await sql.rows(
            "UPDATE template_fields SET required = $2, default_value = $3 WHERE template_id = $1",
            template,
            required,
            default,
        )
        if over is not None:
            await sql.rows(
                "INSERT INTO field_overrides (project_id, field_id, hidden, required, default_value) "
                "VALUES ($1, $2, $3, $4, $5)",
                own_project,
                field,
                over.get("hidden", False),
                over.get("required"),
                over.get("default"),
            )
        return template, field, name

    return make


def shown_fields(lead, project, template):
    return lead.call("get_fields", project=project, templateId=template)["items"][0]["fields"]


async def test_a_hidden_field_is_not_offered_and_not_accepted(lead, failing, own_project, one_field):
    template, _, name = await one_field("TEXT", over={"hidden": True, "required": True})
    assert shown_fields(lead, own_project, template) == []
    error = failing("create_test_case", project=own_project, title="x", templateId=template, fields={name: "a"})
    assert "has no field" in error["message"]
    new_case(lead, own_project, templateId=template)


@pytest.mark.parametrize(
    ("of_template", "of_project", "holds"),
    [(False, None, False), (True, None, True), (False, True, True), (True, False, False)],
)
async def test_the_projects_word_on_required_beats_the_templates(
    *, lead, failing, own_project, one_field, of_template, of_project, holds
):
    template, _, name = await one_field("TEXT", required=of_template, over={"required": of_project})
    assert [field["required"] for field in shown_fields(lead, own_project, template)] == [holds]
    arguments = {"project": own_project, "title": "x", "templateId": template}
    case = lead.call("create_test_case", **arguments, fields={name: "a"})
    clearing = {"project": own_project, "caseId": case["id"], "fields": {name: None}}
    if not holds:
        lead.call("create_test_case", **arguments)
        lead.call("update_test_case", **clearing)
        return
    for tool, refused in [
        ("create_test_case", arguments),
        ("create_test_case", {**arguments, "fields": {name: " "}}),
        ("update_test_case", clearing),
    ]:
        error = failing(tool, **refused)
        assert (error["code"], error["field"]) == ("REQUIRED_FIELD", name)
        assert f"fields.{name}" in error["message"]
    lead.call("update_test_case", project=own_project, caseId=case["id"], title="Still fine")


@pytest.mark.parametrize(("of_template", "of_project", "holds"), [("t", None, "t"), ("t", "p", "p"), (None, "p", "p")])
async def test_the_projects_default_beats_the_templates(
    *, lead, own_project, one_field, of_template, of_project, holds
):
    template, _, name = await one_field("TEXT", default=of_template, over={"default": of_project})
    assert [field["default"] for field in shown_fields(lead, own_project, template)] == [holds]
    assert new_case(lead, own_project, templateId=template)["fields"] == {name: holds}


async def test_a_required_field_with_a_bad_value_is_told_once(failing, own_project, one_field):
    template, _, name = await one_field("INTEGER", required=True)
    error = failing("create_test_case", project=own_project, title="x", templateId=template, fields={name: "many"})
    assert (error["code"], error["field"]) == ("INVALID_VALUE", name)


async def test_a_default_satisfies_a_required_field(lead, own_project, one_field):
    template, _, name = await one_field("TEXT", required=True, default="there")
    assert new_case(lead, own_project, templateId=template)["fields"] == {name: "there"}


async def test_the_projects_options_replace_the_fields_own(lead, failing, own_project, one_field, sql):
    template, field, name = await one_field("DROPDOWN", options={"a": "A", "b": "B"}, default="a")
    await sql.set_options(field, "DROPDOWN", {"t": "T"}, template=template)
    assert shown_fields(lead, own_project, template)[0]["options"] == [{"value": "t", "label": "T"}]
    await sql.set_options(field, "DROPDOWN", {"b": "Bee", "c": "Sea"}, project=own_project)
    shown = shown_fields(lead, own_project, template)[0]
    assert shown["options"] == [{"value": "b", "label": "Bee"}, {"value": "c", "label": "Sea"}]
    arguments = {"project": own_project, "title": "x", "templateId": template}
    assert "Bee, Sea" in failing("create_test_case", **arguments, fields={name: "A"})["message"]
    assert lead.call("create_test_case", **arguments, fields={name: "Sea"})["fields"] == {name: "c"}


async def test_a_default_that_is_no_option_any_more_does_not_hold(lead, own_project, one_field, sql):
    template, field, _ = await one_field("DROPDOWN", options={"a": "A", "b": "B"}, default="a")
    await sql.rows("UPDATE field_options SET enabled = false WHERE field_id = $1 AND value = 'a'", field)
    shown = shown_fields(lead, own_project, template)[0]
    assert (shown["options"], shown.get("default")) == ([{"value": "b", "label": "B"}], None)
    assert new_case(lead, own_project, templateId=template)["fields"] == {}


async def test_a_default_of_another_type_does_not_hold(lead, own_project, one_field):
    template, _, _ = await one_field("INTEGER", default="many")
    assert new_case(lead, own_project, templateId=template)["fields"] == {}


async def test_a_disabled_option_stays_in_cases_that_have_it(lead, failing, own_project, one_field, sql):
    template, field, name = await one_field("DROPDOWN", options={"a": "A", "b": "B"})
    case = new_case(lead, own_project, templateId=template, fields={name: "a"})
    await sql.rows("UPDATE field_options SET enabled = false WHERE field_id = $1 AND value = 'a'", field)
    after = lead.call("update_test_case", project=own_project, caseId=case["id"], title="Kept")
    assert after["fields"] == {name: "a"}
    failing("update_test_case", project=own_project, caseId=case["id"], fields={name: "a"})


async def test_a_slot_can_be_renamed_and_switched_off_in_a_project(lead, failing, own_project, one_field, sql):
    template, field, name = await one_field("STEPS")
    await sql.rows(
        "INSERT INTO field_slots (field_id, project_id, slot, label, enabled, position) "
        "VALUES ($1, $2, 'step', 'Action', true, 1), ($1, $2, 'notes', 'Notes', false, 0)",
        field,
        own_project,
    )
    slots = shown_fields(lead, own_project, template)[0]["slots"]
    assert {"name": "step", "label": "Action"} in slots
    assert "notes" not in [slot["name"] for slot in slots]
    arguments = {"project": own_project, "title": "x", "templateId": template}
    assert "notes" in failing("create_test_case", **arguments, fields={name: [{"notes": "n"}]})["message"]
    case = lead.call("create_test_case", **arguments, fields={name: [{"Action": "Go"}]})
    assert case["fields"] == {name: [{"step": "Go"}]}


async def test_a_field_of_chosen_projects_is_unknown_elsewhere(lead, own_project, one_field, sql):
    template, field, _ = await one_field("TEXT")
    await sql.rows("UPDATE fields SET all_projects = false WHERE id = $1", field)
    assert shown_fields(lead, own_project, template) == []
    await sql.make_available(own_project, field_id=field)
    assert len(shown_fields(lead, own_project, template)) == 1


async def test_a_disabled_field_keeps_its_values_through_updates(lead, own_project, one_field, sql):
    template, field, name = await one_field("TEXT")
    case = new_case(lead, own_project, templateId=template, fields={name: "kept"})
    await sql.rows("UPDATE fields SET enabled = false WHERE id = $1", field)
    update = {"project": own_project, "caseId": case["id"]}
    assert lead.call("update_test_case", **update, title="Another")["fields"] == {name: "kept"}
    assert lead.call("update_test_case", **update, templateId=template)["fields"] == {name: "kept"}


# Changing the template


@pytest.fixture
async def templates(sql, own_project):
    """Two templates that share a field: {"old": …, "new": …} and the three fields by name."""
    names = {key: f"{key}{own_project}" for key in ("gone", "shared", "fresh", "gone_steps")}
    fields = {
        key: await sql.new_field(name, "STEPS" if "steps" in key else "TEXT", label=key.title())
        for key, name in names.items()
    }
    made = {
        "old": await sql.new_template(
            "Old", project=own_project, fields=(fields["gone"], fields["shared"], fields["gone_steps"])
        ),
        "new": await sql.new_template("New", project=own_project, fields=(fields["shared"], fields["fresh"])),
    }
    await sql.rows(
        "UPDATE template_fields SET default_value = '\"fresh default\"' WHERE template_id = $1 AND field_id = $2",
        made["new"],
        fields["fresh"],
    )
    return made, names


@pytest.fixture
def old_case(lead, own_project, templates):
    made, names = templates
    values = {names["gone"]: "g", names["shared"]: "s", names["gone_steps"]: ["Go"]}
    return new_case(lead, own_project, templateId=made["old"], fields=values)


def test_a_new_template_keeps_shared_fields_and_names_those_dropped(lead, own_project, templates, old_case):
    made, names = templates
    update = {"project": own_project, "caseId": old_case["id"]}
    after = lead.call("update_test_case", **update, templateId=made["new"])
    assert after["dropped"] == ["Gone", "Gone_Steps"]
    assert after["fields"] == {names["shared"]: "s", names["fresh"]: "fresh default"}
    assert after["template"]["id"] == made["new"]
    assert "dropped" not in lead.call("get_test_case", **update)
    back = lead.call("update_test_case", **update, templateId=made["old"])
    assert back["dropped"] == ["Fresh"]
    assert back["fields"] == {names["shared"]: "s"}


def test_fields_sent_with_a_new_template_are_those_of_the_new_one(lead, failing, own_project, templates, old_case):
    made, names = templates
    update = {"project": own_project, "caseId": old_case["id"], "templateId": made["new"]}
    assert "has no field" in failing("update_test_case", **update, fields={names["gone"]: "x"})["message"]
    after = lead.call("update_test_case", **update, fields={names["fresh"]: None, names["shared"]: "sent"})
    assert after["fields"] == {names["shared"]: "sent"}


def test_the_template_that_a_case_has_already_changes_nothing(lead, own_project, templates, old_case):
    made, names = templates
    update = {"project": own_project, "caseId": old_case["id"]}
    assert lead.call("update_test_case", **update, templateId=made["old"]) == old_case
    lead.call("update_test_case", **update, templateId=made["new"], fields={names["fresh"]: None})
    again = lead.call("update_test_case", **update, templateId=made["new"])
    assert again["fields"] == {names["shared"]: "s"}


async def test_a_new_templates_required_field_must_be_given(*, lead, failing, own_project, templates, old_case, sql):
    made, names = templates
    await sql.rows(
        "UPDATE template_fields SET required = true, default_value = NULL WHERE template_id = $1", made["new"]
    )
    update = {"project": own_project, "caseId": old_case["id"], "templateId": made["new"]}
    error = failing("update_test_case", **update)
    assert (error["code"], error["field"]) == ("REQUIRED_FIELD", names["fresh"])
    assert lead.call("update_test_case", **update, fields={names["fresh"]: "f"})["dropped"] == ["Gone", "Gone_Steps"]


def test_many_cases_change_their_template_at_once(lead, own_project, templates, old_case):
    made, names = templates
    plain = new_case(lead, own_project, fields={"priority": "High"})
    already = new_case(lead, own_project, templateId=made["new"], fields={names["fresh"]: None})
    ids = [old_case["id"], plain["id"], already["id"]]
    answer = lead.call("update_test_cases", project=own_project, caseIds=ids, templateId=made["new"])
    assert sorted(answer["dropped"]) == ["Gone", "Gone_Steps", "Priority"]
    assert [item["version"] for item in answer["items"]] == [2, 2, 1]
    assert lead.call("get_test_case", project=own_project, caseId=already["id"])["fields"] == {}


async def test_a_template_that_is_not_available_any_more_stays_but_is_not_given_to_others(
    *, lead, failing, own_project, templates, old_case, sql
):
    made, names = templates
    await sql.rows("UPDATE templates SET enabled = false WHERE id = $1", made["old"])
    listed = lead.call("get_fields", project=own_project)
    assert made["old"] not in [template["id"] for template in listed["items"]]
    after = lead.call("update_test_case", project=own_project, caseId=old_case["id"], fields={names["gone"]: "new"})
    assert after["fields"][names["gone"]] == "new"
    other = new_case(lead, own_project)
    for tool, arguments in [
        ("create_test_case", {"title": "x"}),
        ("update_test_case", {"caseId": other["id"]}),
        ("update_test_cases", {"caseIds": [other["id"], old_case["id"]]}),
    ]:
        error = failing(tool, project=own_project, templateId=made["old"], **arguments)
        assert error["code"] == "NOT_FOUND_OR_DENIED"


def test_a_dry_run_names_what_would_be_dropped_and_drops_nothing(lead, own_project, templates, old_case):
    made, _ = templates
    update = {"project": own_project, "caseId": old_case["id"], "templateId": made["new"]}
    dry = lead.call("update_test_case", **update, dryRun=True)
    assert (dry["dropped"], dry["dryRun"], dry["version"]) == (["Gone", "Gone_Steps"], True, 2)
    assert lead.call("get_test_case", project=own_project, caseId=old_case["id"]) == old_case
