"""Objects, looked up, opened and read: every record under the id of the bucket asked about.

The id comes from the bucket's settings, which are sealed with its name, never from the answer that
is being opened: an object of another bucket, or of another version than asked for, shows nothing.

Source: docs/crypto.md, "Answers and questions".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from prometheus_client import Counter

from common import limits
from common.crypto.inner_layer import InnerStream
from common.data_classes import dataclass
from common.errors import Corrupt, NotFound, Refused
from common.format.access_lists import AccessList, unpack_access_list
from common.format.configurations import Tags, unpack_tags
from common.format.manifest import Manifest, open_acl, open_manifest, open_tags
from common.format.objects import ObjectMetadata, unpack_object
from common.ids import VersionId
from common.ports import Buffer, Workers
from common.reasons import Absence, Damage, Refusal
from common.wire.messages.objects import ObjectGet, ObjectRecord
from gateway.object_service import ObjectService
from gateway.principals import Bucket
from gateway.protection import decrypting, inner_stream
from gateway.sealed_class import opened_class_name
from gateway.spans import Span
from gateway.versions import VersionName, deleted_by, marker_of, name_of


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object that was looked up and opened. ``places``: the bytes whose places were asked for;
    they may reach beyond the end. ``tags``: None where it has none. ``acl``: its access control
    list, if one was set and lists count in its bucket. ``class_name``: that was asked for; empty:
    none was."""

    record: ObjectRecord
    manifest: Manifest
    metadata: ObjectMetadata
    places: Span | None = None
    tags: Tags | None = None
    acl: AccessList | None = None
    class_name: str = ""

    def has_places(self, span: Span) -> bool:
        """Return whether the places of exactly these bytes are known."""
        places = self.places
        return (
            places is not None
            and places.first == span.first
            and min(places.last, self.manifest.size - 1) == span.last
        )

    @property
    def version(self) -> VersionName | None:
        """The name of its version; None where its bucket never had versions."""
        return name_of(self.record)

    @property
    def modified_s(self) -> int:
        """The time at which it was made: unix seconds, as ``last-modified`` shows it."""
        return self.metadata.modified_ms // 1000


async def find_object(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    *,
    span: Span | None = None,
    version_id: VersionId | None = None,
    named: VersionName | None = None,
) -> FoundObject:
    """Look an object up and open its manifest.

    Args:
        name: as stored.
        span: also the places of these bytes; they may reach beyond the end.
        version_id: this version, even if another is current or it was deleted by now.
        named: the version that a client names.

    Raises:
        NotFound: no such bucket, object or version; ``delete_marker``: the latest version of that
            name, or the named one, says that there is no object.
        Corrupt: its record is not authentic, or not of this bucket, or of another size.
    """
    first, last = (span.first, span.last) if span is not None else (0, 0)
    record: ObjectRecord = await service.buckets.ask(
        bucket,
        ObjectGet(
            bucket.owner.tenant_id,
            bucket.name,
            name,
            version_id if named is None else named.version_id,
            span is not None,
            first,
            last,
            named is not None,
        ),
    )
    if record.delete_marker:
        marker = marker_of(bucket.owner, name, record)
        raise deleted_by(record, marker, named=named is not None)
    manifest = open_manifest(bucket.owner, record.bucket_id, name, record.version_id, record.sealed)
    if record.size != manifest.size:
        raise Corrupt(Damage.SIZE_MISMATCH, size=record.size)
    tags = acl = None
    place = (bucket.owner, record.bucket_id, name, record.version_id)
    if record.tags:
        tags = unpack_tags(open_tags(*place, record.tags))
    if record.acl and bucket.rules.uses_lists:
        acl = unpack_access_list(open_acl(*place, record.acl))
    class_name = opened_class_name(*place, record.class_name)
    metadata = unpack_object(manifest.metadata)
    return FoundObject(record, manifest, metadata, span, tags, acl, class_name)


