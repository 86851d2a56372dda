"""Worker threads: for CPU work that releases the GIL, and for what waits for the disk.

A thread pool of our own, because a hop is paid for every stripe and every sync: the work goes to a
waiting thread through one C queue, and the answer comes back through trio's own entry queue,
without the context copy, the limiter and the thread cache of ``trio.to_thread`` (measured in
docs/performance.md).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NoReturn, TypeVar

import outcome
import trio

T = TypeVar("T")
_Job = tuple[Callable[[], Any], trio.lowlevel.Task, trio.lowlevel.TrioToken]


def core_count() -> int:
    """Return the number of cores this process may run on, at least 1."""
    return max(1, len(os.sched_getaffinity(0)))


def _refuse_cancel(_raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


def _work_through(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        work, task, token = job
        result = outcome.capture(work)
        del work, job  # Hold no buffers while waiting for the next job.
        try:
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)
        except trio.RunFinishedError:
            return
        del result, task, token


def _end(jobs: SimpleQueue[_Job | None], threads: list[threading.Thread]) -> None:
    for _ in threads:
        jobs.put(None)


class ThreadWorkers:
    """A ``ports.Workers``: daemon threads, begun as they are needed, served first come, first
    served. They end with :meth:`close`, or when nobody has this object any more.

    Args:
        threads: how many at most; at least 1. One per core is right for work that never waits.
        name: shown by debuggers.
    """

    def __init__(self, threads: int, name: str = "worker") -> None:
        assert threads >= 1
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._most = threads
        self._name = name
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._end = weakref.finalize(self, _end, self._jobs, self._threads)

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread and return (or raise) what it does.

        Cancelled before it is queued: not run at all. Cancelled later: it is waited for, because
        its buffers belong to the caller, who may reuse them once this returns.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._busy += 1
        if self._busy > len(self._threads) and len(self._threads) < self._most:
            thread = threading.Thread(
                target=_work_through, args=(self._jobs,), name=self._name, daemon=True
            )
            thread.start()
            self._threads.append(thread)
        self._jobs.put((work, trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()))
        try:
            result: T = await trio.lowlevel.wait_task_rescheduled(_refuse_cancel)
        finally:
            self._busy -= 1
        return result

    def close(self) -> None:
        """Let the threads end after the work at hand. Nothing may be run afterwards."""
        self._end()
