"""The tables of a cell's index, and the functions that run inside its transactions.

The index can always be rebuilt from the volumes. It may be behind them (``durable=False``), never
ahead: rows are written after the sync of the volume they speak of.

``dead`` names every record on the medium that a scan could find but that is not a shard any more; a
tombstone is needed as long as ``dead`` has a row of its shard.

Source: docs/shard-format.md, "The index".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import field
from typing import Any, Final

from cell.storage.shards import Entry, ShardKey, VolumeFacts
from common.data_classes import dataclass
from common.format.volume import HEADER_BYTES, RecordHeader, RecordKind
from common.ids import SegmentId
from common.ports import Sql

SCHEMA_VERSION: Final = 1
UNSETTLED: Final = 0
SETTLED: Final = 1
BAD: Final = 2

_SCHEMA: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE shards (segment_id BLOB NOT NULL, slot INTEGER NOT NULL,"
    " sequence INTEGER NOT NULL, volume INTEGER NOT NULL, offset INTEGER NOT NULL,"
    " unit_bytes INTEGER NOT NULL, shard_bytes INTEGER NOT NULL, root BLOB NOT NULL,"
    " state INTEGER NOT NULL, added INTEGER NOT NULL, PRIMARY KEY (segment_id, slot))"
    " WITHOUT ROWID",
    f"CREATE INDEX shards_unsettled ON shards (added) WHERE state = {UNSETTLED}",
    "CREATE TABLE tombstones (segment_id BLOB NOT NULL, slot INTEGER NOT NULL,"
    " sequence INTEGER NOT NULL, volume INTEGER NOT NULL, PRIMARY KEY (segment_id, slot))"
    " WITHOUT ROWID",
    "CREATE INDEX tombstones_by_volume ON tombstones (volume)",
    "CREATE TABLE dead (segment_id BLOB NOT NULL, slot INTEGER NOT NULL, volume INTEGER NOT NULL,"
    " PRIMARY KEY (segment_id, slot, volume)) WITHOUT ROWID",
    "CREATE INDEX dead_by_volume ON dead (volume)",
    "CREATE TABLE volumes (number INTEGER PRIMARY KEY, watermark INTEGER NOT NULL,"
    " end_bytes INTEGER NOT NULL, live_bytes INTEGER NOT NULL, shards INTEGER NOT NULL,"
    " shard_bytes INTEGER NOT NULL, is_closed INTEGER NOT NULL)",
    "CREATE TABLE lost (segment_id BLOB NOT NULL, slot INTEGER NOT NULL,"
    " PRIMARY KEY (segment_id, slot)) WITHOUT ROWID",
)
_TABLES: Final = ("meta", "shards", "tombstones", "dead", "volumes", "lost")
_RETAINED: Final = (
    "CREATE TABLE IF NOT EXISTS retained (segment_id BLOB NOT NULL, slot INTEGER NOT NULL,"
    " until INTEGER NOT NULL, PRIMARY KEY (segment_id, slot)) WITHOUT ROWID"
)
"""The ends of retentions, unix seconds: no shard is deleted before. Made with the first row."""
_ENTRY: Final = "volume, offset, sequence, unit_bytes, shard_bytes, root, state"
_HELD: Final = "segment_id, slot, sequence, root, shard_bytes, added, state"
_KEY: Final = "segment_id = ? AND slot = ?"
_PUT_VOLUME: Final = "INSERT OR REPLACE INTO volumes VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(slots=True)
class Batch:
    """Changes that are not in the tables yet. What it says of a shard goes before the tables.

    ``new``: written shards and when, unix seconds. ``changed``: shards whose place or badness
    changed. ``gone``: deleted shards. ``settled``: shard and sequence number. ``retained``: until
    when, unix seconds.
    """

    new: dict[ShardKey, tuple[Entry, int]] = field(default_factory=dict)
    changed: dict[ShardKey, Entry] = field(default_factory=dict)
    gone: set[ShardKey] = field(default_factory=set)
    settled: dict[ShardKey, int] = field(default_factory=dict)
    retained: dict[ShardKey, int] = field(default_factory=dict)
    tombstones: dict[ShardKey, tuple[int, int] | None] = field(default_factory=dict)
    dead: set[tuple[SegmentId, int, int]] = field(default_factory=set)
    lost: set[ShardKey] = field(default_factory=set)
    reported: set[ShardKey] = field(default_factory=set)
    volumes: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return (
            len(self.new)
            + len(self.changed)
            + len(self.gone)
            + len(self.settled)
            + len(self.retained)
            + len(self.tombstones)
            + len(self.dead)
            + len(self.lost)
            + len(self.reported)
            + len(self.volumes)
        )


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A shard of the tables that is not bad, as the coordinator is asked about it. ``added``: unix
    seconds. ``is_settled``: the coordinator owned it when it was last asked."""

    key: ShardKey
    sequence: int
    root: bytes
    shard_bytes: int
    added: int
    is_settled: bool


