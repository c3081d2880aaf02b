"""Work in stages, each of which is cut into tasks that any process may do, in any order, and again."""

from collections.abc import Callable
from typing import NamedTuple


class Stage(NamedTuple):
    """A stage: it may begin when all tasks of the one before are done.

    A task leaves one file behind, written whole or not at all, and the same whoever does it; so a task that was
    interrupted is simply done again, and one that is done is left out.
    """

    name: str
    tasks: int
    do: Callable[[int], None]
    """Does the task of this number."""
    is_done: Callable[[int], bool]
    """Whether the task of this number is done."""

    def share(self, rank: int, world: int) -> int:
        """Do every task that falls to one of several workers, and is not done; return how many those were."""
        done = 0
        for task in range(rank, self.tasks, world):
            if not self.is_done(task):
                self.do(task)
                done += 1
        return done

    def left(self) -> int:
        """Return how many tasks are not done."""
        return sum(not self.is_done(task) for task in range(self.tasks))
