"""Commands that print the links by which a person gets in: for operators whose service sends no mail."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.console import AsJson, InWorkspace, database_url, print_json, results, run
from service.domain.visitors import active_user
from service.errors import SettingsError
from service.links import LIFETIMES, Link, Purpose, Signer, link_address, workspace_address
from tenancy import accounts, catalog
from tenancy.connection import admin_connection
from tenancy.errors import TenancyError
from tenancy.session import as_workspace

Email = Annotated[str, typer.Argument(help="The user's e-mail.")]


def add_commands(user: typer.Typer) -> None:
    """Add the commands to those for users."""
    user.command("invite")(invite)
    user.command("reset-password")(reset_password)


def invite(email: Email, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Print the link by which a user who has no password yet sets one and comes in: once, within 7 days.

    Needs the service's TESTORCHESTRATOR_SECRET_KEY, and its PUBLIC_URL or BASE_DOMAIN.
    Example: testorchestrator user invite bo@acme.example --workspace acme
    """
    _print_link(Purpose.INVITATION, slug, email, as_json=as_json)


def reset_password(email: Email, slug: InWorkspace, as_json: AsJson = False) -> None:
    """Print the link by which a user sets another password: once, within an hour. The old one works until then.

    Needs the service's TESTORCHESTRATOR_SECRET_KEY, and its PUBLIC_URL or BASE_DOMAIN.
    Example: testorchestrator user reset-password bo@acme.example --workspace acme
    """
    _print_link(Purpose.RESET, slug, email, as_json=as_json)


def _print_link(purpose: Purpose, slug: str, email: str, *, as_json: bool) -> None:
    from service.settings import link_settings

    secret_key, base_domain, public_url = link_settings()
    workspace = workspace_address(slug, base_domain=base_domain, public_url=public_url)
    if workspace is None:
        raise SettingsError(
            "Setting TESTORCHESTRATOR_PUBLIC_URL: give the service's, such as https://qa.example.com, or its "
            "TESTORCHESTRATOR_BASE_DOMAIN: a link leads there."
        )

    async def work() -> Link:
        async with admin_connection(database_url()) as admin, admin.transaction():
            where = await catalog.require_workspace(admin, slug)
            async with as_workspace(admin, where.schema_name) as connection:
                user_id = await active_user(connection, email)
            if user_id is None:
                raise TenancyError(f"Workspace {slug} has no active user with the e-mail {email}.")
            stored = await accounts.stored_hash(admin, workspace_id=where.id, user_id=user_id)
            if stored is not None and purpose is Purpose.INVITATION:
                raise TenancyError(f"{email} has a password already: see testorchestrator user reset-password.")
            secret = await accounts.issue_link(admin, workspace_id=where.id, user_id=user_id, purpose=purpose)
            return Link(where.id, user_id, secret)

    link = run(work())
    address = link_address(workspace, purpose, Signer(secret_key).token(purpose, link))
    if as_json:
        print_json({"link": address, "expiresInSeconds": int(LIFETIMES[purpose].total_seconds())})
    else:
        results.print(address, soft_wrap=True, markup=False)
