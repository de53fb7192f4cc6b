"""Comments on test cases: read, add, edit, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.access import Permission
from service.domain import comments
from service.tools.arguments import case_identifier, described, expected_version, identifier, required, text
from service.tools.paging import CURSOR, LIMIT
from service.tools.registry import read_tool, write_tool
from service.tools.results import BOOLEAN, INTEGER, NAMED, STRING, TIME, page, record

if TYPE_CHECKING:
    from service.domain.case_references import CaseRef
    from service.domain.work import Document, Work

CASE_ID = required("caseId", case_identifier())
COMMENT_ID = required("commentId", identifier("From get_comments"))
BODY = required("body", described(text(minimum=1, maximum=10_000), "Markdown"))
ITEM = {"id": INTEGER, "author": NAMED, "body": STRING, "createdAt": TIME, "own": BOOLEAN, "version": INTEGER}
COMMENT = record({**ITEM, "caseId": INTEGER}, {"editedAt": TIME, "deleted": BOOLEAN})


@read_tool(
    title="List comments",
    description="List the comments on a test case, the oldest first: author, Markdown body, times, and whether it is "
    "your own. "
    'Example: {"project": 1, "caseId": "C-12"}',
    arguments=(CASE_ID, LIMIT, CURSOR),
    returns=page(record(ITEM, {"editedAt": TIME})),
    permissions=(Permission.VIEW_TEST_CASES,),
    by_key=True,
)
async def get_comments(work: Work, *, project: int, case_id: CaseRef, **paging: Any) -> Document:
    return await comments.list_comments(work, project, case_id, **paging)


@write_tool(
    title="Add a comment",
    description="Add a comment to a test case, signed with your name: a question, a finding, a decision. What happened "
    "when the case was executed belongs into record_test_result. Returns the comment. "
    'Example: {"project": 1, "caseId": "C-12", "body": "Step 3 also needs a **second** browser."}',
    arguments=(CASE_ID, BODY),
    returns=COMMENT,
    permissions=(Permission.ADD_COMMENTS,),
    creates=True,
    by_key=True,
)
async def add_comment(work: Work, *, project: int, case_id: CaseRef, body: str) -> Document:
    return await comments.add_comment(work, project, case_id, body=body)


@write_tool(
    title="Edit a comment",
    description="Replace the text of a comment of your own; the earlier text stays in the audit log. Nobody "
    "else's can be edited. Returns the comment. "
    'Example: {"project": 1, "commentId": 31, "body": "Settled: two browsers."}',
    arguments=(COMMENT_ID, BODY, expected_version("comment")),
    returns=COMMENT,
    permissions=(Permission.ADD_COMMENTS,),
    destructive=True,
    by_key=True,
)
async def update_comment(work: Work, *, project: int, comment_id: int, **change: Any) -> Document:
    return await comments.update_comment(work, project, comment_id, **change)


@write_tool(
    title="Delete a comment",
    description="Delete a comment of your own, or with the permission MANAGE_COMMENTS anybody's. Returns it as it was. "
    'Example: {"project": 1, "commentId": 31}',
    arguments=(COMMENT_ID,),
    returns=COMMENT,
    permissions=(Permission.VIEW_TEST_CASES,),
    destructive=True,
    by_key=True,
)
async def delete_comment(work: Work, *, project: int, comment_id: int) -> Document:
    return await comments.delete_comment(work, project, comment_id)


TOOLS = (get_comments, add_comment, update_comment, delete_comment)
