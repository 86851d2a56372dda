import threading
from collections.abc import Iterator

import pytest
import trio

from common.system.workers import ThreadWorkers


@pytest.fixture
def workers() -> Iterator[ThreadWorkers]:
    pool = ThreadWorkers(2)
    yield pool
    pool.close()


async def test_work_runs_in_another_thread_and_its_result_comes_back(
    workers: ThreadWorkers,
) -> None:
    here = threading.get_ident()
    assert await workers.run(threading.get_ident) != here


async def test_what_work_raises_is_raised_here(workers: ThreadWorkers) -> None:
    def fail() -> None:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await workers.run(fail)


async def test_no_more_run_at_once_than_there_are_threads(workers: ThreadWorkers) -> None:
    barrier = threading.Barrier(2)
    running: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        with lock:
            running.append(1)
            most.append(len(running))
        barrier.wait(timeout=10)
        with lock:
            running.pop()

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(workers.run, work)
    assert max(most) == 2


async def test_work_that_was_cancelled_before_it_began_is_not_run(workers: ThreadWorkers) -> None:
    ran: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await workers.run(lambda: ran.append(1))
    assert not ran


async def test_work_under_way_is_waited_for_when_cancelled(workers: ThreadWorkers) -> None:
    begun, release = threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> None:
        begun.set()
        release.wait(timeout=10)
        done.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(workers.run, work)
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
        release.set()
    assert done
