"""Work in stages of tasks that any process may do, in any order, and repeat."""

from collections.abc import Callable
from typing import NamedTuple


class Stage(NamedTuple):
    """A stage; it may begin when all tasks of the one before are done.

    A task writes one file, whole or not at all, whose content does not depend on the process. So an interrupted task is done
    again, and a finished one is skipped.
    """

    name: str
    tasks: int
    do: Callable[[int], None]
    """Does the task of this number."""
    done: Callable[[], set[int]]
    """Returns the numbers of the finished tasks, from one listing of a folder."""

    def share(self, rank: int, world: int) -> int:
        """Do the unfinished tasks of worker `rank` of `world`; return their number."""
        finished = self.done()
        mine = [task for task in range(rank, self.tasks, world) if task not in finished]
        for task in mine:
            self.do(task)
        return len(mine)

    def left(self) -> int:
        """Return how many tasks are not done."""
        return self.tasks - len(self.done())