def is_prepared(sql: Sql) -> bool:
    """Return whether the tables are there, of this version."""
    names = {row[0] for row in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not names.issuperset(_TABLES):
        return False
    row = sql.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    return row is not None and row[0] == SCHEMA_VERSION


def prepare(sql: Sql) -> None:
    """Make the tables; replace tables of an unknown version by empty ones."""
    if is_prepared(sql):
        return
    for name in (*_TABLES, "retained"):
        sql.execute(f"DROP TABLE IF EXISTS {name}")
    for statement in _SCHEMA:
        sql.execute(statement)
    sql.execute("INSERT INTO meta VALUES ('version', ?)", (SCHEMA_VERSION,))


def load_volumes(sql: Sql) -> list[VolumeFacts]:
    """All volumes that the index knows."""
    rows = sql.execute(
        "SELECT number, watermark, end_bytes, live_bytes, shards, shard_bytes, is_closed"
        " FROM volumes"
    )
    return [
        VolumeFacts(number, watermark, end, live, shards, shard_bytes, bool(is_closed))
        for number, watermark, end, live, shards, shard_bytes, is_closed in rows
    ]


def load_sequence(sql: Sql) -> int:
    """A number above every sequence number in the tables."""
    row = sql.execute("SELECT value FROM meta WHERE name = 'next_sequence'").fetchone()
    return 1 if row is None else int(row[0])


def _entry(row: Sequence[Any]) -> Entry:
    volume, offset, sequence, unit_bytes, shard_bytes, root, state = row
    return Entry(volume, offset, sequence, unit_bytes, shard_bytes, root, state == BAD)


def find(sql: Sql, key: ShardKey) -> Entry | None:
    """The entry of a shard."""
    row = sql.execute(f"SELECT {_ENTRY} FROM shards WHERE {_KEY}", key).fetchone()
    return None if row is None else _entry(row)


def newest_segments(sql: Sql, limit: int) -> list[SegmentId]:
    """The greatest segment ids of shards, in falling order: those of the latest leases."""
    rows = sql.execute("SELECT segment_id FROM shards ORDER BY segment_id DESC LIMIT ?", (limit,))
    return [SegmentId(segment_id) for (segment_id,) in rows]


def find_many(sql: Sql, keys: Iterable[ShardKey]) -> list[Entry | None]:
    """The entries of many shards, in order."""
    return [find(sql, key) for key in keys]


def shards_in(sql: Sql, volume: int) -> list[ShardKey]:
    """The shards that should lie in a volume."""
    rows = sql.execute("SELECT segment_id, slot FROM shards WHERE volume = ?", (volume,))
    return [(SegmentId(row[0]), row[1]) for row in rows]


def dead_elsewhere(sql: Sql, keys: Iterable[ShardKey], volume: int) -> set[ShardKey]:
    """Return those of the shards that have dead records in other volumes than this one."""
    return {
        key
        for key in keys
        if sql.execute(
            f"SELECT 1 FROM dead WHERE {_KEY} AND volume <> ? LIMIT 1", (*key, volume)
        ).fetchone()
        is not None
    }


def tombstones_of(sql: Sql, keys: Iterable[ShardKey]) -> dict[ShardKey, tuple[int, int]]:
    """The tombstones that count: sequence number and volume, by shard."""
    found = {}
    for key in keys:
        row = sql.execute(f"SELECT sequence, volume FROM tombstones WHERE {_KEY}", key).fetchone()
        if row is not None:
            found[key] = (row[0], row[1])
    return found


def unsettled(
    sql: Sql, *, added_before: int, after: tuple[int, bytes, int], limit: int
) -> list[HeldRow]:
    """A page of shards that nobody claimed yet, in the order in which they were added."""
    rows = sql.execute(
        f"SELECT {_HELD} FROM shards"
        f" WHERE state = {UNSETTLED} AND added <= ? AND (added, segment_id, slot) > (?, ?, ?)"
        " ORDER BY added, segment_id, slot LIMIT ?",
        (added_before, *after, limit),
    )
    return [_held(row) for row in rows]


def held(sql: Sql, *, after: ShardKey, limit: int) -> list[HeldRow]:
    """A page of all shards that are not bad, by key."""
    rows = sql.execute(
        f"SELECT {_HELD} FROM shards WHERE state <> {BAD} AND (segment_id, slot) > (?, ?)"
        " ORDER BY segment_id, slot LIMIT ?",
        (*after, limit),
    )
    return [_held(row) for row in rows]


def _held(row: Sequence[Any]) -> HeldRow:
    segment_id, slot, sequence, root, shard_bytes, added, state = row
    key = (SegmentId(segment_id), slot)
    return HeldRow(key, sequence, root, shard_bytes, added, state == SETTLED)


def oldest_unsettled(sql: Sql) -> int | None:
    """Return when the shard that has waited longest for a claim was added."""
    oldest: int | None = sql.execute(
        f"SELECT min(added) FROM shards WHERE state = {UNSETTLED}"
    ).fetchone()[0]
    return oldest


def lost(sql: Sql, limit: int) -> list[ShardKey]:
    """Shards that are lost and not reported yet."""
    rows = sql.execute("SELECT segment_id, slot FROM lost LIMIT ?", (limit,))
    return [(SegmentId(row[0]), row[1]) for row in rows]


def is_lost(sql: Sql, key: ShardKey) -> bool:
    """Return whether a shard is lost and not reported yet."""
    return sql.execute(f"SELECT 1 FROM lost WHERE {_KEY}", key).fetchone() is not None


def retained(sql: Sql, keys: Iterable[ShardKey]) -> dict[ShardKey, int]:
    """Until when shards are retained, unix seconds; those that never were are left out."""
    found: dict[ShardKey, int] = {}
    if not _has_retained(sql):
        return found
    for key in keys:
        row = sql.execute(f"SELECT until FROM retained WHERE {_KEY}", key).fetchone()
        if row is not None:
            found[key] = row[0]
    return found


def _has_retained(sql: Sql) -> bool:
    row = sql.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'retained'")
    return row.fetchone() is not None


def size_bytes(sql: Sql) -> int:
    """Bytes of the database file."""
    pages = sql.execute("PRAGMA page_count").fetchone()[0]
    return int(pages) * int(sql.execute("PRAGMA page_size").fetchone()[0])


def apply(sql: Sql, batch: Batch, volumes: Sequence[VolumeFacts], next_sequence: int) -> None:
    """Write a batch, with the facts of its volumes as they were when it was closed."""
    if batch.gone:
        sql.executemany(f"DELETE FROM shards WHERE {_KEY}", batch.gone)
        if _has_retained(sql):
            sql.executemany(f"DELETE FROM retained WHERE {_KEY}", batch.gone)
    if batch.new:
        sql.executemany(
            "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                _shard_row(key, entry, BAD if entry.bad else UNSETTLED, added)
                for key, (entry, added) in batch.new.items()
            ],
        )
    if batch.changed:
        sql.executemany(
            f"UPDATE shards SET volume = ?, offset = ?, state = CASE WHEN ? THEN {BAD} ELSE state"
            f" END WHERE {_KEY} AND sequence = ?",
            [
                (entry.volume, entry.offset, entry.bad, *key, entry.sequence)
                for key, entry in batch.changed.items()
            ],
        )
    if batch.settled:
        sql.executemany(
            f"UPDATE shards SET state = {SETTLED} WHERE {_KEY} AND sequence = ?"
            f" AND state = {UNSETTLED}",
            [(*key, sequence) for key, sequence in batch.settled.items()],
        )
    if batch.retained:
        sql.execute(_RETAINED)
        sql.executemany(
            "INSERT INTO retained VALUES (?, ?, ?) ON CONFLICT (segment_id, slot)"
            " DO UPDATE SET until = max(until, excluded.until)",
            [(*key, until) for key, until in batch.retained.items()],
        )
    for key, stone in batch.tombstones.items():
        if stone is None:
            sql.execute(f"DELETE FROM tombstones WHERE {_KEY}", key)
        else:
            sql.execute("INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?, ?)", (*key, *stone))
    if batch.dead:
        sql.executemany("INSERT OR IGNORE INTO dead VALUES (?, ?, ?)", batch.dead)
    if batch.reported:
        sql.executemany(f"DELETE FROM lost WHERE {_KEY}", batch.reported)
    if batch.lost:
        sql.executemany("INSERT OR IGNORE INTO lost VALUES (?, ?)", batch.lost)
    put_volumes(sql, volumes)
    put_sequence(sql, next_sequence)


