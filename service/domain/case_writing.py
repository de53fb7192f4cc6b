"""Test cases: creating and updating them, one or many, all or nothing."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from service.audit import Change
from service.domain.case_fields import find_template, step_rows, value_rows, write_fields
from service.domain.case_references import CaseRef, References, load_references, split_refs
from service.domain.cases import case_documents
from service.domain.fields import Template, load_templates
from service.domain.refusals import listed, raise_for_cases, refuse_bulk, together
from service.domain.versions import check_version
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)

# Keeps every case readable in one answer of at most 20,000 tokens.
LARGEST_FIELDS = 60_000
MOST_TAGS = 50
LONGEST_ESTIMATE = 1_000 * 3600
#: What makes a version of a case.
CONTENT = ("title", "folder", "template", "lifecycleState", "estimateSeconds", "fields", "tags", "environments")

_DURATION = re.compile(r"(?:(\d{1,5})h)?\s*(?:(\d{1,6})m)?\s*(?:(\d{1,8})s)?", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,4}):([0-5]\d):([0-5]\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDraft:
    """A case to create. What is None takes the project's default; folder 0 is the root."""

    title: str
    folder_id: int = 0
    template_id: int | None = None
    lifecycle_state_id: int | None = None
    fields: Mapping[str, Any] | None = None
    tags: Sequence[int | str] = ()
    environment_ids: Sequence[int] = ()
    estimate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePatch:
    """What changes in a case. What is None stays; folder 0 is the root, a None among the fields clears that field."""

    title: str | None = None
    folder_id: int | None = None
    template_id: int | None = None
    lifecycle_state_id: int | None = None
    fields: Mapping[str, Any] | None = None
    tags: Sequence[int | str] | None = None
    add_tags: Sequence[int | str] = ()
    remove_tags: Sequence[int | str] = ()
    environment_ids: Sequence[int] | None = None
    estimate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """The cases asked for in their order, how many changed, and the labels of fields that a new template dropped."""

    ids: list[int]
    changed: int
    dropped: list[str]


def read_estimate(text: str) -> int:
    """Return the seconds of an estimate such as `1h 30m`, `90m`, `30s` or `1:30:00`; 0 for `0` or empty text."""
    stripped = text.strip()
    if stripped in {"", "0"}:
        return 0
    match = _CLOCK.fullmatch(stripped) or _DURATION.fullmatch(stripped)
    if match is None:
        raise Refused(
            Code.INVALID_VALUE,
            f"estimate {text[:30]!r} is no duration: write it as 1h 30m, 90m, 30s or 1:30:00.",
            field="estimate",
        )
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total > LONGEST_ESTIMATE:
        raise Refused(Code.INVALID_VALUE, "estimate: at most 1000 hours.", field="estimate")
    return total


async def create_cases(work: Work, project_id: int, drafts: Sequence[CaseDraft]) -> list[Document]:
    """Create all *drafts* and return the cases in their order, or raise: the refusal of the only one, or of many."""
    references = await load_references(
        work,
        project_id,
        folders={draft.folder_id for draft in drafts},
        tags={tag for draft in drafts for tag in draft.tags},
        environments={environment for draft in drafts for environment in draft.environment_ids},
    )
    templates = await load_templates(work, project_id)
    rows: list[dict[str, Any]] = []
    errors: list[tuple[str, Document]] = []
    for index, draft in enumerate(drafts):
        try:
            rows.append({"place": index + 1, **_row(draft, references, templates)})
        except (Refused, NotFoundOrDenied) as error:
            if len(drafts) == 1:
                raise
            errors.append((f"cases[{index}]", {"index": index, **error.document()}))
    if errors:
        raise refuse_bulk(errors, bad=len(errors), total=len(drafts), noun="cases")
    last = await work.connection.fetchval(_SQL["take_numbers"], project_id, len(rows))
    inserted = await work.connection.fetch(_SQL["insert_cases"], project_id, last - len(rows), rows)
    documents = await case_documents(work, project_id, [row["id"] for row in inserted])
    await _record(work, project_id, documents, action="create", versions_before={})
    return list(documents.values())


