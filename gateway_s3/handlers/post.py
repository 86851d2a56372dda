"""PostObject: a form that a browser sends.

Source: Amazon S3 API Reference, "POST Object"; docs/s3-compatibility.md, "Forms".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias
from urllib.parse import quote_from_bytes, quote_plus

from common.client.body_reader import Source
from common.client.object_client import Written
from common.format.objects import METADATA_VERSION, Checksum, ObjectMetadata
from common.http.records import Headers, HttpResponse
from common.ports import Buffer
from gateway.checksums import encode
from gateway.ingest import Ingest
from gateway.notifications import EventKind
from gateway.protection import InnerWriter, layer_of, opaque_etag
from gateway.versions import VersionName, name_of_new
from gateway.writing import NewObject, commit_object, store
from gateway_s3.backend import Backend, Call
from gateway_s3.forms import FormFile, PostForm
from gateway_s3.handlers.acl import access_of_new
from gateway_s3.handlers.answers import checksum_headers, etag_header, flat
from gateway_s3.handlers.encryption import begin, encryption_headers, key_of_new
from gateway_s3.handlers.expiration import expiration_header
from gateway_s3.handlers.locks import check_vouched, lock_of_new
from gateway_s3.request.headers import content_headers, user_metadata
from gateway_s3.request.storage_classes import asked_class
from gateway_s3.request.tags import object_tags
from gateway_s3.request.version_ids import version_headers
from gateway_s3.xml.configurations import parse_tagging
from gateway_s3.xml.write import CONTENT_TYPE, posted

Posted: TypeAlias = tuple[ObjectMetadata, VersionName | None]
"""The metadata of what was stored, and the name of its version."""
Commit: TypeAlias = Callable[[tuple[Written, ...]], Awaitable[Posted]]
_STATUSES: Final = frozenset({"200", "201", "204"})
_DEFAULT_STATUS: Final = "204"


async def post_object(backend: Backend, call: Call) -> HttpResponse:
    """Store the file of a form as the new version of the key that it names."""
    form = call.form
    assert form is not None, "its form was read to prove the call"
    headers = flat(content_headers(form.headers))
    user = flat(user_metadata(form.headers))
    tags = _tags(form)
    class_name = asked_class(form.headers)
    access = access_of_new(call, form.headers)
    lock = await lock_of_new(backend, call, form.headers)
    file = FormFile(call.request, form)
    check_vouched(lock, call.bucket, "Put Object", is_vouched_for=file.is_vouched_for)
    key = await key_of_new(backend, call, form.headers)
    stretches: list[InnerWriter] = []

    def begin_stretch(size: int) -> InnerWriter | None:
        inner = begin(backend, key, size)
        if inner is not None:
            stretches.append(inner)
        return inner

    async def commit(runs: tuple[Written, ...]) -> Posted:
        backend.metrics.received_bytes.inc(file.size)
        checksum = Checksum(file.algorithm.value, encode(file.checksum()))
        etag = file.md5().hex() if key is None else opaque_etag(backend.entropy)
        now_ms, owner = backend.now_ms(), access.owner
        metadata = ObjectMetadata(
            METADATA_VERSION, etag, now_ms, headers, user, checksum, owner=owner
        )
        new = NewObject(
            metadata,
            file.size,
            tuple([page for run in runs for page in run.pages]),
            tuple([key for run in runs for key in run.keys]),
            tuple([segment for run in runs for segment in run.segments]),
            tags,
            lock,
            layer_of(stretches),
            access.acl,
            call.cause(EventKind.POST),
            class_name,
        )
        made = await commit_object(backend, call.bucket, call.name, new)
        return metadata, name_of_new(*made)

    async def store_rest(before: tuple[Written, ...]) -> Posted:
        return await _store_rest(backend, call, file, form, before, commit, begin_stretch)

    if file.sure_bytes:
        slow, fast = file.digests
        first = Ingest(
            receive=file.receive_sure,
            size=file.sure_bytes,
            slow=slow,
            fast=fast,
            check=lambda: None,
            workers=backend.workers,
            backlog=backend.backlog,
        )
        stored = await store(
            backend,
            call.bucket,
            first,
            file.sure_bytes,
            lambda run: store_rest((run,)),
            begin_stretch(file.sure_bytes),
            class_name=class_name,
        )
    else:
        stored = await store_rest(())
    metadata, _ = stored
    expires = expiration_header(backend, call, metadata, file.size, tags)
    envelope = None if key is None else key.envelope
    more = [*expires, *encryption_headers(backend, call, envelope, form.headers)]
    return _answer(call, form, *stored, more)


async def _store_rest(
    backend: Backend,
    call: Call,
    file: FormFile,
    form: PostForm,
    before: tuple[Written, ...],
    commit: Commit,
    begin_stretch: Callable[[int], InnerWriter | None],
) -> Posted:
    """Store what the end of the body has of the file, and commit it behind what came before.

    Raises:
        AlvearyError: as the end can be wrong, and as :func:`gateway.writing.store`.
    """
    tenant_id = call.bucket.owner.tenant_id
    room = backend.budget.share((tenant_id, "form"))
    source = Source(file.receive_rest, backend.gathered.share(tenant_id))
    held = 0
    try:
        await source.gather(file.tail_bytes)
        await room.take(file.tail_bytes)
        held = file.tail_bytes
        rest = await file.take_rest(source)
        left: list[Buffer] = [rest] if rest else []

        async def receive() -> Buffer:
            return left.pop() if left else b""

        slow, fast = file.digests
        last = Ingest(
            receive=receive,
            size=len(rest),
            slow=slow,
            fast=fast,
            check=file.check,
            workers=backend.workers,
            backlog=backend.backlog,
        )
        return await store(
            backend,
            call.bucket,
            last,
            len(rest),
            lambda run: commit((*before, run)),
            begin_stretch(len(rest)),
            class_name=asked_class(form.headers),
        )
    finally:
        source.close()
        room.give(held)


def _tags(form: PostForm) -> bytes:
    """The tags that the form gives the object, packed; empty: none. Raises S3Error."""
    if form.tagging is None:
        return b""
    tags = object_tags(parse_tagging(form.tagging))
    return tags.pack() if tags.tags else b""


def _answer(
    call: Call,
    form: PostForm,
    metadata: ObjectMetadata,
    version: VersionName | None,
    more: Headers,
) -> HttpResponse:
    """The answer that the form asks for. ``more``: headers that say when the object expires, and
    how it is protected."""
    location = _location(call)
    headers = [
        etag_header(metadata.etag),
        (b"location", location.encode("latin-1")),
        *checksum_headers(metadata.checksum),
        *version_headers(version),
        *more,
    ]
    target = form.fields.get("success_action_redirect") or form.fields.get("redirect") or ""
    if target.startswith(("http://", "https://")):
        headers[1] = (b"location", _redirect(call, target, metadata.etag))
        return HttpResponse(303, headers)
    status = form.fields.get("success_action_status", _DEFAULT_STATUS)
    if status not in _STATUSES:
        status = _DEFAULT_STATUS
    if status != "201":
        return HttpResponse(int(status), headers)
    document = posted(location, call.bucket.name, call.route.key, metadata.etag)
    typed: Headers = [(b"content-type", CONTENT_TYPE), *headers]
    return HttpResponse(201, typed, document)


def _location(call: Call) -> str:
    """The URL of the object, in which a key is one segment, as S3 writes it."""
    host = (call.request.header(b"host") or b"").decode("latin-1")
    place = "" if call.route.by_host else f"/{call.bucket.name}"
    key = quote_from_bytes(call.route.key, safe="")
    return f"{'https' if call.request.secure else 'http'}://{host}{place}/{key}"


def _redirect(call: Call, target: str, etag: str) -> bytes:
    """The URL to go to, with what was stored behind it; nothing in it ends a header."""
    address = quote_from_bytes(target.encode("utf-8"), safe="!#$%&'()*+,/:;=?@[]~")
    address, mark, fragment = address.partition("#")
    said = f"bucket={call.bucket.name}&key={quote_plus(call.route.key)}&etag=%22{etag}%22"
    return f"{address}{'&' if '?' in address else '?'}{said}{mark}{fragment}".encode("ascii")
