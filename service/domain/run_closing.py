"""The one answer to whoever would change a closed run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import Code, Refused

if TYPE_CHECKING:
    import datetime as dt


def run_closed(day: dt.date) -> Refused:
    """Return the refusal of every change of a run that was closed on *day*."""
    return Refused(
        Code.RUN_CLOSED, f"The run was closed on {day} and accepts no change: start another with start_test_run."
    )
