"""The index of a cell: where each shard lies.

What changed lately is in memory (the batch that gathers, and the one being written), what is used
is in a cache of fixed size, everything else is one query away. Changes are synchronous: they count
as soon as the method returns, and reach the tables within seconds; nobody waits for that, since
the volumes alone are what must be durable.

The task that changes an entry holds its shard (:class:`cell.storage.locks.ShardLocks`).

Source: docs/shard-format.md, "The index".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import trio

from cell.storage import index_tables
from cell.storage.index_tables import Batch, HeldRow
from cell.storage.known_segments import KnownSegments
from cell.storage.shards import Entry, ShardKey, VolumeFacts
from common import limits
from common.errors import AlvearyError, Unavailable
from common.format.volume import HEADER_BYTES
from common.ports import Log, Sql, SyncedStore, WallClock
from common.reasons import Outage

CACHED_ENTRIES: Final = 8192
"""About 4 MiB."""
FLUSH_ENTRIES: Final = 512
FLUSH_AFTER_S: Final = 5.0
"""The span that a restart after a crash has to scan again; flushing more often costs each small
shard a commit."""
RETRY_AFTER_S: Final = 5.0


class _Unknown:
    """Not in memory: ask the tables."""


UNKNOWN: Final = _Unknown()


class Index:
    """Shards, and facts of volumes.

    Args:
        store: holds the tables, prepared.
        clock: for the time a shard was added.
        volumes: the facts of all volumes, by number; this object keeps them true.
        next_sequence: above every sequence number used.
        known: the segments of all shards in the tables.
    """

    def __init__(
        self,
        store: SyncedStore,
        clock: WallClock,
        log: Log,
        volumes: dict[int, VolumeFacts],
        next_sequence: int,
        known: KnownSegments,
    ) -> None:
        self.volumes = volumes
        self.marked_bad = 0
        """The number of times that a shard was found bad."""
        self._store = store
        self._clock = clock
        self._log = log
        self._next_sequence = next_sequence
        self._known = known
        self._batch = Batch()
        self._writing: Batch | None = None
        self._writing_volumes: list[VolumeFacts] = []
        self._has_failed = False
        self._written = 0
        self._measured = -1
        self._table_bytes = 0
        self._added = trio.Event()
        self._lost = trio.Event()
        self._lost.set()  # the tables may name some
        self._cache: dict[ShardKey, Entry] = {}
        self._changed = trio.Event()
        self._full = trio.Event()
        self._room = trio.Event()
        self._room.set()
        self._flushing = trio.Lock()

    def take_sequence(self) -> int:
        """The next sequence number."""
        sequence = self._next_sequence
        self._next_sequence += 1
        return sequence

    def skip_sequence(self, used: int) -> None:
        """Continue above this sequence number: a record with it was found."""
        self._next_sequence = max(self._next_sequence, used + 1)

    # --- looking up ----------------------------------------------------------------------------

    def _peek(self, key: ShardKey) -> Entry | _Unknown | None:
        for batch in (self._batch, self._writing):
            if batch is None:
                continue
            changed = batch.changed.get(key)
            if changed is not None:
                return changed
            new = batch.new.get(key)
            if new is not None:
                return new[0]
            if key in batch.gone:
                return None
        return self._cache.get(key, UNKNOWN)

    async def find(self, key: ShardKey) -> Entry | None:
        """Return the place of a shard; None if it is not here.

        Raises:
            Unavailable: ``store_failed``.
        """
        entry = self._peek(key)
        if isinstance(entry, _Unknown) and not self._known.may_have(key[0]):
            return None
        while isinstance(entry, _Unknown):
            written = self._written
            row = await self._store.read(partial(index_tables.find, key=key))
            entry = self._peek(key)
            # A batch that was written meanwhile may have changed what was read.
            if isinstance(entry, _Unknown) and written == self._written:
                entry = row
                if row is not None:
                    self._remember(key, row)
        return entry

    async def find_all(self, keys: Sequence[ShardKey]) -> list[Entry | None]:
        """Return the places of many shards, all of which the caller holds.

        Raises:
            Unavailable: ``store_failed``.
        """
        while True:
            entries = [self._peek(key) for key in keys]
            missing = [
                key for key, entry in zip(keys, entries, strict=True) if isinstance(entry, _Unknown)
            ]
            if not missing:
                return [each for each in entries if not isinstance(each, _Unknown)]
            written = self._written
            found = await self._store.read(partial(index_tables.find_many, keys=missing))
            if written == self._written:
                rest = iter(found)
                return [next(rest) if isinstance(each, _Unknown) else each for each in entries]

    def _remember(self, key: ShardKey, entry: Entry) -> None:
        cache = self._cache
        cache.pop(key, None)
        cache[key] = entry
        if len(cache) > CACHED_ENTRIES:
            del cache[next(iter(cache))]

    # --- changing ------------------------------------------------------------------------------

    def add(self, key: ShardKey, entry: Entry, replaced: Entry | None) -> None:
        """A shard became durable.

        Args:
            replaced: the bad entry that it takes the place of.
        """
        if replaced is not None:
            self._bury(key, replaced)
        self._forget_change(key)
        self._known.add(key[0])
        self._batch.new[key] = (entry, int(self._clock.now()))
        self.volumes[entry.volume].count(entry, 1)
        self._touch(entry.volume)

    def move(self, key: ShardKey, old: Entry, new: Entry) -> None:
        """Compaction made a durable copy of a shard."""
        self._bury(key, old)
        self.volumes[new.volume].count(new, 1)
        self._change(key, new)
        self._touch(new.volume)

    def remove(self, key: ShardKey, entry: Entry, sequence: int, volume: int) -> None:
        """A shard's tombstone became durable.

        Args:
            entry: the shard's.
            sequence: the tombstone's number.
            volume: where the tombstone lies.
        """
        self._bury(key, entry)
        self._drop(key)
        self._batch.tombstones[key] = (sequence, volume)
        self.volumes[volume].live_bytes += HEADER_BYTES
        self._touch(volume)

    def mark_bad(self, key: ShardKey, entry: Entry) -> None:
        """Mark a shard that failed a check: it is not served, and reported as lost."""
        self.marked_bad += 1
        self._change(key, replace(entry, bad=True))
        self._batch.lost.add(key)
        self._batch.reported.discard(key)
        self._lost.set()
        self._touch(entry.volume)

    def miss(self, keys: Sequence[ShardKey]) -> None:
        """Have shards reported as lost that should be here and are not."""
        self._batch.lost.update(keys)
        self._batch.reported.difference_update(keys)
        self._lost.set()
        self._wake()

    def drop_bad(self, key: ShardKey, entry: Entry) -> None:
        """Drop a bad shard, whose record goes with its volume."""
        assert entry.bad
        self.volumes[entry.volume].count(entry, -1)
        self._drop(key)
        self._touch(entry.volume)

    def bury_unknown(self, key: ShardKey, volume: int) -> None:
        """Note that a scan of this volume may find a record of a shard that is not one any more."""
        self._batch.dead.add((*key, volume))
        self._touch(volume)

    def move_tombstone(self, key: ShardKey, sequence: int, old: int, new: int) -> None:
        """Move a tombstone to the durable copy that compaction made."""
        self._batch.tombstones[key] = (sequence, new)
        self.volumes[old].live_bytes -= HEADER_BYTES
        self.volumes[new].live_bytes += HEADER_BYTES
        self._touch(old)
        self._touch(new)

    def settle(self, key: ShardKey, sequence: int) -> None:
        """Note that the coordinator owns this shard."""
        self._batch.settled[key] = sequence
        self._wake()

    def retain(self, key: ShardKey, until: int) -> None:
        """Note that a shard is not deleted before a time, or before a later one noted earlier.

        Args:
            until: unix seconds.
        """
        self._batch.retained[key] = max(until, self._batch.retained.get(key, 0))
        self._wake()

    def reported(self, keys: Sequence[ShardKey]) -> None:
        """Note that the coordinator knows that these are lost."""
        self._batch.reported.update(keys)
        self._batch.lost.difference_update(keys)
        self._wake()

    def volume_changed(self, number: int) -> None:
        """Note that the facts of a volume changed."""
        self._touch(number)

    def _bury(self, key: ShardKey, entry: Entry) -> None:
        """Note that the record of an entry is dead from now on."""
        facts = self.volumes.get(entry.volume)
        if facts is not None:
            facts.count(entry, -1)
            self._batch.dead.add((*key, entry.volume))
            self._touch(entry.volume)

    def _forget_change(self, key: ShardKey) -> None:
        self._cache.pop(key, None)
        self._batch.new.pop(key, None)
        self._batch.changed.pop(key, None)
        self._batch.retained.pop(key, None)
        self._batch.gone.discard(key)

    def _drop(self, key: ShardKey) -> None:
        self._forget_change(key)
        self._batch.gone.add(key)

    def _change(self, key: ShardKey, entry: Entry) -> None:
        self._cache.pop(key, None)
        new = self._batch.new.get(key)
        if new is not None:
            self._batch.new[key] = (entry, new[1])
        else:
            self._batch.changed[key] = entry

    def _touch(self, volume: int) -> None:
        self._batch.volumes.add(volume)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        waiting = self._waiting()
        if waiting >= FLUSH_ENTRIES:
            self._full.set()
        if waiting >= limits.MAX_UNFLUSHED_CHANGES and self._room.is_set() and not self._has_failed:
            self._room = trio.Event()

    def _waiting(self) -> int:
        return len(self._batch.new) + len(self._batch.changed) + len(self._batch.gone)

    # --- writing to the tables -----------------------------------------------------------------

    async def wait_room(self) -> None:
        """Wait until another change may gather.

        Raises:
            Unavailable: ``index_failed``: the tables cannot be written now.
        """
        while not self._room.is_set():
            await self._room.wait()
        if self.is_refusing:
            raise Unavailable(Outage.INDEX_FAILED)

    @property
    def is_refusing(self) -> bool:
        """Return whether changes are refused: the tables cannot be written, and too many changes
        wait."""
        return self._has_failed and self._waiting() >= limits.MAX_UNFLUSHED_CHANGES

    async def wait_lost(self) -> None:
        """Wait until a shard may be lost and not reported yet."""
        await self._lost.wait()

    async def lost(self, limit: int) -> list[ShardKey]:
        """Shards that are lost and not reported yet. Those that are here again do not count."""
        self._lost = trio.Event()
        is_empty = False
        try:
            await self.flush()
            known = await self._store.read(partial(index_tables.lost, limit=limit))
            is_empty = not known
        finally:
            if not is_empty:
                self._lost.set()
        entries = await self.find_many(known)
        lost = []
        for key, entry in zip(known, entries, strict=True):
            if entry is None or entry.bad:
                lost.append(key)
            else:
                self.reported([key])
        return lost

    async def is_unreported(self, key: ShardKey) -> bool:
        """Return whether a lost shard is still to be reported."""
        await self.flush()
        return await self._store.read(partial(index_tables.is_lost, key=key))

    async def oldest_unsettled(self) -> int:
        """Return when the shard that has waited longest for a claim was added, unix seconds; wait
        until there is one.

        Raises:
            Unavailable: ``store_failed``.
        """
        while True:
            self._added = trio.Event()
            added = await self._store.read(index_tables.oldest_unsettled)
            if added is not None:
                return added
            await self._added.wait()

    async def unsettled(
        self, *, added_before: int, after: tuple[int, bytes, int], limit: int
    ) -> list[HeldRow]:
        """See :func:`cell.storage.index_tables.unsettled`."""
        return await self._store.read(
            partial(index_tables.unsettled, added_before=added_before, after=after, limit=limit)
        )

    async def held(self, *, after: ShardKey, limit: int) -> list[HeldRow]:
        """See :func:`cell.storage.index_tables.held`. Changes of the last seconds may not be in
        it: see :meth:`flush`."""
        return await self._store.read(partial(index_tables.held, after=after, limit=limit))

    async def find_many(self, keys: Sequence[ShardKey]) -> list[Entry | None]:
        """Return the places of many shards, after :meth:`flush`. They are not cached: each is asked
        for once."""
        rows = await self._store.read(partial(index_tables.find_many, keys=keys))
        answers = []
        for key, row in zip(keys, rows, strict=True):
            entry = self._peek(key)
            answers.append(row if isinstance(entry, _Unknown) else entry)
        return answers

    async def retained_until(self, keys: Sequence[ShardKey]) -> dict[ShardKey, int]:
        """Until when shards are not deleted, unix seconds; those that never were retained are left
        out.

        Raises:
            Unavailable: ``store_failed``.
        """
        # A batch that is written meanwhile may be in neither the tables as read nor in memory.
        before = self._gathered(keys)
        found = await self._store.read(partial(index_tables.retained, keys=keys))
        for key, until in (*before, *self._gathered(keys)):
            found[key] = max(until, found.get(key, 0))
        return found

    def _gathered(self, keys: Sequence[ShardKey]) -> list[tuple[ShardKey, int]]:
        """The retentions of shards that are not in the tables yet."""
        return [
            (key, batch.retained[key])
            for batch in (self._writing, self._batch)
            if batch is not None and batch.retained
            for key in keys
            if key in batch.retained
        ]

    async def shards_in(self, volume: int) -> list[tuple[ShardKey, Entry]]:
        """The shards that lie in a volume, after :meth:`flush`; it reads a whole table."""
        keys = await self._store.read(partial(index_tables.shards_in, volume=volume))
        entries = await self.find_many(keys)
        return [
            (key, entry)
            for key, entry in zip(keys, entries, strict=True)
            if entry is not None and entry.volume == volume
        ]

    async def lose_volume(self, number: int) -> int:
        """Note the shards that should lie in a volume that is gone as lost, in memory.

        Returns:
            How many there were: compaction may have moved others before it removed the volume.
        """
        shards = await self.shards_in(number)
        for key, _ in shards:
            self._drop(key)
        self.volumes.pop(number, None)
        if shards:
            self.miss([key for key, _ in shards])
        return len(shards)

    async def needed_tombstones(self, keys: Sequence[ShardKey], volume: int) -> dict[ShardKey, int]:
        """Return the tombstones of a volume that still bury a record of another, with their
        sequence numbers; after :meth:`flush`."""

        def ask(sql: Sql) -> dict[ShardKey, int]:
            stones = index_tables.tombstones_of(sql, keys)
            here = [key for key, (_, lies_in) in stones.items() if lies_in == volume]
            needed = index_tables.dead_elsewhere(sql, here, volume)
            return {key: stones[key][0] for key in here if key in needed}

        return await self._store.read(ask)

    async def forget_volume(self, number: int) -> None:
        """Forget a volume that does not exist any more."""
        await self.flush()
        needless = await self._store.transact(partial(index_tables.forget_volume, volume=number))
        self._written += 1
        self.volumes.pop(number, None)
        for each, count in needless.items():
            facts = self.volumes.get(each)
            if facts is not None:
                facts.live_bytes -= count * HEADER_BYTES

    async def table_bytes(self) -> int:
        """Bytes of the tables on the medium."""
        written = self._written
        if self._measured != written:
            self._table_bytes = await self._store.read(index_tables.size_bytes)
            self._measured = written
        return self._table_bytes

    async def run(self) -> None:
        """Write changes to the tables, until cancelled."""
        while True:
            if self._writing is None:  # else the last try failed, and nothing may change any more
                await self._changed.wait()
            with trio.move_on_after(FLUSH_AFTER_S):
                await self._full.wait()
            try:
                await self.flush()
            except AlvearyError as error:
                self._log.error("index_not_written", error=str(error))
                self._has_failed = True
                self._room.set()
                await trio.sleep(RETRY_AFTER_S)

    async def sync(self) -> None:
        """Write every change made so far to the tables, and make them durable.

        Raises:
            Unavailable: ``store_failed``; the changes are kept.
        """
        await self.flush()
        await self._store.sync()

    async def flush(self) -> None:
        """Write every change made so far to the tables.

        Raises:
            Unavailable: ``store_failed``; the changes are kept.
        """
        async with self._flushing:
            if self._writing is None:
                if not len(self._batch):
                    return
                self._writing, self._batch = self._batch, Batch()
                # The facts must be those of this batch exactly: what comes later may be lost.
                known = [self.volumes.get(each) for each in self._writing.volumes]
                self._writing_volumes = [replace(each) for each in known if each is not None]
                self._changed, self._full = trio.Event(), trio.Event()
            batch = self._writing
            work = partial(
                index_tables.apply,
                batch=batch,
                volumes=self._writing_volumes,
                next_sequence=self._next_sequence,
            )
            await self._store.transact(work)
            self._written += 1
            self._writing = None
            if batch.new:
                self._added.set()
            for key, (entry, _) in batch.new.items():
                if isinstance(self._peek(key), _Unknown):
                    self._remember(key, entry)
            self._has_failed = False
            self._room.set()
