"""A gateway without a swarm: its real app over coordinators and a store of bytes in memory.

The model of the coordinator here is the plainest that fulfils ``common.wire.messages``; the real
one is under the gateway in ``test_gateway_end_to_end.py``.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import trio

from common.client.policy.answers import check_answer
from common.crypto.keys import TenantKey, commitment_of
from common.errors import NotFound, Refused
from common.format.manifest import AccessKeyRecord, Manifest, open_manifest, seal_access_key
from common.http.records import BytesBody, HttpRequest, HttpResponse
from common.ids import TenantId
from common.limits import GATEWAY_BUFFER_BUDGET_BYTES, GATHERED_PER_BUDGET
from common.ports import Buffer
from common.reasons import Absence, Refusal
from common.rpc.budget import ByteBudget
from common.wire import messages as m
from gateway.bucket_cache import BucketCache
from gateway.names import IdentityNames
from gateway_s3.app import App
from gateway_s3.auth.access_keys import AccessKeys
from gateway_s3.auth.sigv2 import SignatureV2
from gateway_s3.backend import Backend
from gateway_s3.metrics import GatewayMetrics
from sim.world import SimNode, SimWorld

SECRET = "secret-of-the-rig"
REGION = "us-east-1"


@dataclass
class Version:
    request: m.ObjectCommit | m.UploadComplete
    pages: tuple[m.Page, ...]
    record: m.ObjectRecord


@dataclass
class Upload:
    record: m.UploadRecord
    bucket: str
    name: bytes
    parts: dict[int, tuple[m.PartCommit, m.PartRow]] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    size: int
    pages: tuple[m.Page, ...]
    segments: tuple[m.NewSegment, ...]
    keys: tuple[bytes, ...]


class EndlessLease:
    """The write lease of a gateway in memory."""

    def has_ended(self, lease: int) -> None:
        raise AssertionError("no lease ends here")


class MemoryCoordinators:
    """Answers what a gateway asks a coordinator."""

    def __init__(self, node: SimNode) -> None:
        self.node = node
        self.lease = EndlessLease()
        self.keys: dict[str, m.AccessKey] = {}
        self.owners: dict[str, tuple[bytes, m.BucketRecord]] = {}
        self.current: dict[tuple[str, bytes], Version] = {}
        self.by_id: dict[bytes, Version] = {}
        self.uploads: dict[bytes, Upload] = {}
        self.sequence = 0
        self.calls: list[str] = []
        self.reply_rows = 1000
        self.lie: Callable[[Any, Any], Any] | None = None
        """What a lying coordinator makes of a reply."""
        self.before_commit: Callable[[], None] | None = None

    async def call(self, request: Any, *, timeout_s: float = 30.0) -> Any:
        """Answer as a CoordinatorClient does: with what fits the request, or not at all."""
        await trio.lowlevel.checkpoint()
        self.calls.append(type(request).__name__)
        assert type(request).unpack(request.pack()) == request
        handler = re.sub("(?=[A-Z])", "_", type(request).__name__).lower()
        reply = getattr(self, "on" + handler)(request)
        if self.lie is not None:
            reply = self.lie(request, reply)
        assert isinstance(reply, request.reply)
        check_answer(request, reply)
        return reply

    def now_ms(self) -> int:
        return int(self.node.world.clock.now() * 1000)

    def bucket(self, request: Any) -> m.BucketRecord:
        name = getattr(request, "bucket", None) or request.name
        owner = self.owners.get(name)
        if owner is None:
            raise NotFound(Absence.NO_SUCH_BUCKET)
        if owner[0] != request.tenant_id:
            raise Refused(Refusal.NOT_OWNER)
        wanted = getattr(request, "bucket_id", None)
        if wanted is not None and wanted != owner[1].bucket_id:
            raise NotFound(Absence.NO_SUCH_BUCKET)
        return owner[1]

    def holds(self, condition: m.Condition, bucket: str, name: bytes) -> None:
        found = self.current.get((bucket, name))
        if condition.absent and found is not None:
            raise Refused(Refusal.CONDITION_FAILED)
        if condition.version_id is not None and (
            found is None or found.record.version_id != condition.version_id
        ):
            raise Refused(Refusal.CONDITION_FAILED)

    def on_access_key_get(self, request: m.AccessKeyGet) -> m.AccessKey:
        if request.access_key_id not in self.keys:
            raise NotFound(Absence.NO_SUCH_ACCESS_KEY)
        return self.keys[request.access_key_id]

    def on_bucket_create(self, request: m.BucketCreate) -> m.BucketRecord:
        owner = self.owners.get(request.name)
        if owner is not None:
            raise Refused(
                Refusal.BUCKET_OWNED if owner[0] == request.tenant_id else Refusal.BUCKET_EXISTS
            )
        record = m.BucketRecord(request.bucket_id, request.name, self.now_ms(), request.settings, 1)
        self.owners[request.name] = (request.tenant_id, record)
        return record

    def on_bucket_get(self, request: m.BucketGet) -> m.BucketRecord:
        return self.bucket(request)

    def on_bucket_delete(self, request: m.BucketDelete) -> m.Done:
        self.bucket(request)
        if any(bucket == request.name for bucket, _ in self.current):
            raise Refused(Refusal.BUCKET_NOT_EMPTY)
        for upload_id, upload in list(self.uploads.items()):
            if upload.bucket == request.name:
                del self.uploads[upload_id]
        del self.owners[request.name]
        return m.Done()

    def on_buckets_list(self, request: m.BucketsList) -> m.Buckets:
        rows = [
            m.BucketRow(record.bucket_id, record.name, record.created_ms, record.settings, 1)
            for name, (owner, record) in sorted(self.owners.items())
            if owner == request.tenant_id
            and name.startswith(request.prefix)
            and name > request.after
        ]
        limit = min(request.limit, self.reply_rows)
        return m.Buckets(tuple(rows[:limit]), len(rows) > limit)

    def put(self, request: Any, version_id: bytes, pages: tuple[m.Page, ...]) -> m.Committed:
        self.sequence += 1
        bucket = self.bucket(request)
        record = m.ObjectRecord(
            bucket.bucket_id, version_id, self.sequence, self.now_ms(), request.size, request.sealed
        )
        version = Version(request, pages, record)
        self.current[request.bucket, request.name] = self.by_id[version_id] = version
        return m.Committed(self.sequence, record.created_ms)

    def on_object_commit(self, request: m.ObjectCommit) -> m.Committed:
        if self.before_commit is not None:
            act, self.before_commit = self.before_commit, None
            act()
        self.bucket(request)
        self.holds(request.condition, request.bucket, request.name)
        return self.put(request, request.version_id, request.pages)

    def on_object_get(self, request: m.ObjectGet) -> m.ObjectRecord:
        self.bucket(request)
        if request.version_id is not None:
            found = self.by_id.get(request.version_id)
        else:
            found = self.current.get((request.bucket, request.name))
        if found is None or found.request.name != request.name:
            raise NotFound(
                Absence.NO_SUCH_VERSION if request.version_id else Absence.NO_SUCH_OBJECT
            )
        return found.record

    def on_objects_delete(self, request: m.ObjectsDelete) -> m.Deleted:
        self.bucket(request)
        results = []
        for item in request.items:
            try:
                self.holds(item.condition, request.bucket, item.name)
                self.current.pop((request.bucket, item.name), None)
                results.append(m.DeleteResult(""))
            except Refused as error:
                results.append(m.DeleteResult(error.reason))
        return m.Deleted(tuple(results))

    def roll(
        self, request: Any, names: list[tuple[bytes, Any]]
    ) -> tuple[list[Any], list[bytes], bool, bytes]:
        limit = min(request.limit, self.reply_rows)
        rows: list[Any] = []
        prefixes: list[bytes] = []
        last = request.after
        for name, row in names:
            if not name.startswith(request.prefix):
                continue
            at = name.find(request.delimiter, len(request.prefix)) if request.delimiter else -1
            rolled = name[: at + len(request.delimiter)] if at >= 0 else None
            if rolled is not None and (rolled in prefixes or rolled == request.after):
                continue
            if len(rows) + len(prefixes) >= limit:
                return rows, prefixes, limit > 0, last
            if rolled is None:
                rows.append(row)
            else:
                prefixes.append(rolled)
            last = rolled or name
        return rows, prefixes, False, last

    def on_objects_list(self, request: m.ObjectsList) -> m.Listing:
        bucket = self.bucket(request)
        names = [
            (
                name,
                m.ListedObject(
                    name,
                    version.record.version_id,
                    version.record.sequence,
                    version.record.created_ms,
                    version.record.size,
                    version.request.summary,
                ),
            )
            for (owner, name), version in sorted(self.current.items(), key=lambda row: row[0][1])
            if owner == request.bucket and name > request.after
        ]
        rows, prefixes, truncated, last = self.roll(request, names)
        return m.Listing(bucket.bucket_id, tuple(rows), tuple(prefixes), truncated, last)

    def on_upload_create(self, request: m.UploadCreate) -> m.UploadRecord:
        bucket = self.bucket(request)
        record = m.UploadRecord(bucket.bucket_id, request.upload_id, self.now_ms(), request.sealed)
        self.uploads[request.upload_id] = Upload(record, request.bucket, request.name)
        return record

    def upload(self, request: Any) -> Upload:
        self.bucket(request)
        found = self.uploads.get(request.upload_id)
        if found is None or (found.bucket, found.name) != (request.bucket, request.name):
            raise NotFound(Absence.NO_SUCH_UPLOAD)
        return found

    def on_upload_get(self, request: m.UploadGet) -> m.UploadRecord:
        return self.upload(request).record

    def on_part_commit(self, request: m.PartCommit) -> m.Committed:
        self.sequence += 1
        row = m.PartRow(
            request.part_number, request.part_id, request.size, self.now_ms(), request.sealed
        )
        self.upload(request).parts[request.part_number] = (request, row)
        return m.Committed(self.sequence, row.created_ms)

    def on_parts_list(self, request: m.PartsList) -> m.Parts:
        upload = self.upload(request)
        rows = [row for number, (_, row) in sorted(upload.parts.items()) if number > request.after]
        limit = min(request.limit, self.reply_rows)
        return m.Parts(upload.record.bucket_id, tuple(rows[:limit]), len(rows) > limit)

    def on_upload_complete(self, request: m.UploadComplete) -> m.Committed:
        before = self.by_id.get(request.upload_id)
        if before is not None:
            if before.record.sealed != request.sealed:
                raise Refused(Refusal.VERSION_EXISTS)
            return m.Committed(before.record.sequence, before.record.created_ms)
        upload = self.upload(request)
        self.holds(request.condition, request.bucket, request.name)
        pages: tuple[m.Page, ...] = ()
        size = 0
        for chosen in request.parts:
            part, row = upload.parts[chosen.part_number]
            assert row.part_id == chosen.part_id
            pages += part.pages
            size += part.size
        assert size == request.size
        del self.uploads[request.upload_id]
        return self.put(request, request.upload_id, pages)

    def on_upload_abort(self, request: m.UploadAbort) -> m.Done:
        self.upload(request)
        del self.uploads[request.upload_id]
        return m.Done()

    def on_uploads_list(self, request: m.UploadsList) -> m.Uploads:
        self.bucket(request)
        names = [
            (
                upload.name,
                m.UploadRow(upload.name, upload.record.upload_id, upload.record.created_ms),
            )
            for upload in self.uploads.values()
            if upload.bucket == request.bucket
            and (
                upload.name > request.after
                or (
                    upload.name == request.after
                    and request.after_upload
                    and upload.record.upload_id > request.after_upload
                )
            )
        ]
        names.sort(key=lambda each: (each[0], each[1].upload_id))
        rows, prefixes, truncated, last = self.roll(request, names)
        last_upload = rows[-1].upload_id if rows and rows[-1].name == last else b""
        return m.Uploads(tuple(rows), tuple(prefixes), truncated, last, last_upload)


class MemorySwarm:
    """Keeps segments as bytes."""

    def __init__(self, coordinators: MemoryCoordinators) -> None:
        self.coordinators = coordinators
        self.segments: dict[bytes, tuple[bytes, bytes]] = {}
        self.abandoned: list[bytes] = []
        self.open_reads = 0
        self.piece_bytes = 65536

    async def write(
        self,
        tenant: TenantKey,
        receive: Callable[[], Awaitable[Buffer]],
        size: int,
    ) -> Written:
        data = bytearray()
        while len(data) < size:
            chunk = await receive()
            assert len(chunk)
            data += chunk
        assert len(data) == size
        if not size:
            return Written(0, (), (), ())
        entropy = self.coordinators.node.world.entropy
        segment_id, upload_key = entropy(16), entropy(32)
        commitment = commitment_of(upload_key)
        self.segments[segment_id] = (commitment, bytes(data))
        extent = m.Extent(segment_id, 0, size, commitment, 0)  # type: ignore[arg-type]
        segment = m.NewSegment(segment_id, 1, size, size, size, b"", 1)  # type: ignore[arg-type]
        return Written(size, (m.Page((extent,)),), (segment,), (upload_key,))

    async def abandon(self, tenant: TenantKey, written: Written) -> None:
        for segment in written.segments:
            self.abandoned.append(segment.segment_id)
            self.segments.pop(segment.segment_id)

    async def read(
        self,
        tenant: TenantKey,
        bucket: str,
        name: bytes,
        record: m.ObjectRecord,
        manifest: Manifest,
        first: int,
        last: int,
    ) -> AsyncIterator[Buffer]:
        known = manifest.keys_by_commitment()
        data = b""
        for page in self.coordinators.by_id[record.version_id].pages:
            for extent in page.extents:
                commitment, content = self.segments[extent.segment_id]
                assert commitment in known, "the manifest lacks a key"
                data += content[extent.offset : extent.offset + extent.length]
        data = data[first : last + 1]
        self.open_reads += 1
        try:
            for at in range(0, len(data), self.piece_bytes):
                await trio.lowlevel.checkpoint()
                yield data[at : at + self.piece_bytes]
        finally:
            self.open_reads -= 1

    async def copy_pages(
        self,
        tenant: TenantKey,
        bucket: str,
        name: bytes,
        record: m.ObjectRecord,
        manifest: Manifest,
        first: int,
        last: int,
    ) -> tuple[m.Page, ...]:
        extents = []
        at = 0
        for page in self.coordinators.by_id[record.version_id].pages:
            for extent in page.extents:
                start, end = max(first, at), min(last + 1, at + extent.length)
                if start < end:
                    extents.append(
                        replace(extent, offset=extent.offset + start - at, length=end - start)
                    )
                at += extent.length
        return (m.Page(tuple(extents)),) if extents else ()


@dataclass
class Answer:
    """What came back, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """S3's error code."""
        return self.text("Code") or ""

    def xml(self) -> ElementTree.Element:
        """The document without namespaces."""
        root = ElementTree.fromstring(self.body)
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root

    def text(self, path: str) -> str | None:
        """The text of the first element of that path."""
        return self.xml().findtext(path)

    def texts(self, path: str) -> list[str]:
        """The texts of all elements of that path."""
        return [element.text or "" for element in self.xml().iterfind(path)]


