"""Test cases: reading, listing and searching them. Writing is in case_writing."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from service.domain.case_references import CaseRef, load_references, split_refs
from service.domain.fields import Field, find_field, load_templates
from service.domain.pages import DEFAULT_LIMIT, ENVELOPE, LARGEST_ANSWER, Cursor, fitting, page
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sort:
    """An order of cases: by a column and, where that is not unique, by id; and the type of the value in a cursor."""

    column: str
    value_type: type
    descending: bool = False

    def query(self) -> str:
        """Return the query of a page after the key ($10, $11), of at most $12 cases."""
        sign, direction = ("<", "DESC") if self.descending else (">", "ASC")
        casts = {int: "integer", str: "varchar", dt.datetime: "timestamptz"}
        after = f"($10::{casts[self.value_type]} IS NULL OR (m.{self.column}, m.id) {sign} ($10, $11::bigint))"
        order = f"m.{self.column} {direction}, m.id {direction}"
        return (
            f"SELECT m.id, m.{self.column} AS key FROM ({_SQL['matching_cases']}) m "
            f"WHERE {after} ORDER BY {order} LIMIT $12"
        )


_COLUMNS = {"number": ("number", int), "title": ("title", str), "updated": ("updated_at", dt.datetime)}
SORTS = {
    sign + name: _Sort(column=column, value_type=value_type, descending=bool(sign))
    for name, (column, value_type) in _COLUMNS.items()
    for sign in ("", "-")
}
LISTINGS = {name: sort.query() for name, sort in SORTS.items()}
COUNT = f"SELECT count(*) FROM ({_SQL['matching_cases']}) m"
SEARCH = (
    f"SELECT m.id, m.number, (m.number IS DISTINCT FROM $3)::integer AS rank FROM ({_SQL['found_cases']}) m "
    "WHERE $4::integer IS NULL OR ((m.number IS DISTINCT FROM $3)::integer, m.number) > ($4, $5::integer) "
    "ORDER BY rank, m.number LIMIT $6"
)
COUNT_FOUND = f"SELECT count(*) FROM ({_SQL['found_cases']}) m"

_LIKE_SPECIAL = re.compile(r"([%_\\])")
_ESCAPED = r"\\\1"
_NUMBER = re.compile(r"(?:c-)?([0-9]{1,9})", re.IGNORECASE)


async def get_case(work: Work, project_id: int, ref: CaseRef) -> Document:
    """Return everything about one case."""
    return with_links_that_fit(await whole_case(work, project_id, ref))


async def whole_case(work: Work, project_id: int, ref: CaseRef) -> Document:
    """Return everything about one case, with all of its links, which may be more than one answer has room for."""
    ids, numbers = split_refs([ref])
    rows = await work.connection.fetch(_SQL["case_documents"], project_id, ids, numbers)
    if not rows:
        raise NotFoundOrDenied
    document: Document = rows[0]["document"]
    return document


def with_links_that_fit(document: Document) -> Document:
    """Return *document* with as many links as one answer has room for; what else a case holds is limited as it is."""
    if not (links := document["links"]):
        return document
    rest = len(orjson.dumps({**document, "links": []}))
    shown = links[: fitting(links, LARGEST_ANSWER - ENVELOPE - rest)]
    if len(shown) == len(links):
        return document
    return {**document, "links": shown, "truncated": f"Only {len(shown)} of {len(links)} links are shown, the oldest."}


async def case_documents(work: Work, project_id: int, ids: Sequence[int]) -> dict[int, Document]:
    """Return everything about the cases of those ids, by id and in the order of their numbers."""
    rows = await work.connection.fetch(_SQL["case_documents"], project_id, ids, [])
    return {row["id"]: row["document"] for row in rows}


async def case_items(work: Work, ids: Sequence[int]) -> list[Document]:
    """Return the cases as lists show them, in the order of *ids*."""
    return [row["document"] for row in await work.connection.fetch(_SQL["case_items"], ids)]


async def list_cases(
    work: Work,
    project_id: int,
    *,
    folder_id: int | None = None,
    include_subfolders: bool = True,
    template_id: int | None = None,
    lifecycle_state_id: int | None = None,
    tags: Sequence[int | str] = (),
    fields: Mapping[str, Any] | None = None,
    updated_since: dt.datetime | None = None,
    sort: str = "number",
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Document:
    """Return a page of the cases that pass all filters."""
    references = await load_references(work, project_id, folders=[folder_id] if folder_id else [], tags=tags)
    tag_ids = references.tag_list(tags) or None
    if lifecycle_state_id is not None:
        references.lifecycle_state(lifecycle_state_id)
    if folder_id:
        references.folder(folder_id)
    wanted = await _wanted_fields(work, project_id, template_id, fields) if template_id is not None or fields else None
    at_root = folder_id == 0 and not include_subfolders
    filters = (
        project_id,
        folder_id or None,
        include_subfolders,
        at_root,
        template_id,
        lifecycle_state_id,
        tag_ids,
        wanted,
        updated_since,
    )
    place = Cursor("list_test_cases", filters, sort)
    order = SORTS[sort]
    key = place.read(cursor) or [None, None]
    if order.value_type is dt.datetime and key[0] is not None:
        key[0] = dt.datetime.fromisoformat(key[0])
    total = await work.connection.fetchval(COUNT, *filters)
    rows = await work.connection.fetch(LISTINGS[sort], *filters, *key, limit + 1)
    items = await case_items(work, [row["id"] for row in rows])
    return page(items, total=total, limit=limit, cursor=place, key=lambda i: (rows[i]["key"], rows[i]["id"]))


async def search_cases(
    work: Work, project_id: int, *, query: str, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Document:
    """Return a page of the cases whose title has every word of *query*, the case of that number first."""
    words = query.split()
    patterns = [f"%{_LIKE_SPECIAL.sub(_ESCAPED, word)}%" for word in words]
    number = _NUMBER.fullmatch(query.strip())
    exact = int(number[1]) if number else None
    place = Cursor("search_test_cases", project_id, words)
    key = place.read(cursor) or [None, None]
    total = await work.connection.fetchval(COUNT_FOUND, project_id, patterns, exact)
    rows = await work.connection.fetch(SEARCH, project_id, patterns, exact, *key, limit + 1)
    items = await case_items(work, [row["id"] for row in rows])
    return page(items, total=total, limit=limit, cursor=place, key=lambda i: (rows[i]["rank"], rows[i]["number"]))


async def _wanted_fields(
    work: Work, project_id: int, template_id: int | None, fields: Mapping[str, Any] | None
) -> list[dict[str, Any]] | None:
    """Return the equality filters by field id; a field must be one of the project's, or of the template's."""
    templates = await load_templates(work, project_id, template_id)
    if template_id is not None and not templates:
        raise NotFoundOrDenied
    known = [field for template in templates.values() for field in template.fields.values() if field.type != "STEPS"]
    wanted = []
    for key, value in (fields or {}).items():
        variants = find_field(known, key)
        if not variants:
            names = ", ".join(sorted({field.system_name for field in known})) or "none"
            raise Refused(
                Code.INVALID_VALUE,
                f"There is no field {key[:100]!r} to filter by. There are: {names}.",
                field=key[:100],
            )
        read = _read_by_any(variants, value)
        if read is None:
            raise Refused(
                Code.INVALID_VALUE,
                f"Give field {variants[0].label} a value to filter by, or leave it out.",
                field=key[:100],
            )
        wanted.append({"field_id": variants[0].id, "value": read})
    return wanted or None


def _read_by_any(variants: Sequence[Field], value: Any) -> Any:
    """Return *value* as it is stored in the first template whose options allow it."""
    *others, last = variants
    for field in others:
        try:
            return field.read(value)
        except Refused:
            continue
    return last.read(value)
