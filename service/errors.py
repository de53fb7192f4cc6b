"""What can go wrong with a call in a way that its caller is told about."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """The short list of codes in `structuredContent.error.code`."""

    NOT_FOUND_OR_DENIED = "NOT_FOUND_OR_DENIED"
    INVALID_VALUE = "INVALID_VALUE"
    REQUIRED_FIELD = "REQUIRED_FIELD"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    INVALID_CURSOR = "INVALID_CURSOR"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    INVALID_MOVE = "INVALID_MOVE"
    INVALID_STATE = "INVALID_STATE"
    CLOSE_GUARD = "CLOSE_GUARD"
    RUN_CLOSED = "RUN_CLOSED"
    EMPTY_SELECTION = "EMPTY_SELECTION"
    FOLDER_NOT_EMPTY = "FOLDER_NOT_EMPTY"
    TOO_MANY_AFFECTED = "TOO_MANY_AFFECTED"
    BULK_REFUSED = "BULK_REFUSED"
    BUSY = "BUSY"
    TIMEOUT = "TIMEOUT"
    SERVER_FAULT = "SERVER_FAULT"


class NotFoundOrDenied(Exception):  # noqa: N818 - the words that the caller reads
    """not found or access denied"""  # noqa: D415 - the words that the caller reads

    def __init__(self) -> None:
        super().__init__(self.__doc__)

    def document(self) -> dict[str, Any]:
        """Return the error as the caller gets it."""
        return {"code": Code.NOT_FOUND_OR_DENIED.value, "message": str(self)}


class Refused(Exception):  # noqa: N818 - a refusal is the domain's answer, not a fault of ours
    """A value that the rules do not allow. *message* says what to do next; *details* go beside it."""

    def __init__(self, code: Code, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def document(self) -> dict[str, Any]:
        """Return the error as the caller gets it."""
        return {"code": self.code.value, "message": self.message, **self.details}
