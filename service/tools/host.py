"""The way of every call: find the tool, read the arguments, enter the workspace, check access, work, record, answer."""

from __future__ import annotations

import difflib
import hashlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import structlog

from service.access import access_gate, is_denial
from service.audit import write
from service.calls import CallResult, InvalidParams, KeyRefused, Unavailable
from service.domain.work import Document, Work
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load
from service.tools.arguments import Fault, Faults, read_object
from tenancy.errors import DatabaseUnavailable, NotConfirmed
from tenancy.session import Actor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.tools.registry import Tool
    from tenancy.release import Release
    from tenancy.session import Gateway, Identity, WorkspaceConnection

_SQL = load(__file__)
_LOG = structlog.get_logger()

# Every reference is looked up before it is stored, so a violated foreign key too means that two calls met.
_BUSY = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.ForeignKeyViolationError,
)
_MIGRATING_SECONDS = 30
_UPGRADING = "The workspace is being upgraded and is not available just now: try again in a minute."


@dataclass(slots=True, kw_only=True)
class Caller:
    """Whom a request's key stands for: until it *is_confirmed* in this request, whom it stood for a moment ago."""

    key: str = field(repr=False)
    identity: Identity
    is_confirmed: bool = True


class ToolHost:
    """All tools over one database, in the workspaces that *release* serves."""

    def __init__(self, gateway: Gateway, tools: Sequence[Tool], *, release: Release) -> None:
        self._gateway = gateway
        self._tools = {tool.name: tool for tool in tools}
        self._release = release
        self.listing = [tool.listing() for tool in tools]

    async def authenticate(self, key: str) -> Caller | None:
        """Return whom *key* stands for, or None; raise Unavailable to try later."""
        try:
            identity = await self._gateway.authenticate(key)
        except DatabaseUnavailable as error:
            _LOG.warning("database_unavailable", reason=str(error))
            raise Unavailable from error
        return None if identity is None else Caller(key=key, identity=identity)

    def recall(self, key: str) -> Caller | None:
        """Return whom *key* stood for a moment ago, or None: nothing may be answered before that is confirmed."""
        identity = self._gateway.recall(key)
        return None if identity is None else Caller(key=key, identity=identity, is_confirmed=False)

    async def confirm(self, caller: Caller) -> None:
        """See to it that the caller is whom the key stands for now; raise KeyRefused, or Unavailable to try later."""
        if not caller.is_confirmed:
            found = await self.authenticate(caller.key)
            if found is None:
                raise KeyRefused
            caller.identity = found.identity
            caller.is_confirmed = True

    async def call(self, caller: Caller, name: str, arguments: dict[str, Any]) -> CallResult:
        """Run one tool for *caller*, who is confirmed by any answer of the workspace's.

        Raises InvalidParams where it is no call of a tool, Unavailable to try later, KeyRefused.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise InvalidParams(_unknown_tool(name, self._tools))
        values, faults = _read(tool, arguments)
        await self._require_served(caller)
        if faults:
            errors = [_fault_document(fault) for fault in faults]
            return _failure(Refused(Code.INVALID_VALUE, _told(tool, faults), errors=errors).document())
        try:
            document = await self._run_again(tool, caller, values)
            caller.is_confirmed = True
            return CallResult(structured=document)
        except (KeyRefused, Unavailable):
            raise
        except DatabaseUnavailable as error:
            _LOG.warning("database_unavailable", tool=name, reason=str(error))
            raise Unavailable from error
        except Exception as error:  # noqa: BLE001 - the edge, where every fault becomes an answer
            # These come from within the workspace, or from its gate, which is asked after the key. Others may not.
            caller.is_confirmed |= is_denial(error) or isinstance(error, NotFoundOrDenied | Refused)
            return _failure(_error_document(error, tool, caller.identity))

    async def _require_served(self, caller: Caller) -> None:
        if not self._serves(caller.identity):
            # It may have been migrated since.
            await self.confirm(caller)
        identity = caller.identity
        if not self._serves(identity):
            _LOG.warning(
                "workspace_not_served", workspace_id=identity.workspace_id, schema_version=identity.schema_version
            )
            raise Unavailable(_UPGRADING, retry_after=_MIGRATING_SECONDS)

    def _serves(self, identity: Identity) -> bool:
        return self._release.serves(identity.schema_version, identity.compatible_from)

    async def _run_again(self, tool: Tool, caller: Caller, values: Mapping[str, Any]) -> Document:
        """Run the tool, and once more where its transaction ended for a reason that the next one does not have."""
        try:
            return await self._run(tool, caller, values)
        except NotConfirmed:
            await self.confirm(caller)
            await self._require_served(caller)
        except asyncpg.InvalidCachedStatementError:
            # A migration has changed a column's type since the statement was prepared. Nothing was written, and what
            # was prepared is forgotten.
            _LOG.info("statements_prepared_anew", tool=tool.name)
        return await self._run(tool, caller, values)

    async def _run(self, tool: Tool, caller: Caller, given: Mapping[str, Any]) -> Document:
        identity = caller.identity
        values = dict(given)
        dry_run = values.pop("dry_run", False)
        idempotency_key = values.pop("idempotency_key", None)
        if dry_run:
            idempotency_key = None
        actor = Actor(user_id=identity.user_id, api_key_id=identity.api_key_id, tool=tool.name)
        gate = ""
        if tool.in_project:
            needed = tool.needed(values)
            gate = access_gate(user_id=identity.user_id, project_id=values["project"], permissions=needed)
        async with self._gateway.workspace(
            identity.schema_name,
            read_only=tool.read_only,
            actor=actor,
            gate=gate,
            one_plan=tool.by_key,
            recalled=None if caller.is_confirmed else identity,
        ) as connection:
            replay = _Replay(connection, idempotency_key, values)
            if (answer := await replay.first_answer()) is not None:
                return answer
            work = Work(connection=connection)
            document = await tool.handler(work, **values)
            await write(connection, work.changes)
            if dry_run:
                connection.rollback_only = True
                return {**document, "dryRun": True}
            await replay.keep(document)
        return document


class _Replay:
    """The first answer to a call with an idempotency key, kept for 24 hours; without a key, nothing.

    *arguments* are those that were read, so that a repetition may write "6" for 6.
    """

    def __init__(self, connection: WorkspaceConnection, key: str | None, arguments: Mapping[str, Any]) -> None:
        self._connection = connection
        self._actor = connection.actor
        self._key = key
        self._arguments = arguments

    async def first_answer(self) -> Document | None:
        if self._key is None:
            return None
        asked = [self._actor.tool, self._arguments]
        digest = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
        await self._connection.execute(_SQL["forget_old_answers"], self._actor.api_key_id)
        # Of two calls at once, the second waits here until the first has committed or rolled back.
        claimed = await self._connection.fetchval(
            _SQL["claim_idempotency_key"], self._actor.api_key_id, self._key, self._actor.tool, digest
        )
        if claimed:
            return None
        row = await self._connection.fetchrow(_SQL["kept_answer"], self._actor.api_key_id, self._key)
        if row is None or row["request_hash"] != digest:
            raise Refused(
                Code.IDEMPOTENCY_CONFLICT,
                "This idempotencyKey was used with other arguments in the last 24 hours: use a new one.",
            )
        answer: Document = orjson.loads(row["answer"])
        return answer

    async def keep(self, document: Document) -> None:
        if self._key is not None:
            await self._connection.execute(
                _SQL["keep_answer"], self._actor.api_key_id, self._key, orjson.dumps(document).decode()
            )


def _read(tool: Tool, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the values for the handler and the value faults; raise InvalidParams for shape faults."""
    faults = Faults()
    values = read_object(tool.arguments, arguments, "", faults)
    if faults.shape:
        first = faults.shape[0]
        data: dict[str, Any] = {"path": first.path, "reason": first.reason, "expected": first.expected}
        if len(faults.shape) > 1:
            data["faults"] = [_fault_document(fault) for fault in faults.shape]
        raise InvalidParams(_told(tool, faults.shape), data=data)
    return values, faults.value