async def change_version(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    change: Callable[[FoundObject], Awaitable[None]],
    named: VersionName | None = None,
) -> FoundObject:
    """Change what is kept beside the current version of a name; again when it was replaced
    meanwhile.

    Args:
        name: as stored.
        change: asks for the change of this very version; raises NotFound ``no_such_version`` where
            it is gone.
        named: that version instead of the current one.

    Returns:
        The version that was changed.

    Raises:
        NotFound: no such bucket, object or version.
        Refused: ``write_conflict``: it was replaced at every try; and what ``change`` raises.
        Unavailable: it may have been changed all the same.
    """
    for _ in range(limits.MAX_COMMIT_TRIES):
        found = await find_object(service, bucket, name, named=named)
        try:
            await change(found)
        except NotFound as error:
            if error.reason != Absence.NO_SUCH_VERSION:
                raise
        else:
            return found
    raise Refused(Refusal.WRITE_CONFLICT)


async def open_body(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    found: FoundObject,
    span: Span,
    counter: Counter,
    object_key: bytes | None,
) -> ObjectBody:
    """Prepare to read bytes of an object, as their writer gave them.

    Args:
        object_key: of its inner layer; None of one that has none.

    See :func:`open_stored` for the others.
    """
    body = await open_stored(service, bucket, name, found, span, counter)
    inner = found.manifest.inner
    assert (inner is None) is (object_key is None), "what is protected is read with its key"
    if inner is not None and object_key is not None:
        body.decrypt(inner_stream(object_key, inner, span.first), service.workers)
    return body


async def open_stored(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    found: FoundObject,
    span: Span,
    counter: Counter,
) -> ObjectBody:
    """Prepare to read bytes of an object as its stripes hold them: under its inner layer, if it has
    one. Their places are looked up unless they are known.

    Args:
        name: as stored.
        found: this very version is read.
        span: of the object, at least one byte.
        counter: of bytes taken.

    Raises:
        NotFound: ``no_such_version``: it was deleted meanwhile.
    """
    if not found.has_places(span):
        version_id = found.record.version_id
        found = await find_object(service, bucket, name, span=span, version_id=version_id)
    chunks = service.swarm.read(
        bucket.owner, bucket.name, name, found.record, found.manifest, span.first, span.last
    )
    return ObjectBody(chunks, counter)


class ObjectBody:
    """An object's bytes as the body of an answer, from their first piece on.

    Args:
        chunks: from the native client.
        counter: of bytes taken.
    """

    def __init__(self, chunks: AsyncIterator[Buffer], counter: Counter) -> None:
        self._chunks = chunks
        self._counter = counter
        self._first: Buffer | None = None
        self.sent = 0
        """Bytes that were taken of it."""
        self.on_close: Callable[[], None] | None = None
        """Called once, when the body has been sent or abandoned."""
        self.on_chunk: Callable[[int], Awaitable[None]] | None = None
        """Called with the size of each piece, before it is handed on."""

    def decrypt(self, stream: InnerStream, workers: Workers) -> None:
        """Have the pieces decrypted, from the first one on.

        Args:
            stream: of the same bytes.
        """
        self._chunks = decrypting(self._chunks, stream, workers)

    async def begin(self) -> Buffer:
        """Wait for the first piece; it is given again by the iteration.

        Raises:
            AlvearyError: the bytes cannot be had.
        """
        self._first = await anext(self._chunks)
        return self._first

    def __aiter__(self) -> ObjectBody:
        return self

    async def __anext__(self) -> Buffer:
        chunk, self._first = self._first, None
        if chunk is None:
            chunk = await anext(self._chunks)
        self._counter.inc(len(chunk))
        self.sent += len(chunk)
        if self.on_chunk is not None:
            await self.on_chunk(len(chunk))
        return chunk

    async def aclose(self) -> None:
        """Stop fetching and give everything back."""
        self._first = None
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()