def _shard_row(key: ShardKey, entry: Entry, state: int, added: int) -> tuple[Any, ...]:
    return (
        *key,
        entry.sequence,
        entry.volume,
        entry.offset,
        entry.unit_bytes,
        entry.shard_bytes,
        entry.root,
        state,
        added,
    )


def put_volumes(sql: Sql, volumes: Sequence[VolumeFacts]) -> None:
    """Write the facts of volumes as they are."""
    sql.executemany(
        _PUT_VOLUME,
        [
            (
                each.number,
                each.watermark,
                each.end_bytes,
                each.live_bytes,
                each.shards,
                each.shard_bytes,
                each.is_closed,
            )
            for each in volumes
        ],
    )


def know_volume(sql: Sql, number: int) -> None:
    """Begin to count for a volume, if it is not known yet."""
    fresh = VolumeFacts(number)
    sql.execute(
        "INSERT OR IGNORE INTO volumes VALUES (?, ?, ?, 0, 0, 0, 0)",
        (number, fresh.watermark, fresh.end_bytes),
    )


def put_marks(sql: Sql, number: int, *, watermark: int, end_bytes: int, is_closed: bool) -> None:
    """Write how far a volume goes; its counts stay."""
    sql.execute(
        "UPDATE volumes SET watermark = ?, end_bytes = ?, is_closed = ? WHERE number = ?",
        (watermark, end_bytes, is_closed, number),
    )


