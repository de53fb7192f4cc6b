"""Test cases: creating and updating them, one or many, all or nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from service.audit import Change
from service.domain.case_references import CaseRef, References, load_references, split_refs
from service.domain.cases import case_documents
from service.domain.fields import Template, load_templates
from service.domain.versions import check_version
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.domain.work import Document, Work

_SQL = load(__file__)

# Keeps every case readable in one answer of at most 20,000 tokens.
LARGEST_FIELDS = 60_000
LONGEST_ESTIMATE = 1_000 * 3600

_DURATION = re.compile(r"(?:(\d{1,5})h)?\s*(?:(\d{1,6})m)?\s*(?:(\d{1,8})s)?", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,4}):([0-5]\d):([0-5]\d)")
_CONTENT = ("title", "folder", "template", "lifecycleState", "estimateSeconds", "fields", "tags", "environments")


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
    """The ids of updated cases in the order asked for, and the labels of fields that a new template dropped."""

    ids: list[int]
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


def together(refusals: Sequence[Refused]) -> Refused:
    """Return one refusal that tells all of *refusals*."""
    if len(refusals) == 1:
        return refusals[0]
    message = " ".join(refused.message for refused in refusals)
    return Refused(refusals[0].code, message, errors=[refused.document() for refused in refusals])


def refuse_bulk(errors: Sequence[Document], total: int, noun: str) -> Refused:
    """Return the refusal of a bulk call in which *errors*, each naming its item, were found."""
    listed = " ".join(f"[{error.get('index', error.get('caseId'))}] {error['message']}" for error in errors[:20])
    more = f" … and {len(errors) - 20} more." if len(errors) > 20 else ""  # noqa: PLR2004 - the details hold all
    return Refused(
        Code.BULK_REFUSED,
        f"Nothing was written: {len(errors)} of {total} {noun} are not acceptable. {listed}{more}",
        errors=list(errors),
    )


async def create_cases(work: Work, project_id: int, drafts: Sequence[CaseDraft]) -> list[int]:
    """Create all *drafts* and return the new ids in their order, or raise: the refusal of the only one, or of many."""
    references = await load_references(
        work,
        project_id,
        folders={draft.folder_id for draft in drafts},
        tags={tag for draft in drafts for tag in draft.tags},
        environments={environment for draft in drafts for environment in draft.environment_ids},
    )
    templates = await load_templates(work, project_id)
    rows, errors = [], []
    for place, draft in enumerate(drafts, start=1):
        try:
            rows.append({"place": place, **_row(draft, references, templates)})
        except (Refused, NotFoundOrDenied) as error:
            if len(drafts) == 1:
                raise
            errors.append({"index": place - 1, **_error_document(error)})
    if errors:
        raise refuse_bulk(errors, len(drafts), "cases")
    last = await work.connection.fetchval(_SQL["take_numbers"], project_id, len(rows))
    inserted = await work.connection.fetch(_SQL["insert_cases"], project_id, last - len(rows), rows, work.actor.user_id)
    ids = [row["id"] for row in inserted]
    await _record(work, project_id, ids, action="create", versions_before={})
    return ids


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
    changed = [case_id for case_id in ids if _content(before[case_id]) != _content(after[case_id])]
    if max_affected is not None and len(changed) > max_affected:
        raise Refused(
            Code.TOO_MANY_AFFECTED,
            f"{len(changed)} cases would change, more than maxAffected {max_affected}: nothing was written.",
            affected=len(changed),
        )
    for case_id in changed:
        _check_size(after[case_id]["fields"])
    if changed:
        await work.connection.execute(_SQL["raise_versions"], changed, work.actor.user_id)
        await _record(
            work,
            project_id,
            changed,
            action="update",
            versions_before={case_id: locked[case_id]["version"] for case_id in changed},
        )
    return Updated(ids=ids, dropped=dropped)


def _error_document(error: Refused | NotFoundOrDenied) -> Document:
    if isinstance(error, Refused):
        return error.document()
    return {"code": Code.NOT_FOUND_OR_DENIED.value, "message": str(error)}


def _row(draft: CaseDraft, references: References, templates: Mapping[int, Template]) -> dict[str, Any]:
    """Return the draft as insert_cases takes it."""
    template = _template(templates, draft.template_id)
    folder_id = references.folder(draft.folder_id)
    lifecycle_state_id = references.lifecycle_state(draft.lifecycle_state_id)
    environment_ids = references.environment_list(draft.environment_ids)
    values, refusals = template.read(draft.fields or {})
    for field in template.fields.values():
        if field.id not in values:
            values[field.id] = field.default
    refusals += template.missing(values)
    tag_ids: list[int] = []
    estimate = 0
    try:
        tag_ids = references.tag_list(draft.tags)
    except Refused as refused:
        refusals.append(refused)
    try:
        estimate = read_estimate(draft.estimate or "")
    except Refused as refused:
        refusals.append(refused)
    if refusals:
        raise together(refusals)
    _check_size(values)
    return {
        "title": draft.title,
        "folder_id": folder_id,
        "template_id": template.id,
        "lifecycle_state_id": lifecycle_state_id,
        "estimate_seconds": estimate or None,
        "field_values": _value_rows(template, values),
        "steps": _step_rows(template, values),
        "tag_ids": tag_ids,
        "environment_ids": environment_ids,
    }


def _template(templates: Mapping[int, Template], template_id: int | None) -> Template:
    if template_id is None:
        return next(iter(templates.values()))
    try:
        return templates[template_id]
    except KeyError:
        raise NotFoundOrDenied from None


def _value_rows(template: Template, values: Mapping[int, Any]) -> list[dict[str, Any]]:
    return [
        {"field_id": field_id, "type": template.fields[field_id].type, "value": value}
        for field_id, value in values.items()
        if value is not None and template.fields[field_id].type != "STEPS"
    ]


def _step_rows(template: Template, values: Mapping[int, Any]) -> list[dict[str, Any]]:
    return [
        {"field_id": field_id, "position": position, **step}
        for field_id, steps in values.items()
        if steps is not None and template.fields[field_id].type == "STEPS"
        for position, step in enumerate(steps, start=1)
    ]


def _check_size(values: Any) -> None:
    size = len(orjson.dumps(values, option=orjson.OPT_NON_STR_KEYS))
    if size > LARGEST_FIELDS:
        raise Refused(
            Code.INVALID_VALUE,
            f"The case's fields have {size:,} characters together, at most {LARGEST_FIELDS:,} are stored: "
            "split the case, or shorten its steps.",
            field="fields",
        )


async def _lock(work: Work, project_id: int, refs: Sequence[CaseRef]) -> dict[int, Any]:
    """Return the rows of the cases by id, in the order of *refs*, locked."""
    ids, numbers = split_refs(refs)
    rows = await work.connection.fetch(_SQL["lock_cases"], project_id, ids, numbers)
    by_ref: dict[CaseRef, Any] = {row["id"]: row for row in rows} | {f"C-{row['number']}": row for row in rows}
    missing = [ref for ref in refs if ref not in by_ref]
    if missing and len(refs) == 1:
        raise NotFoundOrDenied
    if missing:
        errors = [{"caseId": ref, **_error_document(NotFoundOrDenied())} for ref in missing]
        raise refuse_bulk(errors, len(refs), "cases")
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
    tags, added, removed = (
        references.tag_list(given) for given in (patch.tags or (), patch.add_tags, patch.remove_tags)
    )
    dropped = []
    if patch.fields is not None or patch.template_id is not None:
        dropped = await _apply_fields(work, project_id, locked, patch)
    await work.connection.execute(
        _SQL["update_cases"],
        project_id,
        ids,
        patch.title,
        patch.folder_id,
        patch.template_id,
        patch.lifecycle_state_id,
        None if patch.estimate is None else read_estimate(patch.estimate),
    )
    if patch.tags is not None:
        await work.connection.execute(_SQL["delete_tags"], ids, tags, True)
    if removed:
        await work.connection.execute(_SQL["delete_tags"], ids, removed, False)
    if tags or added:
        await work.connection.execute(_SQL["put_tags"], ids, [*tags, *added])
    if patch.environment_ids is not None:
        await work.connection.execute(_SQL["put_environments"], ids, environment_ids)
    return dropped


async def _apply_fields(work: Work, project_id: int, locked: Mapping[int, Any], patch: CasePatch) -> list[str]:
    held = {row["template_id"] for row in locked.values()}
    templates = await load_templates(work, project_id, also=held)
    if patch.template_id is not None:
        target = _template(templates, patch.template_id)
        if not target.available and patch.template_id not in held:
            raise NotFoundOrDenied
        groups = {target.id: list(locked)}
    else:
        groups = {}
        for case_id, row in locked.items():
            groups.setdefault(row["template_id"], []).append(case_id)
    dropped: list[str] = []
    for template_id, ids in groups.items():
        template = templates[template_id]
        values, refusals = template.read(patch.fields or {})
        if refusals:
            raise together(refusals)
        if patch.template_id is not None:
            rows = await work.connection.fetch(_SQL["keep_fields"], ids, list(template.fields))
            dropped += [row["label"] for row in rows]
        await _put_fields(work, ids, template, values)
        if patch.template_id is not None:
            defaults = {field.id: field.default for field in template.fields.values() if field.id not in values}
            await work.connection.execute(_SQL["put_values"], ids, _value_rows(template, defaults), False)
        await _require_fields(work, project_id, ids, template)
    return dropped


async def _put_fields(work: Work, ids: Sequence[int], template: Template, values: Mapping[int, Any]) -> None:
    steps = [field_id for field_id in values if template.fields[field_id].type == "STEPS"]
    cleared = [field_id for field_id, value in values.items() if value is None and field_id not in steps]
    if cleared:
        await work.connection.execute(_SQL["delete_values"], ids, cleared)
    if rows := _value_rows(template, values):
        await work.connection.execute(_SQL["put_values"], ids, rows, True)
    if steps:
        await work.connection.execute(_SQL["delete_steps"], ids, steps)
    if rows := _step_rows(template, values):
        await work.connection.execute(_SQL["insert_steps"], ids, rows)


async def _require_fields(work: Work, project_id: int, ids: Sequence[int], template: Template) -> None:
    """Raise Refused unless every case has a value in each required field."""
    if not any(field.required for field in template.fields.values()):
        return
    for document in (await case_documents(work, project_id, ids)).values():
        values = {field.id: document["fields"].get(field.system_name) for field in template.fields.values()}
        if missing := template.missing(values):
            raise together(missing)


def _content(document: Document) -> Document:
    """Return what makes a version of a case: not what others say of it, nor where its folder is."""
    content = {key: document[key] for key in _CONTENT if key in document}
    if "folder" in content:
        content["folder"] = {"id": content["folder"]["id"]}
    return content


async def _record(
    work: Work, project_id: int, ids: Sequence[int], *, action: str, versions_before: Mapping[int, int]
) -> None:
    """Keep the cases' present versions in their history, and the change in the audit log."""
    documents = await case_documents(work, project_id, ids)
    versions = [documents[case_id]["version"] for case_id in ids]
    snapshots = [{key: documents[case_id][key] for key in _CONTENT if key in documents[case_id]} for case_id in ids]
    await work.connection.execute(
        _SQL["insert_case_versions"], ids, versions, snapshots, work.actor.user_id, work.actor.api_key_id
    )
    work.changes.extend(
        Change(
            action=action,
            object_type="case",
            object_id=case_id,
            project_id=project_id,
            version_before=versions_before.get(case_id),
            version_after=documents[case_id]["version"],
        )
        for case_id in ids
    )
