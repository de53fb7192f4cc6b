"""Commands for each kind of object that administrators set up: list, create, change, enable, disable.

They are made from the document's models: an option for everything that a document can say of an object. What they do is
to apply a document of that one object, so there is one set of rules.
"""

from __future__ import annotations

import inspect
import types
import typing
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args, get_origin

import typer
import yaml
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from service.cli.administer import administer, print_list
from service.cli.apply import DryRun, apply_to, show, told
from service.cli.console import AsJson, InWorkspace, print_json, run
from service.domain.setup.apply import stored_configuration
from service.domain.setup.case_fields import FIELDS, TEMPLATES
from service.domain.setup.document import Configuration, Item, Part
from service.domain.setup.kinds import (
    CYCLE_TYPES,
    ENVIRONMENTS,
    LIFECYCLE_STATES,
    PLATFORM_GROUPS,
    RELATIONS,
    SOURCES,
    STATUSES,
    TAGS,
)
from service.errors import Code, Refused
from tenancy.errors import TenancyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.domain.setup.tables import TableSection
    from service.domain.work import Work


class Commands(NamedTuple):
    """What the commands for a section are called, what they are for, and an example of each."""

    section: TableSection
    help: str
    create: str
    change: str


COMMANDS = {
    "field": Commands(
        FIELDS,
        "Fields that cases can have",
        "severity --type DROPDOWN --option Blocker --option Minor",
        "severity --option Blocker --option Major --option Minor",
    ),
    "template": Commands(
        TEMPLATES,
        "Templates: which fields a case has",
        "Exploratory --field preconditions --field '{field: priority, required: true}'",
        "Exploratory --default",
    ),
    "status": Commands(
        STATUSES,
        "Statuses: what a result can say",
        "Flaky --failure --completed --color '#bf3989'",
        "Flaky --alias unstable",
    ),
    "lifecycle": Commands(
        LIFECYCLE_STATES,
        "Lifecycle states: where cases and runs stand",
        "'In Review' --context REPOSITORY --position 1",
        "'In Review' --context REPOSITORY --include-in-runs",
    ),
    "tag": Commands(
        TAGS,
        "Tags of cases and of runs",
        "smoke --context REPOSITORY --color '#cf222e'",
        "smoke --context REPOSITORY --name smoke-test",
    ),
    "platform-group": Commands(
        PLATFORM_GROUPS,
        "Platform groups, such as Browser, with their platforms",
        "Browser --platform Firefox --platform Chrome",
        "Browser --platform Firefox --platform Edge",
    ),
    "environment": Commands(
        ENVIRONMENTS,
        "Environments: combinations of platforms",
        "'Firefox on Linux' --platform Firefox --platform Linux",
        "'Firefox on Linux' --no-for-cases",
    ),
    "cycle-type": Commands(CYCLE_TYPES, "Cycle types, such as Sprint", "Hotfix --color '#cf222e'", "Hotfix --default"),
    "source": Commands(
        SOURCES,
        "Sources: the issue trackers",
        "Jira --system JIRA --base-url https://acme.example --issue-url-template '{baseUrl}/browse/{key}'",
        "Jira --projects Shop --projects App",
    ),
    "relation": Commands(
        RELATIONS, "Relations: what a link means", "Implements --semantic GENERAL", "Implements --default"
    ),
}

#: Lists of objects, and how one of them is written in an option: by what names it, or as a mapping in YAML.
_PARTS = {
    "options": ("--option", "value"),
    "fields": ("--field", "field"),
    "platforms": ("--platform", "name"),
    "slots": ("--slot", "slot"),
    "overrides": ("--override", "project"),
}
#: What would make a table too wide; with --json it is there.
_NOT_LISTED = ("icon", "color", "aliases", "position", "create_url_template", "issue_url_template", "example")
_SINGULAR = {"aliases": "--alias", "platforms": "--platform"}


def group(name: str) -> typer.Typer:
    """Return the commands of that name in COMMANDS."""
    commands = COMMANDS[name]
    section = commands.section
    made = typer.Typer(help=f"{commands.help} (DATABASE_URL: the administrator's).", no_args_is_help=True)
    noun = section.noun
    named = f"the {noun}'s {_key(section).replace('_', ' ')}"

    def list_all(slug: InWorkspace, as_json: AsJson = False) -> None:
        found = administer(slug, f"{name} list", lambda work: stored_configuration(work, section.name))
        rows = found[to_camel(section.name)]
        columns = [to_camel(one) for one in (*section.model.key, *section.columns) if one not in _NOT_LISTED]
        print_list(rows, list(dict.fromkeys(columns)) + (["projects"] if section.availability else []), as_json=as_json)

    list_all.__doc__ = (
        f"List all {section.name.replace('_', ' ')}.\n\nExample: testorchestrator {name} list --workspace acme"
    )
    made.command("list")(list_all)

    def create(**given: Any) -> None:
        _apply(section, f"{name} create", given, new=True)

    def change(**given: Any) -> None:
        _apply(section, f"{name} change", given, new=False)

    for what, function, verb, example in (
        ("create", create, f"Create a {noun}.", commands.create),
        ("change", change, f"Change a {noun}; what is not given stays.", commands.change),
    ):
        function.__doc__ = f"{verb}\n\nExample: testorchestrator {name} {what} {example} --workspace acme"
        _take_options(function, section, named, new=what == "create")
        made.command(what)(function)
    if "enabled" in section.columns:
        for what, enabled in (("enable", True), ("disable", False)):
            made.command(what)(_switch(section, name, what, named, commands.change.split(" --")[0], enabled=enabled))
    return made