def lose(sql: Sql, keys: Iterable[ShardKey]) -> None:
    """Note shards as lost that are not here in any other place."""
    sql.executemany(
        "INSERT OR IGNORE INTO lost SELECT ?1, ?2 WHERE NOT EXISTS"
        " (SELECT 1 FROM shards WHERE segment_id = ?1 AND slot = ?2)",
        keys,
    )


def put_sequence(sql: Sql, next_sequence: int) -> None:
    """Remember a number above every sequence number used."""
    sql.execute("INSERT OR REPLACE INTO meta VALUES ('next_sequence', ?)", (next_sequence,))


# --- taking in what a scan found --------------------------------------------------------------


def take_in(
    sql: Sql, found: Sequence[RecordHeader], present: Collection[int], added: int
) -> list[VolumeFacts]:
    """Take in records that a scan found, in any order: of one shard's records the highest
    sequence number counts; records that the tables know already change nothing.

    Args:
        found: shards and tombstones that are durable and whole.
        present: the numbers of the volumes that exist.
        added: unix seconds for shards that were not known.

    Returns:
        By how much the facts of volumes changed; that is in the tables already.
    """
    live: Counter[int] = Counter()
    shards: Counter[int] = Counter()
    shard_bytes: Counter[int] = Counter()

    def count(entry: Entry, sign: int) -> None:
        live[entry.volume] += sign * entry.record_bytes
        shards[entry.volume] += sign
        shard_bytes[entry.volume] += sign * entry.shard_bytes

    def bury(key: ShardKey, volume: int) -> None:
        sql.execute("INSERT OR IGNORE INTO dead VALUES (?, ?, ?)", (*key, volume))

    for header in found:
        key = (header.segment_id, header.slot)
        known = find(sql, key)
        stone = tombstones_of(sql, [key]).get(key)
        if header.kind is RecordKind.TOMBSTONE:
            if stone is not None and stone >= (header.sequence, header.volume):
                continue  # known, or older, or what compaction copied from
            if stone is not None:
                live[stone[1]] -= HEADER_BYTES
            sql.execute(
                "INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?, ?)",
                (*key, header.sequence, header.volume),
            )
            live[header.volume] += HEADER_BYTES
            if known is not None and known.sequence < header.sequence:
                sql.execute(f"DELETE FROM shards WHERE {_KEY}", key)
                count(known, -1)
                bury(key, known.volume)
            continue
        assert header.kind is RecordKind.SHARD
        entry = Entry(
            header.volume,
            header.offset,
            header.sequence,
            header.unit_bytes,
            header.shard_bytes,
            header.root,
        )
        is_older = known is not None and known.sequence > entry.sequence
        if is_older or (stone is not None and stone[0] > entry.sequence):
            bury(key, entry.volume)
            continue
        state, since = UNSETTLED, added
        if known is not None and known.sequence == entry.sequence:
            if (known.volume, known.offset) == (entry.volume, entry.offset):
                continue
            # A copy that compaction made: both are whole; the newer volume is meant to stay.
            if known.volume in present and known.volume >= entry.volume:
                bury(key, entry.volume)
                continue
            state, since = sql.execute(
                f"SELECT state, added FROM shards WHERE {_KEY}", key
            ).fetchone()
        if known is not None:
            count(known, -1)
            bury(key, known.volume)
        sql.execute(
            "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            _shard_row(key, entry, state, since),
        )
        count(entry, 1)
    changes = []
    for number in live.keys() | shards.keys():
        change = VolumeFacts(number, 0, 0, live[number], shards[number], shard_bytes[number])
        sql.execute(
            "UPDATE volumes SET live_bytes = live_bytes + ?, shards = shards + ?,"
            " shard_bytes = shard_bytes + ? WHERE number = ?",
            (change.live_bytes, change.shards, change.shard_bytes, number),
        )
        changes.append(change)
    return changes


