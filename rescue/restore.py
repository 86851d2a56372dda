"""A restore: every object that a kit's tenants have, from the cells into a directory.

Source: docs/rescue.md, "What is read" and "What is written".
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import field
from functools import partial
from typing import Any, Final

import trio

from common.client.policy.slot_health import SlotHealth
from common.crypto.inner_layer import InnerStream, unpack_stretches
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt, OutcomeUnknown, Refused, Unavailable
from common.format.envelope import Kind, WrappingKey
from common.format.key_ring import EMPTY, KeyRing, open_key_ring, unwrapping
from common.format.manifest import Manifest, open_manifest
from common.format.objects import unpack_object
from common.ids import TenantId
from common.ports import World
from common.reasons import Absence, Damage, Outage, Refusal
from common.wire.messages.base import Endpoint
from coordinator.store import restoring
from coordinator.store.restoring import PlaceInBucket, RestorableBucket, RestorableVersion
from rescue.file_names import path_of
from rescue.journal_reading import ReadJournal, Survey, read_swarm, said, shown
from rescue.kit import Kit
from rescue.lines import LinesFile
from rescue.objects import ObjectReader, ShardSource, decrypted, write_file
from rescue.records import (
    bucket_record,
    marker_record,
    missing_record,
    object_record,
)
from rescue.reports import journal_report
from rescue.tree import TargetTree

CURRENT: Final = "objects"
OLDER: Final = "older"
OBJECTS_NAME: Final = "objects.jsonl"
MISSING_NAME: Final = "missing.jsonl"
WORK: Final = "rescue"
"""The directory of what is needed to go on."""
PAUSE_S: Final = 5.0
"""Before what could not be read is tried once more."""
_BATCH: Final = 256
_WITHOUT_KEY: Final = frozenset({Refusal.OBJECT_KEY_MISSING, Absence.NO_SUCH_NAMED_KEY})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The part that is to be restored. ``tenants``, ``buckets``: by name; empty: all.
    ``wrapping_keys``: keys of customers, for what is under one."""

    all_versions: bool = False
    tenants: Collection[str] = ()
    buckets: Collection[str] = ()
    at_once: int = 8
    wrapping_keys: Collection[WrappingKey] = field(default=(), repr=False)

    def keys(self, kit: Kit) -> Mapping[str, TenantKey]:
        """The keys of the tenants, by name."""
        return {
            name: key
            for name, key in kit.tenants.items()
            if not self.tenants or name in self.tenants
        }


