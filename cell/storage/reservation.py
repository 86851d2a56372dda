"""Room in a volume for a shard whose units come one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import trio

from cell.storage.volumes import Growing
from cell.storage.writer import WriteJob, Writer
from common.errors import AlvearyError
from common.format.volume import NO_DIGEST, RecordHeader, RecordKind, pack_record
from common.ports import Buffer


class Reservation:
    """Room for one record, marked as reserved so that a scan knows its length.

    Args:
        header: of the shard that is to come.
    """

    def __init__(self, writer: Writer, header: RecordHeader) -> None:
        self._writer = writer
        self._header = replace(
            header, kind=RecordKind.RESERVED, sequence=0, root=NO_DIGEST, leaf=NO_DIGEST
        )
        self._is_wanted = True
        self._place: tuple[Growing, int] | None = None

    async def make(self) -> tuple[Growing, int]:
        """Reserve the room and return its volume and offset. Cancelled, it gives it back.

        Raises:
            Unavailable: ``no_space``, ``read_only``, ``write_error``.
        """
        job = WriteJob(self._header.record_bytes, self._build, self._after, sync=False, fills=False)
        self._writer.submit(job)
        try:
            await job.wait()
        except trio.Cancelled:
            self._is_wanted = False
            if self._place is not None:
                self._writer.give_up(*self._place)
            raise
        assert self._place is not None
        return self._place

    def _build(self, volume: Growing, offset: int) -> Sequence[Buffer]:
        header = self._header.moved_to(volume.number, offset, volume.durable_below)
        return [pack_record(volume.key, header)]

    def _after(self, volume: Growing | None, offset: int, error: AlvearyError | None) -> None:
        if error is not None:
            return
        assert volume is not None
        if self._is_wanted:
            self._place = (volume, offset)
        else:
            self._writer.give_up(volume, offset)