def _switch(
    section: TableSection, name: str, what: str, named: str, example: str, *, enabled: bool
) -> Callable[..., None]:
    def switch(**given: Any) -> None:
        _apply(section, f"{name} {what}", {**given, "enabled": enabled}, new=False)

    ending = "is offered for new work again" if enabled else "is offered no more; where it is used it stays"
    context = " --context REPOSITORY" if "context" in section.model.key else ""
    switch.__doc__ = (
        f"{what.capitalize()} a {section.noun}: it {ending}.\n\n"
        f"Example: testorchestrator {name} {what} {example}{context} --workspace acme"
    )
    _take_options(switch, section, named, new=False, only=())
    return switch


def _key(section: TableSection) -> str:
    return section.model.key[-1]


def _take_options(
    function: Callable[..., None], section: TableSection, named: str, *, new: bool, only: tuple[str, ...] | None = None
) -> None:
    """Give the function the parameters that Typer makes arguments and options of."""
    key = _key(section)
    parameters = [
        _parameter(key, Annotated[str, typer.Argument(metavar=section.noun.upper(), help=f"{named.capitalize()}.")])
    ]
    parameters.append(_parameter("slug", InWorkspace))
    for name, field in section.model.model_fields.items():
        if name == key or (only is not None and name not in (*only, *section.model.key)):
            continue
        if name == "enabled" or (name == "new_name" and new) or (name in section.model.fixed and not new):
            continue
        parameters.append(_option(section, name, field.annotation, field.description or ""))
    parameters.append(_parameter("dry_run", DryRun, default=False))
    parameters.append(_parameter("as_json", AsJson, default=False))
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {one.name: one.annotation for one in parameters}


def _option(section: TableSection, name: str, annotation: Any, description: str) -> inspect.Parameter:
    """Return the parameter for what the model has under *name*."""
    flag = "--" + name.replace("_", "-")
    inner = _inner(annotation)
    if name in section.model.key:
        return _parameter(name, Annotated[_choices(name, inner), typer.Option(flag, help=description)])
    kind: Any = str
    if name == "new_name":
        flag = "--name"
    elif _is_list_of_parts(inner):
        flag, by = _PARTS[name]
        kind, description = list[str], f"{description} Each by its {by}, or {{{by}: …}} with more; repeat for more."
    elif name == "projects" or get_origin(inner) is list:
        kind, flag = list[str], _SINGULAR.get(name, flag)
    elif inner is bool:
        kind, flag = bool, flag if name == "default" else f"{flag}/--no-{flag[2:]}"
    elif inner is int:
        kind = int
    elif get_origin(inner) is Literal:
        kind = _choices(name, inner)
    return _parameter(name, Annotated[kind | None, typer.Option(flag, help=description)], default=None)


def _is_list_of_parts(inner: Any) -> bool:
    """Return whether it is a list of objects, not of names."""
    return get_origin(inner) is list and isinstance(one := _inner(get_args(inner)[0]), type) and issubclass(one, Part)


def _inner(annotation: Any) -> Any:
    """Return what an annotation says besides None and constraints."""
    if get_origin(annotation) is Annotated:
        return _inner(get_args(annotation)[0])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return _inner(next(one for one in get_args(annotation) if one is not types.NoneType))
    return annotation


def _choices(name: str, literal: Any) -> Any:
    """Return the values of a Literal as what Typer offers as choices."""
    return Enum(name, {str(value): str(value) for value in get_args(literal)})


def _parameter(name: str, annotation: Any, *, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _apply(section: TableSection, command: str, given: dict[str, Any], *, new: bool) -> None:
    slug, dry_run, as_json = given.pop("slug"), given.pop("dry_run"), given.pop("as_json")
    said = {
        name: value.value if isinstance(value, Enum) else value for name, value in given.items() if value is not None
    }
    for name, value in said.items():
        if _is_list_of_parts(_inner(section.model.model_fields[name].annotation)):
            said[name] = [_element(_PARTS[name][1], text) for text in value]
    if said.get("projects") == ["all"]:
        said["projects"] = "all"
    try:
        item = section.model(**{to_camel(name): value for name, value in said.items() if value != []})
    except ValidationError as error:
        first = error.errors()[0]
        raise TenancyError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error

    document = Configuration.model_validate({to_camel(section.name): [item]})
    check = partial(_check, section, item, new=new)
    try:
        differences = run(apply_to(slug, command, document, dry_run=dry_run, check=check))
    except Refused as refused:
        raise told(refused) from refused
    if as_json:
        print_json({"workspace": slug, "dryRun": dry_run, "differences": [one.document() for one in differences]})
    else:
        show(differences)


async def _check(section: TableSection, item: Item, work: Work, *, new: bool) -> None:
    there = item.identity() in await section.stored(work)
    if there and new:
        raise Refused(Code.INVALID_VALUE, f"There is a {section.noun} {' '.join(item.identity())} already: change it.")
    if not there and not new:
        raise Refused(Code.INVALID_VALUE, f"There is no {section.noun} {' '.join(item.identity())}: see list.")


def _element(by: str, text: str) -> dict[str, Any]:
    """Return what an option says of an element: what names it, or all of it as a mapping."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    return value if isinstance(value, dict) else {by: text}
