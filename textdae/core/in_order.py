"""One function in several processes, its results in the order of the calls."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar, TypeVarTuple

from textdae.core.errors import TextdaeError

_HERE_FIRST = 2
_MOST = 16  # processes, unless one asks for more: the one that reads and writes can feed no more
_Ts = TypeVarTuple("_Ts")
_T = TypeVar("_T")
_work: Callable[..., Any]


def _become(work: Callable[..., Any]) -> None:
    global _work
    _work = work
    # Whoever interrupts means the process that waits for the results.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Nothing else tells a process that the one it works for was killed."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _do(*arguments: Any) -> Any:
    return _work(*arguments)


class InOrder(Generic[*_Ts, _T]):
    """Calls a function in several processes and hands on what it returns, in the order of the calls.

    The first calls are made here: little work needs no processes, and what the function remembers of these calls the
    processes, which are forked then, remember too. Where forks are not safe (other systems than Linux), all calls are made
    here. A call that finds two others waiting for each process waits for the first of them, so memory does not grow with
    the work.

    Args:
        work: a function; arguments and result are sent from process to process.
        processes: how many; by default as many as there are cores for this one, and at most 16.
    """

    def __init__(self, work: Callable[[*_Ts], _T], processes: int | None = None) -> None:
        self.work = work
        if sys.platform != "linux":
            processes = 1
        self.processes = processes or min(_MOST, len(os.sched_getaffinity(0)))
        self._made_here = 0
        self._pool: ProcessPoolExecutor | None = None
        self._waiting: deque[tuple[Callable[[_T], None], Future[_T]]] = deque()

    def call(self, then: Callable[[_T], None], *arguments: *_Ts) -> None:
        """Call the function; `then` is called with the result, here, before the results of later calls are handed on.

        Raises:
            TextdaeError: one of the processes died.
        """
        if self.processes == 1 or self._made_here < _HERE_FIRST:
            self._made_here += 1
            then(self.work(*arguments))
            return
        try:
            self._waiting.append((then, self._submit(*arguments)))
        except BrokenProcessPool:
            raise _died() from None
        while len(self._waiting) > 2 * self.processes or (self._waiting and self._waiting[0][1].done()):
            self._hand_on()

    def finish(self) -> None:
        """Hand on all that is still waited for."""
        while self._waiting:
            self._hand_on()

    def __enter__(self) -> "InOrder[*_Ts, _T]":
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def _submit(self, *arguments: Any) -> "Future[_T]":
        if self._pool:
            return self._pool.submit(_do, *arguments)
        self._pool = ProcessPoolExecutor(
            self.processes, multiprocessing.get_context("fork"), _become, (self.work,)
        )
        # Each of them has one core; a tokenizer that was used on many before says so, and warns, unless this is set.
        before = os.environ.get("TOKENIZERS_PARALLELISM")
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        try:
            return self._pool.submit(_do, *arguments)
        finally:
            del os.environ["TOKENIZERS_PARALLELISM"]
            if before is not None:
                os.environ["TOKENIZERS_PARALLELISM"] = before

    def _hand_on(self) -> None:
        then, future = self._waiting.popleft()
        try:
            result = future.result()
        except BrokenProcessPool:
            raise _died() from None
        then(result)


def _died() -> TextdaeError:
    return TextdaeError(
        "a process that prepares the corpus died, of the memory it was given perhaps; set data.num_proc=1"
    )
