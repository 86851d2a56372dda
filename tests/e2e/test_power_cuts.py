"""Power cuts under a real cell process: what it acknowledged is there afterwards, what it did not
is there whole or not at all.

ALVEARY_POWER_CUTS says how many (`make power-test`: 500); ALVEARY_POWER_SEED which.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from power_bench import CLEAR
from power_disk import PowerDisk
from power_driver import CellCaller, CellProcess, StandIn
from power_fuse import why_not
from power_ledger import Key, Ledger, Shard, State
from power_zygote import Zygote

from common.errors import Corrupt, OutcomeUnknown, Refused, Unavailable
from common.ids import SegmentId

CUTS: Final = int(os.environ.get("ALVEARY_POWER_CUTS", "12"))
SEED: Final = int(os.environ.get("ALVEARY_POWER_SEED", "1"))
LANES: Final = 2
"""Cells at a time, each on a medium of its own."""
CUT_S: Final = 2.2
"""What a cut may take of a lane's time on a busy machine."""
VOLUME_BYTES: Final = 256 * 1024
SETTINGS: Final = {"reserve_bytes": 0, "settle_after_s": 0, "volume_bytes": VOLUME_BYTES}
MOST_HELD: Final = 40
WRITERS: Final = 3
MOST_SHARD_BYTES: Final = 60_000
REFUSED_PAUSE_S: Final = 0.05
LOOKS_AT_GONE: Final = 60
CUTS_OF_A_CELL: Final = 12
"""Then a new one begins, since a first start is cut, too."""
CHANGES_OF_A_START: Final = 60
CHANGES_OF_A_LIFE: Final = 300
MOST_MEDIUM_BYTES: Final = 64 * 1024 * 1024
"""Forty shards of 60 kB, their volumes and the index: more means that compaction is stuck."""


