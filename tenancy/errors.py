"""The faults of the control plane that a caller can tell apart."""


class TenancyError(Exception):
    """A fault whose text is one line for the operator: what is wrong, and what to do."""


class DatabaseUnavailable(Exception):  # noqa: N818 - says what is the matter
    """There is no connection to the database just now: none came free in time, or the server is away."""


class NotConfirmed(Exception):  # noqa: N818 - an answer of the database
    """The key does not stand any more for whom it did when it was looked up: look it up again."""


class StatementRefused(Exception):  # noqa: N818 - the gate did its work; not an error of the gate
    """Only single SELECT, INSERT, UPDATE, DELETE, MERGE and WITH statements may run in a workspace."""


# By the first two characters of the SQLSTATE, in PostgreSQL's own order of classes.
_CLASSES = {
    "08": "connection",
    "22": "data",
    "23": "constraint",
    "25": "transaction_state",
    "28": "authorization",
    "40": "rollback",
    "42": "syntax_or_access",
    "53": "resources",
    "54": "limit",
    "55": "object_state",
    "57": "intervention",
    "58": "system",
    "XX": "internal",
}
#: What error_class returns: unavailable is a connection that was lost, or not answered in time.
ERROR_CLASSES = ("unavailable", *_CLASSES.values())


def error_class(error: BaseException) -> str | None:
    """Return the class of an error of the database; None for others, and for SQLSTATEs that are our own."""
    if isinstance(error, DatabaseUnavailable):
        return "unavailable"
    return _CLASSES.get((getattr(error, "sqlstate", None) or "")[:2])


def first_line(error: Exception) -> str:
    """Return what *error* says, without the details that Postgres puts on further lines."""
    return str(error).partition("\n")[0]
