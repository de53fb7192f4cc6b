"""The test cases of a project: the tree and the list, and one case with its comments, results, history and issues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.access import Permission
from service.domain.case_history import case_with_history, version_and_before
from service.domain.cases import SORTS, get_case, list_cases, search_cases
from service.domain.comments import add_comment, delete_comment, list_comments, update_comment
from service.domain.configuration import list_lifecycle_states, status_looks, tags_of_cases
from service.domain.fields import STEP_SLOTS, load_templates
from service.domain.folders import folder_tree, get_folder
from service.domain.runs import list_executions
from service.errors import NotFoundOrDenied
from service.web.case_diff import compare
from service.web.looks import looks_of
from service.web.visitors import page

if TYPE_CHECKING:
    from quart import Response

    from service.domain.fields import Field
    from service.domain.work import Document
    from service.web.visitors import Visit

LONGEST_COMMENT = 10_000
_TABS = ("comments", "results", "history", "issues")


@page("/projects/<int:project_id>/cases", needs=[Permission.VIEW_TEST_CASES])
async def cases(visit: Visit, project_id: int) -> Response:
    """Show the tree of folders, and the cases that pass the filters or are searched for."""
    query = (visit.text("q") or "").strip()[:200]
    folder = visit.number("folder")
    state, tag = visit.number("state"), visit.number("tag")
    sort = visit.choice("sort", tuple(SORTS)) or "number"
    if query:
        found = await search_cases(visit.work, project_id, query=query, cursor=visit.text("cursor"))
    else:
        found = await list_cases(
            visit.work,
            project_id,
            folder_id=folder,
            lifecycle_state_id=state,
            tags=[] if tag is None else [tag],
            sort=sort,
            cursor=visit.text("cursor"),
        )
    return await visit.render(
        "cases.html",
        found=found,
        tree=await folder_tree(visit.work, project_id, opened=folder or 0),
        folder=await get_folder(visit.work, project_id, folder) if folder else None,
        states=(await list_lifecycle_states(visit.work, project_id, context="REPOSITORY"))["items"],
        tags=await tags_of_cases(visit.work, project_id),
        query=query,
        sort=sort,
    )


@page("/projects/<int:project_id>/cases/<int:case_id>", needs=[Permission.VIEW_TEST_CASES])
async def case(visit: Visit, project_id: int, case_id: int) -> Response:
    """Show a case: its steps and fields, and under tabs what was said, executed, changed and linked."""
    return await _case(visit, project_id, case_id, tab=visit.choice("tab", _TABS) or "comments")


@page(
    "/projects/<int:project_id>/cases/<int:case_id>/comments",
    needs=[Permission.VIEW_TEST_CASES, Permission.ADD_COMMENTS],
    form=True,
)
async def comment(visit: Visit, project_id: int, case_id: int) -> Response:
    """Add a comment."""
    body = _body(visit)
    if fault := _fault(body):
        return await _case(visit, project_id, case_id, tab="comments", draft=body, fault=fault)
    made = await add_comment(visit.work, project_id, case_id, body=body)
    return visit.go_to(
        f"projects/{project_id}/cases/{case_id}", said="The comment was added.", anchor=f"comment-{made['id']}"
    )


@page(
    "/projects/<int:project_id>/cases/<int:case_id>/comments/<int:comment_id>",
    needs=[Permission.VIEW_TEST_CASES, Permission.ADD_COMMENTS],
    form=True,
)
async def edit_comment(visit: Visit, project_id: int, case_id: int, comment_id: int) -> Response:
    """Change the text of a comment of the visitor's own."""
    body = _body(visit)
    if fault := _fault(body):
        return await _case(visit, project_id, case_id, tab="comments", editing=comment_id, draft=body, fault=fault)
    made = await update_comment(visit.work, project_id, comment_id, body=body)
    _check_case(made, case_id)
    return visit.go_to(
        f"projects/{project_id}/cases/{case_id}", said="The comment was changed.", anchor=f"comment-{made['id']}"
    )


@page(
    "/projects/<int:project_id>/cases/<int:case_id>/comments/<int:comment_id>/delete",
    needs=[Permission.VIEW_TEST_CASES],
    form=True,
)
async def remove_comment(visit: Visit, project_id: int, case_id: int, comment_id: int) -> Response:
    """Delete a comment: the visitor's own, or any with MANAGE_COMMENTS."""
    _check_case(await delete_comment(visit.work, project_id, comment_id), case_id)
    return visit.go_to(f"projects/{project_id}/cases/{case_id}", said="The comment was deleted.", anchor="more")


