"""Reading an object: its stripes in order, some fetched ahead.

Source: docs/data-path.md, "Reading".
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

import trio

from common import limits
from common.client.coordinators import CoordinatorClient
from common.client.fetch_units import Report
from common.client.locate import Locator, Version
from common.client.policy.get_plan import group_stripes
from common.client.read_segment import SegmentReader
from common.client.resources import Resources
from common.data_classes import dataclass
from common.errors import Unavailable
from common.format.extents import ExtentRun, join_runs, pages_of_extents
from common.ports import Buffer
from common.reasons import Outage
from common.rpc.budget import Share
from common.wire.messages.writing import Page

GROUP_BYTES: Final = limits.READ_AHEAD_BYTES // 2
"""So that one group is fetched while the one before is opened and sent."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Stripes of one segment that are fetched together."""

    reader: SegmentReader
    run: ExtentRun
    at: int
    """The object byte that the run begins at."""
    first: int
    count: int
    skip: int
    """Plaintext bytes before the wanted ones."""
    length: int
    """Wanted plaintext bytes."""

    @property
    def stripe_bytes(self) -> int:
        geometry = self.reader.geometry
        return self.count * geometry.k * geometry.unit_bytes

    def trimmed(self, stripes: list[memoryview]) -> list[memoryview]:
        """The wanted bytes of the group's stripes."""
        skip, left = self.skip, self.length
        chunks = []
        for stripe in stripes:
            chunk = stripe[skip : skip + left]
            skip = 0
            left -= len(chunk)
            chunks.append(chunk)
        assert left == 0
        return chunks


class _Cutter:
    """Cuts a byte range of a version into groups of stripes."""

    def __init__(self, budget: Share, locator: Locator, first: int, last: int) -> None:
        self._budget = budget
        self._locator = locator
        self._at = first
        self._last = last
        self._runs: deque[ExtentRun] = deque()
        self._most_bytes = limits.STRIPE_SEALED_BYTES

    @property
    def is_done(self) -> bool:
        return self._at > self._last

    async def next_group(self) -> _Group:
        """The next group. The first is one stripe, so that the first byte leaves soon; the next
        ones grow unless room is scarce. Raises as :meth:`Locator.reader`."""
        if not self._runs:
            self._runs.extend(await self._locator.runs(self._at, self._last))
        at = self._at
        try:
            run = self._runs.popleft()
            reader = await self._locator.reader(run, at, self._last)
        except Unavailable as error:
            if error.reason != Outage.SEGMENT_NOT_PLACED:
                raise
            # The page may have been replaced since its runs were taken.
            self._runs = deque(await self._locator.runs(at, self._last))
            run = self._runs.popleft()
            reader = await self._locator.reader(run, at, self._last)
        geometry = reader.geometry
        first = geometry.stripe_at(run.offset)
        stop = geometry.stripe_at(run.offset + run.length - 1) + 1
        sealed_bytes = geometry.k * geometry.unit_bytes
        most_bytes = limits.STRIPE_SEALED_BYTES if self._budget.is_scarce else self._most_bytes
        count = group_stripes(first, stop, geometry.unit_bytes, sealed_bytes, most_bytes)
        self._most_bytes = min(2 * self._most_bytes, GROUP_BYTES)
        skip = run.offset - geometry.stripe_start(first)
        length = run.length
        if first + count < stop:
            length = geometry.stripe_start(first + count) - run.offset
            rest = ExtentRun(run.extent, run.offset + length, run.length - length, run.page)
            self._runs.appendleft(rest)
        self._at += length
        return _Group(reader, run, at, first, count, skip, length)


class _Entry:
    """A group on its way, and what it holds of the budget: room for its units and plaintext."""

    def __init__(self, budget: Share, stripe_bytes: int) -> None:
        self._budget = budget
        self._held = self.cost(stripe_bytes)
        self.stripe_bytes = stripe_bytes
        self.chunks: deque[memoryview] | None = None
        self.error: Exception | None = None

    @staticmethod
    def cost(stripe_bytes: int) -> int:
        """Return the bytes to take from the budget before an entry is made."""
        return 2 * stripe_bytes

    def keep(self, amount: int) -> None:
        """Give all but ``amount`` back."""
        if self._held > amount:
            self._budget.give(self._held - amount)
            self._held = amount


