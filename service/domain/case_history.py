"""The history of a case: what each version changed, an old version as it was, and every result it ever got."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from service.domain.case_writing import CONTENT
from service.domain.cases import whole_case, with_links_that_fit
from service.domain.pages import ENVELOPE, LARGEST_ANSWER, fitting
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from service.domain.case_references import CaseRef
    from service.domain.work import Document, Work

_SQL = load(__file__)

_MOST_VERSIONS = 500
_MOST_RESULTS = 100


async def case_with_history(
    work: Work,
    project_id: int,
    ref: CaseRef,
    *,
    version: int | None = None,
    history: bool = False,
    results: bool = False,
) -> Document:
    """Return a case, as it was in *version* if that is given.

    With *history* it has the list of its versions, with *results* that of its results in all runs. What belongs to no
    version is as it is now: links, comments, results.
    """
    document = await whole_case(work, project_id, ref)
    last = document["version"]
    if version is not None and version != last:
        document = await _at(work, document, version)
    if results:
        document |= await _results(work, document)
    if not history:
        return with_links_that_fit(document)
    rows = await work.connection.fetch(_SQL["versions"], document["id"], _MOST_VERSIONS)
    versions = [row["document"] for row in rows]
    room = LARGEST_ANSWER - ENVELOPE - len(orjson.dumps({**document, "links": []}))
    shown = versions[: fitting(versions, room // 2 if document["links"] else room)]
    document = with_links_that_fit({**document, "versions": shown})
    if len(shown) < last:
        note = f"Only the latest {len(shown)} of {last} versions are shown: earlier ones can be read with version."
        document["truncated"] = " ".join(filter(None, [document.get("truncated"), note]))
    return document


async def version_and_before(
    work: Work, project_id: int, ref: CaseRef, version: int
) -> tuple[Document | None, Document]:
    """Return the content of the version before *version*, None for the first one, and that of the version itself."""
    document = await whole_case(work, project_id, ref)
    row = await work.connection.fetchrow(_SQL["version"], document["id"], version)
    if row is None:
        raise NotFoundOrDenied
    before = await work.connection.fetchrow(_SQL["version"], document["id"], version - 1)
    return before and before["snapshot"], row["snapshot"]


async def _results(work: Work, document: Document) -> Document:
    rows = await work.connection.fetch(_SQL["results"], document["id"], _MOST_RESULTS)
    results = [row["document"] for row in rows]
    # A part of an answer, since all else of the case is in it too.
    rest = len(orjson.dumps({**document, "links": []}))
    shown = results[: fitting(results, min(LARGEST_ANSWER // 4, LARGEST_ANSWER - ENVELOPE - rest))]
    return {"results": shown, "resultCount": rows[0]["total"] if rows else 0}


async def _at(work: Work, document: Document, version: int) -> Document:
    """Return *document* with the content of an old version of it."""
    row = await work.connection.fetchrow(_SQL["version"], document["id"], version)
    if row is None:
        raise Refused(
            Code.INVALID_VALUE,
            f"{document['number']} has no version {version}: its last one is {document['version']}.",
            field="version",
        )
    unversioned = {key: value for key, value in document.items() if key not in CONTENT}
    return {
        **unversioned,
        **row["snapshot"],
        "updatedBy": row["author"],
        "updatedAt": row["created_at"].isoformat(),
        "version": version,
        "currentVersion": document["version"],
    }
