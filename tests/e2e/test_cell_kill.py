"""A real cell process is killed at random moments, again and again, and never loses anything."""

import random
import time

import pytest
import trio
from cell_driver import Driver, Workload, Zygote, start_process, verify

START_LIMIT_S = 5.0


async def kill_again_and_again(data, kills, seed):
    """Lives of a cell that end by SIGKILL while it takes puts, uploads and deletes and compacts."""
    driver = Driver(data, volume_bytes=1 << 20, settle_after_s=0, reserve_bytes=0)
    zygote = Zygote()
    chance = random.Random(seed)
    slowest = 0.0
    async with trio.open_nursery() as nursery:
        await nursery.start(driver.run)
        try:
            workload = Workload(driver, seed)
            for _ in range(kills):
                begin = time.monotonic()
                pid, line = await trio.to_thread.run_sync(zygote.start, driver.config)
                driver.ready(line)
                await driver.wait_ready()
                slowest = max(slowest, time.monotonic() - begin)
                await verify(driver)
                async with trio.open_nursery() as life:
                    life.start_soon(workload.run)
                    await trio.sleep(chance.uniform(0.0, 0.25))
                    await trio.to_thread.run_sync(zygote.kill, pid)
            pid, line = await trio.to_thread.run_sync(zygote.start, driver.config)
            driver.ready(line)
            await driver.wait_ready()
            await verify(driver)
            await trio.to_thread.run_sync(zygote.kill, pid)
        finally:
            zygote.close()
        nursery.cancel_scope.cancel()
    assert not driver.book.lost
    assert workload.number > kills
    assert driver.book.gone
    return driver, workload, slowest


async def test_25_kills_lose_nothing(tmp_path):
    await kill_again_and_again(tmp_path / "cell", 25, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_200_kills_lose_nothing(tmp_path):
    driver, workload, slowest = await kill_again_and_again(tmp_path / "cell", 200, seed=2)
    print(
        f"200 kills, slowest start {slowest:.2f} s, {workload.number} shards"
        f" written, {len(driver.book.gone)} deleted"
    )
    assert slowest < START_LIMIT_S


@pytest.mark.slow
async def test_a_whole_start_takes_less_than_5_seconds(tmp_path):
    driver = Driver(tmp_path / "cell", reserve_bytes=0)
    async with trio.open_nursery() as nursery:
        await nursery.start(driver.run)
        for _ in range(2):
            begin = time.monotonic()
            process, line = await trio.to_thread.run_sync(start_process, driver.config)
            driver.ready(line)
            await driver.wait_ready()
            assert time.monotonic() - begin < START_LIMIT_S
            process.terminate()
            assert await trio.to_thread.run_sync(process.wait) == 0
            process.stdout.close()
        nursery.cancel_scope.cancel()