class _Reading:
    """One read: a task that fetches ahead, and a consumer that takes in order."""

    def __init__(self, budget: Share, locator: Locator, last: int) -> None:
        self._budget = budget
        self._locator = locator
        self._last = last
        self._entries: deque[_Entry] = deque()
        self._ahead_bytes = 0
        self._is_planned = False
        self._is_over = False
        self._scope = trio.CancelScope()
        self._consumer = trio.lowlevel.ParkingLot()
        self._producer = trio.lowlevel.ParkingLot()
        self._taken_at = math.inf
        """The time at which the consumer took the piece that it has now."""
        self.has_given_up = False
        """True once the prefetched units were returned to the budget: the rest is read again from
        the start."""

    async def read_group(self, group: _Group) -> _Entry:
        """Fetch one group at once."""
        await self._budget.take(_Entry.cost(group.stripe_bytes))
        entry = _Entry(self._budget, group.stripe_bytes)
        try:
            await self._fill(entry, group)
        except BaseException:
            entry.keep(0)
            raise
        return entry

    async def fetch_ahead(self, cutter: _Cutter, group: _Group) -> None:
        """Fetch this group and those after it, until cancelled or done. Never raises: what goes
        wrong waits in its place in the line for the consumer."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    try:
                        await self._fetch_in_line(cutter, group, nursery)
                    except Exception as error:
                        failed = _Entry(self._budget, 0)
                        failed.error = error
                        self._entries.append(failed)
                    self._is_planned = True
                    self._consumer.unpark_all()
        finally:
            self._is_over = True
            self._consumer.unpark_all()
            if self._scope.cancel_called and not self.has_given_up:
                self._drop_all()

    async def _fetch_in_line(self, cutter: _Cutter, group: _Group, nursery: trio.Nursery) -> None:
        while True:
            await self._take_room(group.stripe_bytes)
            entry = _Entry(self._budget, group.stripe_bytes)
            self._entries.append(entry)
            self._ahead_bytes += entry.stripe_bytes
            nursery.start_soon(self._fill_in_line, entry, group)
            if cutter.is_done:
                return
            group = await cutter.next_group()

    async def _take_room(self, stripe_bytes: int) -> None:
        """Reserve room for a group. A reader that holds some waits for its own consumer, never for
        the budget."""
        budget = self._budget
        while self._entries:
            fits = self._ahead_bytes + stripe_bytes <= limits.READ_AHEAD_BYTES
            if fits and budget.take_nowait(_Entry.cost(stripe_bytes)):
                return
            await self._producer.park()
        await budget.take(_Entry.cost(stripe_bytes))

    async def next_entry(self) -> _Entry | None:
        """The next group in order, None after the last. Raises what went wrong with it."""
        while True:
            if self._entries:
                entry = self._entries[0]
                if entry.error is not None:
                    raise entry.error
                if entry.chunks is not None:
                    self._taken_at = trio.current_time()
                    return entry
            elif self._is_planned:
                return None
            if self._is_over:
                raise Unavailable(Outage.CLIENT_STOPS)
            await self._consumer.park()

    def done_with(self, entry: _Entry) -> None:
        """Drop the entry that the consumer got last, with its room."""
        self._taken_at = math.inf
        self._entries.popleft()
        entry.keep(0)
        self._ahead_bytes -= entry.stripe_bytes
        self._producer.unpark_all()

    def has_taken(self) -> None:
        """Note that the consumer comes back for the next piece of its entry."""
        self._taken_at = trio.current_time()

    def give_up_ahead(self) -> None:
        """Free room for others if the consumer stands still: fetch no more, and hold only the
        stripe that it has."""
        stalled_s = trio.current_time() - self._taken_at
        if self.has_given_up or stalled_s < limits.READER_STALLS_AFTER_S:
            return
        self.has_given_up = True
        self._scope.cancel()
        current = self._entries[0]
        assert current.chunks is not None, "the consumer has it"
        current.chunks.clear()
        current.keep(min(limits.STRIPE_SEALED_BYTES, current.stripe_bytes))
        while len(self._entries) > 1:
            self._entries.pop().keep(0)

    def stop(self) -> None:
        """Fetch no more, hold nothing."""
        self._scope.cancel()
        self._drop_all()

    def _drop_all(self) -> None:
        for entry in self._entries:
            entry.keep(0)
        self._entries.clear()

    async def _fill(self, entry: _Entry, group: _Group) -> None:
        try:
            stripes = await group.reader.read(group.first, group.count)
            chunks = group.trimmed(stripes)
        except Unavailable:
            chunks = await self._read_patiently(group)
        entry.keep(group.stripe_bytes)
        entry.chunks = deque(chunks)

    async def _read_patiently(self, group: _Group) -> list[memoryview]:
        """Retry a group while too few of its cells can be reached: one that has just come back is
        connected to within RECONNECT_MAX_S."""
        give_up_at = trio.current_time() + limits.READ_PATIENCE_S
        while True:
            try:
                return await self._read_again(group)
            except Unavailable as error:
                is_late = trio.current_time() >= give_up_at
                if is_late or error.reason != Outage.TOO_FEW_SHARDS:
                    raise
            await trio.sleep(limits.READ_RETRY_S)

    async def _read_again(self, group: _Group) -> list[memoryview]:
        """Read a group from where it is now: shards may have moved, orders expired, or the page may
        have been replaced by one of the same bytes elsewhere."""
        try:
            reader = await self._locator.reader(group.run, group.at, self._last, fresh=True)
            return group.trimmed(await reader.read(group.first, group.count))
        except Unavailable as error:
            if error.reason != Outage.SEGMENT_NOT_PLACED:
                raise
        chunks = []
        cutter = _Cutter(self._budget, self._locator, group.at, group.at + group.length - 1)
        while not cutter.is_done:
            piece = await cutter.next_group()
            chunks += piece.trimmed(await piece.reader.read(piece.first, piece.count))
        return chunks

    async def _fill_in_line(self, entry: _Entry, group: _Group) -> None:
        try:
            await self._fill(entry, group)
        except Exception as error:
            entry.error = error
        self._consumer.unpark_all()


async def read_object(
    resources: Resources,
    coordinators: CoordinatorClient,
    report: Report,
    version: Version,
    first: int,
    last: int,
) -> AsyncGenerator[Buffer, None]:
    """Read bytes ``first..last``; see :meth:`common.client.object_client.SwarmClient.read`."""
    if first > last:
        return
    locator = Locator(resources.fetching(report), coordinators, version)
    budget = resources.reads_of(version.tenant.tenant_id)
    at = first
    with coordinators.lease.reading(version.record.version_id):
        while at <= last:
            cutter = _Cutter(budget, locator, at, last)
            reading = _Reading(budget, locator, last)
            group = await cutter.next_group()
            if cutter.is_done:
                entry = await reading.read_group(group)
                try:
                    while entry.chunks:
                        yield entry.chunks.popleft()
                finally:
                    entry.keep(0)
                return
            if not resources.background.start(reading.fetch_ahead, cutter, group):
                raise Unavailable(Outage.CLIENT_STOPS)
            forget = budget.keep_spare(reading.give_up_ahead)
            try:
                while (following := await reading.next_entry()) is not None:
                    while following.chunks:
                        chunk = following.chunks.popleft()
                        at += len(chunk)
                        yield chunk
                        del chunk
                        reading.has_taken()
                    reading.done_with(following)
                    if reading.has_given_up:
                        break
            finally:
                forget()
                reading.stop()


async def copy_pages(
    resources: Resources,
    coordinators: CoordinatorClient,
    report: Report,
    version: Version,
    first: int,
    last: int,
) -> tuple[Page, ...]:
    """The extents of bytes ``first..last``; see
    :meth:`common.client.object_client.SwarmClient.copy_pages`."""
    # A copy needs the keys of the manifest at hand, and no others.
    locator = Locator(resources.fetching(report), coordinators, version, follows=False)
    runs: list[ExtentRun] = []
    at = first
    while at <= last:
        found = await locator.runs(at, last)
        runs += found
        at += sum(run.length for run in found)
    return pages_of_extents(join_runs(runs))