def forget_volume(sql: Sql, volume: int) -> Counter[int]:
    """Drop everything about a volume that does not exist any more.

    Returns:
        How many tombstones in other volumes nobody needs any more, by volume.
    """
    needless = Counter(
        row[0]
        for row in sql.execute(
            "SELECT t.volume FROM tombstones t JOIN dead d USING (segment_id, slot)"
            " WHERE d.volume = ? AND t.volume <> ? AND NOT EXISTS (SELECT 1 FROM dead o WHERE"
            " o.segment_id = t.segment_id AND o.slot = t.slot AND o.volume <> ?)",
            (volume, volume, volume),
        )
    )
    sql.execute(
        "DELETE FROM tombstones WHERE (segment_id, slot) IN"
        " (SELECT segment_id, slot FROM dead WHERE volume = ?) AND NOT EXISTS (SELECT 1 FROM"
        " dead o WHERE o.segment_id = tombstones.segment_id AND o.slot = tombstones.slot AND"
        " o.volume <> ?)",
        (volume, volume),
    )
    sql.execute("DELETE FROM tombstones WHERE volume = ?", (volume,))
    sql.execute("DELETE FROM dead WHERE volume = ?", (volume,))
    for number, count in needless.items():
        sql.execute(
            "UPDATE volumes SET live_bytes = live_bytes - ? WHERE number = ?",
            (count * HEADER_BYTES, number),
        )
    sql.execute("DELETE FROM volumes WHERE number = ?", (volume,))
    return needless


def lose_shards(sql: Sql, volume: int) -> int:
    """Note the shards that should lie in a volume that is gone as lost.

    Returns:
        How many there were.
    """
    sql.execute(
        "INSERT OR IGNORE INTO lost SELECT segment_id, slot FROM shards WHERE volume = ?", (volume,)
    )
    return int(sql.execute("DELETE FROM shards WHERE volume = ?", (volume,)).rowcount)


def drop_needless_tombstones(sql: Sql) -> None:
    """Forget the tombstones that bury nothing, after all volumes were scanned."""
    without = (
        "NOT EXISTS (SELECT 1 FROM dead d WHERE d.segment_id = tombstones.segment_id"
        " AND d.slot = tombstones.slot)"
    )
    counts = sql.execute(
        f"SELECT volume, COUNT(*) FROM tombstones WHERE {without} GROUP BY volume"
    ).fetchall()
    sql.execute(f"DELETE FROM tombstones WHERE {without}")
    for volume, count in counts:
        sql.execute(
            "UPDATE volumes SET live_bytes = live_bytes - ? WHERE number = ?",
            (count * HEADER_BYTES, volume),
        )
