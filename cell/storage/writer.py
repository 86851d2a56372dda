"""The one writer of a cell: everything that changes a volume file goes through its queue.

Records that wait at the same time go to the active volume in one gathered write, and share one
fdatasync per volume: while it runs, what is written next waits for the one after it. A sync that
failed is never tried again: its volume is sealed, its waiters get the error, a new one is begun.

A job does not depend on the task that waits for it: once queued it is carried out, and its
``after`` is called, even if the caller's connection is gone.

Source: docs/shard-format.md, "Writing"; Rebello et al., "Can Applications Recover from fsync
Failures?" (USENIX ATC 2020).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import trio

from cell.storage.index import Index
from cell.storage.shards import ShardKey
from cell.storage.volumes import Growing, Volumes
from common import limits
from common.errors import AlvearyError, Unavailable
from common.format.volume import (
    HEADER_BYTES,
    VOLUME_HEAD_BYTES,
    RecordHeader,
    RecordKind,
    pack_record,
)
from common.limits import MIB
from common.ports import Buffer, Log
from common.reasons import Outage

BATCH_BYTES: Final = 4 * MIB
BATCH_JOBS: Final = 256
FIRST_PROBATION_S: Final = 60.0
"""The first pause of a cell that cannot write before it tries a new volume; doubled each time."""
LONGEST_PROBATION_S: Final = 3600.0

NO_SPACE: Final = Outage.NO_SPACE

Build: TypeAlias = Callable[[Growing, int], Sequence[Buffer]]
"""Makes the bytes of a record for its place."""
After: TypeAlias = Callable[[Growing | None, int, AlvearyError | None], None]
"""Called with the volume, the offset and what went wrong."""


class WriteJob:
    """One record to be written.

    Args:
        length: bytes of room that it takes at the end of the active volume; 0: it has ``place``.
        build: makes what is written at the record's beginning.
        after: called once, when it is durable (or written, with ``sync`` false) or has failed.
        place: of a record whose room was reserved before.
        sync: it counts only once it is durable.
        fills: what ``build`` makes is all of ``length``; the units of a reservation come later.
        key: of a shard: its record might be found by a scan even if this job fails.
    """

    __slots__ = (
        "after",
        "build",
        "done",
        "error",
        "fills",
        "key",
        "length",
        "offset",
        "place",
        "sync",
    )

    def __init__(
        self,
        length: int,
        build: Build,
        after: After,
        *,
        place: tuple[Growing, int] | None = None,
        sync: bool = True,
        fills: bool = True,
        key: ShardKey | None = None,
    ) -> None:
        self.length = length
        self.build = build
        self.after = after
        self.place = place
        self.sync = sync
        self.fills = fills
        self.key = key
        self.done = trio.Event()
        self.offset = 0
        """The offset at which it was written."""
        self.error: AlvearyError | None = None

    async def wait(self) -> None:
        """Wait until it is done.

        Raises:
            Unavailable: what went wrong.
        """
        await self.done.wait()
        if self.error is not None:
            raise self.error


class Writer:
    """Writes jobs, in the order they came.

    Args:
        volume_bytes: size at which a new volume is begun.
    """

    def __init__(self, volumes: Volumes, index: Index, log: Log, volume_bytes: int) -> None:
        self.active: Growing | None = None
        self.read_only_reason = ""
        """The reason why nothing can be written, until a new volume can be begun on probation."""
        self._volumes = volumes
        self._index = index
        self._log = log
        self._volume_bytes = volume_bytes
        self._queue: deque[WriteJob] = deque()
        self._queued = trio.Event()
        self._unsynced: dict[Growing, list[WriteJob]] = {}
        """The jobs that were written and that the next sync of each volume makes durable, in turn.
        A volume stays here, perhaps with none, while it is synced."""
        self._written_to = trio.Event()
        self._sealed = 0
        self._probation_s = FIRST_PROBATION_S
        self._probation_at = math.inf

    def submit(self, job: WriteJob) -> WriteJob:
        """Queue a job."""
        self._queue.append(job)
        self._queued.set()
        return job

    def begin_anew(self) -> WriteJob:
        """Begin a volume of a higher number than all, if none is active, with a void record."""

        def build(volume: Growing, offset: int) -> Sequence[Buffer]:
            return [void_header(volume, offset, HEADER_BYTES)]

        return self.submit(WriteJob(HEADER_BYTES, build, lambda *_: None))

    def begin_read_only(self, reason: str) -> None:
        """Start with a disk that could not be written: write nothing before the first probation.

        Args:
            reason: why not.
        """
        self._turn_read_only(reason)

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_syncs)
            while True:
                while not self._queue:
                    await self._wait()
                await self._write_some()

    async def _wait(self) -> None:
        """Wait for a job, or for the end of a probation."""
        self._queued = trio.Event()
        if not self.read_only_reason:
            await self._queued.wait()
            return
        with trio.move_on_at(self._probation_at):
            await self._queued.wait()
        if trio.current_time() >= self._probation_at:
            with suppress(Unavailable):  # logged; retried later
                await self._begin_volume()

    # --- writing -------------------------------------------------------------------------------

    async def _write_some(self) -> None:
        """Write the jobs that wait: those for the end of the active volume together."""
        together: list[WriteJob] = []
        size = 0
        while self._queue and size < BATCH_BYTES and len(together) < BATCH_JOBS:
            job = self._queue[0]
            if job.place is not None:
                if together:
                    break
                await self._write_in_place(self._queue.popleft())
                continue
            if not self._fits(job, size):
                if together:
                    break
                try:
                    await self._begin_volume()
                except AlvearyError as error:
                    self._queue.popleft()
                    self._end(job, None, 0, error)
                    continue
            together.append(self._queue.popleft())
            size += job.length
            if not job.fills:
                break  # what follows does not begin where its bytes end
        if together:
            await self._append(together)

    def _fits(self, job: WriteJob, before: int) -> bool:
        if self.active is None or self.active.has_failed:
            return False
        end = self.active.end + before
        # A record larger than a volume gets a volume of its own.
        return end + job.length <= self._volume_bytes or end == VOLUME_HEAD_BYTES

    async def _append(self, jobs: list[WriteJob]) -> None:
        volume = self.active
        assert volume is not None
        start = volume.end
        parts: list[Buffer] = []
        offsets = []
        for job in jobs:
            offset = volume.reserve(job.length)
            offsets.append(offset)
            built = job.build(volume, offset)
            assert not job.fills or sum(map(len, built)) == job.length
            parts.extend(built)
        try:
            async with self._volumes.opened(volume.number) as file:
                await file.write(start, parts)
        except AlvearyError as error:
            await self._broken_write(volume, list(zip(jobs, offsets, strict=True)), error)
            return
        for job, offset in zip(jobs, offsets, strict=True):
            self._written(volume, offset, job)

    async def _write_in_place(self, job: WriteJob) -> None:
        assert job.place is not None
        volume, offset = job.place
        if volume.has_failed:
            self._end(job, volume, offset, Unavailable(Outage.SYNC_FAILED))
            return
        try:
            async with self._volumes.opened(volume.number) as file:
                await file.write(offset, job.build(volume, offset))
        except AlvearyError as error:
            await self._broken_write(volume, [(job, offset)], error)
            return
        self._written(volume, offset, job)

    def _written(self, volume: Growing, offset: int, job: WriteJob) -> None:
        if not job.sync:
            self._end(job, volume, offset, None)
            return
        job.offset = offset
        if volume.has_failed:  # a sync failed while this was being written
            self._fail(volume, [(job, offset)], Unavailable(Outage.SYNC_FAILED))
            return
        if volume in self._unsynced:
            self._unsynced[volume].append(job)
        else:
            self._unsynced[volume] = [job]
            self._written_to.set()

    async def _broken_write(
        self, volume: Growing, jobs: list[tuple[WriteJob, int]], error: AlvearyError
    ) -> None:
        """Void the jobs' records, of which any part may have been written, whole headers among
        them; seal the volume if that fails."""
        self._log.warning("write_failed", volume=volume.number, error=str(error))
        try:
            async with self._volumes.opened(volume.number) as file:
                for job, offset in jobs:
                    length = job.length or volume.length_of(offset)
                    await file.write(offset, [void_header(volume, offset, length)])
        except AlvearyError as second:
            self._seal(volume, second)
            self._fail(volume, jobs, error)
            return
        for job, offset in jobs:
            self._end(job, volume, offset, error)
            # Until that is durable, a power cut may bring back the header of a record that is none.
            self._written(volume, offset, WriteJob(0, _nothing, lambda *_: None, key=job.key))

    # --- making durable ------------------------------------------------------------------------

    async def _run_syncs(self) -> None:
        """Sync what was written, one volume after another: a task for each would cost more than
        most syncs."""
        while True:
            while self._unsynced:
                await self._sync(next(iter(self._unsynced)))
            self._written_to = trio.Event()
            await self._written_to.wait()

    async def _sync(self, volume: Growing) -> None:
        """Sync a volume once; if more was written to it meanwhile, the others have their turn."""
        jobs, self._unsynced[volume] = self._unsynced[volume], []
        try:
            async with self._volumes.opened(volume.number) as file:
                await file.sync()
        except AlvearyError as error:
            self._seal(volume, error)
            jobs += self._unsynced.pop(volume)
            self._fail(volume, [(job, job.offset) for job in jobs], Unavailable(Outage.SYNC_FAILED))
            return
        for job in jobs:
            volume.finished(job.offset)
            job.after(volume, job.offset, None)
        volume.facts.watermark = volume.durable_below
        self._index.volume_changed(volume.number)
        for job in jobs:
            job.done.set()
        later = self._unsynced.pop(volume)
        if later:
            self._unsynced[volume] = later
        else:
            self._close_if_resting(volume)

    # --- ends ----------------------------------------------------------------------------------

    def _end(
        self, job: WriteJob, volume: Growing | None, offset: int, error: AlvearyError | None
    ) -> None:
        job.error = error
        job.after(volume, offset, error)
        job.done.set()
        if volume is not None:
            self._close_if_resting(volume)

    def _fail(
        self, volume: Growing, jobs: Sequence[tuple[WriteJob, int]], error: AlvearyError
    ) -> None:
        """End jobs whose records in a sealed volume are not durable; a scan may find them all the
        same."""
        for job, offset in jobs:
            if job.key is not None:
                self._index.bury_unknown(job.key, volume.number)
            self._end(job, volume, offset, error)

    def _seal(self, volume: Growing, error: AlvearyError) -> None:
        """Seal a volume: nothing is written to it any more, and what is not durable counts as
        lost."""
        self._log.error("volume_sealed", volume=volume.number, error=str(error))
        volume.has_failed = True
        volume.facts.is_closed = True
        self._index.volume_changed(volume.number)
        self._volumes.growing.pop(volume.number, None)
        if self.active is volume:
            self.active = None
        self._sealed += 1
        if self._sealed >= limits.MAX_FAILED_VOLUMES:
            self._turn_read_only("disk_fails")

    def _turn_read_only(self, reason: str) -> None:
        """Write nothing for a while. A disk that failed for a moment must not need a person; one
        that fails repeatedly is tried ever less often, each time with a new volume only. A
        full disk is not broken, and somebody may make room at any time: it is tried as often as
        at first."""
        self.read_only_reason = reason
        if reason == NO_SPACE:
            self._probation_at = trio.current_time() + FIRST_PROBATION_S
        else:
            self._probation_at = trio.current_time() + self._probation_s
            self._probation_s = min(2 * self._probation_s, LONGEST_PROBATION_S)
        self._queued.set()  # the tasks that wait for a job wait for the end of this, too
        self._log.error("read_only", reason=reason)

    async def _begin_volume(self) -> None:
        """Make a new volume the active one.

        Raises:
            Unavailable: ``read_only``, or the reason why no volume can be begun.
        """
        if self.read_only_reason and trio.current_time() < self._probation_at:
            raise Unavailable(Outage.READ_ONLY, why=self.read_only_reason)
        self.retire_active()
        try:
            self.active = await self._volumes.begin()
        except Unavailable as error:
            # If the disk refuses this volume, it refuses the next one, too. Reported to the
            # coordinator, that costs no write a try; hidden, each write tries this cell for
            # nothing.
            self._log.error("no_new_volume", error=str(error))
            self._turn_read_only(error.reason)
            raise
        if self.read_only_reason:
            self._log.warning("writable_again", after=self.read_only_reason)
            self.read_only_reason = ""
            self._probation_at = math.inf
            self._sealed = 0
        self._index.volume_changed(self.active.number)

    def retire_active(self) -> None:
        """Begin a new volume with the next record."""
        volume, self.active = self.active, None
        if volume is not None:
            self._close_if_resting(volume)

    def _close_if_resting(self, volume: Growing) -> None:
        """Close a volume that is not active and has nothing unfinished: it will never change."""
        if volume is self.active or volume.has_failed or not volume.is_resting:
            return
        if self._volumes.growing.pop(volume.number, None) is not None:
            volume.facts.is_closed = True
            volume.facts.watermark = volume.end
            self._index.volume_changed(volume.number)

    # --- room of uploads ------------------------------------------------------------------------

    def give_up(self, volume: Growing, offset: int) -> None:
        """Free the room of an unfinished record, which is not needed any more."""
        if volume.has_failed:
            return
        if volume.give_back(offset):
            self._close_if_resting(volume)
            return
        length = volume.length_of(offset)

        def build(volume: Growing, offset: int) -> Sequence[Buffer]:
            return [void_header(volume, offset, length)]

        def after(_: Growing | None, offset: int, error: AlvearyError | None) -> None:
            if error is None:
                volume.finished(offset)

        self.submit(WriteJob(0, build, after, place=(volume, offset), sync=False))


def _nothing(volume: Growing, offset: int) -> Sequence[Buffer]:
    """Return the bytes to write of a record that has been made void: none; its job only waits for a
    sync."""
    return []


def void_header(volume: Growing, offset: int, length: int) -> bytes:
    """The header of a record that came to nothing."""
    return pack_record(
        volume.key,
        RecordHeader(RecordKind.VOID, volume.number, offset, 0, length, volume.durable_below),
    )
