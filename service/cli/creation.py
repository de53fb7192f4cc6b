"""Making workspaces with their first users and keys: one, or many that a file lists."""

from __future__ import annotations

import csv
import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from service.cli.console import print_json
from service.cli.counting import counting
from service.cli.keys import new_key
from service.domain.users import add_user
from service.errors import Refused
from tenancy import catalog
from tenancy.connection import admin_connection
from tenancy.crew import for_each
from tenancy.errors import TenancyError, first_line
from tenancy.provision import create_workspace
from tenancy.strict import open_logins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tenancy.citus import Sharding
    from tenancy.session import WorkspaceConnection
    from tenancy.strict import StrictLogins

_FIELDS = ("slug", "admin_email", "admin_name")


@dataclass(frozen=True, slots=True)
class Order:
    """A workspace that is wanted, and its first user."""

    slug: str
    name: str
    admin_email: str
    admin_name: str


@dataclass(slots=True)
class Outcome:
    """What became of many orders; *existing* are the slugs of those that were there already."""

    created: int
    existing: list[str]
    failed: dict[str, str]


async def create_one(
    admin: asyncpg.Connection, order: Order, *, logins: StrictLogins | None, sharding: Sharding
) -> tuple[catalog.Workspace, str]:
    """Create the workspace with its first user, a Tenant Admin, and return it with a key of theirs."""

    async def populate(connection: WorkspaceConnection) -> None:
        await add_user(
            connection, email=order.admin_email, name=order.admin_name, access_level="TENANT_ADMIN", role="Lead"
        )

    async with admin.transaction():
        made = await create_workspace(admin, slug=order.slug, name=order.name, sharding=sharding, populate=populate)
        if logins is not None:
            await open_logins(admin, logins, [made.schema_name])
        return made, await new_key(admin, made, order.admin_email, label="First key")


async def create_many(
    orders: Sequence[Order],
    url: str,
    *,
    connections: int,
    logins: StrictLogins | None,
    sharding: Sharding,
    keep: Callable[[dict[str, Any]], None],
) -> Outcome:
    """Create the workspaces that are not there yet, each in a transaction of its own, and tell *keep* each key.

    One that cannot be created holds up no other.
    """
    async with admin_connection(url) as admin:
        there = {one.slug for one in await catalog.list_workspaces(admin)}
    outcome = Outcome(0, [one.slug for one in orders if one.slug in there], {})
    wanted = [one for one in orders if one.slug not in there]

    with counting("Creating workspaces") as show:

        async def create(admin: asyncpg.Connection, order: Order) -> None:
            try:
                made, secret = await create_one(admin, order, logins=logins, sharding=sharding)
            except (TenancyError, Refused, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                outcome.failed[order.slug] = first_line(error)
            else:
                keep({"workspace": made.slug, "schema": made.schema_name, "user": order.admin_email, "key": secret})
                outcome.created += 1
            show("", outcome.created + len(outcome.failed), len(wanted))

        await for_each(wanted, create, connecting=lambda: admin_connection(url), connections=connections)
    return outcome


def read_orders(file: Path) -> list[Order]:
    """Return what a CSV or JSON file asks for; raise TenancyError, before anything is created, for what is wrong."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".json":
            rows = orjson.loads(text)
        else:
            rows = list(csv.DictReader(text.splitlines(), strict=True))
    except OSError as error:
        raise TenancyError(f"{file}: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:
        raise TenancyError(f"{file} is neither CSV nor JSON: {first_line(error)}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TenancyError(f"{file}: give a list of objects with {', '.join(_FIELDS)} and, if you like, name.")
    orders = [_order(row, f"{file}, entry {number}") for number, row in enumerate(rows, start=1)]
    if twice := [slug for slug, count in Counter(one.slug for one in orders).items() if count > 1]:
        raise TenancyError(f"{file} has {twice[0]!r} more than once.")
    return orders


def _order(row: dict[str, Any], where: str) -> Order:
    values = {name: value.strip() for name, value in row.items() if isinstance(value, str) and value.strip()}
    if missing := [name for name in _FIELDS if name not in values]:
        raise TenancyError(f"{where}: {missing[0]} is missing.")
    if unknown := [str(name) for name in row if name not in {*_FIELDS, "name"}]:
        raise TenancyError(f"{where}: {unknown[0]!r} is not known; there are {', '.join(_FIELDS)} and name.")
    try:
        catalog.check_slug(values["slug"])
        name = catalog.check_line(values.get("name", values["slug"]), "display name")
    except TenancyError as error:
        raise TenancyError(f"{where}: {error}") from error
    return Order(values["slug"], name, values["admin_email"], values["admin_name"])


@contextmanager
def keeper(file: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield what keeps lines of JSON: at the end of a file that is for its owner's eyes only, or on standard output."""
    if file is None:
        yield print_json
        return
    try:
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise TenancyError(f"{file}: {error.strerror}.") from error
    with os.fdopen(opened, "ab", buffering=0) as stream:
        os.fchmod(stream.fileno(), 0o600)

        def keep(document: dict[str, Any]) -> None:
            stream.write(orjson.dumps(document) + b"\n")

        yield keep
