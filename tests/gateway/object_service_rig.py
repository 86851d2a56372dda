"""Two gateways of one tenant, a bucket, and bodies to put into it."""

from __future__ import annotations

import hashlib

from object_rig import ObjectRig

from common.client.object_client import Written
from common.errors import AlvearyError, OutcomeUnknown
from common.format.objects import METADATA_VERSION, ObjectMetadata, UploadInfo
from common.ids import VersionId
from common.ports import Buffer
from common.reasons import Uncertainty
from common.wire import messages as m
from gateway.buckets import create_bucket
from gateway.checksums import Algorithm
from gateway.conditions import WriteCondition
from gateway.ingest import Ingest
from gateway.multipart import commit_part, create_upload, find_upload
from gateway.object_service import ObjectService
from gateway.objects import FoundObject, find_object
from gateway.parts import PartContent, part_metadata
from gateway.principals import Bucket
from gateway.writing import NewObject, commit_object, store

NAME = b"name"


class ServiceRig(ObjectRig):
    """Object services over one coordinator; ``bucket`` is the first one's."""

    bucket: Bucket

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = self.service(), self.service()

    async def make_bucket(self) -> None:
        await create_bucket(self.one, self.tenant, "bucket")
        self.bucket = await self.one.buckets.find(self.tenant, "bucket")

    def body(self, service: ObjectService, data: bytes) -> Ingest:
        left = [data]

        async def receive() -> Buffer:
            return left.pop() if left else b""

        return Ingest(
            receive=receive,
            size=len(data),
            slow=[],
            fast=[],
            check=lambda: None,
            workers=service.workers,
            backlog=service.backlog,
        )

    async def put(
        self, service: ObjectService, data: bytes, condition: WriteCondition | None = None
    ) -> VersionId:
        """Store an object of this name, whose ETag is the digest of its bytes."""
        metadata = ObjectMetadata(METADATA_VERSION, etag_of(data), 0, (), (), None)

        async def commit(written: Written) -> VersionId:
            new = NewObject(metadata, len(data), written.pages, written.keys, written.segments)
            made, _ = await commit_object(
                service, self.bucket, NAME, new, condition or WriteCondition()
            )
            return made

        body = self.body(service, data)
        return await store(service, self.bucket, body, len(data), commit)

    async def begin(self) -> VersionId:
        """Begin an upload in parts."""
        info = UploadInfo(METADATA_VERSION, (), ())
        return await create_upload(self.one, self.bucket, NAME, info)

    async def put_part(self, upload_id: VersionId, number: int, data: bytes) -> str:
        """Store a part; its ETag."""
        upload = await find_upload(self.one, self.bucket, NAME, upload_id)
        digest = hashlib.md5(data).digest()

        async def commit(written: Written) -> None:
            metadata = part_metadata(digest, 0, Algorithm.CRC64NVME, bytes(8))
            content = PartContent(
                metadata, len(data), written.pages, written.keys, written.segments
            )
            await commit_part(self.one, upload, number, content)

        await store(self.one, self.bucket, self.body(self.one, data), len(data), commit)
        return digest.hex()

    async def found(self) -> FoundObject:
        """The object as the other gateway finds it."""
        return await find_object(self.other, self.bucket, NAME)

    def lose_the_next_reply(self, kind: type[m.Request]) -> None:
        """Carry the next request of a type out, and lose what is said to it."""

        def lose(request: m.Request, reply: m.Reply) -> m.Reply:
            if not isinstance(request, kind):
                return reply
            self.coordinators.lie = None
            raise OutcomeUnknown(Uncertainty.CONNECTION_LOST)

        self.coordinators.lie = lose

    def fail_the_next(self, kind: type[m.Request], error: AlvearyError) -> None:
        """Refuse the next request of a type."""

        async def fail(request: m.Request) -> None:
            del self.coordinators.faults[kind]
            raise error

        self.coordinators.faults[kind] = fail


def etag_of(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
