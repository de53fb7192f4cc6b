"""The fields of cases: setting and clearing values and steps, and changing the template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.domain.cases import case_documents
from service.domain.fields import Template, load_templates
from service.domain.refusals import raise_for_cases
from service.errors import NotFoundOrDenied, Refused
from service.sql import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.domain.work import Work

_SQL = load(__file__)


def find_template(templates: Mapping[int, Template], template_id: int | None) -> Template:
    """Return that one of the project's templates, the default one for None; raise NotFoundOrDenied for another id."""
    if template_id is None:
        return next(iter(templates.values()))
    try:
        return templates[template_id]
    except KeyError:
        raise NotFoundOrDenied from None


def value_rows(template: Template, values: Mapping[int, Any]) -> list[dict[str, Any]]:
    """Return the values by field id as the queries take them, without the steps."""
    return [
        {"field_id": field_id, "type": template.fields[field_id].type, "value": value}
        for field_id, value in values.items()
        if value is not None and template.fields[field_id].type != "STEPS"
    ]


def step_rows(template: Template, values: Mapping[int, Any]) -> list[dict[str, Any]]:
    """Return the steps among the values by field id as the queries take them."""
    return [
        {"field_id": field_id, "position": position, **step}
        for field_id, steps in values.items()
        if steps is not None and template.fields[field_id].type == "STEPS"
        for position, step in enumerate(steps, start=1)
    ]


async def write_fields(
    work: Work,
    project_id: int,
    locked: Mapping[int, Any],
    *,
    template_id: int | None,
    given: Mapping[str, Any],
) -> list[str]:
    """Set the *given* fields of the *locked* cases, with a template first change to that one.

    Return the labels of the fields that it dropped. Raise what is wrong, of every case.
    """
    held = {row["template_id"] for row in locked.values()}
    templates = await load_templates(work, project_id, also=held)
    groups: dict[int, list[int]] = {}
    for case_id, row in locked.items():
        groups.setdefault(row["template_id"] if template_id is None else template_id, []).append(case_id)
    dropped: list[str] = []
    errors: dict[int, list[Refused]] = {}
    for target, ids in groups.items():
        template = find_template(templates, target)
        switched = [case_id for case_id in ids if locked[case_id]["template_id"] != target]
        if switched and not template.available:
            raise NotFoundOrDenied
        values, refusals = template.read(given)
        if refusals:
            errors |= dict.fromkeys(ids, refusals)
            continue
        if switched:
            rows = await work.connection.fetch(_SQL["keep_fields"], switched, target)
            dropped += [row["label"] for row in rows]
        if values:
            await work.connection.execute(_SQL["delete_fields"], ids, list(values))
        await _add_fields(work, ids, template, values)
        if switched:
            defaults = {field.id: field.default for field in template.fields.values() if field.id not in values}
            await _add_fields(work, switched, template, defaults)
        errors |= await _missing_fields(work, project_id, ids, template)
    raise_for_cases(errors, locked)
    return dropped


async def _add_fields(work: Work, ids: Sequence[int], template: Template, values: Mapping[int, Any]) -> None:
    """Give the cases *values* where they have none yet."""
    if rows := value_rows(template, values):
        await work.connection.execute(_SQL["add_values"], ids, rows)
    if rows := step_rows(template, values):
        await work.connection.execute(_SQL["add_steps"], ids, rows)


async def _missing_fields(
    work: Work, project_id: int, ids: Sequence[int], template: Template
) -> dict[int, list[Refused]]:
    """Return, by case, the required fields without a value."""
    if not any(field.required for field in template.fields.values()):
        return {}
    errors = {}
    for case_id, document in (await case_documents(work, project_id, ids)).items():
        values = {field.id: document["fields"].get(field.system_name) for field in template.fields.values()}
        if missing := template.missing(values):
            errors[case_id] = missing
    return errors
