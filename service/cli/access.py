"""The command that tells why somebody may or may not do something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from service.cli.administer import administer
from service.cli.console import AsJson, InWorkspace, print_json, results
from service.domain.effective_access import explain_access

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.domain.work import Document

access = typer.Typer(help="Who may do what, and why (DATABASE_URL: the administrator's).", no_args_is_help=True)


@access.callback()
def _group() -> None:
    """Keep `explain` a command of its own, although it is the only one so far."""


@access.command("explain")
def explain(
    slug: InWorkspace,
    email: Annotated[str, typer.Option("--user", metavar="EMAIL", help="The user's e-mail, or id.")],
    project: Annotated[str | None, typer.Option(help="The project's name, or id. Default: every project.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a user may do in a project, and which rule decided that: the database's own answer.

    The rules are shown in the order in which they are considered, and of each that did not decide, why not.

    Example: testorchestrator access explain --workspace acme --user bo@acme.example --project "Web Shop"
    """
    found = administer(slug, "access explain", lambda work: explain_access(work, email, project=project))
    if as_json:
        print_json(found)
    elif project is None:
        _print_user(found["user"])
        print_access(found["projects"])
    else:
        _print_user(found["user"])
        for one in found["projects"]:
            _print_verdict(one)


def print_access(projects: Sequence[Document]) -> None:
    """Print one line for each project: the role there, and the reason."""
    table = Table("project", "access", "role", "permissions", "reason", header_style="dim")
    for one in projects:
        table.add_row(
            f"{one['project']['name']} ({one['project']['id']})",
            "yes" if one["allowed"] else "none",
            one.get("role", "-"),
            str(len(one["permissions"])),
            one["reason"],
        )
    results.print(table, markup=False)


def _print_user(user: Document) -> None:
    state = "" if user["active"] else ", deactivated"
    results.print(f"{user['name']} <{user['email']}>{state}; global role {user['role']}.", markup=False, soft_wrap=True)


def _print_verdict(one: Document) -> None:
    verdict = f"role {one['role']}" if one["allowed"] else "no access"
    results.print(
        f"{one['project']['name']} ({one['project']['id']}): {verdict}, by {one['reason']}.",
        markup=False,
        soft_wrap=True,
    )
    if one["allowed"]:
        permissions = ", ".join(one["permissions"]) or "none"
        results.print(f"Permissions: {permissions}.", markup=False, soft_wrap=True)
    for rule in one["rules"]:
        mark = "→" if rule["decides"] else " "
        told = "decides" if rule["decides"] else f"does not decide: {rule['whyNot']}"
        results.print(f"{mark} {_rule(rule)}: {told}", markup=False, soft_wrap=True)


def _rule(rule: dict[str, Any]) -> str:
    role = f" {rule['role']}" if "role" in rule else ""
    match rule["kind"]:
        case "user":
            return "the user's state"
        case "member":
            override = f", role override {rule['override']}" if "override" in rule else ""
            return f"member rule {rule['mode']}{role}{override}"
        case "group":
            return f"rule of group {rule['group']}: {rule['mode']}{role}"
        case _:
            return f"default access {rule['mode']}{role}"
