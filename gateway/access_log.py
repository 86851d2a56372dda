"""Server access logs: lines of what was asked of buckets, gathered and written to other buckets.

A line is made when an answer has been sent. Lines are kept in memory, for some minutes at most, and
written as objects of the bucket that the rules of the logged one name. It is best effort, as on S3:
what a gateway has gathered is lost when it dies, and no request ever waits or fails for it.

Source: Amazon S3 User Guide, "Logging requests with server access logging";
docs/s3-compatibility.md, "Access logs"; docs/decisions/0056-access-logs.md.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Final, Protocol

import trio

from common import limits
from common.client.object_client import Written
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import AlvearyError, NotFound, Refused
from common.format.configurations import (
    LOG_BY_DELIVERY_TIME,
    LOG_BY_EVENT_TIME,
    AccessLogging,
)
from common.format.objects import METADATA_VERSION, Checksum, ObjectMetadata
from common.ports import Buffer
from gateway.background import Signal
from gateway.checksums import Algorithm, new_checksum
from gateway.ingest import Ingest
from gateway.notifications import Cause, EventKind
from gateway.object_service import ObjectService
from gateway.principals import Bucket, account_of
from gateway.writing import NewObject, commit_object, store

_DELIVERY: Final = "logging.s3.amazonaws.com"
"""The caller that events of log objects name."""
_ID_BYTES: Final = 8


class LineCounts(Protocol):
    """Counts what becomes of lines."""

    def logged(self, outcome: str, lines: int) -> None:
        """Count lines that were ``written``, or ``dropped``."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A place of lines: the log of one bucket, to one target, of one day where it is by the day."""

    source: str
    rules: AccessLogging
    day: str


@dataclass(slots=True)
class _Batch:
    owner: TenantKey
    lines: list[bytes]
    size: int = 0


class AccessLogs:
    """The lines that a gateway has gathered.

    Args:
        interval_s: between two times at which they are written.
    """

    def __init__(
        self, service: ObjectService, region: str, interval_s: float, counts: LineCounts
    ) -> None:
        self._service = service
        self._region = region
        self._interval_s = interval_s
        self._counts = counts
        self._batches: dict[_Place, _Batch] = {}
        self._size = 0
        self._full = Signal()
        self._writing = trio.Lock()

    @property
    def size(self) -> int:
        """Bytes of lines in memory."""
        return self._size

    def add(self, bucket: Bucket, rules: AccessLogging, line: bytes, at_s: float) -> None:
        """Take a line; it is dropped, and counted, where there is no room.

        Args:
            bucket: that was asked.
            rules: where its log goes.
            at_s: when it was asked, unix seconds.
        """
        if self._size + len(line) > limits.MAX_ACCESS_LOG_BYTES:
            self._counts.logged("dropped", 1)
            self._full.tell()
            return
        is_by_day = rules.partition == LOG_BY_EVENT_TIME
        day = datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d") if is_by_day else ""
        place = _Place(bucket.name, rules, day)
        batch = self._batches.get(place)
        if batch is None:
            batch = self._batches[place] = _Batch(bucket.owner, [])
        batch.lines.append(line)
        batch.size += len(line)
        self._size += len(line)
        if batch.size >= limits.ACCESS_LOG_OBJECT_BYTES:
            self._full.tell()

    async def run(self) -> None:
        """Write lines at an interval, and when many have come, until cancelled."""
        while True:
            await self._full.wait(self._interval_s)
            await self.flush()

    async def flush(self) -> None:
        """Write all lines that there are."""
        async with self._writing:
            for place in list(self._batches):
                await self._write(place)

    async def _write(self, place: _Place) -> None:
        """Write the lines of one place; those that cannot be written now stay for the next time."""
        batch = self._batches.pop(place)
        try:
            await self._put(place, batch)
        except (NotFound, Refused) as error:
            # The target is gone, full or locked: it would be the same the next time.
            self._gone(batch, "dropped")
            self._service.log.warning(
                "access_log_dropped",
                bucket=place.source,
                target=place.rules.bucket,
                error=str(error),
            )
        except AlvearyError as error:
            self._service.log.warning("access_log_waits", bucket=place.source, error=str(error))
            self._keep(place, batch)
        except BaseException:
            self._keep(place, batch)
            raise
        else:
            self._gone(batch, "written")

    def _gone(self, batch: _Batch, outcome: str) -> None:
        self._size -= batch.size
        self._counts.logged(outcome, len(batch.lines))

    def _keep(self, place: _Place, batch: _Batch) -> None:
        later = self._batches.get(place)
        if later is not None:
            batch.lines += later.lines
            batch.size += later.size
        self._batches[place] = batch

    async def _put(self, place: _Place, batch: _Batch) -> None:
        service, owner = self._service, batch.owner
        target = await service.buckets.find(owner, place.rules.bucket)
        body = b"".join(batch.lines)
        name = service.names.encode(self._key(place, owner).encode("utf-8"))
        checksum = new_checksum(Algorithm.CRC64NVME)
        checksum.update(body)
        metadata = ObjectMetadata(
            METADATA_VERSION,
            hashlib.md5(body, usedforsecurity=False).hexdigest(),
            service.now_ms(),
            (b"content-type", b"text/plain"),
            (),
            Checksum(Algorithm.CRC64NVME.value, base64.b64encode(checksum.digest()).decode()),
        )
        left: list[Buffer] = [body]

        async def receive() -> Buffer:
            return left.pop() if left else b""

        ingest = Ingest(
            receive=receive,
            size=len(body),
            slow=(),
            fast=(),
            check=lambda: None,
            workers=service.workers,
            backlog=service.backlog,
        )

        async def commit(written: Written) -> None:
            new = NewObject(
                metadata,
                len(body),
                written.pages,
                written.keys,
                written.segments,
                cause=Cause(EventKind.PUT, _DELIVERY),
            )
            await commit_object(service, target, name, new)

        await store(service, target, ingest, len(body), commit)

    def _key(self, place: _Place, owner: TenantKey) -> str:
        """The key of a new object of a log."""
        now = datetime.fromtimestamp(self._service.clock.now(), UTC)
        unique = self._service.entropy(_ID_BYTES).hex().upper()
        rules = place.rules
        if not rules.partition:
            return f"{rules.prefix}{now:%Y-%m-%d-%H-%M-%S}-{unique}"
        day, time = f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}"
        if rules.partition != LOG_BY_DELIVERY_TIME:
            day, time = place.day, "00-00-00"
        where = f"{account_of(owner)}/{self._region}/{place.source}/{day.replace('-', '/')}"
        return f"{rules.prefix}{where}/{day}-{time}-{unique}"
