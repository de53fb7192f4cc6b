"""Comments on test cases. What was written before an edit or a deletion stays in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.audit import Change
from service.domain.case_references import CaseRef, split_refs
from service.domain.pages import DEFAULT_LIMIT, Cursor, page
from service.domain.versions import check_version
from service.errors import NotFoundOrDenied
from service.sql import load

if TYPE_CHECKING:
    import asyncpg

    from service.domain.work import Document, Work

_SQL = load(__file__)


async def list_comments(
    work: Work, project_id: int, ref: CaseRef, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Document:
    """Return a page of the comments on a case, the oldest first."""
    case_id = await _case(work, project_id, ref)
    place = Cursor("get_comments", project_id, case_id)
    [after] = place.read(cursor) or [None]
    total = await work.connection.fetchval(_SQL["count_comments"], project_id, case_id)
    rows = await work.connection.fetch(_SQL["comments"], project_id, case_id, work.actor.user_id, after, limit + 1)
    items = [row["document"] for row in rows]
    return page(items, total=total, limit=limit, cursor=place, key=lambda i: (rows[i]["id"],))


async def add_comment(work: Work, project_id: int, ref: CaseRef, *, body: str) -> Document:
    """Add a comment by the caller to a case."""
    case_id = await _case(work, project_id, ref)
    comment_id = await work.connection.fetchval(_SQL["insert_comment"], project_id, case_id, body)
    work.changes.append(
        Change(
            action="create",
            object_type="comment",
            object_id=comment_id,
            project_id=project_id,
            version_after=1,
            details={"caseId": case_id},
        )
    )
    return await _document(work, project_id, comment_id)


async def update_comment(
    work: Work, project_id: int, comment_id: int, *, body: str, expected_version: int | None = None
) -> Document:
    """Change the text of a comment of the caller's own."""
    comment = await _lock(work, project_id, comment_id)
    if comment["author_id"] != work.actor.user_id:
        raise NotFoundOrDenied
    await check_version(work, comment_id, current=comment["version"], expected=expected_version)
    if body != comment["body"]:
        await work.connection.execute(_SQL["update_comment"], comment_id, body)
        work.changes.append(_change(project_id, comment_id, comment, "update"))
    return await _document(work, project_id, comment_id)


async def delete_comment(work: Work, project_id: int, comment_id: int) -> Document:
    """Delete a comment, the caller's own or with MANAGE_COMMENTS any, and return it as it was."""
    comment = await _lock(work, project_id, comment_id)
    if comment["author_id"] != work.actor.user_id and not comment["may_manage"]:
        raise NotFoundOrDenied
    document = await _document(work, project_id, comment_id)
    await work.connection.execute(_SQL["delete_comment"], comment_id)
    work.changes.append(_change(project_id, comment_id, comment, "delete"))
    return {**document, "deleted": True}


async def _case(work: Work, project_id: int, ref: CaseRef) -> int:
    ids, numbers = split_refs([ref])
    case_id: int | None = await work.connection.fetchval(_SQL["case_of_comment"], project_id, ids, numbers)
    if case_id is None:
        raise NotFoundOrDenied
    return case_id


async def _lock(work: Work, project_id: int, comment_id: int) -> asyncpg.Record:
    comment = await work.connection.fetchrow(_SQL["lock_comment"], project_id, comment_id, work.actor.user_id)
    if comment is None:
        raise NotFoundOrDenied
    return comment


async def _document(work: Work, project_id: int, comment_id: int) -> Document:
    document: Document = await work.connection.fetchval(_SQL["comment"], project_id, comment_id, work.actor.user_id)
    return document


def _change(project_id: int, comment_id: int, comment: asyncpg.Record, action: str) -> Change:
    return Change(
        action=action,
        object_type="comment",
        object_id=comment_id,
        project_id=project_id,
        version_before=comment["version"],
        version_after=comment["version"] + 1 if action == "update" else None,
        details={"caseId": comment["case_id"], "body": comment["body"]},
    )
