"""A place where a real cell lives through one fault after another, and what is asked of it."""

from __future__ import annotations

import copy
import os
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio
from power_driver import CellCaller, CellProcess, StandIn
from power_ledger import Key, Ledger, Shard, State
from power_strace import come_true
from power_zygote import Zygote

from common.errors import Corrupt, Unavailable
from common.ids import SegmentId

SETTINGS: Final = {"reserve_bytes": 0, "settle_after_s": 0, "volume_bytes": 65536}
CLEAR: Final = frozenset(
    {"no_space", "write_error", "sync_failed", "store_failed", "index_failed", "read_only"}
)
"""What a cell may answer whose disk errs."""
DELETE_LIMIT_S: Final = 2.5
COMPACTION_LIMIT_S: Final = 1.5


def shard(number: int, size: int, unit_bytes: int = 0) -> tuple[Key, Shard]:
    data = random.Random(number).randbytes(size)
    return (SegmentId(number.to_bytes(16, "big")), number % 3), Shard(unit_bytes or size, data)


class Bench:
    """A place where a cell lives through one fault after another, each time with fresh data.

    Args:
        zygote: begins its lives.
        origin: a data directory to begin with, and what is known of it; None: an empty one.
    """

    def __init__(
        self, zygote: Zygote, place: Path, origin: tuple[Path, Ledger] | None = None
    ) -> None:
        self._zygote = zygote
        place.mkdir(parents=True)
        self.place = place
        self.data = place / "data"
        self.trace = place / "trace"
        self.counts: Counter[str] = Counter()
        self.stand_in = StandIn(Ledger())
        self._origin = origin
        self._cell: CellProcess | None = None

    @property
    def ledger(self) -> Ledger:
        return self.stand_in.ledger

    def fresh(self) -> CellProcess:
        """A cell that was never run here, with data as in the beginning."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.trace.unlink(missing_ok=True)
        if self._origin is not None:
            shutil.copytree(self._origin[0], self.data)
            self.stand_in.ledger = copy.deepcopy(self._origin[1])
        else:
            self.stand_in.ledger = Ledger()
        self.ledger.life += 1
        return self.cell()

    def cell(self) -> CellProcess:
        coordinator = {
            "coordinator_id": self.stand_in.identity.peer_id.hex(),
            "token": self.stand_in.token(),
        }
        self._cell = CellProcess(self._zygote, self.data, self.place, {**SETTINGS, **coordinator})
        self._cell.log.unlink(missing_ok=True)
        return self._cell

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Its coordinator runs in the block; no process is left behind it."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.stand_in.run)
            try:
                yield
            finally:
                if self._cell is not None:
                    self._cell.kill()
                    with trio.CancelScope(shield=True):
                        await self._cell.wait_end()
            nursery.cancel_scope.cancel()

    async def verify(self, cell: CellProcess, fault: object) -> None:
        """Start without faults: everything acknowledged is there, and the cell takes more."""
        told = cell.tail()
        self.ledger.life += 1
        cell.start()
        assert await cell.wait_ready(), f"{fault}: does not start again: {cell.tail()}"
        async with calling(cell) as caller:
            await look(caller, self.ledger, list(self.ledger.shards))
            await put(caller, self.ledger, *shard(900, 3000))
        cell.kill()
        await cell.wait_end()
        assert not self.ledger.violations, f"{fault}: {self.ledger.violations}\n{told}"


@asynccontextmanager
async def calling(cell: CellProcess) -> AsyncIterator[CellCaller]:
    """A caller of a ready cell that knows its order key."""
    async with trio.open_nursery() as nursery:
        caller = CellCaller(cell)
        await nursery.start(caller.run)
        with trio.fail_after(10):
            await caller.wait_accepting()
        yield caller
        nursery.cancel_scope.cancel()


async def put(
    caller: CellCaller, ledger: Ledger, key: Key, made: Shard, *, by_unit: bool = False
) -> None:
    """Upload and note what came of it. Raises what the cell answers."""
    ledger.sent(key, made)
    await (caller.upload if by_unit else caller.put)(key, made)
    ledger.acknowledged(key)


async def look(caller: CellCaller, ledger: Ledger, keys: Sequence[Key]) -> None:
    """Read shards as the first thing after a start."""
    for key in keys:
        state = None
        try:
            while state is not ledger.shards[key].state:  # its deletion was confirmed meanwhile
                state = ledger.shards[key].state
                data = await caller.read(key)
        except Corrupt as error:
            ledger.unreadable(key, str(error))
        else:
            ledger.seen(key, data, after_start=True)


async def make_origin(bench: Bench) -> tuple[Path, Ledger]:
    """Data of a cell that was killed in the middle of uploads."""
    cell = bench.fresh()
    ledger = bench.ledger
    cell.start()
    assert await cell.wait_ready(), cell.tail()
    async with calling(cell) as caller:
        for number in range(1, 6):
            await put(caller, ledger, *shard(number, 2500 * number))
        await put(caller, ledger, *shard(6, 30_000, 4096), by_unit=True)
        key, unfinished = shard(7, 20_000, 8192)
        ledger.sent(key, unfinished)
        await caller.upload(key, unfinished, finish=False)
        await put(caller, ledger, *shard(8, 5000))
        cell.kill()
        await cell.wait_end()
    return bench.data, ledger


async def refused(work: Callable[[], Awaitable[None]]) -> str:
    """Do it; the reason if the cell cannot, else nothing."""
    try:
        await work()
    except Unavailable as error:
        return error.reason
    return ""


class Script:
    """What is asked of a cell while its disk errs.

    Args:
        volumes: the directory of its volume files.
    """

    def __init__(self, caller: CellCaller, stand_in: StandIn, volumes: Path) -> None:
        self.reasons: set[str] = set()
        """Why calls failed."""
        self.compacted = False
        self._caller = caller
        self._stand_in = stand_in
        self._ledger = stand_in.ledger
        self._volumes = volumes

    async def run(self) -> None:
        """Puts alone and together, uploads, deletes, compaction, and puts again."""
        for number in range(20, 23):
            await self._put(number, 2000)
        await self._put(23, 40_000, 4096)
        async with trio.open_nursery() as nursery:
            for number in range(24, 30):
                nursery.start_soon(self._put, number, 9000)
        await self._try(partial(self._caller.upload, *self._sent(30, 9000, 4096), finish=False))
        await self._delete([key for key in self._ledger.of(State.HELD) if key[0][-1] % 3])
        for number in range(31, 34):
            await self._put(number, 7000)

    def _sent(self, number: int, size: int, unit_bytes: int) -> tuple[Key, Shard]:
        key, made = shard(number, size, unit_bytes)
        self._ledger.sent(key, made)
        return key, made

    async def _put(self, number: int, size: int, unit_bytes: int = 0) -> None:
        work = partial(put, self._caller, self._ledger, *shard(number, size, unit_bytes))
        await self._try(partial(work, by_unit=True) if unit_bytes else work)

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        reason = await refused(work)
        if reason:
            self.reasons.add(reason)

    async def _delete(self, keys: Sequence[Key]) -> None:
        """Have shards deleted, and wait until that is confirmed and compaction has gone over."""
        before = self._names()
        for key in keys:
            self._ledger.doom(key)
        with trio.move_on_after(DELETE_LIMIT_S):
            while self._ledger.to_delete:
                await self._stand_in.wait_heartbeat()
        self.compacted = await come_true(lambda: bool(before - self._names()), COMPACTION_LIMIT_S)

    def _names(self) -> set[str]:
        return set(os.listdir(self._volumes))
