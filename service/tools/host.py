"""The way of every call: find the tool, read the arguments, enter the workspace, check access, work, record, answer."""

from __future__ import annotations

import difflib
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
import structlog

from service.access import access_gate, is_denial
from service.audit import Actor, write
from service.calls import CallResult, InvalidParams, Unavailable
from service.domain.work import Document, Work
from service.errors import Code, NotFoundOrDenied, Refused
from service.sql import load
from service.tools.arguments import Fault, Faults, read_object
from tenancy.errors import DatabaseUnavailable

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


class ToolHost:
    """All tools over one database, in the workspaces that *release* serves."""

    def __init__(self, gateway: Gateway, tools: Sequence[Tool], *, release: Release) -> None:
        self._gateway = gateway
        self._tools = {tool.name: tool for tool in tools}
        self._release = release
        self.listing = [tool.listing() for tool in tools]

    async def authenticate(self, key: str) -> Identity | None:
        """Return whom *key* stands for, or None; raise Unavailable to try later."""
        try:
            return await self._gateway.authenticate(key)
        except DatabaseUnavailable as error:
            _LOG.warning("database_unavailable", reason=str(error))
            raise Unavailable from error

    async def call(self, caller: Identity, name: str, arguments: dict[str, Any]) -> CallResult:
        """Run one tool for *caller*; raise InvalidParams where it is no call of a tool, Unavailable to try later."""
        tool = self._tools.get(name)
        if tool is None:
            raise InvalidParams(_unknown_tool(name, self._tools))
        values, faults = _read(tool, arguments)
        if not self._release.serves(caller.schema_version, caller.compatible_from):
            _LOG.warning("workspace_not_served", workspace_id=caller.workspace_id, schema_version=caller.schema_version)
            raise Unavailable(_UPGRADING, retry_after=_MIGRATING_SECONDS)
        if faults:
            errors = [_fault_document(fault) for fault in faults]
            return _failure(Refused(Code.INVALID_VALUE, _told(tool, faults), errors=errors).document())
        try:
            return CallResult(structured=await self._run(tool, caller, values))
        except DatabaseUnavailable as error:
            _LOG.warning("database_unavailable", tool=name, reason=str(error))
            raise Unavailable from error
        except Exception as error:  # noqa: BLE001 - the edge, where every fault becomes an answer
            return _failure(_error_document(error, tool, caller))

    async def _run(self, tool: Tool, caller: Identity, values: dict[str, Any]) -> Document:
        dry_run = values.pop("dry_run", False)
        idempotency_key = values.pop("idempotency_key", None)
        if dry_run:
            idempotency_key = None
        actor = Actor(user_id=caller.user_id, api_key_id=caller.api_key_id, tool=tool.name)
        gate = ""
        if tool.in_project:
            needed = tool.needed(values)
            gate = access_gate(user_id=caller.user_id, project_id=values["project"], permissions=needed)
        async with self._gateway.workspace(
            caller.schema_name, read_only=tool.read_only, gate=gate, one_plan=tool.by_key
        ) as connection:
            replay = _Replay(connection, actor, idempotency_key, values)
            if (answer := await replay.first_answer()) is not None:
                return answer
            work = Work(connection=connection, actor=actor)
            document = await tool.handler(work, **values)
            await write(connection, actor, work.changes)
            if dry_run:
                connection.rollback_only = True
                return {**document, "dryRun": True}
            await replay.keep(document)
        return document


class _Replay:
    """The first answer to a call with an idempotency key, kept for 24 hours; without a key, nothing.

    *arguments* are those that were read, so that a repetition may write "6" for 6.
    """

    def __init__(
        self, connection: WorkspaceConnection, actor: Actor, key: str | None, arguments: Mapping[str, Any]
    ) -> None:
        self._connection = connection
        self._actor = actor
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


def _error_document(error: Exception, tool: Tool, caller: Identity) -> Document:
    """Return what the caller is told of *error*; a fault of ours is logged, and opaque to the caller."""
    if isinstance(error, NotFoundOrDenied | Refused):
        return error.document()
    if is_denial(error):
        _LOG.info("access_denied", tool=tool.name, user_id=caller.user_id, reason=str(error))
        return NotFoundOrDenied().document()
    if isinstance(error, _BUSY):
        message = "Another change is at work on the same objects: try again."
        return Refused(Code.BUSY, message).document()
    if isinstance(error, asyncpg.QueryCanceledError):
        return Refused(Code.TIMEOUT, "The call took too long: narrow it, or try again.").document()
    reference = uuid.uuid4().hex[:12]
    _LOG.error("tool_failed", tool=tool.name, reference=reference, workspace_id=caller.workspace_id, exc_info=error)
    return Refused(Code.SERVER_FAULT, f"The server failed. Reference: {reference}").document()
