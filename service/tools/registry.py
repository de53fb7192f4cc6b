"""What a tool is: a frozen value with all that clients see, who may call it, and the handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.domain.work import Document
from service.tools.arguments import Argument, boolean, described, identifier, object_schema, optional, required, text
from service.tools.results import BOOLEAN, published

if TYPE_CHECKING:
    from service.access import Permission
    from service.tools.results import Schema

Handler = Callable[..., Awaitable[Document]]

LONGEST_DESCRIPTION = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """An MCP tool. *permissions* are all required in the project that the call names; empty means access to it.

    Where they depend on what is asked for, *permissions_by_arguments* tells them by the names of the arguments given.
    A tool *by_key* finds all it needs by ids and keys, not by filters: one plan of each query does for all calls.
    """

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    returns: Schema
    permissions: tuple[Permission, ...]
    in_project: bool
    read_only: bool
    destructive: bool
    idempotent: bool
    handler: Handler
    permissions_by_arguments: Callable[[set[str]], tuple[Permission, ...]] | None = None
    by_key: bool = False

    def needed(self, given: Iterable[str]) -> tuple[Permission, ...]:
        """Return the permissions that a call with the arguments *given* needs, all of them."""
        if self.permissions_by_arguments is None:
            return self.permissions
        return self.permissions_by_arguments(set(given))

    def listing(self) -> dict[str, Any]:
        """Return the tool as `tools/list` shows it."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": object_schema(self.arguments),
            "outputSchema": published(self.returns),
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.read_only,
                "destructiveHint": self.destructive,
                "idempotentHint": self.idempotent,
                "openWorldHint": False,
            },
        }


def project() -> Argument:
    """Return the argument that nearly every tool begins with."""
    return required("project", identifier("Project id, from get_projects"))


def read_tool(
    *,
    title: str,
    description: str,
    arguments: tuple[Argument, ...] = (),
    returns: Schema,
    permissions: tuple[Permission, ...] = (),
    in_project: bool = True,
    by_key: bool = False,
) -> Callable[[Handler], Tool]:
    """Make a tool of the handler below: one that reads, in a READ ONLY transaction."""

    def make(handler: Handler) -> Tool:
        return Tool(
            name=handler.__name__,
            title=title,
            description=description,
            arguments=(project(), *arguments) if in_project else arguments,
            returns=returns,
            permissions=permissions,
            in_project=in_project,
            read_only=True,
            destructive=False,
            idempotent=True,
            handler=handler,
            by_key=by_key,
        )

    return make


def write_tool(
    *,
    title: str,
    description: str,
    arguments: tuple[Argument, ...],
    returns: Schema,
    permissions: tuple[Permission, ...],
    permissions_by_arguments: Callable[[set[str]], tuple[Permission, ...]] | None = None,
    creates: bool = False,
    destructive: bool = False,
    by_key: bool = False,
) -> Callable[[Handler], Tool]:
    """Make a tool of the handler below: one that writes in one transaction, and can be tried with `dryRun`.

    One that *creates* takes an `idempotencyKey`; any other changes nothing more when it is repeated.
    """
    own = [project(), *arguments]
    if creates:
        key = text(minimum=1, maximum=64)
        own.append(optional("idempotencyKey", described(key, "Repeats within 24 h replay the first answer")))
    own.append(optional("dryRun", described(boolean(), "Check and show the result, but store nothing")))
    properties = {**returns["properties"], "dryRun": BOOLEAN}

    def make(handler: Handler) -> Tool:
        return Tool(
            name=handler.__name__,
            title=title,
            description=description,
            arguments=tuple(own),
            returns={**returns, "properties": properties},
            permissions=permissions,
            in_project=True,
            read_only=False,
            destructive=destructive,
            idempotent=not creates,
            handler=handler,
            permissions_by_arguments=permissions_by_arguments,
            by_key=by_key,
        )

    return make
