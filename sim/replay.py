"""Run trio so that a seed decides everything and repeats exactly.

Trio shuffles its run batches with a private generator, and cancels tasks in the order of their
places in memory; a task that is cancelled may wake another one before that is cancelled, too. Both
are reached through private names: so trio is pinned, and ``tests/sim/test_determinism.py`` proves
that a seed repeats.
"""

from __future__ import annotations

import functools
import gc
import heapq
import itertools
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import trio
import trio._core._run as trio_run

from sim.replacing import replaced

T = TypeVar("T")
_SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"
COLLECT_EVERY_ALLOCATIONS: Final = 100_000
"""Garbage is looked for less often than Python's default: a run makes little that is circular."""

POLL_EVERY: Final = 64
"""Turns of trio's loop for each look at what comes from outside."""
MAX_IDLE: Final = 1000
"""Looks for something to do, none with a deadline, after which a run counts as stuck."""
MAX_LOOKS: Final = 500_000
"""Looks at the clock at one instant after which a run counts as stuck: the busiest takes some
thousand."""


class Stuck(Exception):
    """A run that never ends: its tasks run and run, and none ever lets time pass."""


class Timer:
    """A callback to come; ``cancel`` makes it never come."""

    __slots__ = ("callback", "number", "when_s")

    def __init__(self, when_s: float, number: int, callback: Callable[[], object]) -> None:
        self.when_s = when_s
        self.number = number
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Forget the callback; nothing happens if it has come."""
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return (self.when_s, self.number) < (other.when_s, other.number)


class VirtualClock(trio.abc.Clock):
    """Time that stands still while anybody can run, and jumps to the next deadline when nobody
    can."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds of virtual time, for those who may look as often as they like."""
        self._idle = 0
        self._looks = 0
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()

    def start_clock(self) -> None:
        """Do nothing: this clock needs no start."""

    def call_at(self, when_s: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` when nobody can run and that time, which is to come, is the next."""
        timer = Timer(when_s, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def current_time(self) -> float:
        self._looks += 1
        if self._looks == MAX_LOOKS and self._token is not None:
            self._token.run_sync_soon(self._scope.cancel)  # trio asks, too: raise nothing here
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Jump to the next deadline, where trio could sleep because no task can run.

        Raises:
            AssertionError: every task waits forever: the run can never end.
        """
        timers = self._timers
        while timers and timers[0].callback is None:
            heapq.heappop(timers)
        if timers and timers[0].when_s <= deadline:
            self._idle = self._looks = 0
            self.now = now = timers[0].when_s
            while timers and timers[0].when_s <= now:
                callback = heapq.heappop(timers).callback
                if callback is not None:
                    callback()
            return 0
        if deadline == math.inf:  # also for a moment when trio itself comes to its end
            self._idle += 1
            assert self._idle < MAX_IDLE, "every task of the run waits forever"
            return 0
        self._idle = self._looks = 0
        self.now = max(self.now, deadline)
        return 0

    async def watch(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run ``main`` as long as time passes.

        Raises:
            Stuck: it was cancelled: time stood still.
        """
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            return await main()
        raise Stuck(f"time stands still at {self.now:.3f} s: an endless loop")


def run_seeded(seed: int, main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` under virtual time with trio's scheduling decided by the seed.

    Args:
        seed: any integer; the same one gives the same run, also in another process.

    Returns:
        What ``main`` returns.

    Raises:
        Stuck: time stopped passing.
    """
    thresholds = gc.get_threshold()
    trio_run._r.seed(seed)
    gc.set_threshold(COLLECT_EVERY_ALLOCATIONS, 20, 20)
    clock = VirtualClock()
    try:
        with (
            replaced(trio_run, _SWITCH, True),
            _ordered_cancellation(),
            _cheap_sleep(clock),
            _rare_polls(),
        ):
            return trio.run(clock.watch, main, clock=clock)
    finally:
        gc.set_threshold(*thresholds)


class _OrderedSet(dict[Any, None]):
    """As much of a set as trio uses, in the order in which its members came."""

    def add(self, member: object) -> None:
        self[member] = None

    remove = dict.__delitem__


@contextmanager
def _ordered_cancellation() -> Iterator[None]:
    """Cancel tasks in the order in which they came under a scope, and scopes of the same deadline
    in the order in which they were entered."""
    link = trio_run.CancelStatus.__attrs_post_init__
    number = itertools.count()

    def begin(status: Any) -> None:
        status._tasks, status._children = _OrderedSet(), _OrderedSet()
        link(status)

    def add(deadlines: Any, deadline: float, scope: trio.CancelScope) -> None:
        heapq.heappush(deadlines._heap, (deadline, next(number), scope))
        deadlines._active += 1

    with (
        replaced(trio_run.CancelStatus, link.__name__, begin),
        replaced(trio_run.Deadlines, add.__name__, add),
    ):
        yield


def call_at(when_s: float, callback: Callable[[], object]) -> Timer:
    """:meth:`VirtualClock.call_at`, in a test also under a clock of trio's."""
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, VirtualClock):
        return clock.call_at(when_s, callback)
    timer = Timer(when_s, 0, callback)

    async def later() -> None:
        await trio.sleep_until(when_s)
        if timer.callback is not None:
            timer.callback()

    trio.lowlevel.spawn_system_task(later)
    return timer


@contextmanager
def _cheap_sleep(clock: VirtualClock) -> Iterator[None]:
    """Sleep by a timer: by a deadline that cancels, as trio does it, a sleep costs thrice as
    much, and a run does little else."""

    async def sleep_until(deadline: float) -> None:
        if not deadline > clock.now:
            await trio.lowlevel.checkpoint()
            return
        if deadline == math.inf:
            await trio.sleep_forever()
        task = trio.lowlevel.current_task()
        timer = clock.call_at(deadline, functools.partial(trio.lowlevel.reschedule, task))

        def abort(_: object) -> trio.lowlevel.Abort:
            timer.cancel()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def sleep(seconds: float) -> None:
        if not seconds >= 0:
            raise ValueError("seconds must be non-negative")
        await sleep_until(clock.now + seconds)

    with (
        replaced(trio, sleep_until.__name__, sleep_until),
        replaced(trio, sleep.__name__, sleep),
    ):
        yield


@contextmanager
def _rare_polls() -> Iterator[None]:
    """Ask the kernel for events now and then only: nothing comes from outside but Ctrl-C."""
    manager: Any = trio_run.TheIOManager  # type: ignore[attr-defined]  # trio's own name
    poll = manager.get_events
    turns = itertools.count()

    def get_events(self: Any, timeout: float) -> Any:
        return [] if next(turns) % POLL_EVERY else poll(self, timeout)

    with replaced(manager, poll.__name__, get_events):
        yield
