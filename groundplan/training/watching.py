"""What a training says of itself while it runs: a line of figures for whoever reports progress, records for the rest.

Here: a step's figures in words, and who is told of them. Not here: the figures (loop.py makes TrainingStep of
core/progress.py), or how progress looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from groundplan.core.progress import Advance, TrainingStep, current_progress, duration_in_words, tell_watchers


@contextmanager
def watched(title: str, minutes: float | None) -> Iterator[Callable[[TrainingStep], None]]:
    """A listener for `train`: it tells progress, and every watcher, of each step.

    minutes: the budget, None where it is a number of steps. In a log, the first step, each validation and the last step
    of a run have a line of their own.
    """
    with ExitStack() as stack:
        advance: Advance | None = None

        def told(step: TrainingStep) -> None:
            nonlocal advance
            aloud = advance is None or step.validated or step.done >= 1
            if advance is None:  # not before: a resumed training begins where it was
                advance = stack.enter_context(current_progress().task(title, step.steps, step.step - 1))
            advance(0, note=in_words(step, minutes), left=step.left, aloud=aloud)
            tell_watchers(step)

        yield told


def in_words(step: TrainingStep, minutes: float | None) -> str:
    """`loss 1.310, validation IoU 0.420 at step 120, 1 min 5 s of 3 min`, beside the count of steps."""
    row = step.validation
    validation = f"validation IoU {row['iou']:.3f} at step {row['step']:.0f}, " if row else ""
    budget = f" of {minutes:g} min" if minutes else ""
    return f"loss {step.loss:.3f}, {validation}{duration_in_words(step.seconds)}{budget}"
