"""Commands for the API keys that act as users."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import asyncpg
import typer
from rich.table import Table

from service.cli.console import AsJson, InWorkspace, Slug, database_url, print_json, results, run
from service.domain.user_states import emails_of_users, keep_user_state
from tenancy import catalog, keys
from tenancy.connection import admin_connection
from tenancy.errors import TenancyError
from tenancy.session import as_workspace

key = typer.Typer(help="Create, list and revoke API keys. (DATABASE_URL: the administrator's.)", no_args_is_help=True)


@key.command("create")
def create_key(
    slug: Slug,
    email: Annotated[str, typer.Option(help="The user whom the key acts as.")],
    label: Annotated[str, typer.Option(help="What the key is for.")] = "Command line",
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=3650, help="Default: it does not expire.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key for a user and print it: it is shown only here.

    Example: testorchestrator key create acme --email ann@acme.example --label "Claude Code" --expires-in-days 90
    """

    async def work() -> str:
        async with admin_connection(database_url()) as admin, admin.transaction():
            found = await catalog.require_workspace(admin, slug)
            return await new_key(admin, found, email, label=label, expires_in_days=expires_in_days)

    secret = run(work())
    if as_json:
        print_json({"key": secret})
    else:
        results.print(secret, soft_wrap=True)


@key.command("list")
def list_keys(
    slug: InWorkspace,
    email: Annotated[str | None, typer.Option("--user", help="Only the keys of the user with this e-mail.")] = None,
    as_json: AsJson = False,
) -> None:
    """List a workspace's keys: their labels, first characters and states. The keys themselves are stored nowhere.

    Example: testorchestrator key list --workspace acme --user ann@acme.example
    """

    async def work() -> list[dict[str, Any]]:
        async with admin_connection(database_url()) as admin, admin.transaction():
            where = await catalog.require_workspace(admin, slug)
            async with as_workspace(admin, where.schema_name) as connection:
                owner = None if email is None else await keep_user_state(connection, email)
            if email is not None and owner is None:
                raise _no_user(where, email)
            found = await keys.list_keys(admin, workspace_id=where.id, user_id=owner.id if owner else None)
            async with as_workspace(admin, where.schema_name) as connection:
                emails = await emails_of_users(connection, {one.user_id for one in found})
            return [_document(one, emails.get(one.user_id)) for one in found]

    found = run(work())
    if as_json:
        print_json(found)
        return
    table = Table("id", "user", "label", "key", "state", "created", "expires", "last used", header_style="dim")
    for one in found:
        days = [str(one[when])[:10] if when in one else "-" for when in ("createdAt", "expiresAt", "lastUsedAt")]
        table.add_row(str(one["id"]), one.get("user", "-"), one["label"], f"{one['prefix']}…", one["state"], *days)
    results.print(table, markup=False)


@key.command("revoke")
def revoke_key(
    slug: InWorkspace,
    key_id: Annotated[int, typer.Argument(help="The key's id, as key list shows it.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key for good: its very next request is refused.

    Example: testorchestrator key revoke --workspace acme 17
    """

    async def work() -> bool:
        async with admin_connection(database_url()) as admin, admin.transaction():
            where = await catalog.require_workspace(admin, slug)
            found = [one for one in await keys.list_keys(admin, workspace_id=where.id) if one.id == key_id]
            if not found:
                raise TenancyError(f"Workspace {slug} has no key {key_id}: see testorchestrator key list.")
            if found[0].revoked_at is not None:
                return False
            await keys.revoke_key(admin, key_id)
            await catalog.note_operation(admin, "key.revoke", workspace_id=where.id, api_key_id=key_id)
            return True

    changed = run(work())
    if as_json:
        print_json({"workspace": slug, "id": key_id, "state": "revoked", "changed": changed})
    else:
        results.print(f"Key {key_id} is revoked{'' if changed else ' already'}.")


async def new_key(
    admin: asyncpg.Connection, where: catalog.Workspace, email: str, *, label: str, expires_in_days: int | None = None
) -> str:
    """Return a new key of the workspace's user with that e-mail, within the transaction that is open."""
    async with as_workspace(admin, where.schema_name) as connection:
        # Kept until the key is there too, so that a deactivation finds all keys that it has to stop.
        owner = await keep_user_state(connection, email)
    if owner is None:
        raise _no_user(where, email)
    if not owner.active:
        raise TenancyError(f"{email} is deactivated: testorchestrator user activate lets them have keys again.")
    expires_at = None if expires_in_days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=expires_in_days)
    return await keys.create_key(admin, workspace_id=where.id, user_id=owner.id, label=label, expires_at=expires_at)


def _no_user(where: catalog.Workspace, email: str) -> TenancyError:
    return TenancyError(f"Workspace {where.slug} has no user with the e-mail {email}.")


def _document(one: keys.ApiKey, email: str | None) -> dict[str, Any]:
    document = {
        "id": one.id,
        "user": email,
        "label": one.label,
        "prefix": one.prefix,
        "state": one.state,
        "createdAt": one.created_at,
        "expiresAt": one.expires_at,
        "revokedAt": one.revoked_at,
        "lastUsedAt": one.last_used_at,
    }
    return {name: value for name, value in document.items() if value is not None}
