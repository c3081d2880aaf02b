"""Run a function in several processes; its results come in the order of the calls."""

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

from textdae.core.cores import available_cores
from textdae.core.errors import TextdaeError

_HERE_FIRST = 2
_MOST = 16  # default limit: a single reader cannot feed more processes
_Ts = TypeVarTuple("_Ts")
_T = TypeVar("_T")
_work: Callable[..., Any]


def _become(work: Callable[..., Any]) -> None:
    global _work
    _work = work
    # Ctrl-C is meant for the main process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent was killed, which nothing else would tell it."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _do(*arguments: Any) -> Any:
    return _work(*arguments)


class InOrder(Generic[*_Ts, _T]):
    """Call a function in several processes, and pass on its results in the order of the calls.

    The first calls run in this process: little work needs no others, and processes that are forked later inherit the
    function's caches. Where forks are not safe (other systems than Linux), all calls run here. At most two calls wait for
    each process, so that memory does not grow with the work.

    Args:
        work: a function; arguments and result are sent from process to process.
        processes: their number; default: the cores available to this process, at most 16.
    """

    def __init__(self, work: Callable[[*_Ts], _T], processes: int | None = None) -> None:
        self.work = work
        if sys.platform != "linux":
            processes = 1
        self.processes = processes or min(_MOST, available_cores())
        self._made_here = 0
        self._pool: ProcessPoolExecutor | None = None
        self._waiting: deque[tuple[Callable[[_T], None], Future[_T]]] = deque()

    def call(self, then: Callable[[_T], None], *arguments: *_Ts) -> None:
        """Call the function; `then` is called with the result, here, before the results of later calls are passed on.

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
        """Wait for all remaining results, and hand them on."""
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
        # Each process has one core; without this a tokenizer that ran in threads before warns.
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
