"""The faults of the control plane that a caller can tell apart."""


class TenancyError(Exception):
    """A fault whose text is one line for the operator: what is wrong, and what to do."""


class DatabaseUnavailable(Exception):  # noqa: N818 - says what is the matter
    """There is no connection to the database just now: none came free in time, or the server is away."""


class StatementRefused(Exception):  # noqa: N818 - the gate did its work; not an error of the gate
    """Only single SELECT, INSERT, UPDATE, DELETE, MERGE and WITH statements may run in a workspace."""


def first_line(error: Exception) -> str:
    """Return what *error* says, without the details that Postgres puts on further lines."""
    return str(error).partition("\n")[0]
