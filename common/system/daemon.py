"""A daemon as a process of this machine: its directory, its world, signals and the ready line.

A service's ``main.py`` names its parts; what all daemons do alike is here.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Generic, TypeVar

import trio

from common import limits
from common.data_classes import dataclass
from common.ports import Stores, World
from common.system.disk import hold_directory
from common.system.memory import spare_long_lived
from common.system.process import say_ready
from common.system.world import open_world

USUAL_TURN_S: Final = 0.005
"""Python's own."""

R = TypeVar("R")
"""The description of a service that takes calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon(Generic[R]):
    """The parts of one daemon.

    ``role``: its name, on its log lines and in the ready line. ``data``: its own directory; held
    by one daemon, or by several that have it ``shared``. ``log_path``: the file of its log lines
    (None: standard error). ``serve``: the service; runs until it is cancelled, and says through its
    ``task_status`` that it takes calls. ``facts``: what the ready line says beside the role.
    ``drain``: what to wait for between a signal to stop and the stop. ``look_again``: called on
    SIGHUP, once the service takes calls; without it SIGHUP is left to the system. ``turn_s``: how
    long one thread may keep the interpreter from others that want it. ``stores``: where they are
    not files in ``data``.
    """

    role: str
    data: Path
    log_path: Path | None
    serve: Callable[..., Awaitable[None]]
    facts: Callable[[R], Mapping[str, object]]
    shared: bool = False
    kept_memory_bytes: int = limits.KEPT_MEMORY_BYTES
    drain: Callable[[R], Awaitable[None]] | None = None
    look_again: Callable[[R], None] | None = None
    turn_s: float = USUAL_TURN_S
    stores: Stores | None = None


def run(daemon: Daemon[R]) -> int:
    """Run a daemon until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a clean stop.

    Raises:
        BadConfig: ``data_in_use``, or a value that cannot be used on this machine.
        AlvearyError: what the service cannot start for.
    """
    sys.setswitchinterval(daemon.turn_s)
    with hold_directory(daemon.data, shared=daemon.shared):
        trio.run(_run, daemon)
    return 0


async def _run(daemon: Daemon[R]) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT]
    if daemon.look_again is not None:
        numbers.append(signal.SIGHUP)
    with trio.open_signal_receiver(*numbers) as signals:
        async with (
            open_world(
                daemon.data,
                daemon.role,
                log_path=daemon.log_path,
                kept_memory_bytes=daemon.kept_memory_bytes,
                stores=daemon.stores,
            ) as world,
            trio.open_nursery() as nursery,
        ):
            serving: list[R] = []
            nursery.start_soon(_start, daemon, world, nursery, serving)
            await _obey(daemon, signals, serving)
            nursery.cancel_scope.cancel()


async def _start(daemon: Daemon[R], world: World, nursery: trio.Nursery, serving: list[R]) -> None:
    started = await nursery.start(partial(daemon.serve, world))
    spare_long_lived()
    say_ready(world.log, {"role": daemon.role, **daemon.facts(started)})
    serving.append(started)


async def _obey(daemon: Daemon[R], signals: AsyncIterator[int], serving: list[R]) -> None:
    """Return when the daemon is to stop now."""
    async for number in signals:
        if number != signal.SIGHUP:
            break
        for each in serving:
            if daemon.look_again is not None:
                daemon.look_again(each)
    for each in serving:
        if daemon.drain is not None:
            await daemon.drain(each)
