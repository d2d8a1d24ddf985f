"""Why a run failed, in the words of the error that says what to do.

Here: finding it in what a run in this process gave back. Not here: telling anybody (report.py, orchestration/).
Dagster is not imported: a build that has nothing to do never needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def reason_of(result: dg.ExecuteInProcessResult | dg.ExecuteJobResult) -> str:
    """The reason of a failed run: the outermost error that a user can act on, else the innermost of all."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        error = event.step_failure_data.error
        while error is not None:
            message = error.message.strip()
            if message.startswith("groundplan.errors."):
                return message.split(": ", 1)[-1]
            if error.cause is None:
                return message
            error = error.cause
    return "the run failed; see its log"
