"""`workspace apply|config` and the commands for single objects: what they store and refuse, and what agents see."""

from __future__ import annotations

import asyncio
import itertools
import json
import shlex
import signal
import sys
from pathlib import Path

import pytest
import yaml

from service.cli.configure import COMMANDS
from service.cli.main import main
from service.demo.load import populate_demo
from tenancy.catalog import find_workspace
from tenancy.connection import connect
from tenancy.provision import create_workspace
from tenancy.roles import APP
from tests.conftest import make_tenant, new_database, serving
from tests.tools.conftest import Sql

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-workspace.yaml"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
async def served(postgres):
    """A service over a database of its own with the workspace `initech`, and the administrator's URL."""
    async with new_database(postgres) as (name, admin):
        with serving(postgres.dsn(user=APP, database=name)) as (host, port):
            yield await make_tenant(admin, "initech", host=host, port=port), postgres.dsn(database=name), admin


@pytest.fixture
def typed(served, monkeypatch, capsys):
    """Runs a command as it is typed, and returns its exit code, output and error output."""
    monkeypatch.setenv("DATABASE_URL", served[1])
    monkeypatch.setenv("COLUMNS", "200")

    def run(command: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["testorchestrator", *shlex.split(command)])
        handler = signal.getsignal(signal.SIGTERM)
        code = 0
        try:
            main()
        except SystemExit as done:
            code = done.code or 0
        finally:
            signal.signal(signal.SIGTERM, handler)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
async def fresh(served):
    """The name of a new workspace."""
    slug = f"setup-{next(NUMBERS)}"
    await create_workspace(served[2], slug=slug, name="Setup")
    return slug


@pytest.fixture
def applied(typed, tmp_path):
    """Applies a document, given as text, and returns the differences as JSON, or the lines of standard error."""

    def run(slug: str, source: str, *options: str):
        file = tmp_path / "config.yaml"
        file.write_text(source)
        code, out, error = typed(f"workspace apply {slug} {file} --yes --json {' '.join(options)}")
        if code == 1:
            assert out == ""
            return error.splitlines()
        return json.loads(out)["differences"]

    return run


async def rows_of(url: str, slug: str, query: str) -> list:
    connection = await connect(url, name="the test server")
    found = await find_workspace(connection, slug)
    rows = await Sql(connection, found.schema_name).rows(query)
    await connection.close()
    return rows


def exported(typed, slug: str) -> dict:
    code, out, _ = typed(f"workspace config {slug}")
    assert code == 0
    return yaml.safe_load(out)


def test_the_documented_example_applies_once_and_then_differs_no_more(typed, applied, fresh):
    made = applied(fresh, EXAMPLE.read_text())
    assert {one["section"] for one in made} == set(yaml.safe_load(EXAMPLE.read_text()))
    assert {one["action"] for one in made} == {"create"}
    assert applied(fresh, EXAMPLE.read_text()) == []
    assert applied(fresh, yaml.safe_dump(exported(typed, fresh))) == []
    template = next(one for one in exported(typed, fresh)["templates"] if one["name"] == "Exploratory")
    assert template["fields"] == [
        {"field": "preconditions", "required": False},
        {"field": "severity", "required": True, "default": "Major"},
    ]


@pytest.fixture
async def demo(served):
    """The name of a workspace with the demo in it."""
    slug = f"demo-{next(NUMBERS)}"
    await create_workspace(served[2], slug=slug, name="Demo", populate=populate_demo)
    return slug


def test_a_workspace_made_from_the_export_of_another_has_the_same_export(typed, applied, demo, fresh):
    document = exported(typed, demo)
    applied(fresh, yaml.safe_dump(document))
    assert exported(typed, fresh) == document
    assert applied(demo, yaml.safe_dump(document)) == []


