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
    from collections.abc import Iterable, Mapping, Sequence

    from asyncpg import Record

    from service.domain.work import Document, Work

_SQL = load(__file__)


#: So many cases are found and sorted in some ten milliseconds.
_FEW = 10_000

#: What each filter adds to the query, with {0} and {1} for its values. One that is not given is not in the text, and
#: who filters has a plan made for the values: how many cases they match decides which index is the right one.
CONDITIONS = {
    "folders": "c.folder_id = ANY ({0}::bigint[])",
    "root": "c.folder_id IS NULL",
    "template": "c.template_id = {0}::bigint",
    "state": "c.lifecycle_state_id = {0}::bigint",
    "tag": "EXISTS (SELECT FROM case_tags ct WHERE ct.case_id = c.id AND ct.tag_id = {0}::bigint)",
    "value": "EXISTS (SELECT FROM case_field_values v WHERE v.case_id = c.id AND v.field_id = {0}::bigint "
    "AND jsonb_hash(v.value) = jsonb_hash({1}::jsonb) AND v.value = {1}::jsonb)",
    "values": "EXISTS (SELECT FROM case_field_values v WHERE v.case_id = c.id AND v.field_id = {0}::bigint "
    "AND v.value @> {1}::jsonb)",
    "since": "c.updated_at >= {0}::timestamptz",
    "word": "c.title ILIKE {0}::text",
    "other": "c.number <> {0}::integer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sort:
    """An order of cases: by a column and, where that is not unique, by id; and the type of the value in a cursor."""

    column: str
    value_type: type
    descending: bool = False

    def after(self) -> str:
        """Return the condition of what follows a key: {0}, the column's value, and {1}, the id."""
        sign = "<" if self.descending else ">"
        kind = {int: "integer", str: "varchar", dt.datetime: "timestamptz"}[self.value_type]
        if self.value_type is int:
            return f"c.{self.column} {sign} {{0}}::{kind}"
        return f"(c.{self.column}, c.id) {sign} ({{0}}::{kind}, {{1}}::bigint)"

    def order(self) -> str:
        """Return what to order by."""
        direction = "DESC" if self.descending else "ASC"
        return f"{self.column} {direction}" + ("" if self.value_type is int else f", id {direction}")


_COLUMNS = {"number": ("number", int), "title": ("title", str), "updated": ("updated_at", dt.datetime)}
SORTS = {
    sign + name: _Sort(column=column, value_type=value_type, descending=bool(sign))
    for name, (column, value_type) in _COLUMNS.items()
    for sign in ("", "-")
}


class Matching:
    """The cases of a project that pass filters: how many there are, and a page of them."""

    def __init__(self, project_id: int, filters: Iterable[tuple[Any, ...]] = ()) -> None:
        self._arguments: list[Any] = [project_id]
        self._query = _SQL["cases_of_project"]
        self._is_filtered = False
        for name, *values in filters:
            self._query += self._also(CONDITIONS[name], values, self._arguments)
            self._is_filtered = True

    def count(self) -> tuple[str, list[Any]]:
        """Return the query for how many there are, and its arguments."""
        return f"SELECT count(*) FROM ({self._query}) m", self._arguments

    def listing(
        self, sort: _Sort, key: Sequence[Any] | None, limit: int, *, total: int | None = None
    ) -> tuple[str, list[Any]]:
        """Return the query for a page in the order of *sort* after *key*, of *limit* cases, and its arguments.

        Of a small *total* all are found and then sorted. Going through the project in order instead is quick where the
        cases that match are spread evenly; but a folder's have much in common, their titles and numbers too.
        """
        arguments = list(self._arguments)
        after = "" if key is None else self._also(sort.after(), key, arguments)
        arguments.append(limit)
        once = "MATERIALIZED " if self._is_filtered and total is not None and total <= _FEW else ""
        query = (
            f"WITH m AS {once}({self._query}{after}) SELECT m.id, m.{sort.column} AS key FROM m "
            f"ORDER BY {sort.order()} LIMIT ${len(arguments)}::bigint"
        )
        return query, arguments

    async def fetch(self, work: Work, query: tuple[str, list[Any]]) -> Sequence[Record]:
        """Return the rows of one of the two."""
        text, arguments = query
        fetch = work.connection.fetch_planned if self._is_filtered else work.connection.fetch
        return await fetch(text, *arguments)

    async def total(self, work: Work) -> int:
        """Return how many there are."""
        [row] = await self.fetch(work, self.count())
        count: int = row["count"]
        return count

    def _also(self, condition: str, values: Sequence[Any], arguments: list[Any]) -> str:
        names = []
        for number, value in enumerate(values):
            if f"{{{number}}}" in condition:
                arguments.append(value)
                names.append(f"${len(arguments)}")
        return "\n    AND " + condition.format(*names)


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
    filters: list[tuple[Any, ...]] = []
    if folder_id == 0 and not include_subfolders:
        filters.append(("root",))
    if folder_id or lifecycle_state_id is not None or tags:
        references = await load_references(work, project_id, folders=[folder_id] if folder_id else [], tags=tags)
        if folder_id:
            references.folder(folder_id)
            folders = [folder_id]
            if include_subfolders:
                folders = await work.connection.fetchval(_SQL["subtree"], project_id, folder_id)
            filters.append(("folders", folders))
        if lifecycle_state_id is not None:
            filters.append(("state", references.lifecycle_state(lifecycle_state_id)))
        filters += [("tag", tag) for tag in references.tag_list(tags)]
    if template_id is not None or fields:
        filters += await _wanted_fields(work, project_id, template_id, fields)
    if updated_since is not None:
        filters.append(("since", updated_since))
    place = Cursor("list_test_cases", project_id, folder_id, include_subfolders, filters, sort)
    order = SORTS[sort]
    key = place.read(cursor)
    if key is not None and order.value_type is dt.datetime:
        key[0] = dt.datetime.fromisoformat(key[0])
    matching = Matching(project_id, filters)
    total = await matching.total(work)
    rows = await matching.fetch(work, matching.listing(order, key, limit + 1, total=total))
    items = await case_items(work, [row["id"] for row in rows])
    return page(items, total=total, limit=limit, cursor=place, key=lambda i: (rows[i]["key"], rows[i]["id"]))


async def search_cases(
    work: Work, project_id: int, *, query: str, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Document:
    """Return a page of the cases whose title has every word of *query*, the case of that number first."""
    words = query.split()
    patterns = [f"%{_LIKE_SPECIAL.sub(_ESCAPED, word)}%" for word in dict.fromkeys(words)]
    filters: list[tuple[Any, ...]] = [("word", pattern) for pattern in patterns]
    place = Cursor("search_test_cases", project_id, words)
    after = place.read(cursor)
    first: list[tuple[int, int]] = []
    if number := _NUMBER.fullmatch(query.strip()):
        exact = int(number[1])
        case_id = await work.connection.fetchval(_SQL["case_of_number"], project_id, exact)
        if case_id is not None:
            filters.append(("other", exact))
            first = [(case_id, exact)]
    matching = Matching(project_id, filters)
    others = await matching.total(work)
    # In a cursor, 0 stands for the case of that number, and 1 for the others.
    key = [after[1], None] if after is not None and after[0] else None
    rows = await matching.fetch(work, matching.listing(SORTS["number"], key, limit + 1, total=others))
    found = [(1, row["key"], row["id"]) for row in rows]
    if after is None:
        found = [*((0, number, case_id) for case_id, number in first), *found][: limit + 1]
    items = await case_items(work, [case_id for _, _, case_id in found])
    total = len(first) + others
    return page(items, total=total, limit=limit, cursor=place, key=lambda i: found[i][:2])


async def _wanted_fields(
    work: Work, project_id: int, template_id: int | None, fields: Mapping[str, Any] | None
) -> list[tuple[Any, ...]]:
    """Return the filters by template and by values; a field must be one of the project's, or of the template's."""
    templates = await load_templates(work, project_id, template_id)
    if template_id is not None and not templates:
        raise NotFoundOrDenied
    known = [field for template in templates.values() for field in template.fields.values() if field.type != "STEPS"]
    wanted: list[tuple[Any, ...]] = [] if template_id is None else [("template", template_id)]
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
        wanted.append(("values" if isinstance(read, list) else "value", variants[0].id, read))
    return wanted


def _read_by_any(variants: Sequence[Field], value: Any) -> Any:
    """Return *value* as it is stored in the first template whose options allow it."""
    *others, last = variants
    for field in others:
        try:
            return field.read(value)
        except Refused:
            continue
    return last.read(value)
