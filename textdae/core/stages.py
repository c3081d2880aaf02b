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
    done: Callable[[], set[int]]
    """Looks which tasks are done; one look at a folder, however many there are."""

    def share(self, rank: int, world: int) -> int:
        """Do every task that falls to one of several workers, and is not done; return how many those were."""
        done = self.done()
        mine = [task for task in range(rank, self.tasks, world) if task not in done]
        for task in mine:
            self.do(task)
        return len(mine)

    def left(self) -> int:
        """Return how many tasks are not done."""
        return self.tasks - len(self.done())
