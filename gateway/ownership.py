"""Owners and access control lists of objects: whose a new one is, whose one is that was found, and
its list replaced without a new version.

The data of an object is always sealed with keys of its bucket's owner; that another tenant owns it
is a fact of its metadata, by which requests are decided.

Source: docs/decisions/0052-access-lists.md.
"""

from __future__ import annotations

from common.errors import NotFound, Refused
from common.format.access_lists import ACCESS_LIST_VERSION, AccessList, AclGrant, Ownership
from common.reasons import Absence, Refusal
from common.wire.messages.objects import ObjectAclSet
from gateway.access.lists import JudgedObject, own_grants
from gateway.events import notification_about
from gateway.notifications import Cause
from gateway.object_service import ObjectService
from gateway.objects import FoundObject
from gateway.principals import Bucket, KeyHolder, Principal
from gateway.writing import sealed_acl


def owner_of_new(bucket: Bucket, principal: Principal, *, is_for_bucket_owner: bool) -> bytes:
    """Return the tenant that owns what a principal writes to a bucket; empty: the bucket's owner.
    What an anonymous caller writes is the bucket owner's: nobody could prove to own it.

    Args:
        is_for_bucket_owner: the writer asks for the canned list by which the bucket's owner gets
            full control.
    """
    rule = bucket.rules.ownership
    if rule is Ownership.BUCKET_OWNER or not isinstance(principal, KeyHolder):
        return b""
    if rule is Ownership.PREFERRED and is_for_bucket_owner:
        return b""
    writer = principal.tenant.tenant_id
    return b"" if writer == bucket.owner.tenant_id else writer


def owner_of(bucket: Bucket, owner: bytes) -> bytes:
    """Return the tenant that owns an object as things are now.

    Args:
        owner: that its metadata or its summary names; empty: the bucket's owner.
    """
    return (owner if bucket.rules.uses_lists else b"") or bucket.owner.tenant_id


def judged_object(bucket: Bucket, found: FoundObject) -> JudgedObject:
    """Return an object as requests about it are decided."""
    owner = owner_of(bucket, found.metadata.owner).hex()
    return JudgedObject(owner, () if found.acl is None else found.acl.grants)


def pack_grants(grants: tuple[AclGrant, ...], owner: bytes) -> bytes:
    """Return an access control list packed; empty: it is the one that nobody set.

    Args:
        owner: of the object or bucket.
    """
    if grants == own_grants(owner):
        return b""
    return AccessList(ACCESS_LIST_VERSION, grants).pack()


async def set_grants(
    service: ObjectService,
    bucket: Bucket,
    name: bytes,
    found: FoundObject,
    grants: tuple[AclGrant, ...],
    cause: Cause | None = None,
) -> None:
    """Replace the access control list of a version.

    Args:
        name: as stored.
        found: this very version: the decision was about it.
        cause: of the event.

    Raises:
        Refused: ``write_conflict``: it was deleted or replaced meanwhile.
        Unavailable: it may have been set all the same.
    """
    owner, version_id = bucket.owner, found.record.version_id
    packed = pack_grants(grants, owner_of(bucket, found.metadata.owner))
    sealed = sealed_acl(service, owner, (found.record.bucket_id, name, version_id), packed)
    notification = notification_about(service, bucket, name, cause, found)
    try:
        await service.coordinators.call(
            ObjectAclSet(owner.tenant_id, bucket.name, name, version_id, sealed, notification)
        )
    except NotFound as error:
        if error.reason != Absence.NO_SUCH_VERSION:
            raise
        raise Refused(Refusal.WRITE_CONFLICT) from error
    if notification is not None:
        service.notified.tell()