def _told(tool: Tool, faults: Sequence[Fault]) -> str:
    shown = "; ".join(str(fault) for fault in faults[:20])
    more = f"; and {len(faults) - 20} more" if len(faults) > 20 else ""  # noqa: PLR2004 - the data hold all
    return f"Invalid arguments for {tool.name}: {shown}{more}."


def _fault_document(fault: Fault) -> Document:
    return {"path": fault.path, "reason": fault.reason, "expected": fault.expected}


def _unknown_tool(name: str, known: Mapping[str, Tool]) -> str:
    shown = name[:60].encode("utf-8", "backslashreplace").decode()
    close = difflib.get_close_matches(name[:60], known, n=3, cutoff=0.5)
    return f"Unknown tool: {shown}." + (f" Did you mean {', '.join(close)}?" if close else " See tools/list.")


def _failure(error: Document) -> CallResult:
    return CallResult(structured={"error": error}, is_error=True, text=error["message"])


def _error_document(error: Exception, tool: Tool, identity: Identity) -> Document:
    """Return what the caller is told of *error*; a fault of ours is logged, and opaque to the caller."""
    if isinstance(error, NotFoundOrDenied | Refused):
        return error.document()
    if is_denial(error):
        _LOG.info("access_denied", tool=tool.name, user_id=identity.user_id, reason=str(error))
        return NotFoundOrDenied().document()
    if isinstance(error, _BUSY):
        message = "Another change is at work on the same objects: try again."
        return Refused(Code.BUSY, message).document()
    if isinstance(error, asyncpg.QueryCanceledError):
        return Refused(Code.TIMEOUT, "The call took too long: narrow it, or try again.").document()
    reference = uuid.uuid4().hex[:12]
    _LOG.error("tool_failed", tool=tool.name, reference=reference, workspace_id=identity.workspace_id, exc_info=error)
    return Refused(Code.SERVER_FAULT, f"The server failed. Reference: {reference}").document()
