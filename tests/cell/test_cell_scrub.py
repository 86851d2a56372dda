"""A cell reads every shard once in a period, whatever its lives are like."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
from cell_rig import put, running, shard_data, shard_key, upload
from trio.testing import MockClock

from cell.background_turns import BackgroundTurns
from cell.metrics import CellMetrics
from cell.rounds.scrub import NAME, ScrubRound
from cell.rounds.scrub_policy import ScrubPass
from cell.storage.shard_store import ShardStore
from common.limits import MIB
from common.state_files import read_whole
from common.tasks import Round, every, repeat
from sim.world import SimNode, SimWorld

DAY_S = 86400.0
SHARDS = 40


class Scrubbed:
    """A store with a scrub over it."""

    def __init__(self, node: SimNode, store: ShardStore) -> None:
        self.node = node
        self.store = store
        self.metrics = CellMetrics()
        self.read: list[Any] = []
        plain = store.check

        async def check(key: Any, wait: Any) -> int:
            self.read.append((key, node.world.clock.now()))
            return await plain(key, wait)

        store.check = check

    def count(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"alveary_cell_{name}_total") or 0.0


@asynccontextmanager
async def scrubbing(
    node: SimNode, *, days: float = 1.0, bandwidth: int = 64 * MIB
) -> AsyncGenerator[Scrubbed]:
    async with running(node) as store:
        scrubbed = Scrubbed(node, store)
        world = node.world
        scrub = ScrubRound(
            store,
            BackgroundTurns(bandwidth),
            scrubbed.metrics,
            period_s=days * DAY_S,
            disk=world.disk,
            clock=world.clock,
            log=world.log,
        )
        async with trio.open_nursery() as nursery:

            async def forever() -> None:
                await repeat(
                    Round("scrub", scrub.run, every(60.0)),
                    log=world.log,
                    log_failure=lambda name, error: world.log.warning("failed", error=str(error)),
                )

            nursery.start_soon(forever)
            yield scrubbed
            nursery.cancel_scope.cancel()
    assert not node.swarm.faults


async def fill(store: ShardStore, shards: int = SHARDS) -> None:
    for number in range(shards):
        await put(store, shard_key(number), shard_data(number, 1000))
    await store.index.flush()


async def test_a_pass_reads_every_shard_and_takes_its_period(autojump_clock: MockClock) -> None:
    node = SimWorld(1).node("cell")
    async with scrubbing(node) as scrubbed:
        await fill(scrubbed.store)
        began_s = node.world.clock.now()
        await trio.sleep(0.5 * DAY_S)
        assert scrubbed.metrics.scrub_began_s == pytest.approx(began_s, abs=4000)
        await trio.sleep(0.7 * DAY_S)
        assert scrubbed.metrics.scrub_began_s == pytest.approx(began_s + DAY_S, abs=4000)
        first = scrubbed.read[:SHARDS]
        assert {key for key, _ in first} == {shard_key(number) for number in range(SHARDS)}
        gaps = [later - earlier for (_, earlier), (_, later) in pairwise(first)]
        assert all(abs(gap - DAY_S / SHARDS) < 0.2 * DAY_S / SHARDS for gap in gaps[1:])
        await trio.sleep(2 * DAY_S)
        assert len(scrubbed.read) == pytest.approx(3.2 * SHARDS, abs=3)


@pytest.mark.parametrize("where", ["data", "leaves", "last unit"])
async def test_rot_is_found_within_a_pass(where: str, autojump_clock: MockClock) -> None:
    node = SimWorld(1).node("cell")
    async with scrubbing(node) as scrubbed:
        store = scrubbed.store
        await fill(store)
        key = shard_key(1000)
        await upload(store, key, shard_data(1, 5000), unit_bytes=1024)
        # The leaves are known to be right by now: a scrub must not trust what it remembers.
        await store.read(key, 0, 1, want_leaves=True)
        entry = await store.index.find(key)
        assert entry is not None
        offset = {
            "data": entry.data_offset,
            "leaves": entry.leaves_offset,
            "last unit": entry.data_offset + 4999,
        }[where]
        node.platter.rot(f"volumes/{entry.volume:08d}.vol", offset)
        await trio.sleep(1.1 * DAY_S)
        assert await store.index.lost(10) == [key]
        assert scrubbed.count("scrub_bad") == 1
        assert scrubbed.count("scrubbed_bytes") >= SHARDS * 1000 + 5000


async def test_a_read_that_fails_once_makes_no_shard_bad(autojump_clock: MockClock) -> None:
    node = SimWorld(1).node("cell")
    async with scrubbing(node) as scrubbed:
        await fill(scrubbed.store)
        node.platter.faults.read_error = 0.02
        await trio.sleep(0.9 * DAY_S)
        assert len(scrubbed.read) > SHARDS / 2
        assert await scrubbed.store.index.lost(10) == []


async def test_a_cell_that_starts_every_hour_gets_to_the_end_too(
    autojump_clock: MockClock,
) -> None:
    node = SimWorld(1).node("cell")
    read: set[Any] = set()
    async with scrubbing(node) as scrubbed:
        await fill(scrubbed.store)
    total = 0
    for _ in range(26):
        async with scrubbing(node) as scrubbed:
            await trio.sleep(3600)
            read |= {key for key, _ in scrubbed.read}
            total += len(scrubbed.read)
        node.crash(power=True)
    assert read == {shard_key(number) for number in range(SHARDS)}
    assert total < 1.6 * SHARDS, "little is read twice"


async def test_what_was_missed_while_a_cell_was_off_is_read_soon_and_not_at_once(
    autojump_clock: MockClock,
) -> None:
    node = SimWorld(1).node("cell")
    async with scrubbing(node, days=10) as scrubbed:
        await fill(scrubbed.store)
        await trio.sleep(DAY_S)
    node.crash(power=True)
    await trio.sleep(6 * DAY_S)
    async with scrubbing(node, days=10, bandwidth=1000) as scrubbed:
        await trio.sleep(60)
        due = 0.7 * SHARDS - 0.1 * SHARDS
        assert 20 < len(scrubbed.read) <= due + 2
        times = [at for _, at in scrubbed.read]
        assert all(b - a >= 0.99 for a, b in pairwise(times[1:])), "at its pace"


async def test_a_damaged_file_begins_a_pass_anew(autojump_clock: MockClock) -> None:
    node = SimWorld(1).node("cell")
    async with scrubbing(node) as scrubbed:
        await fill(scrubbed.store)
        await trio.sleep(DAY_S / 2)
    assert NAME in node.platter.inodes
    node.platter.inodes[NAME].content[3] ^= 0xFF
    async with scrubbing(node) as scrubbed:
        await trio.sleep(DAY_S)
        assert len(scrubbed.read) >= SHARDS - 2


@pytest.mark.parametrize("step_s", [-1000 * DAY_S, 1000 * DAY_S])
async def test_a_clock_that_was_set_neither_stops_nor_hurries_a_scrub(
    step_s: float, autojump_clock: MockClock
) -> None:
    node = SimWorld(1).node("cell")
    async with scrubbing(node) as scrubbed:
        await fill(scrubbed.store)
        await trio.sleep(DAY_S / 2)
        node.clock_offset_s += step_s
        before = len(scrubbed.read)
        await trio.sleep(DAY_S)
        assert SHARDS / 3 < len(scrubbed.read) - before < 3 * SHARDS


async def test_a_cell_that_holds_nothing_waits(autojump_clock: MockClock) -> None:
    node = SimWorld(1).node("cell")
    async with scrubbing(node, days=3) as scrubbed:
        await trio.sleep(4 * DAY_S)
        assert not scrubbed.read
        await fill(scrubbed.store)
        await trio.sleep(4 * DAY_S)
        assert {key for key, _ in scrubbed.read} == {shard_key(each) for each in range(SHARDS)}


async def test_a_disk_that_cannot_be_written_is_scrubbed(autojump_clock: MockClock) -> None:
    node = SimWorld(1).node("cell")
    async with scrubbing(node) as scrubbed:
        await fill(scrubbed.store)
        await trio.sleep(10)
        node.platter.faults.refuses = "write_error"
        await trio.sleep(1.1 * DAY_S)
        assert len(scrubbed.read) >= SHARDS


async def test_the_cursor_is_kept(autojump_clock: MockClock) -> None:
    node = SimWorld(1).node("cell")
    async with scrubbing(node) as scrubbed:
        await fill(scrubbed.store)
        await trio.sleep(DAY_S / 2)
        data = await read_whole(node.world.disk, NAME)
        assert data is not None
        kept = ScrubPass.unpack(data)
        assert kept.read_bytes == pytest.approx(1000 * len(scrubbed.read), abs=1001)
