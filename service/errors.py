"""What can go wrong with a call in a way that its caller is told about."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """The short list of codes in `structuredContent.error.code`; each is to be explained in MEANINGS."""

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


# What each code means to a caller, for the reference.
MEANINGS: dict[Code, str] = {
    Code.NOT_FOUND_OR_DENIED: "An id does not exist, belongs to another project or workspace, or the call is not "
    "permitted. It is one answer for all of these, and tells no more.",
    Code.INVALID_VALUE: "A value is not allowed: too long, out of range, no date, an unknown option. The message lists "
    "what is valid; `errors` has the path of each such argument.",
    Code.REQUIRED_FIELD: "A field that the case's template requires would be without a value.",
    Code.VERSION_CONFLICT: "The object has another version than `expectedVersion`: someone changed it meanwhile. Read "
    "it again, and decide anew.",
    Code.INVALID_CURSOR: "The cursor belongs to other arguments: repeat those that gave it, or start with the first "
    "page.",
    Code.IDEMPOTENCY_CONFLICT: "The `idempotencyKey` was used with other arguments in the last 24 hours.",
    Code.INVALID_MOVE: "What was to be moved would come under itself, too deep in its tree, or where it may not be.",
    Code.INVALID_STATE: "The object's state does not allow the change; the message says what does.",
    Code.CLOSE_GUARD: "The run has failed cases without a linked defect, which are listed: link the defects, or pass "
    "`force`.",
    Code.RUN_CLOSED: "The run is closed, and accepts no change any more.",
    Code.EMPTY_SELECTION: "No case would be in the run: select others.",
    Code.FOLDER_NOT_EMPTY: "The folder still holds cases or folders: move those first.",
    Code.TOO_MANY_AFFECTED: "More objects than `maxAffected` would have changed. Nothing was stored.",
    Code.BULK_REFUSED: "Some items of a bulk call are not acceptable. Nothing was stored; `errors` has every fault of "
    "every item.",
    Code.BUSY: "Another change is at work on the same objects. Nothing was stored: try again.",
    Code.TIMEOUT: "The call took too long. Nothing was stored: narrow it, or try again.",
    Code.SERVER_FAULT: "The server failed. Nothing was stored; the reference in the message finds the cause in the "
    "server's log.",
}


class SettingsError(Exception):
    """A setting is unknown or unusable; the text is one line."""


class NotFoundOrDenied(Exception):  # noqa: N818 - the words that the caller reads
    """not found or access denied"""  # noqa: D415 - the words that the caller reads

    def __init__(self) -> None:
        super().__init__(self.__doc__)

    def document(self) -> dict[str, Any]:
        """Return the error as the caller gets it."""
        return {"code": Code.NOT_FOUND_OR_DENIED.value, "message": str(self)}


class NotPermitted(Exception):  # noqa: N818 - an answer, not a fault of ours
    """The acting user's access level does not allow this administration. The message says whose does."""


class Refused(Exception):  # noqa: N818 - a refusal is the domain's answer, not a fault of ours
    """A value that the rules do not allow. *message* says what to do next; *details* go beside it.

    *about* is what was given wrongly, as the rules word it, so that a form can say it there.
    """

    def __init__(self, code: Code, message: str, *, about: str = "", **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.about = about
        self.details = details

    def document(self) -> dict[str, Any]:
        """Return the error as the caller gets it."""
        return {"code": self.code.value, "message": self.message, **self.details}
