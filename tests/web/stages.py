"""Every page of a project, and a project with one of everything to look at."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

_NAMES = itertools.count(1)
HOSTILE = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>{{ 7777 * 7 }}</textarea></title>"

# Each page of a project, and the permissions that it needs.
PAGES = {
    "": ("VIEW_DASHBOARD",),
    "/coverage": ("VIEW_DASHBOARD", "VIEW_TEST_CASES", "VIEW_EXTERNAL_REFERENCES"),
    "/cases": ("VIEW_TEST_CASES",),
    "/cases?folder={folder}": ("VIEW_TEST_CASES",),
    "/cases?q=alert": ("VIEW_TEST_CASES",),
    "/cases/{case}": ("VIEW_TEST_CASES",),
    "/cases/{case}?tab=results": ("VIEW_TEST_CASES", "VIEW_TEST_RUNS"),
    "/cases/{case}?tab=history": ("VIEW_TEST_CASES",),
    "/cases/{case}?tab=issues": ("VIEW_TEST_CASES",),
    "/runs": ("VIEW_TEST_RUNS",),
    "/runs/{run}": ("VIEW_TEST_RUNS",),
    "/runs/{run}/progress": ("VIEW_TEST_RUNS",),
    "/cycles": ("VIEW_CYCLES",),
    "/cycles/{cycle}": ("VIEW_CYCLES",),
    "/traceability": ("VIEW_TEST_CASES", "VIEW_EXTERNAL_REFERENCES"),
    "/traceability/gaps?kind=ISSUES_NOT_PASSING": ("VIEW_TEST_CASES", "VIEW_EXTERNAL_REFERENCES"),
    "/traceability/issues/{issue}": ("VIEW_TEST_CASES", "VIEW_EXTERNAL_REFERENCES"),
}


@dataclass(frozen=True)
class Stage:
    """A project with one of everything, all named in a hostile way; and ids that must not be answered there."""

    project: int
    ids: dict[str, int]

    def path(self, page: str, **ids: int) -> str:
        return f"projects/{self.project}" + page.format(**(self.ids | ids))


async def make_stage(sql, client, *, name=HOSTILE):
    project = await sql.value(
        "INSERT INTO projects (name, summary) VALUES ($1, $2) RETURNING id", f"{name[:60]}{next(_NAMES)}", name
    )
    source = await sql.value(
        "INSERT INTO sources (name, system, key_pattern, all_projects, base_url) "
        "VALUES ($1, 'JIRA', '[A-Z]+-[0-9]+', false, 'https://tracker.example') RETURNING id",
        f"{name[:60]}{next(_NAMES)}",
    )
    await sql.make_available(project, source_id=source)
    environment = await sql.value(
        "INSERT INTO environments (name, all_projects) VALUES ($1, false) RETURNING id", f"{name}{next(_NAMES)}"
    )
    await sql.make_available(project, environment_id=environment)

    def call(tool, **arguments):
        return client.call(tool, project=project, **arguments)

    folder = call("create_folder", name=name, description=name)["id"]
    fields = {"preconditions": name, "steps": [{"step": name, "expectedResult": name}, {"step": "Look", "notes": name}]}
    case = call("create_test_case", title=name, folderId=folder, fields=fields, tags=["smoke"])["id"]
    other = call("create_test_case", title=f"Other {name}", folderId=folder)["id"]
    fields["steps"].insert(1, {"step": f"New {name}"})
    call("update_test_case", caseId=case, title=f"Changed {name}", fields=fields)
    comment = call("add_comment", caseId=case, body=f"{name}\n\n**bold** [bad](javascript:alert(1))")["id"]
    above = call("create_cycle", name=name, description=name)["id"]
    cycle = call("create_cycle", name=f"Below {name}", parentId=above, description=name)["id"]
    run = call(
        "start_test_run", title=name, notes=name, cycleId=cycle, environmentId=environment, caseIds=[case, other]
    )["id"]
    call(
        "record_test_result",
        runId=run,
        caseId=case,
        statusId="Failed",
        comment=name,
        elapsedSeconds=61,
        stepResults=[{"position": 1, "status": "fail", "comment": name}],
        issueKey="BUG-7",
        sourceId=source,
    )
    call("record_test_result", runId=run, caseId=other, statusId="Failed", comment=name)
    call("link_to_issue", caseId=case, sourceId=source, issueKey="SHOP-1")
    await sql.rows("UPDATE issues SET title = $2, status = $3 WHERE project_id = $1", project, name, name[:90])
    issue = await sql.value("SELECT id FROM issues WHERE project_id = $1 AND key = 'SHOP-1'", project)
    ids = {"case": case, "folder": folder, "comment": comment, "cycle": cycle, "run": run, "issue": issue}
    return Stage(project, ids)
