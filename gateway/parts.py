"""Uploads in parts, and their parts, as opened records; ``gateway.multipart`` finds and makes them.

Source: docs/object-format.md.
"""

from __future__ import annotations

from common import limits
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.envelope import InnerLayer
from common.format.manifest import Manifest
from common.format.objects import METADATA_VERSION, PartMetadata, UploadInfo
from common.ids import BucketId, VersionId
from common.reasons import Damage
from common.wire.messages.locks import NO_LOCK, Lock
from common.wire.messages.multipart import PartRow
from common.wire.messages.writing import NewSegment, Page
from gateway.checksums import Algorithm
from gateway.principals import Bucket


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """An upload in progress. ``name``: as stored. ``lock``, ``class_name``: of the object that it
    becomes."""

    bucket: Bucket
    name: bytes
    bucket_id: BucketId
    upload_id: VersionId
    info: UploadInfo
    lock: Lock = NO_LOCK
    class_name: str = ""

    @property
    def algorithm(self) -> Algorithm:
        """The checksum that its parts get: the one asked for, or the default."""
        return Algorithm(self.info.algorithm or Algorithm.CRC64NVME.value)

    @property
    def is_explicit(self) -> bool:
        """The client asked for the checksum."""
        return bool(self.info.algorithm)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an upload, opened. ``checksum`` is empty for a copied part that has none."""

    row: PartRow
    manifest: Manifest
    metadata: PartMetadata

    @property
    def etag(self) -> str:
        """Without quotes."""
        return self.metadata.md5.hex()


@dataclass(frozen=True, slots=True)
class PartContent:
    """The content of a part."""

    metadata: PartMetadata
    size: int
    pages: tuple[Page, ...]
    keys: tuple[bytes, ...]
    segments: tuple[NewSegment, ...] = ()
    inner: InnerLayer | None = None


def begun_ms(upload_id: VersionId) -> int:
    """Return when an upload was begun, unix milliseconds: its id begins with the gateway's time.

    Raises:
        Corrupt: ``bad_upload_id``: after the year 9999: no gateway drew it.
    """
    begun = int.from_bytes(upload_id[:6], "big")
    if begun > limits.MAX_DATE_MS:
        raise Corrupt(Damage.BAD_UPLOAD_ID)
    return begun


def part_metadata(
    md5: bytes, modified_ms: int, algorithm: Algorithm, checksum: bytes
) -> PartMetadata:
    """Return the metadata kept with a part. ``modified_ms``: when it was made, unix
    milliseconds."""
    return PartMetadata(METADATA_VERSION, md5, modified_ms, algorithm.value, checksum)