async def update_cases(
    work: Work,
    project_id: int,
    refs: Sequence[CaseRef],
    patch: CasePatch,
    *,
    expected_version: int | None = None,
    max_affected: int | None = None,
) -> Updated:
    """Change all cases *refs* by *patch*; a case that already is so keeps its version.

    *expected_version* is for a single case. More than *max_affected* changed cases are refused.
    """
    locked = await _lock(work, project_id, refs)
    ids = list(locked)
    if expected_version is not None:
        await check_version(work, ids[0], current=locked[ids[0]]["version"], expected=expected_version)
    before = await case_documents(work, project_id, ids)
    references = await load_references(
        work,
        project_id,
        folders=[patch.folder_id] if patch.folder_id else [],
        tags={*(patch.tags or ()), *patch.add_tags, *patch.remove_tags},
        environments=patch.environment_ids or (),
    )
    dropped = await _apply(work, project_id, locked, patch, references)
    after = await case_documents(work, project_id, ids)
    changed = {case_id: after[case_id] for case_id in ids if _content(before[case_id]) != _content(after[case_id])}
    if max_affected is not None and len(changed) > max_affected:
        raise Refused(
            Code.TOO_MANY_AFFECTED,
            f"{len(changed)} cases would change, more than maxAffected {max_affected}: nothing was written. "
            "Send fewer caseIds, or a larger maxAffected.",
            affected=len(changed),
        )
    _check_sizes(changed, patch, locked)
    if changed:
        await work.connection.execute(_SQL["raise_versions"], list(changed), work.actor.user_id)
        versions = {case_id: locked[case_id]["version"] for case_id in changed}
        await _record(work, project_id, changed, action="update", versions_before=versions)
    return Updated(ids=ids, changed=len(changed), dropped=dropped)


def _row(draft: CaseDraft, references: References, templates: Mapping[int, Template]) -> dict[str, Any]:
    """Return the draft as insert_cases takes it."""
    template = find_template(templates, draft.template_id)
    folder_id = references.folder(draft.folder_id)
    lifecycle_state_id = references.lifecycle_state(draft.lifecycle_state_id)
    environment_ids = references.environment_list(draft.environment_ids)
    values, refusals = template.read(draft.fields or {})
    for field in template.fields.values():
        if field.id not in values:
            values[field.id] = field.default
    told = {refused.details.get("field") for refused in refusals}
    refusals += [missing for missing in template.missing(values) if missing.details["field"] not in told]
    tag_ids: list[int] = []
    estimate = 0
    with _noting(refusals):
        tag_ids = references.tag_list(draft.tags)
    with _noting(refusals):
        estimate = read_estimate(draft.estimate or "")
    if refusals:
        raise together(refusals)
    _check_size({template.fields[key].system_name: value for key, value in values.items() if value is not None})
    return {
        "title": draft.title,
        "folder_id": folder_id,
        "template_id": template.id,
        "lifecycle_state_id": lifecycle_state_id,
        "estimate_seconds": estimate or None,
        "field_values": value_rows(template, values),
        "steps": step_rows(template, values),
        "tag_ids": tag_ids,
        "environment_ids": environment_ids,
    }


@contextmanager
def _noting(refusals: list[Refused]) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        refusals.append(refused)


def _check_size(fields: Mapping[str, Any]) -> None:
    size = len(orjson.dumps(fields))
    if size > LARGEST_FIELDS:
        raise Refused(
            Code.INVALID_VALUE,
            f"The case's fields have {size:,} bytes together, at most {LARGEST_FIELDS:,} are stored: "
            "split the case, or shorten its steps.",
            field="fields",
        )


def _check_tags(tags: Sequence[Any]) -> None:
    if len(tags) > MOST_TAGS:
        raise Refused(
            Code.INVALID_VALUE,
            f"The case would have {len(tags)} tags, at most {MOST_TAGS} are stored: remove some (removeTags).",
            field="tags",
        )


