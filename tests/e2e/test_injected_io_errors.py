"""Writes and syncs of a real cell process fail, one after another: nothing is acknowledged that is
not there after the next start, and the cell says what is wrong.

ALVEARY_IO_ERRORS=all tries every call (`make power-test`); else a sample.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
from power_bench import CLEAR, Bench, Script, calling, look, make_origin, put, refused, shard
from power_driver import CellProcess
from power_ledger import State
from power_strace import (
    WATCH,
    Attached,
    Fault,
    come_true,
    faults,
    injected,
    places,
    wait_complete,
    why_not,
    wrapper,
)
from power_zygote import Zygote

TRY_ALL: Final = os.environ.get("ALVEARY_IO_ERRORS") == "all"
SAMPLE: Final = 4
LANES: Final = 2
COMPLAINT_LIMIT_S: Final = 20.0
STOP_LIMIT_S: Final = 30.0
READ_ONLY_REASONS: Final = frozenset({"", "disk_fails", "sync_failed", "write_error", "no_space"})


def has_complained(cell: CellProcess) -> bool:
    """Whether its log says that something is wrong."""
    said = cell.log.read_text()
    return "level=warning" in said or "level=error" in said


async def run_with(
    bench: Bench, fault: Fault | None, check: Callable[[Script], None] | None = None
) -> None:
    """One life of a cell whose disk begins to err once it is up, and one without trouble."""
    cell = bench.fresh()
    ledger = bench.ledger
    earlier = ledger.of(State.HELD)
    cell.start()
    assert await cell.wait_ready(), cell.tail()
    async with calling(cell) as caller:
        await look(caller, ledger, list(ledger.shards))
        options = WATCH if fault is None else fault.options()
        strace = await Attached.to(cell.pid, bench.trace, options)
        try:
            script = Script(caller, bench.stand_in, bench.data / "volumes")
            await script.run()
            assert not cell.has_ended, f"{fault}: ended: {cell.tail()}"
            for key in earlier:  # errors of writing are no errors of reading
                state = ledger.shards[key].state
                data = await caller.read(key)
                if ledger.shards[key].state is state:
                    ledger.seen(key, data, after_start=False)
            facts = await caller.facts()
            assert script.reasons <= CLEAR, f"{fault}: {script.reasons}"
            assert facts.read_only_reason in READ_ONLY_REASONS
            if injected(bench.trace) and not script.reasons:
                told = await come_true(partial(has_complained, cell), COMPLAINT_LIMIT_S)
                assert told, f"{fault}: nobody was told: {cell.tail()}"
            if fault is None or fault.number % 2:
                cell.kill()
            else:
                cell.kill(signal.SIGTERM)
            with trio.move_on_after(STOP_LIMIT_S) as scope:
                await cell.wait_end()
            assert not scope.cancelled_caught, f"{fault}: does not stop: {cell.tail()}"
        finally:
            await strace.end()
    failed = injected(bench.trace)
    bench.counts["faults"] += bool(failed)
    bench.counts["failed calls"] += failed
    bench.counts["told by a failure"] += bool(script.reasons)
    if check is not None:
        check(script)
    await bench.verify(cell, fault)


async def start_with(bench: Bench, fault: Fault | None) -> None:
    """A start on a disk that errs, and one without trouble."""
    cell = bench.fresh()
    ledger = bench.ledger
    options = WATCH if fault is None else fault.options()
    cell.start(wrapper(bench.trace, options))
    pid = cell.pid
    is_ready = await cell.wait_ready()
    if is_ready:
        async with calling(cell) as caller:
            await look(caller, ledger, ledger.of(State.HELD))
            reason = await refused(partial(put, caller, ledger, *shard(50, 3000)))
            assert reason in {"", *CLEAR}, f"{fault}: {reason}"
            cell.kill()
            await cell.wait_end()
    else:
        code = await cell.wait_end()
        said = cell.tail()
        assert code > 0, f"{fault}: ended with {code}: {said}"
        before, _, message = said.partition("alveary: ")
        assert "Traceback" not in before, f"{fault}: {said}"
        words = [*CLEAR, *(reason.replace("_", " ") for reason in CLEAR)]
        assert any(word in message for word in words), f"{fault}: not clear: {said}"
    await wait_complete(bench.trace, pid)
    bench.counts["faults"] += bool(injected(bench.trace))
    bench.counts["failed calls"] += injected(bench.trace)
    bench.counts["started all the same"] += is_ready
    await bench.verify(cell, fault)


def some_of(everything: Sequence[Fault]) -> Iterator[Fault]:
    """All, or a sample of every kind."""
    if TRY_ALL:
        return iter(everything)
    return iter(random.Random(len(everything)).sample(everything, min(SAMPLE, len(everything))))


async def try_all(
    benches: Sequence[Bench],
    waiting: Iterator[Fault],
    life: Callable[[Bench, Fault], Awaitable[None]],
) -> None:
    """Share faults out among the benches."""

    async def work(bench: Bench) -> None:
        async with bench.open():
            for fault in waiting:
                await life(bench, fault)

    async with trio.open_nursery() as nursery:
        for bench in benches:
            nursery.start_soon(work, bench)


def report(name: str, benches: Sequence[Bench], begun: float) -> Counter[str]:
    total: Counter[str] = Counter()
    for bench in benches:
        total.update(bench.counts)
    print(json.dumps({"series": name, **total, "seconds": round(trio.current_time() - begun)}))
    return total


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    if reason := why_not():
        pytest.skip(reason)
    with closing(Zygote()) as made:
        yield made


@pytest.mark.timeout(3600 if TRY_ALL else 120)
@pytest.mark.parametrize("onward", [False, True], ids=["once", "onward"])
async def test_a_cell_whose_disk_errs_acknowledges_nothing_false(
    tmp_path: Path, zygote: Zygote, onward: bool
) -> None:
    begun = trio.current_time()
    first = Bench(zygote, tmp_path / "origin")
    async with first.open():
        origin = await make_origin(first)
    benches = [Bench(zygote, tmp_path / f"lane-{number}", origin) for number in range(LANES)]

    def is_complete(script: Script) -> None:
        assert not script.reasons
        assert script.compacted

    async with benches[0].open():
        await run_with(benches[0], None, is_complete)
    known = places(benches[0].trace, benches[0].data)
    assert {"pwrite64", "fdatasync", "fsync"} < set(known)
    everything = faults(known, onward=onward)
    await try_all(benches, some_of(everything), run_with)
    total = report(f"at work, {onward=}", benches, begun)
    _enough(total, everything)


@pytest.mark.timeout(3600 if TRY_ALL else 120)
@pytest.mark.parametrize("is_first", [False, True], ids=["recovery", "first-start"])
async def test_a_cell_whose_disk_errs_at_its_start_forgets_nothing(
    tmp_path: Path, zygote: Zygote, is_first: bool
) -> None:
    begun = trio.current_time()
    origin = None
    if not is_first:
        first = Bench(zygote, tmp_path / "origin")
        async with first.open():
            origin = await make_origin(first)
    benches = [Bench(zygote, tmp_path / f"lane-{number}", origin) for number in range(LANES)]
    async with benches[0].open():
        await start_with(benches[0], None)
    known = places(benches[0].trace, benches[0].data)
    assert {"pwrite64", "fdatasync", "fsync"} < set(known)
    everything = faults(known, onward=False) + faults(known, onward=True)
    await try_all(benches, some_of(everything), start_with)
    total = report(f"at the start, {is_first=}", benches, begun)
    _enough(total, everything)


def _enough(total: Counter[str], everything: Sequence[Fault]) -> None:
    """Most faults happened: a few of the last calls of a life need not come every time."""
    assert total["faults"] >= (0.8 * len(everything) if TRY_ALL else SAMPLE / 2)
