"""The position of a run: what a checkpoint records, and what order, noise and schedule follow from."""

from typing import NamedTuple


class Cursor(NamedTuple):
    """The position of a run."""

    step: int = 0
    """Optimizer steps done."""
    examples: int = 0
    """Examples seen, over all processes: the place in the stream."""
    seconds: float = 0.0
    """Training time spent."""
    skipped: int = 0
    """Number of steps that were skipped because the loss or the gradient was not finite."""
    global_batch: int = 0
    """Examples of a step, over all processes; 0: not known yet."""
    first_batch: int = 0
    """The same at the first start of the run."""
    eval_seconds: float = 0.0
    """Time spent on evaluations."""
