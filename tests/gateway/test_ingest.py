"""The body pipeline: nothing wrong gets through, memory is bounded, digests are right."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import pytest
import trio

from common import limits
from common.errors import Refused, Unavailable
from common.ports import Buffer
from common.reasons import Outage
from gateway.ingest import HashBacklog, Ingest
from sim.world import SimWorkers


def nothing() -> None:
    return None


class Chunks:
    """A source that gives these chunks, then its end or an error."""

    def __init__(self, chunks: list[bytes], failure: Exception | None = None) -> None:
        self.chunks = list(chunks)
        self.failure = failure
        self.given = 0

    async def receive(self) -> Buffer:
        await trio.lowlevel.checkpoint()
        if self.chunks:
            self.given += len(self.chunks[0])
            return self.chunks.pop(0)
        if self.failure is not None:
            raise self.failure
        return b""


def ingest(
    source: Chunks,
    size: int,
    *,
    check: Callable[[], None] = nothing,
    backlog: HashBacklog | None = None,
    slow: list[object] | None = None,
) -> Ingest:
    return Ingest(
        receive=source.receive,
        size=size,
        slow=slow or [],
        fast=[],
        check=check,
        workers=SimWorkers(),
        backlog=backlog or HashBacklog(),
    )


def collector(
    size: int, got: list[bytes]
) -> Callable[[Callable[[], Awaitable[Buffer]]], Awaitable[int]]:
    async def write(receive: Callable[[], Awaitable[Buffer]]) -> int:
        taken = 0
        while taken < size:
            chunk = await receive()
            assert len(chunk), "the end came before the size"
            got.append(bytes(chunk))
            taken += len(chunk)
        return taken

    return write


@pytest.mark.parametrize("size", [0, 1, 4096, 65536, 65537, 3_000_001])
async def test_all_bytes_arrive_and_every_digest_is_right(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    chunks = [data[at : at + 65536] for at in range(0, size, 65536)]
    md5, sha = hashlib.md5(), hashlib.sha256()
    got: list[bytes] = []
    backlog = HashBacklog()
    pipe = ingest(Chunks(chunks), size, slow=[md5, sha], backlog=backlog)
    assert await pipe.through(collector(size, got)) == size
    assert b"".join(got) == data
    assert md5.digest() == hashlib.md5(data).digest()
    assert sha.digest() == hashlib.sha256(data).digest()
    assert backlog.waiting_bytes == 0


@pytest.mark.parametrize("size", [10, 200_000])
async def test_last_bytes_are_held_back_when_a_check_fails(size: int) -> None:
    def check() -> None:
        raise Refused.received("bad_digest")

    got: list[bytes] = []
    half = size // 2
    source = Chunks([bytes(half), bytes(size - half)])
    pipe = ingest(source, size, check=check, slow=[hashlib.md5()])
    with pytest.raises(Refused, match="bad_digest"):
        await pipe.through(collector(size, got))
    assert sum(map(len, got)) == half


@pytest.mark.parametrize("size", [0, 10, 200_000])
async def test_too_short_and_too_long_bodies_are_refused(size: int) -> None:
    got: list[bytes] = []
    with pytest.raises(Refused, match="body_too_long"):
        await ingest(Chunks([bytes(size + 1)]), size).through(collector(size, got))
    with pytest.raises(Refused, match="body_too_long"):
        await ingest(Chunks([bytes(max(size, 1)), b"x"]), size).through(collector(size, got))
    if size:
        with pytest.raises(Refused, match="body_too_short"):
            await ingest(Chunks([bytes(size - 1)]), size).through(collector(size, got))


async def test_a_broken_source_ends_the_write_with_its_own_error() -> None:
    backlog = HashBacklog()
    source = Chunks([bytes(100_000)], failure=Unavailable(Outage.CLIENT_GONE))
    pipe = ingest(source, 200_000, slow=[hashlib.md5()], backlog=backlog)
    with pytest.raises(Unavailable, match="client_gone"):
        await pipe.through(collector(200_000, []))
    assert backlog.waiting_bytes == 0


class StuckWorkers:
    """Workers that never come free."""

    async def run(self, work: Callable[[], object]) -> object:
        await trio.sleep_forever()


@pytest.mark.incident(14)
@pytest.mark.parametrize("crowded", [False, True])
async def test_slow_hashing_stops_the_receiving(crowded: bool, autojump_clock: object) -> None:
    backlog = HashBacklog()
    backlog.waiting_bytes = limits.HASH_CROWD_BYTES + 1 if crowded else 0
    before = backlog.waiting_bytes
    source = Chunks([bytes(32768)] * 400)
    pipe = Ingest(
        receive=source.receive,
        size=400 * 32768,
        slow=[hashlib.md5()],
        fast=[],
        check=nothing,
        workers=StuckWorkers(),
        backlog=backlog,
    )
    with trio.move_on_after(5):
        await pipe.through(collector(400 * 32768, []))
    most = limits.MAX_CROWDED_HASH_LANE_BYTES if crowded else limits.MAX_HASH_LANE_BYTES
    assert source.given <= most + 65536
    assert backlog.waiting_bytes == before
