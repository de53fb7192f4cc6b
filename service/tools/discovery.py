"""Discovery: what a project has to choose from. Read-only; each needs access to the project, nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.domain import configuration, cycles, fields, folders, projects
from service.tools.arguments import boolean, choice, described, identifier, optional
from service.tools.registry import read_tool
from service.tools.results import BOOLEAN, DATE, INTEGER, NUMBER, OBJECT, STRING, any_of, array, listing, record

if TYPE_CHECKING:
    from service.domain.work import Document, Work

CONTEXT = optional("context", described(choice("REPOSITORY", "RUNS"), "For cases (REPOSITORY) or for runs (RUNS) only"))


@read_tool(
    title="List projects",
    description="List the projects you can access, with your role and permissions in each. Call it first: nearly "
    "every other tool takes a project id. Completed projects are left out unless includeCompleted is true. "
    "Example: {}",
    arguments=(optional("includeCompleted", boolean(default=False)),),
    returns=listing(
        record(
            {"id": INTEGER, "name": STRING, "completed": BOOLEAN, "role": STRING, "permissions": array(STRING)},
            {"summary": STRING},
        )
    ),
    in_project=False,
)
async def get_projects(work: Work, *, include_completed: bool = False) -> Document:
    return await projects.list_projects(work, include_completed=include_completed)


@read_tool(
    title="List folders",
    description="List a project's whole folder tree, depth-first: id, name, parentId, path (Login / MFA) and the "
    "number of cases directly in each; with parentId, only what is below that folder. For the cases in a folder call "
    "list_test_cases. "
    'Example: {"project": 1}',
    arguments=(optional("parentId", identifier()),),
    returns=listing(
        record({"id": INTEGER, "name": STRING, "path": STRING, "caseCount": INTEGER}, {"parentId": INTEGER})
    ),
)
async def get_folders(work: Work, *, project: int, parent_id: int = folders.ROOT) -> Document:
    return await folders.list_folders(work, project, parent_id=parent_id)


@read_tool(
    title="List templates and fields",
    description="List the templates of a project with the fields that cases have in them: id, systemName, label, "
    "type, whether required, default, options, and the slots of a STEPS field. Call it before writing field values; "
    "priority and steps are ordinary fields. "
    'Example: {"project": 1}',
    arguments=(optional("templateId", identifier()),),
    returns=listing(
        record(
            {
                "id": INTEGER,
                "name": STRING,
                "default": BOOLEAN,
                "fields": array(
                    record(
                        {
                            "id": INTEGER,
                            "systemName": STRING,
                            "label": STRING,
                            "type": STRING,
                            "required": BOOLEAN,
                        },
                        {
                            "default": any_of(STRING, NUMBER, BOOLEAN, array(any_of(STRING, OBJECT))),
                            "options": array(record({"value": STRING, "label": STRING})),
                            "slots": array(record({"name": STRING, "label": STRING})),
                        },
                    )
                ),
            }
        )
    ),
)
async def get_fields(work: Work, *, project: int, template_id: int | None = None) -> Document:
    return await fields.list_templates(work, project, template_id=template_id)


@read_tool(
    title="List issue trackers and relations",
    description="List the issue trackers (Jira, Linear, …) that a project's cases can be linked to, with the form of "
    "their issue keys, and the relations a link can have: semantic GENERAL counts as coverage, DEFECT as a defect. "
    'Example: {"project": 1}',
    returns=listing(
        record({"id": INTEGER, "name": STRING, "system": STRING, "keyPattern": STRING}, {"example": STRING}),
        relations=array(record({"id": INTEGER, "name": STRING, "semantic": STRING})),
    ),
)
async def get_external_sources(work: Work, *, project: int) -> Document:
    return await configuration.list_sources(work, project)


@read_tool(
    title="List cycles",
    description="List a project's cycles (sprints, releases) with state, dates, parentId and progress from 0 to 1 "
    "over all runs in them and below, and the types that a new cycle can have. "
    'Example: {"project": 1}',
    returns=listing(
        record(
            {
                "id": INTEGER,
                "name": STRING,
                "type": STRING,
                "state": STRING,
                "pastDue": BOOLEAN,
                "progress": NUMBER,
            },
            {"parentId": INTEGER, "startDate": DATE, "endDate": DATE, "completedDate": DATE},
        ),
        types=array(record({"id": INTEGER, "name": STRING, "default": BOOLEAN})),
    ),
)
async def get_cycles(work: Work, *, project: int) -> Document:
    return await cycles.list_cycles(work, project)


@read_tool(
    title="List environments",
    description="List the environments (combinations of platforms) that a project's cases are meant for and its runs "
    "are executed on. "
    'Example: {"project": 1, "context": "RUNS"}',
    arguments=(CONTEXT,),
    returns=listing(record({"id": INTEGER, "name": STRING, "platforms": array(STRING)})),
)
async def get_environments(work: Work, *, project: int, context: str | None = None) -> Document:
    return await configuration.list_environments(work, project, context=context)


@read_tool(
    title="List lifecycle states",
    description="List the states that cases (REPOSITORY) and runs (RUNS) of a project can be in; includeInRuns tells "
    "which cases a new run takes when no selection is given. "
    'Example: {"project": 1, "context": "REPOSITORY"}',
    arguments=(CONTEXT,),
    returns=listing(
        record({"id": INTEGER, "name": STRING, "context": STRING, "default": BOOLEAN, "includeInRuns": BOOLEAN})
    ),
)
async def get_lifecycles(work: Work, *, project: int, context: str | None = None) -> Document:
    return await configuration.list_lifecycle_states(work, project, context=context)


@read_tool(
    title="List result statuses",
    description="List the statuses that a test result can have in a project, with what each counts as: success, "
    "failure, completed. The default one (Untested) is what every case of a run starts with. "
    'Example: {"project": 1}',
    returns=listing(
        record(
            {
                "id": INTEGER,
                "name": STRING,
                "systemName": STRING,
                "success": BOOLEAN,
                "failure": BOOLEAN,
                "completed": BOOLEAN,
                "default": BOOLEAN,
            }
        )
    ),
)
async def get_statuses(work: Work, *, project: int) -> Document:
    return await configuration.list_statuses(work, project)


@read_tool(
    title="List tags",
    description="List the tags that cases (REPOSITORY) and runs (RUNS) can carry, and how many in this project do. "
    'Example: {"project": 1, "context": "REPOSITORY"}',
    arguments=(CONTEXT,),
    returns=listing(record({"id": INTEGER, "name": STRING, "context": STRING, "usage": INTEGER})),
)
async def get_tags(work: Work, *, project: int, context: str | None = None) -> Document:
    return await configuration.list_tags(work, project, context=context)


@read_tool(
    title="List users",
    description="List the users who can access a project, with their role in it; their ids serve for assigning. "
    'Example: {"project": 1}',
    returns=listing(record({"id": INTEGER, "name": STRING, "email": STRING, "role": STRING})),
)
async def get_users(work: Work, *, project: int) -> Document:
    return await projects.list_users(work, project)


TOOLS = (
    get_projects,
    get_folders,
    get_fields,
    get_external_sources,
    get_cycles,
    get_environments,
    get_lifecycles,
    get_statuses,
    get_tags,
    get_users,
)