class Rig:
    """A gateway's app with one tenant, and a client that signs."""

    def __init__(
        self,
        seed: int = 1,
        region: str = REGION,
        domains: tuple[str, ...] = (),
        signature_v2: SignatureV2 = SignatureV2.PRESIGNED,
    ) -> None:
        self.node = SimWorld(seed).node("gateway")
        world = self.node.world
        chance = random.Random(seed)
        self.coordinators = MemoryCoordinators(self.node)
        self.swarm = MemorySwarm(self.coordinators)
        self.tenants: dict[bytes, TenantKey] = {}
        self.region = region
        self.host = "s3.test"
        for name in ("AK", "OTHER"):
            tenant = TenantKey(TenantId(chance.randbytes(16)), chance.randbytes(32))
            self.tenants[tenant.tenant_id] = tenant
            record = AccessKeyRecord(secret=SECRET, created_ms=0)
            sealed = seal_access_key(tenant, name, record, chance.randbytes)
            self.coordinators.keys[name] = m.AccessKey(tenant.tenant_id, sealed)

        async def call(request: m.Request) -> Any:
            return await self.coordinators.call(request)  # which a test may have replaced

        self.backend = Backend(
            coordinators=self.coordinators,  # type: ignore[arg-type]
            swarm=self.swarm,
            buckets=BucketCache(call),
            names=IdentityNames(),
            workers=world.workers,
            entropy=world.entropy,
            clock=world.clock,
            log=world.log,
            metrics=GatewayMetrics(),
            region=region,
            domains=domains,
            budget=ByteBudget(GATEWAY_BUFFER_BUDGET_BYTES),
            gathered=ByteBudget(GATEWAY_BUFFER_BUDGET_BYTES // GATHERED_PER_BUDGET),
        )

        async def ask(key_id: str) -> m.AccessKey:
            answer: m.AccessKey = await self.coordinators.call(m.AccessKeyGet(key_id))
            return answer

        async def more_tenants() -> bool:
            return False

        self.tenant = self.tenants[self.coordinators.keys["AK"].tenant_id]
        self.keys = AccessKeys(ask, self.tenants.get, more_tenants, world.log)
        self.app = App(self.backend, self.keys, domains, signature_v2)

    def opened(self, version: Version) -> Manifest:
        """The manifest of a version of the tenant ``AK``, opened."""
        record, name = version.record, version.request.name
        return open_manifest(self.tenant, record.bucket_id, name, record.version_id, record.sealed)

    def sign(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        *,
        access_key: str = "AK",
        payload: str = "UNSIGNED-PAYLOAD",
        secret: str = SECRET,
    ) -> dict[str, str]:
        """The headers of a signed request."""
        stamp, scope = self.scope()
        signed = {
            "host": self.host,
            **headers,
            "x-amz-date": stamp,
            "x-amz-content-sha256": payload,
        }
        names = sorted(
            name for name in signed if name.startswith("x-amz-") or name in {"host", "content-md5"}
        )
        signature = self.signature(
            method, path, query, {name: signed[name] for name in names}, payload, secret
        )
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return signed

    def presign(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        access_key: str = "AK",
        secret: str = SECRET,
        expires_s: int = 60,
    ) -> str:
        """The query of a presigned URL (Signature V4).

        Args:
            query: further parameters, as on the wire, canonically encoded.
            headers: further signed headers, in lower case.
        """
        stamp, scope = self.scope()
        signed = {"host": self.host, **(headers or {})}
        names = sorted(signed)
        parameters = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{access_key}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": ";".join(names),
        }
        whole = "&".join(
            [f"{name}={quote(value, safe='')}" for name, value in parameters.items()]
            + ([query] if query else [])
        )
        signature = self.signature(method, path, whole, signed, "UNSIGNED-PAYLOAD", secret)
        return f"{whole}&X-Amz-Signature={signature}"

    def scope(self) -> tuple[str, str]:
        """Time and credential scope of what is signed now."""
        moment = datetime.datetime.fromtimestamp(self.node.world.clock.now(), datetime.UTC)
        stamp = moment.strftime("%Y%m%dT%H%M%SZ")
        return stamp, f"{stamp[:8]}/{self.region}/s3/aws4_request"

    def signature(
        self,
        method: str,
        path: str,
        query: str,
        signed: Mapping[str, str],
        payload: str,
        secret: str,
    ) -> str:
        """The signature over these headers, all of them, now."""
        stamp, scope = self.scope()
        names = sorted(signed)
        pairs = sorted(part.partition("=")[::2] for part in query.split("&") if part)
        canonical_query = "&".join(f"{name}={value}" for name, value in pairs)
        canonical = "\n".join(
            [method, path, canonical_query]
            + [f"{name}:{' '.join(signed[name].split())}" for name in names]
            + ["", ";".join(names), payload]
        )
        digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        key = f"AWS4{secret}".encode()
        for part in (stamp[:8], self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()

    async def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        access_key: str = "AK",
        payload: str | None = None,
        secret: str = SECRET,
    ) -> Answer:
        """Send a signed request. ``path`` and ``query`` as on the wire."""
        declared = hashlib.sha256(body).hexdigest() if payload is None else payload
        given = {name.lower(): value for name, value in (headers or {}).items()}
        if method in {"PUT", "POST"}:
            given.setdefault("content-length", str(len(body)))
        signed = self.sign(
            method, path, query, given, access_key=access_key, payload=declared, secret=secret
        )
        return await self.send(method, path, query, body, signed)

    async def send(
        self,
        method: str,
        path: str,
        query: str,
        body: bytes,
        headers: Mapping[str, str] | Sequence[tuple[str, str]],
    ) -> Answer:
        """Send a request as it is. ``headers``: values as Latin-1; pairs where a name repeats."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        target = path.encode() + (b"?" + query.encode() if query else b"")
        request = HttpRequest(
            method,
            target,
            path.encode(),
            query.encode(),
            [(name.encode(), value.encode("latin-1")) for name, value in pairs],
            BytesBody(body),
            "test",
        )
        response: HttpResponse = await self.app(request)
        if isinstance(response.body, bytes):
            content = response.body
        else:
            async with aclosing(response.body) as chunks:  # type: ignore[type-var]
                content = b"".join([bytes(chunk) async for chunk in chunks])
        shown = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        if "content-length" in shown and method != "HEAD":
            assert int(shown["content-length"]) == len(content)
        return Answer(response.status, shown, content)

    async def put(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """PUT that must succeed."""
        answer = await self.ask("PUT", path, "", body, headers)
        assert answer.status == 200, answer.body
        return answer


def encoded(text: str) -> str:
    """A key as a path on the wire."""
    return quote(text, safe="/-_.~")