def test_a_dry_run_tells_the_same_and_stores_nothing(typed, applied, fresh, tmp_path):
    before = exported(typed, fresh)
    told = applied(fresh, EXAMPLE.read_text(), "--dry-run")
    assert exported(typed, fresh) == before
    assert [one["name"] for one in applied(fresh, EXAMPLE.read_text())] == [one["name"] for one in told]
    file = tmp_path / "more.yaml"
    file.write_text("tags: [{context: RUNS, name: weekly}]")
    assert typed(f"workspace apply {fresh} {file} --dry-run --exit-code")[0] == 3
    assert typed(f"workspace apply {fresh} '{EXAMPLE}' --dry-run --exit-code")[0] == 0


def test_differences_are_shown_and_nothing_is_applied_unasked(typed, fresh, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("statuses: [{name: Passed, aliases: [ok], color: '#000000'}, {name: Flaky}]")
    code, out, error = typed(f"workspace apply {fresh} {file}")
    assert (code, error.count("\n")) == (1, 1)
    assert "--yes" in error
    assert "~ status Passed" in out
    assert "color: #1a7f37 → #000000" in out
    assert "+ status Flaky" in out
    assert "1 new, 1 changed." in out
    assert "Flaky" not in str(exported(typed, fresh)["statuses"])


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("statuses:\n  - name: X\n    colour: red", ["line 3", "colour", "Did you mean color"]),
        ("status: []", ["line 1", "status", "statuses"]),
        ("statuses:\n  - name: 7", ["line 2", "statuses.0.name", "quotes"]),
        ("statuses:\n  - {name: A, success: 1}", ["line 2", "success", "true or false"]),
        ("statuses:\n  - {name: A, color: red}", ["line 2", "color"]),
        ("tags:\n  - {name: smoke}", ["line 2", "context"]),
        ("tags:\n  - {name: a b, context: RUNS}", ["line 2", "name"]),
        ("statuses: {name: A}", ["line 1", "list"]),
        ("statuses:\n  - name: A\n    name: B", ["line 3", "'name'", "twice"]),
        ("statuses:\n  - {name: A}\n  - {name: a}", ["line 3", "twice"]),
        ("statuses: [", ["YAML"]),
        ("- a", ["the document"]),
        ("a: !!python/object:os.system {}", ["YAML"]),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(source, told, applied, fresh):
    [line] = applied(fresh, source)
    assert all(word in line for word in told), line


def test_all_faults_are_told_at_once_and_nothing_is_stored(typed, applied, fresh):
    before = exported(typed, fresh)
    lines = applied(
        fresh,
        """
        statuses: [{name: Good, success: true}, {name: Untested, enabled: false}]
        templates: [{name: T, fields: [{field: priorty}]}, {name: U, fields: [{field: priority, default: Huge}]}]
        environments: [{name: E, platforms: [Nothing]}]
        projects: [{name: P, groups: {Nobody: {mode: INHERIT}}}]
        """,
    )
    assert len(lines) == 5
    assert "priority" in next(line for line in lines if "template T" in line)
    assert "Critical" in next(line for line in lines if "template U" in line)
    assert exported(typed, fresh) == before


RULES = {
    "type of a field": ("fields: [{systemName: priority, type: TEXT}]", "never changes"),
    "system name of a status": ("statuses: [{name: Passed, systemName: good}]", "never changes"),
    "semantic of a relation": ("relations: [{name: Defect, semantic: GENERAL}]", "never changes"),
    "no default template": ("templates: [{name: Test Case, default: false}]", "make another one the default"),
    "disabled default": ("cycleTypes: [{name: Sprint, enabled: false}]", "make another one the default"),
    "flags of the initial status": ("statuses: [{name: Untested, success: true}]", "initial status"),
    "options of a text": ("fields: [{systemName: preconditions, options: [{value: A}]}]", "DROPDOWN"),
    "slots of a text": ("fields: [{systemName: preconditions, slots: [{slot: step, label: S}]}]", "STEPS"),
    "override in no project": ("fields: [{systemName: priority, overrides: [{project: Nowhere}]}]", "no project"),
    "default that a project does not offer": (
        (
            "projects: [{name: P}]\nfields: [{systemName: priority, overrides: "
            "[{project: P, default: Low, options: [{value: High}]}]}]"
        ),
        "High",
    ),
    "default that a template does not offer": (
        "templates: [{name: T, fields: [{field: priority, default: Low, options: [{value: High}]}]}]",
        "High",
    ),
    "options of a template's text": (
        "templates: [{name: T, fields: [{field: preconditions, options: [{value: A}]}]}]",
        "DROPDOWN",
    ),
    "field without a type": ("fields: [{systemName: severity}]", "needs type"),
    "source without a system": ("sources: [{name: S}]", "needs system"),
    "custom source without a pattern": ("sources: [{name: S, system: CUSTOM}]", "key_pattern"),
    "no regular expression": ("sources: [{name: S, system: CUSTOM, keyPattern: '['}]", "regular expression"),
    "inclusion of a run's state": (
        "lifecycleStates: [{context: RUNS, name: Planned, includeInRuns: true}]",
        "states of cases",
    ),
    "two platforms of a group": (
        "platformGroups: [{name: B, platforms: [{name: X}, {name: Y}]}]\nenvironments: [{name: E, platforms: [X, Y]}]",
        "at most one",
    ),
    "unknown project": ("statuses: [{name: Failed, projects: [Nowhere]}]", "no project"),
    "name that is taken": ("statuses: [{name: Failed, newName: passed}]", "already"),
    "last Tenant Admin": ("users: [{email: only@x.example, accessLevel: REGULAR_USER}]", "Tenant Admin"),
}


@pytest.mark.parametrize("rule", RULES)
def test_what_the_rules_refuse_is_told(rule, typed, applied, fresh):
    typed(f"user create only@x.example --name Only --level TENANT_ADMIN --workspace {fresh}")
    source, told = RULES[rule]
    before = exported(typed, fresh)
    [line] = applied(fresh, source)
    assert told in line, line
    assert exported(typed, fresh) == before


def test_a_rename_is_one_change_and_may_be_applied_again(typed, applied, fresh):
    source = "statuses: [{name: Passed, newName: Green, color: '#00ff00'}]"
    [change] = applied(fresh, source)
    assert change["values"]["name"] == {"from": "Passed", "to": "Green"}
    assert applied(fresh, source) == []
    assert "Passed" not in [one["name"] for one in exported(typed, fresh)["statuses"]]


def test_the_default_moves_and_what_is_left_out_of_a_list_is_disabled(typed, applied, fresh):
    applied(
        fresh,
        """
        cycleTypes: [{name: Release, default: true}]
        lifecycleStates: [{context: REPOSITORY, name: Draft, default: true}]
        fields: [{systemName: priority, options: [{value: Low}, {value: Urgent}]}]
        """,
    )
    document = exported(typed, fresh)
    assert {one["name"]: one["default"] for one in document["cycleTypes"]} == {"Release": True, "Sprint": False}
    states = {(one["context"], one["name"]) for one in document["lifecycleStates"] if one["default"]}
    assert states == {("REPOSITORY", "Draft"), ("RUNS", "Planned")}
    priority = next(one for one in document["fields"] if one["systemName"] == "priority")
    assert [(one["value"], one["enabled"]) for one in priority["options"]] == [
        ("Low", True),
        ("Urgent", True),
        ("Critical", False),
        ("High", False),
        ("Medium", False),
    ]


def test_what_is_configured_is_what_agents_see_at_their_next_call(typed, served):
    tenant, _, _ = served
    lead = tenant.client()
    where = "--workspace initech"
    assert typed(f"status create Flaky --failure --completed --projects main {where}")[0] == 0
    assert typed(f"field create severity --type DROPDOWN --option Blocker --option Minor {where}")[0] == 0
    fields = "--field steps --field '{field: severity, required: true}'"
    assert typed(f"template create Exploratory {fields} --default {where}")[0] == 0
    assert typed(f"source create Jira --system JIRA {where}")[0] == 0
    names = [one["name"] for one in lead.call("get_statuses", project=tenant.project)["items"]]
    assert names[-1] == "Flaky"
    [template] = [one for one in lead.call("get_fields", project=tenant.project)["items"] if one["default"]]
    assert [field["systemName"] for field in template["fields"]] == ["severity", "steps"]
    made = lead.call("create_test_case", project=tenant.project, title="T", fields={"severity": "Blocker"})
    assert made["template"]["name"] == "Exploratory"
    assert typed(f"status disable Flaky {where}")[0] == 0
    assert "Flaky" not in [one["name"] for one in lead.call("get_statuses", project=tenant.project)["items"]]
    [source] = lead.call("get_external_sources", project=tenant.project)["items"]
    linked = lead.call(
        "link_to_issue", project=tenant.project, caseId=made["id"], sourceId=source["id"], issueKey="AB-1"
    )
    assert linked["created"] is True
    lead.close()


def of(document: dict, section: str, **named: str) -> dict:
    return next(one for one in document[section] if all(one[key] == value for key, value in named.items()))


def test_what_differs_in_a_project_and_in_a_template_is_what_its_agents_see(typed, applied, served):
    tenant, _, _ = served
    lead = tenant.client()
    template = "the fields of one project"
    applied(
        "initech",
        f"""
        fields:
          - {{systemName: size, type: DROPDOWN, options: [{{value: S}}, {{value: M}}, {{value: L}}], overrides: []}}
          - {{systemName: notes_to_self, type: TEXT}}
        templates:
          - name: {template}
            fields:
              - {{field: size, default: M, options: [{{value: M}}, {{value: XL}}]}}
              - {{field: notes_to_self}}
              - {{field: steps}}
        """,
    )

    def seen() -> dict:
        [found] = [one for one in lead.call("get_fields", project=tenant.project)["items"] if one["name"] == template]
        return {field["systemName"]: field for field in found["fields"]}

    assert [one["value"] for one in seen()["size"]["options"]] == ["M", "XL"]
    override = """
        fields:
          - systemName: size
            overrides: [{project: main, required: true, default: L, options: [{value: L}, {value: XXL, label: Huge}]}]
          - {systemName: notes_to_self, overrides: [{project: main, hidden: true}]}
          - {systemName: steps, overrides: [{project: main, slots: [{slot: step, label: Do}, {slot: notes, label: N}]}]}
        """
    assert len(applied("initech", override)) == 3
    assert applied("initech", override) == []
    assert set(seen()) == {"size", "steps"}
    assert (seen()["size"]["required"], seen()["size"]["default"]) == (True, "L")
    assert [one["label"] for one in seen()["size"]["options"]] == ["L", "Huge"]
    labels = {one["name"]: one["label"] for one in seen()["steps"]["slots"]}
    assert (labels["step"], labels["notes"]) == ("Do", "N")
    size = of(exported(typed, "initech"), "fields", systemName="size")
    assert [one["project"] for one in size["overrides"]] == ["main"]
    applied("initech", "fields: [{systemName: size, overrides: []}, {systemName: notes_to_self, overrides: []}]")
    assert set(seen()) == {"size", "notes_to_self", "steps"}
    assert (seen()["size"]["required"], seen()["size"]["default"]) == (False, "M")
    lead.close()


def test_what_is_said_in_another_order_or_in_capitals_is_no_change(typed, applied, fresh, served):
    for project in ("Shop", "App"):
        typed(f"project create {project} --workspace {fresh}")
    first = """
        platformGroups:
          - {name: Browser, platforms: [{name: Firefox}, {name: Chrome}]}
          - {name: System, platforms: [{name: Linux}]}
        environments: [{name: E, platforms: [Firefox, Linux]}]
        templates: [{name: T, fields: [{field: steps}, {field: priority}]}]
        fields: [{systemName: priority, overrides: [{project: Shop, hidden: true}, {project: App, required: true}]}]
        statuses: [{name: Failed, projects: [Shop, App]}]
        """
    assert len(applied(fresh, first)) == 6
    audit = "SELECT count(*) AS rows FROM audit_log"
    before = asyncio.run(rows_of(served[1], fresh, audit))
    again = """
        platformGroups: [{name: browser, platforms: [{name: Chrome}, {name: Firefox}]}]
        environments: [{name: e, platforms: [System/linux, firefox]}]
        templates: [{name: t, fields: [{field: priority}, {field: steps}]}]
        fields: [{systemName: priority, overrides: [{project: APP, required: true}, {project: shop, hidden: true}]}]
        statuses: [{name: failed, projects: [shop, APP]}]
        """
    assert applied(fresh, again) == []
    assert asyncio.run(rows_of(served[1], fresh, audit)) == before


def test_a_user_deactivated_by_a_document_loses_their_keys(applied, served):
    tenant, _, _ = served
    viewer = tenant.client("viewer")
    assert viewer.call("get_projects")["total"] == 1
    applied("initech", f"users: [{{email: {tenant.people['viewer'].email}, active: false}}]")
    assert viewer.post(b"{}")[0] == 401
    applied("initech", f"users: [{{email: {tenant.people['viewer'].email}, active: true}}]")
    assert viewer.call("get_projects")["total"] == 1
    viewer.close()


@pytest.mark.parametrize("group", COMMANDS)
def test_each_example_of_the_help_works_and_is_recorded(group, typed, fresh):
    _, section_help, created, changed = COMMANDS[group]
    where = f"--workspace {fresh}"
    typed(f"project create Shop {where}")
    typed(f"project create App {where}")
    if group == "environment":
        typed(f"platform-group create Browser --platform Firefox {where}")
        typed(f"platform-group create System --platform Linux {where}")
    code, out, error = typed(f"{group} create {created} {where} --json")
    assert (code, error) == (0, ""), error
    [difference] = json.loads(out)["differences"]
    assert difference["action"] == "create"
    code, _, error = typed(f"{group} create {created} {where}")
    assert (code, "already" in error, error.count("\n")) == (1, True, 1)
    code, out, error = typed(f"{group} change {changed} {where} --json")
    assert (code, error) == (0, ""), error
    [difference] = json.loads(out)["differences"]
    assert difference["action"] == "change"
    code, out, _ = typed(f"{group} list {where} --json")
    assert difference["name"].split()[-1].lower() in out.lower()
    assert section_help


def test_each_change_has_an_audit_row_with_the_command(typed, fresh, served):
    typed(f"tag create smoke --context REPOSITORY --workspace {fresh}")
    typed(f"tag change smoke --context REPOSITORY --color '#000000' --workspace {fresh}")
    typed(f"tag change smoke --context REPOSITORY --color '#111111' --dry-run --workspace {fresh}")
    query = "SELECT a.tool, a.action, a.details FROM audit_log a WHERE a.object_type = 'tag' ORDER BY a.id"
    rows = asyncio.run(rows_of(served[1], fresh, query))
    assert [(row["tool"], row["action"]) for row in rows] == [("tag create", "create"), ("tag change", "update")]
    assert rows[1]["details"] == {"color": {"from": "#6b7280", "to": "#000000"}}


async def test_two_documents_at_once_are_applied_one_after_the_other(served, fresh, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(EXAMPLE.read_text())
    command = [sys.executable, "-P", "-m", "service.cli", "workspace", "apply", fresh, str(file), "--yes", "--json"]
    started = [
        await asyncio.create_subprocess_exec(
            *command,
            env={"DATABASE_URL": served[1], "PATH": ""},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    outcomes = [await one.communicate() for one in started]
    assert [one.returncode for one in started] == [0, 0], outcomes
    counts = sorted(len(json.loads(out)["differences"]) for out, _ in outcomes)
    assert counts[0] in (0, counts[1])
    rows = await rows_of(served[1], fresh, "SELECT s.id FROM statuses s WHERE s.name = 'Flaky'")
    assert len(rows) == 1
