"""The object or upload that a request is about, looked up before the decision where access control
lists count. The handler is given what was decided about: another version that takes its place
meanwhile was decided about by nobody.

Source: docs/decisions/0052-access-lists.md.
"""

from __future__ import annotations

from common.data_classes import dataclass
from common.errors import NotFound
from common.reasons import Absence
from gateway.access.lists import (
    ABSENT,
    OF_OBJECT,
    OF_UPLOAD,
    JudgedObject,
    JudgedUpload,
    Subject,
)
from gateway.authorization import Action
from gateway.multipart import find_upload
from gateway.object_service import ObjectService
from gateway.objects import FoundObject, find_object
from gateway.ownership import judged_object
from gateway.principals import Anonymous, Bucket, ForeignBucket, Principal, account_of
from gateway.versions import VersionName
from gateway_s3.errors import S3Error
from gateway_s3.request.multipart_params import parse_upload_id
from gateway_s3.request.router import Route

_SETS_LIST_OF_NEW = "s3:PutObjectAcl"


@dataclass(frozen=True, slots=True)
class LookedUp:
    """An object that was looked up. ``absence``: why there is none."""

    found: FoundObject | None = None
    absence: NotFound | None = None

    def object(self) -> FoundObject:
        """Return the object. Raises NotFound: there is none."""
        if self.found is not None:
            return self.found
        assert self.absence is not None, "one of both is there"
        raise self.absence.again()

    def subject(self, bucket: Bucket) -> Subject:
        """Return the object as decisions have it."""
        return ABSENT if self.found is None else judged_object(bucket, self.found)


async def look_up(
    service: ObjectService, bucket: Bucket, name: bytes, version: VersionName | None
) -> LookedUp:
    """Look an object up, of which nothing may be shown yet.

    Args:
        name: as stored.
        version: that the request names.

    Raises:
        NotFound: ``no_such_bucket``.
    """
    try:
        return LookedUp(await find_object(service, bucket, name, named=version))
    except NotFound as error:
        if error.reason == Absence.NO_SUCH_BUCKET:
            raise
        return LookedUp(absence=error)


class Subjects:
    """The subjects of the decisions about one request.

    Args:
        name: as stored, of its object.
    """

    def __init__(
        self,
        service: ObjectService,
        principal: Principal,
        bucket: Bucket | ForeignBucket | None,
        routed: Route,
        name: bytes,
    ) -> None:
        self._service = service
        self._principal = principal
        self._bucket = bucket
        self._routed = routed
        self._name = name
        self.looked_up: LookedUp | None = None
        """The object, once a decision was about it."""

    async def of(self, permission: str | None) -> Subject | None:
        """Return the subject of the decision about a permission; None: the bucket itself, or
        nothing that is known would let the principal do it."""
        bucket = self._bucket
        if not isinstance(bucket, Bucket) or not bucket.rules.uses_lists:
            return None
        if permission in OF_UPLOAD:
            return await self._upload(bucket)
        if permission not in OF_OBJECT:
            return None
        if permission == _SETS_LIST_OF_NEW and self._routed.operation.action is Action.WRITE_OBJECT:
            # A writer gives its own object a list; what nobody proves to own is the bucket owner's.
            return JudgedObject(self._principal.caller.account or account_of(bucket.owner))
        rules = bucket.rules
        opens_nothing = rules.limits.ignore_acls and rules.policy is None
        if opens_nothing and isinstance(self._principal, Anonymous):
            return None  # It costs no call.
        if self.looked_up is None:
            version = self._routed.version
            self.looked_up = await look_up(self._service, bucket, self._name, version)
        return self.looked_up.subject(bucket)

    async def _upload(self, bucket: Bucket) -> JudgedUpload | None:
        account = self._principal.caller.account
        if account is None or account == account_of(bucket.owner):
            return None
        try:
            upload_id = parse_upload_id(self._routed.query.get("uploadId"))
            upload = await find_upload(self._service, bucket, self._name, upload_id)
        except (NotFound, S3Error):
            return None
        initiator = upload.info.initiator
        return JudgedUpload(initiator.hex()) if initiator else None
