"""The faults of the control plane that a caller can tell apart."""


class TenancyError(Exception):
    """A fault whose text is one line for the operator: what is wrong, and what to do."""


class PoolExhausted(Exception):  # noqa: N818 - says what is the matter, as TimeoutError does not
    """No database connection became free in time."""


class StatementRefused(Exception):  # noqa: N818 - the gate did its work; not an error of the gate
    """Only single SELECT, INSERT, UPDATE, DELETE, MERGE and WITH statements may run in a workspace."""