class Lane:
    """A cell on a medium, one power cut after another."""

    def __init__(
        self, zygote: Zygote, place: Path, seed: int, cuts: int, *, with_errors: bool
    ) -> None:
        self._with_errors = with_errors
        self._zygote = zygote
        self.ledger = Ledger()
        self.counts: Counter[str] = Counter()
        self.most_bytes = 0
        self._cuts = cuts
        self._chance = random.Random(seed)
        (place / "medium").mkdir(parents=True)
        self._disk = PowerDisk(place / "medium")
        self._place = place
        self._stand_in = StandIn(self.ledger)
        self._last_number = 0
        self._reusable: list[Key] = []
        self._story = ""

    async def run(self) -> None:
        """Live and die so many times, and look once more."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._disk.run)
            await nursery.start(self._stand_in.run)
            coordinator = {
                "coordinator_id": self._stand_in.identity.peer_id.hex(),
                "token": self._stand_in.token(),
            }
            cell = CellProcess(
                self._zygote, self._disk.place, self._place, {**SETTINGS, **coordinator}
            )
            try:
                for number in range(self._cuts):
                    await self._live(cell, number)
                self.ledger.life += 1
                await self._disk.mount()
                cell.start()
                assert await cell.wait_ready(), cell.tail()
                await self._talk(cell, self._look)
                self._judge(cell)
            finally:
                with trio.CancelScope(shield=True):
                    cell.kill()
                    await self._disk.end()
                    await cell.wait_end()
            nursery.cancel_scope.cancel()

    async def _live(self, cell: CellProcess, number: int) -> None:
        chance = self._chance
        in_start = number == 0 or chance.random() < 0.3
        done = chance.random() < 0.5
        seed = chance.randrange(1 << 32)
        self.ledger.life += 1
        fault = self._draw_fault() if self._with_errors else None
        self._story = f"{self._place.name}, cut {number}, {in_start=}, {done=}, {seed=}, {fault=}"
        await self._disk.mount()
        if in_start:
            await self._disk.cut_at(1 + chance.randrange(CHANGES_OF_A_START), done=done)
        if fault is not None:
            await self._disk.fail_at(*fault)
        cell.start()
        ended = False
        async with trio.open_nursery() as nursery:

            async def until_frozen() -> None:
                await self._disk.wait_frozen()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_frozen)
            ended = not await cell.wait_ready()
            nursery.cancel_scope.cancel()
        if ended:
            assert await self._disk.failed(), f"{self._story}: ended by itself: {cell.tail()}"
            self.counts["did not start"] += 1
        elif not self._disk.frozen_at:
            await self._talk(cell, partial(self._busy, not in_start, done))
        if not self._disk.frozen_at:
            await self._disk.freeze()
        self.counts["cuts"] += 1
        self.counts[f"at {self._disk.frozen_at or 'rest'}"] += 1
        cell.kill()
        facts = await self._disk.cut(seed)
        await cell.wait_end()
        self.counts["errors"] += facts["failed"]
        self.most_bytes = max(self.most_bytes, facts["used_bytes"])
        self._judge(cell)

    def _draw_fault(self) -> tuple[str, int, str, bool]:
        """Which change fails, how, and whether all later ones do."""
        chance = self._chance
        kind = chance.choice(["", "sync"])
        most = chance.choice([CHANGES_OF_A_START, CHANGES_OF_A_LIFE])
        number = 1 + chance.randrange(most // 4 if kind else most)
        return kind, number, chance.choice(["EIO", "ENOSPC"]), chance.random() < 0.5

    async def _talk(self, cell: CellProcess, work: Callable[[CellCaller], Awaitable[None]]) -> None:
        """Run ``work`` with a connection to the cell; the power may go at any time."""
        async with trio.open_nursery() as nursery:
            caller = CellCaller(cell)
            await nursery.start(caller.run)

            async def until_frozen() -> None:
                await self._disk.wait_frozen()
                cell.kill()  # every answer that it sent before is still read

            nursery.start_soon(until_frozen)

            async def all_of_it() -> None:
                await caller.wait_accepting()
                await work(caller)

            await self._until_cut(all_of_it)
            nursery.cancel_scope.cancel()

    async def _until_cut(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work``; that its connection is lost once the power went is as it must be."""
        try:
            await work()
        except (Unavailable, OutcomeUnknown):
            if not self._disk.frozen_at:
                raise

    def _judge(self, cell: CellProcess) -> None:
        wrong = self.ledger.violations
        assert not wrong, f"{self._story}, {self._disk.frozen_at}: {wrong}\n{cell.tail()}"

    # --- one life ------------------------------------------------------------------------------

    async def _busy(self, cut: bool, done: bool, caller: CellCaller) -> None:
        """Look what is left, then work until the power goes, or a while has passed."""
        gone = self.ledger.of(State.GONE)
        self._reusable = [key for key in gone if key not in self.ledger.to_delete]
        if cut:
            await self._disk.cut_at(1 + self._chance.randrange(CHANGES_OF_A_LIFE), done=done)
        async with trio.open_nursery() as nursery:
            await self._until_cut(partial(self._look, caller))
            nursery.start_soon(self._delete)
            with trio.move_on_after(self._chance.uniform(0.3, 2.0)):
                async with trio.open_nursery() as workers:
                    for _ in range(WRITERS):
                        workers.start_soon(self._until_cut, partial(self._write, caller))
                    workers.start_soon(self._until_cut, partial(self._read, caller))
            nursery.cancel_scope.cancel()

    async def _look(self, caller: CellCaller) -> None:
        """Read what may be there, and some of what must not."""
        gone = self.ledger.of(State.GONE)
        recent, older = gone[-LOOKS_AT_GONE // 2 :], gone[: -LOOKS_AT_GONE // 2]
        some = self._chance.sample(older, min(len(older), LOOKS_AT_GONE // 2))
        may_be = self.ledger.of(State.HELD, State.UNKNOWN, State.DOOMED)
        for key in may_be + recent + some:
            await self._look_at(caller, key, after_start=True)

    async def _look_at(self, caller: CellCaller, key: Key, *, after_start: bool) -> None:
        shard = self.ledger.shards[key]
        state = shard.state
        try:
            data = await caller.read(key)
        except Corrupt as error:
            self.ledger.unreadable(key, str(error))
            return
        self.counts["reads"] += 1
        if shard.state is state:  # else the cell deleted it meanwhile
            self.ledger.seen(key, data, after_start=after_start)

    def _new(self) -> tuple[Key, Shard]:
        """A shard that is not there: most are new, some were deleted or never came to be."""
        chance = self._chance
        if self._reusable and chance.random() < 0.15:
            key = self._reusable.pop(chance.randrange(len(self._reusable)))
        else:
            self._last_number += 1
            key = (SegmentId(self._last_number.to_bytes(16, "big")), chance.randrange(3))
        size = 1 + chance.randrange(chance.choice([600, 5_000, MOST_SHARD_BYTES]))
        unit_bytes = chance.choice([size, -(-size // 2), -(-size // 7)])
        return key, Shard(unit_bytes, chance.randbytes(size))

    async def _write(self, caller: CellCaller) -> None:
        chance = self._chance
        while True:
            key, shard = self._new()
            self.ledger.sent(key, shard)
            try:
                await self._write_one(caller, key, shard, chance.random())
            except Unavailable as error:
                if not self._with_errors or error.reason not in CLEAR:
                    raise
                self.counts[f"refused: {error.reason}"] += 1
                await trio.sleep(REFUSED_PAUSE_S)
            except Refused as error:
                self.ledger.turned_away(key, str(error))

    async def _write_one(self, caller: CellCaller, key: Key, shard: Shard, way: float) -> None:
        if way < 0.1:
            await caller.upload(key, shard, finish=False)
            return
        await (caller.upload if way < 0.4 else caller.put)(key, shard)
        self.ledger.acknowledged(key)
        if way > 0.95:
            await caller.put(key, shard)  # once more: Done again, and still one shard

    async def _delete(self) -> None:
        while True:
            held = self.ledger.of(State.HELD)
            if len(held) > MOST_HELD // 2:
                for key in self._chance.sample(held, max(1, len(held) - MOST_HELD)):
                    self.ledger.doom(key)
            await self._stand_in.wait_heartbeat()

    async def _read(self, caller: CellCaller) -> None:
        while True:
            held = self.ledger.of(State.HELD)
            if held:
                await self._look_at(caller, self._chance.choice(held), after_start=False)
            await trio.sleep(0.02)


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    (tmp_path / "try").mkdir()
    if reason := why_not(tmp_path / "try"):
        pytest.skip(reason)
    with closing(Zygote()) as made:
        yield made


@pytest.mark.timeout(120 + CUTS * CUT_S * 2)
@pytest.mark.parametrize("with_errors", [False, True], ids=["sound-disk", "erring-disk"])
async def test_what_was_acknowledged_survives_power_cuts(
    tmp_path: Path, zygote: Zygote, with_errors: bool
) -> None:
    shares = [CUTS_OF_A_CELL] * (CUTS // CUTS_OF_A_CELL) + [CUTS % CUTS_OF_A_CELL]
    if CUTS <= CUTS_OF_A_CELL:
        shares = [CUTS // LANES] * LANES
    lanes = [
        Lane(
            zygote,
            tmp_path / f"cell-{number}",
            SEED * 1000 + number,
            share,
            with_errors=with_errors,
        )
        for number, share in enumerate(shares)
        if share
    ]
    started = trio.current_time()
    waiting = iter(lanes)

    async def run_some() -> None:
        for lane in waiting:
            await lane.run()

    async with trio.open_nursery() as nursery:
        for _ in range(LANES):
            nursery.start_soon(run_some)
    figures = {"with errors": with_errors, **_figures(lanes)}
    figures["seconds"] = round(trio.current_time() - started)
    print(json.dumps(figures))
    assert figures["cuts"] == sum(shares)
    assert figures["puts acknowledged"] > CUTS
    assert figures["most bytes"] < MOST_MEDIUM_BYTES


def _figures(lanes: Sequence[Lane]) -> dict[str, Any]:
    totals: Counter[str] = Counter()
    for lane in lanes:
        totals.update(lane.counts)
    return {
        **dict(sorted(totals.items())),
        "puts acknowledged": sum(lane.ledger.puts_acknowledged for lane in lanes),
        "deletes confirmed": sum(lane.ledger.deletes_confirmed for lane in lanes),
        "most bytes": max(lane.most_bytes for lane in lanes),
    }