@dataclass(slots=True)
class Progress:
    """The progress of a restore. ``total``, ``done``: versions; ``notes``: defects that leave no
    object out, and tenants and buckets that were asked for and are not there. ``without_key``: of
    ``missing``, those under a key that is not at hand, or was destroyed."""

    total: int = 0
    total_bytes: int = 0
    done: int = 0
    done_bytes: int = 0
    restored: int = 0
    kept: int = 0
    missing: int = 0
    without_key: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore. ``bad_shards``: by cell and reason; ``cells``: all of the swarm."""

    progress: Progress
    journal: ReadJournal
    survey: Survey
    cells: list[Endpoint]
    bad_shards: Mapping[tuple[str, str], int]

    def report(self) -> dict[str, Any]:
        """Return the report, for JSON."""
        progress, journal, survey = self.progress, self.journal, self.survey
        return {
            "objects": progress.total,
            "bytes": progress.total_bytes,
            "restored": progress.restored,
            "kept": progress.kept,
            "missing": progress.missing,
            "without_key": progress.without_key,
            "notes": progress.notes,
            "journal": journal_report(journal),
            "cells": len(self.cells),
            "silent_cells": {
                shown(survey.asked[cell_id]): why for cell_id, why in survey.silent.items()
            },
            "bad_shards": [
                {"cell": cell, "why": why, "count": count}
                for (cell, why), count in sorted(self.bad_shards.items())
            ],
        }


async def restore(
    world: World, tree: TargetTree, kit: Kit, wanted: Wanted, progress: Progress
) -> Restored:
    """Restore all that is wanted and can be read. What is there already is left alone.

    Args:
        world: with a directory of its own, which a later run takes up.
        tree: the directory that gets the files.
        progress: kept up to date.

    Raises:
        Unavailable: ``no_journal``; the directory cannot be written.
    """
    async with read_swarm(world, kit) as (pool, reading, journal):
        bad_shards: Counter[tuple[str, str]] = Counter()

        def on_bad(cell: Endpoint, reason: str) -> None:
            bad_shards[shown(cell), reason] += 1

        source = ShardSource(journal.store, pool, SlotHealth(), world.workers, kit, on_bad)
        await _Restoring(source, tree, kit, wanted, progress).run()
        await tree.sync_all()
        cells = await journal.store.read(restoring.endpoints)
        return Restored(progress, journal, reading.survey, cells, bad_shards)


class _Restoring:
    """The restore of all that is wanted from a store that was read."""

    def __init__(
        self, source: ShardSource, tree: TargetTree, kit: Kit, wanted: Wanted, progress: Progress
    ) -> None:
        self._source = source
        self._store = source.store
        self._tree = tree
        self._wanted = wanted
        self._keys = wanted.keys(kit)
        self._progress = progress
        self._objects = LinesFile(tree, f"{WORK}/{OBJECTS_NAME}", OBJECTS_NAME)
        self._missing = LinesFile(tree, f"{WORK}/{MISSING_NAME}", MISSING_NAME)
        self._buckets: dict[TenantId, dict[int, RestorableBucket]] = {}
        self._rings: dict[TenantId, KeyRing] = {}
        self._folds = False

    async def run(self) -> None:
        """Restore. Raises Unavailable: the directory cannot be written."""
        self._folds = await _folds_names(self._tree)
        try:
            keys = list(self._keys.values())
            for key in keys:
                await self._count(key)
            await self._note_absent()
            for key in keys:
                await self._restore_tenant(key)
            await self._objects.finish()
            await self._missing.finish()
        finally:
            with trio.CancelScope(shield=True):
                await self._objects.close()
                await self._missing.close()

    async def _count(self, key: TenantKey) -> None:
        """Take the buckets of a tenant in, and count what is to be restored."""
        found = await self._store.read(partial(restoring.buckets, tenant=key.tenant_id))
        names = self._wanted.buckets
        only = {each.bucket: each for each in found if not names or each.name in names}
        self._buckets[key.tenant_id] = only
        if not only:
            return
        count, size = await self._store.read(
            partial(
                restoring.total,
                tenant=key.tenant_id,
                all_versions=self._wanted.all_versions,
                only=list(only),
            )
        )
        self._progress.total += count
        self._progress.total_bytes += size

    async def _note_absent(self) -> None:
        """Note tenants and buckets that the swarm does not have."""
        known = set(await self._store.read(restoring.tenant_ids))
        found = {each.name for only in self._buckets.values() for each in only.values()}
        self._progress.notes += [
            *(
                f"tenant {name}: the swarm knows no such tenant (any more)"
                for name, key in self._keys.items()
                if key.tenant_id not in known
            ),
            *(
                f"bucket {name}: no tenant of the kit has it (any more)"
                for name in self._wanted.buckets
                if name not in found
            ),
        ]

    async def _restore_tenant(self, key: TenantKey) -> None:
        buckets = self._buckets[key.tenant_id]
        if not buckets:
            return
        await self._read_ring(key)
        for bucket in buckets.values():
            await self._restore_bucket(key, bucket)
        again = array("Q")
        await self._restore_versions(key, self._sequences(key), again)
        if again:
            await trio.sleep(PAUSE_S)
            await self._restore_versions(key, _each(again), None)

    async def _read_ring(self, key: TenantKey) -> None:
        """Read the named keys of a tenant; without them what they protect is missing."""
        found = await self._store.read(partial(restoring.key_ring, tenant=key.tenant_id))
        try:
            self._rings[key.tenant_id] = open_key_ring(key, *found)
        except Corrupt as error:
            self._rings[key.tenant_id] = EMPTY
            self._progress.notes.append(
                f"named keys of tenant {key.tenant_id.hex()}: {said(error)}"
            )

    async def _restore_bucket(self, key: TenantKey, bucket: RestorableBucket) -> None:
        await self._tree.make_directory(self._directory(CURRENT, bucket))
        try:
            record = bucket_record(key, bucket)
        except Corrupt as error:
            self._progress.notes.append(f"settings of bucket {bucket.name}: {said(error)}")
        else:
            await self._objects.add(record)

    def _directory(self, which: str, bucket: RestorableBucket) -> str:
        return f"{which}/{path_of(bucket.name.encode(), folds=self._folds)}"

    async def _sequences(self, key: TenantKey) -> AsyncGenerator[int, None]:
        for bucket in self._buckets[key.tenant_id]:
            after: PlaceInBucket | None = None
            while batch := await self._store.read(
                partial(
                    restoring.listed,
                    bucket=bucket,
                    after=after,
                    limit=_BATCH,
                    all_versions=self._wanted.all_versions,
                )
            ):
                for each in batch:
                    yield each.sequence
                after = batch[-1]

    async def _restore_versions(
        self, key: TenantKey, sequences: AsyncGenerator[int, None], again: array[int] | None
    ) -> None:
        """Restore versions, several at a time.

        Args:
            again: gets those that may be read later; None: this is the last time.
        """
        send, receive = trio.open_memory_channel[int](0)

        async def work(number: int, numbers: trio.MemoryReceiveChannel[int]) -> None:
            async with numbers:
                async for sequence in numbers:
                    await self._restore_version(key, sequence, f"{WORK}/part-{number}", again)

        async with trio.open_nursery() as nursery, send:
            async with receive:
                for number in range(self._wanted.at_once):
                    nursery.start_soon(work, number, receive.clone())
            async with aclosing(sequences):
                async for sequence in sequences:
                    await send.send(sequence)

    async def _restore_version(
        self, key: TenantKey, sequence: int, draft: str, again: array[int] | None
    ) -> None:
        progress = self._progress
        version = await self._store.read(partial(restoring.version, sequence=sequence))
        bucket = self._buckets[key.tenant_id][version.bucket]
        if version.is_marker:
            try:
                record = marker_record(key, bucket, version)
            except Corrupt as error:
                await self._note_missing(bucket, version, error, [])
            else:
                await self._objects.add(record)
                progress.done += 1
            return
        reader: ObjectReader | None = None
        written = 0

        def on_bytes(count: int) -> None:
            nonlocal written
            written += count
            progress.done_bytes += count

        try:
            manifest = open_manifest(
                key, bucket.bucket_id, version.name, version.version_id, version.sealed
            )
            metadata = unpack_object(manifest.metadata)
            path = await self._path(bucket, version)
            record = object_record(key, bucket, version, metadata, size=manifest.size, path=path)
            if await self._tree.stat(path) == (manifest.size, metadata.modified_ms):
                progress.kept += 1
                progress.done_bytes += manifest.size
            else:
                stream = self._inner_stream(key, manifest)
                reader = ObjectReader(self._source, key, sequence, manifest)
                chunks = reader.read()
                if stream is not None:
                    chunks = decrypted(chunks, stream)
                await write_file(self._tree, draft, path, metadata.modified_ms, chunks, on_bytes)
                progress.restored += 1
        except AlvearyError as error:
            progress.done_bytes -= written
            if _cannot_write(error):
                raise
            if again is not None and isinstance(error, Unavailable | OutcomeUnknown):
                again.append(sequence)
                return
            cells = [] if reader is None or reader.segment is None else reader.segment.cells
            named = [shown(each) for each in cells if each is not None]
            await self._note_missing(bucket, version, error, named)
        else:
            await self._objects.add(record)
            progress.done += 1

    def _inner_stream(self, tenant: TenantKey, manifest: Manifest) -> InnerStream | None:
        """Return what decrypts an object that is protected; None: it is not. A key that is disabled
        serves: the holder of the tenant key could enable it.

        Raises:
            Refused: ``object_key_missing``: no key is at hand that opens it.
            NotFound: ``no_such_named_key``: it was destroyed.
        """
        inner = manifest.inner
        if inner is None:
            return None
        if inner.envelope is None:
            raise Corrupt(Damage.BAD_METADATA, what="object")
        envelope = inner.envelope
        candidates = self._wanted.wrapping_keys
        if envelope.kind is Kind.NAMED:
            named = self._rings[tenant.tenant_id].find(envelope.name)
            candidates = [unwrapping(named, envelope)]
        for each in candidates:
            if each.fits(envelope):
                stretches = unpack_stretches(inner.stretches)
                return InnerStream(each.unwrap(envelope), stretches, 0)
        raise Refused(Refusal.OBJECT_KEY_MISSING)

    async def _note_missing(
        self,
        bucket: RestorableBucket,
        version: RestorableVersion,
        error: AlvearyError,
        cells: list[str],
    ) -> None:
        await self._missing.add(missing_record(bucket, version, said(error), cells))
        self._progress.missing += 1
        self._progress.without_key += error.reason in _WITHOUT_KEY
        self._progress.done += 1

    async def _path(self, bucket: RestorableBucket, version: RestorableVersion) -> str:
        """The path of a version's file."""
        if not version.is_latest:
            path = path_of(version.name, version=version.version_id.hex(), folds=self._folds)
            return f"{self._directory(OLDER, bucket)}/{path}"
        begins = await self._store.read(
            partial(restoring.begins_others, bucket=version.bucket, name=version.name)
        )
        path = path_of(version.name, begins_others=begins, folds=self._folds)
        return f"{self._directory(CURRENT, bucket)}/{path}"


async def _each(sequences: array[int]) -> AsyncGenerator[int, None]:
    for each in sequences:
        yield each


def _cannot_write(error: AlvearyError) -> bool:
    """True if the directory is full, or cannot be written: nothing is gained by going on."""
    return error.reason in {Outage.NO_SPACE, Outage.SYNC_FAILED}


async def _folds_names(tree: TargetTree) -> bool:
    """True if upper and lower case are the same in the names of a directory's files."""
    await tree.make_directory(WORK)
    file = await tree.open(f"{WORK}/case", create=True)
    await file.close()
    folds = await tree.stat(f"{WORK}/CASE") is not None
    await tree.unlink(f"{WORK}/case")
    return folds