def _check_sizes(documents: Mapping[int, Document], patch: CasePatch, locked: Mapping[int, Any]) -> None:
    """Raise Refused where *patch* made a case too large; what was so before does not hinder other changes."""
    errors: dict[int, list[Refused]] = {}
    for case_id, document in documents.items():
        try:
            if patch.fields:
                _check_size(document["fields"])
            if patch.tags or patch.add_tags:
                _check_tags(document["tags"])
        except Refused as refused:
            errors[case_id] = [refused]
    raise_for_cases(errors, locked)


async def _lock(work: Work, project_id: int, refs: Sequence[CaseRef]) -> dict[int, Any]:
    """Return the rows of the cases by id, in the order of *refs*, locked."""
    ids, numbers = split_refs(refs)
    rows = await work.connection.fetch(_SQL["lock_cases"], project_id, ids, numbers)
    by_ref: dict[CaseRef, Any] = {row["id"]: row for row in rows} | {f"C-{row['number']}": row for row in rows}
    missing = list(dict.fromkeys(ref for ref in refs if ref not in by_ref))
    if missing and len(refs) == 1:
        raise NotFoundOrDenied
    if missing:
        error = {"caseIds": missing, **NotFoundOrDenied().document()}
        raise refuse_bulk([(listed(missing), error)], bad=len(missing), total=len(refs), noun="cases")
    return {by_ref[ref]["id"]: by_ref[ref] for ref in refs}


async def _apply(
    work: Work, project_id: int, locked: Mapping[int, Any], patch: CasePatch, references: References
) -> list[str]:
    """Write *patch*, and return the labels of the fields that a new template dropped."""
    ids = list(locked)
    if patch.folder_id is not None:
        references.folder(patch.folder_id)
    if patch.lifecycle_state_id is not None:
        references.lifecycle_state(patch.lifecycle_state_id)
    environment_ids = references.environment_list(patch.environment_ids or ())
    estimate = None
    tags: list[int] = []
    removed: list[int] = []
    refusals: list[Refused] = []
    with _noting(refusals):
        tags = references.tag_list([*(patch.tags or ()), *patch.add_tags])
    with _noting(refusals):
        removed = references.tag_list(patch.remove_tags)
    with _noting(refusals):
        estimate = None if patch.estimate is None else read_estimate(patch.estimate)
    if refusals:
        raise together(refusals)
    dropped = []
    if patch.fields is not None or patch.template_id is not None:
        dropped = await write_fields(work, project_id, locked, template_id=patch.template_id, given=patch.fields or {})
    await work.connection.execute(
        _SQL["update_cases"],
        project_id,
        ids,
        patch.title,
        patch.folder_id,
        patch.template_id,
        patch.lifecycle_state_id,
        estimate,
    )
    if patch.tags is not None:
        await work.connection.execute(_SQL["delete_tags"], ids, tags, True)
    if removed:
        await work.connection.execute(_SQL["delete_tags"], ids, removed, False)
    if tags:
        await work.connection.execute(_SQL["put_tags"], ids, tags)
    if patch.environment_ids is not None:
        await work.connection.execute(_SQL["put_environments"], ids, environment_ids)
    return dropped


def _content(document: Document) -> Document:
    """Return what makes a version of a case: not what others say of it, nor where its folder is."""
    content = {key: document[key] for key in CONTENT if key in document}
    if "folder" in content:
        content["folder"] = {"id": content["folder"]["id"]}
    return content


async def _record(
    work: Work,
    project_id: int,
    documents: Mapping[int, Document],
    *,
    action: str,
    versions_before: Mapping[int, int],
) -> None:
    """Keep what the cases are now as their next versions, and the change in the audit log."""
    versions = {case_id: versions_before.get(case_id, 0) + 1 for case_id in documents}
    snapshots = [{key: document[key] for key in CONTENT if key in document} for document in documents.values()]
    await work.connection.execute(_SQL["insert_case_versions"], list(documents), list(versions.values()), snapshots)
    work.changes.extend(
        Change(
            action=action,
            object_type="case",
            object_id=case_id,
            project_id=project_id,
            version_before=versions_before.get(case_id),
            version_after=version,
        )
        for case_id, version in versions.items()
    )
