"""Every sequence of up to three operations on a cell's volumes and index, cut at every step.

The sequences (a third of the longest in ``make test``) are walked as a tree: what was done before
is the path, and the last operation is cut at each of its I/O steps; then the start after it is cut
at a step, too. After that each acknowledged operation holds, an unacknowledged one is old or new,
and the counts are right.
"""

import itertools

import pytest
from cell_rig import live, running, shard_key
from test_cell_crashes import History, do_compact, do_delete, do_put, do_upload
from thoroughness import quick_or

from sim.replay import run_seeded
from sim.world import SimWorld

OPERATIONS = ("put", "upload", "delete", "compact")
PATHS = [path for length in range(3) for path in itertools.product(OPERATIONS, repeat=length)]
SHARES = quick_or(3, 1)


def is_walked(path, last):
    """Whether this run cuts the last operation after this path. Of the paths of two, each last
    operation has a part, so that all of them come up."""
    turn = sum(OPERATIONS.index(each) for each in (*path, last))
    return len(path) < 2 or turn % SHARES == 0


OLDEST = 4
"""Shards that are there before."""


class Cell:
    """The operations; each takes the next shard that it can be done on."""

    def __init__(self, history):
        self.history = history
        self.fresh = OLDEST

    async def do(self, store, name):
        history = self.history
        if name == "put":
            self.fresh += 1
            await do_put(store, history, self.fresh)
        elif name == "upload":
            self.fresh += 1
            await do_upload(store, history, self.fresh)
        elif name == "delete":
            newest = max(history.must, default=None)
            if newest is not None:
                await do_delete(store, history, int.from_bytes(newest[0], "big"))
        else:
            await do_compact(store, history)


async def prepare(store, history):
    """Shards to be moved, tombstones to be kept or dropped."""
    for number in range(OLDEST):
        await do_put(store, history, number, 700 if number % 2 else 9000)
    await do_delete(store, history, 0, 2)  # most of the volume, so that it is worth compacting
    await store.index.flush()


async def walk(path, last, cut, second_cut, *, without_index):
    """Prepare and do the path in one life, cut the last operation, cut the start, look.

    Returns:
        Whether the last operation ended before its cut.
    """
    node = SimWorld(cut * 100 + second_cut).node("cell")
    history = History()
    cell = Cell(history)

    async def work(store):
        await prepare(store, history)
        for name in path:
            await cell.do(store, name)
        node.cut_at_step = node.steps + cut
        await cell.do(store, last)
        node.cut_at_step = None

    async def nothing(store):
        pass

    ended = await live(node, work)
    if ended:
        node.crash(power=True)
    if without_index:
        node.databases.clear()
    node.cut_at_step = node.steps + second_cut
    await live(node, nothing)
    node.cut_at_step = None
    async with running(node) as store:
        await history.check(store)
        await cell.do(store, last)
        await do_delete(store, history, 1)
        await history.check(store)
        await store.index.flush()
        facts = await store.facts()
        assert facts.shards == len(history.must)
        assert shard_key(1) not in history.must
    return ended


@pytest.mark.timeout(300)
@pytest.mark.parametrize("without_index", [False, True])
@pytest.mark.parametrize("last", OPERATIONS)
def test_a_power_cut_at_any_step_of_any_sequence_leaves_old_or_new(last, without_index):
    async def main():
        for path in (each for each in PATHS if is_walked(each, last)):
            for cut in range(1, 100):
                # Which step of the start is cut goes round, so that all of them come up.
                second_cut = 1 + (cut * 7 + len(path) * 3) % 13
                if await walk(path, last, cut, second_cut, without_index=without_index):
                    break
            else:
                raise AssertionError("the operation never ended")

    run_seeded(2, main)
