"""Lanes of a database: one connection, its thread, and the functions that wait for it.

Every hop to a database thread costs about a quarter of a millisecond, more than most transactions
themselves. So nothing hops statement by statement: callers queue whole functions, and all that
wait when the thread is free go over together, in one BEGIN..COMMIT with one fsync.

Source: docs/placement.md, "Transactions".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast

import trio

from common import limits
from common.errors import Unavailable
from common.ports import Sql
from common.reasons import Outage

T = TypeVar("T")
C = TypeVar("C")
"""The connection, as its thread sees it."""
C_co = TypeVar("C_co", covariant=True)
Work = Callable[[Sql], Any]


class DatabaseThread(Protocol[C_co]):
    """A connection with a thread of its own."""

    async def open(self) -> None:
        """Start the thread and connect."""

    def submit(self, work: Callable[[C_co], None], done: Callable[[], object]) -> None:
        """Queue ``work``, which does not raise, for the thread; ``done`` is then called in trio."""

    async def shut(self) -> None:
        """Close, and end the thread."""


class Job:
    __slots__ = ("done", "error", "value", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = trio.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def finish(self, value: Any, error: BaseException | None) -> None:
        self.value = value
        self.error = error
        self.done.set()


Results = list[tuple[Any, BaseException | None]]


class BatchLane(Generic[C]):
    """One connection, its thread and the queue of functions that wait for it.

    Args:
        connection: not open yet.
        run_batch: runs functions in one transaction, in the thread.
        of_caller: returns what a caller gets to see of an error.
    """

    def __init__(
        self,
        connection: DatabaseThread[C],
        run_batch: Callable[[C, Sequence[Work]], Results],
        of_caller: Callable[[BaseException], BaseException],
    ) -> None:
        self._run_batch = run_batch
        self._of_caller = of_caller
        self._connection = connection
        self._queue: deque[Job] = deque()
        self._under_way: list[Job] = []
        self._idle = trio.Event()
        self._closing = False

    async def open(self) -> None:
        """Open the connection. Raises what the connection does."""
        await self._connection.open()

    @property
    def waiting(self) -> int:
        """The number of functions that wait, or are under way."""
        return len(self._queue) + len(self._under_way)

    async def run(self, work: Callable[[Sql], T]) -> T:
        """Run ``work`` with the next batch and return what it returns."""
        if self._closing:
            raise Unavailable(Outage.STORE_CLOSED)
        if len(self._queue) >= limits.MAX_TRANSACTIONS_QUEUED:
            raise Unavailable(Outage.STORE_BUSY)
        job = Job(work)
        self._queue.append(job)
        if not self._under_way and len(self._queue) == 1:
            # Every other task that is ready in this tick of the loop joins the first batch.
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._carry()
        try:
            await job.done.wait()
        except trio.Cancelled:
            with suppress(ValueError):  # already under way: it will be carried out
                self._queue.remove(job)
            raise
        if job.error is not None:
            error = self._of_caller(job.error)
            if error is not job.error:
                raise error from job.error
            raise error
        return cast(T, job.value)

    def _take(self) -> list[Job]:
        """Take the longest waiting functions out of the queue: they are under way now."""
        count = min(len(self._queue), limits.MAX_TRANSACTIONS_PER_COMMIT)
        self._under_way = [self._queue.popleft() for _ in range(count)]
        return self._under_way

    def _carry(self) -> None:
        """Hand the longest waiting functions to the thread, which is free."""
        jobs = self._take()
        works = [job.work for job in jobs]
        run_batch = self._run_batch
        outcome: list[Results] = []

        def carry(plain: C) -> None:
            try:
                outcome.append(run_batch(plain, works))
            except BaseException as error:
                outcome.append([(None, error)] * len(works))

        def carried() -> None:
            self._finish(jobs, outcome[0])

        self._connection.submit(carry, carried)

    def _finish(self, jobs: Sequence[Job], results: Results) -> None:
        """Answer the callers, and go on with those that wait."""
        self._under_way = []
        for job, (value, error) in zip(jobs, results, strict=True):
            job.finish(value, error)
        if self._queue:
            self._carry()
        elif self._closing:
            self._idle.set()

    async def close(self) -> None:
        """Finish what is queued and close. May be called again."""
        if self._closing:
            return
        self._closing = True
        with trio.CancelScope(shield=True):
            if self._queue or self._under_way:
                await self._idle.wait()
            await self._connection.shut()
