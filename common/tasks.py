"""Background tasks that go on, and what they could not foresee.

An unexpected exception is a fault of ours. Where a task works on its own (a connection, a round, a
refill), the fault must not take the daemon with it: the daemon serves others, and would meet the
same fault again after a restart. It is logged as an error with its traceback, counted
(:class:`CountedLog`), and the task goes on after a pause. Where a task owns state that is only sure
to be right again after a restart (a cell's writer and index), its exception ends the daemon.

Source: docs/architecture.md, "Faults of ours".
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio
from prometheus_client import CollectorRegistry, Counter

from common import limits
from common.data_classes import dataclass
from common.errors import AlvearyError
from common.ports import Log

_WELL_AFTER_S: Final = 2 * limits.TASK_PAUSE_MAX_S
"""A task that ran for so long starts again with the shortest pause."""


def log_fault(log: Log, event: str, error: BaseException, **fields: object) -> None:
    """Log an exception that nobody foresaw.

    Args:
        event: ends in ``_broke``, as all of these do: operators and the simulator look for it.
    """
    assert event.endswith("_broke")
    log.error(event, **fields, traceback="".join(traceback.format_exception(error)))


class _Backoff:
    """Pauses after faults: each twice as long as the one before."""

    def __init__(self) -> None:
        self._pause_s = limits.TASK_PAUSE_MIN_S

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._pause_s = limits.TASK_PAUSE_MIN_S

    async def pause(self) -> None:
        """Wait."""
        await trio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, limits.TASK_PAUSE_MAX_S)


async def go_on(name: str, work: Callable[[], Awaitable[object]], log: Log) -> None:
    """Run a task that ends only when it is cancelled; begin it again, after growing pauses, when it
    ends by an unexpected exception.

    Args:
        name: of the task, for the log.
        work: keeps no half-done state over an exception.
    """
    backoff = _Backoff()
    while True:
        began = trio.current_time()
        try:
            await work()
            return
        except Exception as error:
            log_fault(log, "task_broke", error, task=name)
        if trio.current_time() - began >= _WELL_AFTER_S:
            backoff.reset()
        await backoff.pause()


@dataclass(frozen=True, slots=True)
class Round:
    """Periodic work of a service.

    Args:
        name: for the log.
        work: does it once; true if there is more to do at once. Leaves nothing half done.
        pause_s: returns the seconds until the next time, asked for after each.
    """

    name: str
    work: Callable[[], Awaitable[object]]
    pause_s: Callable[[], float]


def every(seconds: float) -> Callable[[], float]:
    """Return the pause of a round that is always as long."""
    return lambda: seconds


async def repeat(
    each: Round, *, log: Log, log_failure: Callable[[str, AlvearyError], None]
) -> None:
    """Repeat a round until cancelled.

    A round that fails by an error of the tree is logged when it is another error
    than that of the time before. One that ends by an unexpected exception is a fault of ours
    (``round_broke``); it goes on after growing pauses, since the service must go on
    whatever a round meets.

    Args:
        log_failure: called with the name and the error.
    """
    failed = ""
    backoff = _Backoff()
    while True:
        more: object = False
        try:
            more = await each.work()
            failed = ""
        except AlvearyError as error:
            if str(error) != failed:
                log_failure(each.name, error)
            failed = str(error)
        except Exception as error:
            log_fault(log, "round_broke", error, round=each.name)
            await backoff.pause()
        else:
            backoff.reset()
        if not more:
            await trio.sleep(each.pause_s())


async def repeat_all(
    rounds: Iterable[Round], *, log: Log, log_failure: Callable[[str, AlvearyError], None]
) -> None:
    """Repeat all rounds side by side until cancelled; see :func:`repeat`."""
    repeating = partial(repeat, log=log, log_failure=log_failure)
    async with trio.open_nursery() as nursery:
        for each in rounds:
            nursery.start_soon(repeating, each)


@asynccontextmanager
async def background() -> AsyncIterator[trio.Nursery]:
    """Open a nursery for tasks that serve the body: they are cancelled when it ends.

    Raises:
        Exception: that of the body, as it is: a nursery would wrap it in a group.
        BaseExceptionGroup: a task failed, and the body was cancelled.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class CountedLog:
    """A log whose errors and warnings are counted by event. Events are words of the source, so the
    number of series is bounded.

    Args:
        log: where the lines go.
        registry: gets ``alveary_log_lines_total``.
    """

    def __init__(self, log: Log, registry: CollectorRegistry) -> None:
        self._log = log
        self._lines = Counter(
            "alveary_log_lines",
            "Log lines of level warning and error, by event",
            ("level", "event"),
            registry=registry,
        )

    def info(self, event: str, **fields: object) -> None:
        """See :class:`common.ports.Log`."""
        self._log.info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """See :class:`common.ports.Log`."""
        self._lines.labels("warning", event).inc()
        self._log.warning(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        """See :class:`common.ports.Log`."""
        self._lines.labels("error", event).inc()
        self._log.error(event, **fields)
