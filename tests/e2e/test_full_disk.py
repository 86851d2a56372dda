"""Real file systems that are full or read-only: daemons start, what lies there is read."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from botocore.exceptions import ClientError
from e2e_swarm import Swarm

from common.errors import Unavailable
from common.ports import Sql
from common.system.disk import hold_directory
from common.system.sqlite import TRY_TO_WRITE_AFTER_S, SqliteStores


class FileSystem:
    """A small file system of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self, size: str) -> None:
        self.place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.place)],
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip("needs the right to mount")

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.place)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.place)], check=False, capture_output=True)

    def fill(self) -> None:
        """Leave no byte."""
        with (self.place / "ballast").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(65536))
        with (self.place / "ballast").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0")

    def make_room(self) -> None:
        (self.place / "ballast").unlink()


@pytest.fixture
def file_system(tmp_path: Path) -> Iterator[FileSystem]:
    made = FileSystem(tmp_path / "small")
    made.mount("400m")
    yield made
    made.unmount()


def rows(sql: Sql) -> int:
    found: int = sql.execute("SELECT count(*) FROM rows").fetchone()[0]
    return found


def add(sql: Sql) -> None:
    sql.execute("INSERT INTO rows VALUES (?)", (os.urandom(2000),))


async def make_store(place: Path) -> Any:
    store = await SqliteStores(place).open("a.sqlite")
    await store.transact(lambda sql: sql.execute("CREATE TABLE rows (value BLOB)") and None)
    for _ in range(20):
        await store.transact(add)
    return store


@pytest.mark.fault("F10")
@pytest.mark.parametrize("is_clean", [True, False])
@pytest.mark.parametrize("how", ["full", "ro"])
async def test_a_store_on_a_medium_that_cannot_be_written_is_read_until_it_can(
    file_system: FileSystem, how: str, is_clean: bool, autojump_clock: object
) -> None:
    store = await make_store(file_system.place)
    if is_clean:
        await store.close()
    else:  # as after a kill: the log is there, and the shared memory may be
        copies = [(path, path.read_bytes()) for path in file_system.place.glob("a.sqlite*")]
        await store.close()
        for path, content in copies:
            if not path.name.endswith("-shm"):
                path.write_bytes(content)
    if how == "full":
        file_system.fill()
    else:
        file_system.remount("ro")
    with hold_directory(file_system.place) if is_clean else nullcontext():
        store = await SqliteStores(file_system.place).open("a.sqlite")
        assert await store.read(rows) == 20
        assert await store.transact(rows) == 20  # what writes nothing is carried out
        with pytest.raises(Unavailable, match="store_failed"):
            await store.transact(add)
        if how == "full":
            file_system.make_room()
        else:
            file_system.remount("rw")
        await trio.sleep(2 * TRY_TO_WRITE_AFTER_S)
        await store.transact(add)
        assert await store.read(rows) == 21
        await store.close()


def read_all(swarm: Swarm, bodies: dict[str, bytes]) -> None:
    with closing(swarm.boto3()) as s3:
        for key, body in bodies.items():
            assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body


def cannot_write(swarm: Swarm) -> None:
    with closing(swarm.boto3()) as s3, pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="kept", Key="more", Body=bytes(100_000))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


@pytest.mark.fault("F3", "F6", "F10")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", ["full", "ro"])
def test_a_swarm_on_a_disk_that_cannot_be_written_starts_and_is_read(
    make_swarm: Callable[..., Swarm], file_system: FileSystem, how: str
) -> None:
    swarm = make_swarm(cells=3, redundancy="2/3")
    shutil.move(swarm.root, file_system.place / "data")
    swarm.root.symlink_to(file_system.place / "data")
    for cell in range(3):
        swarm.configure(f"cell-{cell:02d}", reserve_bytes=0)
    swarm.start()
    bodies = {f"key-{number}": os.urandom(50_000 + number) for number in range(20)}
    with closing(swarm.boto3(retries=3)) as s3:  # all three cells must be quick
        s3.create_bucket(Bucket="kept")
        for key, body in bodies.items():
            s3.put_object(Bucket="kept", Key=key, Body=body)
    if how == "full":
        file_system.fill()  # under the running swarm
        read_all(swarm, bodies)
        cannot_write(swarm)
        assert not [each for each in swarm.processes() if "exit" in each]
    assert swarm.stop() == 0
    if how == "ro":
        file_system.remount("ro")
    swarm.start()
    read_all(swarm, bodies)
    cannot_write(swarm)
    assert swarm.stop() == 0
    if how == "ro":
        file_system.remount("rw")
    else:
        file_system.make_room()
    swarm.start()
    with closing(swarm.boto3(retries=3)) as s3:  # all three cells must be quick
        s3.put_object(Bucket="kept", Key="more", Body=b"more")
    read_all(swarm, {**bodies, "more": b"more"})
    assert swarm.stop() == 0