def _back(visit: Visit, project_id: int, comment: Document, *, said: str) -> Response:
    anchor = f"comment-{comment['id']}"
    return visit.go_to(f"projects/{project_id}/cases/{comment['caseId']}", said=said, anchor=anchor)


async def _case(
    visit: Visit,
    project_id: int,
    case_id: int,
    *,
    tab: str,
    editing: int | None = None,
    draft: str = "",
    fault: str = "",
) -> Response:
    """Return the page of a case; with a *fault* the form keeps what was typed, the *draft*."""
    sees_runs = visit.may(Permission.VIEW_TEST_RUNS)
    if tab == "results" and not sees_runs:
        raise NotFoundOrDenied
    cursor = visit.text("cursor")
    if tab == "history":
        document = await case_with_history(visit.work, project_id, case_id, history=True)
    else:
        document = await get_case(visit.work, project_id, case_id)
    below: Document = {}
    if tab == "comments":
        below["comments"] = await list_comments(visit.work, project_id, case_id, cursor=cursor)
    elif tab == "history":
        below |= await _changes(visit, project_id, document)
    if sees_runs and tab in {"results", "issues"}:
        below["results"] = await list_executions(visit.work, project_id, case_id, limit=20, cursor=cursor)
    templates = await load_templates(visit.work, project_id, also={document["template"]["id"]})
    fields = list(templates[document["template"]["id"]].fields.values())
    return await visit.render(
        "case.html",
        status=422 if fault else 200,
        case=document,
        fields=[_shown(field, document["fields"].get(field.system_name)) for field in fields],
        looks=looks_of(await status_looks(visit.work)),
        tab=tab,
        sees_runs=sees_runs,
        editing=editing or visit.number("edit"),
        draft=draft,
        fault=fault,
        key_ids=_keys(below, document),
        may_comment=visit.may(Permission.ADD_COMMENTS),
        may_manage=visit.may(Permission.MANAGE_COMMENTS),
        **below,
    )


async def _changes(visit: Visit, project_id: int, document: Document) -> Document:
    """Return what the chosen version changed, by default the last one."""
    version = visit.number("version") or document["version"]
    before, after = await version_and_before(visit.work, project_id, document["id"], version)
    template = after.get("template") or document["template"]
    templates = await load_templates(visit.work, project_id, also={template["id"]})
    fields = [field for template in templates.values() for field in template.fields.values()]
    labels = {field.system_name: field.label for field in fields}
    labels |= {slot["name"]: slot["label"] for field in fields for slot in field.slots}
    return {"version": version, "changes": compare(before or {}, after, labels), "labels": labels}


def _shown(field: Field, value: object) -> Document:
    """Return a field with its value as the page shows it; an option by its label."""
    labels = {option["value"]: option["label"] for option in field.options}
    if field.type == "MULTI_SELECT" and isinstance(value, list):
        value = [labels.get(item, item) for item in value]
    elif field.type == "DROPDOWN" and isinstance(value, str):
        value = labels.get(value, value)
    slots = [(slot["name"], slot["label"]) for slot in field.slots] or [(slot, slot) for slot in STEP_SLOTS]
    if isinstance(value, list) and field.type == "STEPS":
        slots = [(name, label) for name, label in slots if any(step.get(name) for step in value)]
    return {"label": field.label, "type": field.type, "value": value, "slots": slots}


def _keys(*documents: Document) -> set[int]:
    """Return the ids of the API keys that are named in results and versions."""
    lists = [document.get("results", {}).get("items", []) + document.get("versions", []) for document in documents]
    return {item["apiKeyId"] for items in lists for item in items if "apiKeyId" in item}


def _body(visit: Visit) -> str:
    return visit.form.get("body", "").replace("\r\n", "\n")


def _fault(body: str) -> str:
    if not body.strip():
        return "Write something first."
    if len(body) > LONGEST_COMMENT:
        return f"A comment has at most {LONGEST_COMMENT:,} characters; this one has {len(body):,}."
    return ""


def _check_case(comment: Document, case_id: int) -> None:
    if comment["caseId"] != case_id:
        raise NotFoundOrDenied
