"""One suite for the Disk port: the real one on a directory, the simulated one in memory."""

import os
import stat
from pathlib import Path

import pytest
import trio

from common.errors import BadConfig, NotFound, Unavailable
from common.system.disk import INLINE_READ_BYTES, INLINE_WRITE_BYTES, RealDisk, hold_directory
from sim.world import SimWorld

LARGE = max(INLINE_READ_BYTES, INLINE_WRITE_BYTES) + 12345


@pytest.fixture(params=["real", "simulated"])
async def disk(request, tmp_path):
    if request.param == "real":
        return RealDisk(tmp_path)
    return SimWorld(1).node("node").world.disk


async def test_what_is_written_is_read(disk):
    file = await disk.open("f", create=True)
    await file.write(0, [b"abc", memoryview(b"defg"), bytearray(b"h"), b""])
    await file.write(3, [b"XY"])
    assert await file.read(0, 100) == b"abcXYfgh"
    assert await file.read(2, 3) == b"cXY"
    assert await file.read(8, 1) == b""
    assert await file.read(100, 1) == b""
    assert await file.read(0, 0) == b""
    assert await file.size() == 8
    await file.sync()
    await file.close()
    again = await disk.open("f")
    assert await again.read(0, 100) == b"abcXYfgh"
    await again.close()
    await again.close()


@pytest.mark.parametrize("size", [1, 4096, 65_536, LARGE])
async def test_parts_of_any_size_arrive_in_order(disk, size):
    data = os.urandom(size)
    third = size // 3
    file = await disk.open("f", create=True)
    await file.write(7, [data[:third], memoryview(data)[third:]])
    assert await file.read(7, size) == data
    assert await file.read(7, size + 10_000) == data
    assert await file.read(0, 7) == bytes(7)
    await file.close()


async def test_more_parts_than_one_system_call_takes(disk):
    file = await disk.open("f", create=True)
    parts = [bytes([number % 256]) * (number % 5) for number in range(5000)]
    await file.write(1, parts)
    assert await file.read(1, 100_000) == b"".join(parts)
    await file.close()


async def test_a_file_is_cut_and_stretched(disk):
    file = await disk.open("f", create=True)
    await file.write(0, [b"abcdef"])
    await file.truncate(3)
    assert await file.read(0, 10) == b"abc"
    await file.truncate(5)
    assert await file.read(0, 10) == b"abc\0\0"
    assert await file.size() == 5
    await file.close()


async def test_what_is_not_there_is_not_found(disk):
    with pytest.raises(NotFound, match="no_such_file"):
        await disk.open("f")
    with pytest.raises(NotFound, match="no_such_file"):
        await disk.unlink("f")
    with pytest.raises(NotFound, match="no_such_file"):
        await disk.rename("f", "g")
    assert await disk.names("d") == []


async def test_names_are_sorted_and_follow_rename_and_unlink(disk):
    await disk.make_directory("d")
    await disk.make_directory("d")
    for name in ("c", "a", "b"):
        await (await disk.open(f"d/{name}", create=True)).close()
    assert await disk.names("d") == ["a", "b", "c"]
    await disk.rename("d/a", "d/c")
    await disk.unlink("d/b")
    await disk.sync_directory("d")
    assert await disk.names("d") == ["c"]
    assert "d" in await disk.names(".")


async def test_an_unlinked_file_is_read_by_who_has_it_open(disk):
    file = await disk.open("f", create=True)
    await file.write(0, [b"still"])
    await disk.unlink("f")
    assert await file.read(0, 5) == b"still"
    await file.close()


@pytest.mark.parametrize("path", ["../f", "/f", "d/../../f"])
async def test_no_path_leaves_the_tree(disk, path):
    with pytest.raises(AssertionError, match="leaves the tree"):
        await disk.open(path, create=True)


async def test_space_is_what_the_file_system_has(disk):
    space = await disk.space()
    assert 0 < space.free_bytes <= space.total_bytes


async def test_operations_may_overlap(disk):
    file = await disk.open("f", create=True)

    async def work(number):
        await file.write(number * LARGE, [bytes([number]) * LARGE])
        await file.sync()
        assert await file.read(number * LARGE, LARGE) == bytes([number]) * LARGE

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(work, number)
    await file.close()


async def test_a_writeback_that_is_begun_changes_nothing(disk):
    file = await disk.open("f", create=True)
    await file.write(100, [b"x" * LARGE])
    await file.begin_writeback(100, LARGE)
    await file.begin_writeback(10 * LARGE, LARGE)  # where nothing is
    assert await file.read(100, LARGE) == b"x" * LARGE
    await file.sync()
    await file.close()
    file = await disk.open("f")
    assert await file.read(100, LARGE) == b"x" * LARGE
    await file.close()


# --- the real one alone ---------------------------------------------------------------------


async def test_files_are_for_their_owner_alone(tmp_path):
    disk = RealDisk(tmp_path)
    await disk.make_directory("d/e")
    await (await disk.open("d/e/f", create=True)).close()
    assert stat.S_IMODE((tmp_path / "d/e/f").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "d/e").stat().st_mode) == 0o700


async def test_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Unavailable):
        await RealDisk(tmp_path).open("link")


async def test_space_is_as_df_tells(tmp_path):
    facts = os.statvfs(tmp_path)
    space = await RealDisk(tmp_path).space()
    assert abs(space.free_bytes - facts.f_bavail * facts.f_frsize) < 1 << 30


async def test_a_full_file_system_says_no_space():
    full = await RealDisk(Path("/dev")).open("full")
    for size in (10, LARGE):
        with pytest.raises(Unavailable, match="no_space"):
            await full.write(0, [bytes(size)])
    await full.close()


def test_a_data_directory_has_one_holder(tmp_path):
    with hold_directory(tmp_path / "data"):
        with pytest.raises(BadConfig, match="data_in_use"), hold_directory(tmp_path / "data"):
            pass
    with hold_directory(tmp_path / "data"):
        pass
