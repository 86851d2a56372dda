"""Access control lists of buckets and objects, and the ownership of objects: set, shown, removed.

Source: Amazon S3 API Reference, the actions named; docs/s3-compatibility.md, "Access control
lists".
"""

from __future__ import annotations

from typing import Final, NoReturn

from common.data_classes import dataclass
from common.format.access_lists import (
    ACCESS_LIST_VERSION,
    AclGrant,
    BucketOwnership,
    Grantee,
    Ownership,
    unpack_ownership,
)
from common.http.records import HttpRequest, HttpResponse
from gateway.access.lists import is_public_list, own_grants
from gateway.access.rules import ACL, OWNERSHIP
from gateway.configurations import set_document
from gateway.notifications import EventKind
from gateway.ownership import owner_of, owner_of_new, pack_grants, set_grants
from gateway.principals import Bucket
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import xml_response
from gateway_s3.handlers.called_object import find_called_object
from gateway_s3.request.acl import (
    FOR_BUCKET_OWNER,
    asked_list,
    asked_ownership,
    has_acl_headers,
)
from gateway_s3.request.version_ids import version_headers
from gateway_s3.xml.acl import (
    AskedDocument,
    acl_elements,
    ownership_tree,
    parse_acl,
    parse_ownership,
)
from gateway_s3.xml.read import Tree, parse_configuration
from gateway_s3.xml.write import access_control, configuration

_WRITER: Final = BucketOwnership(ACCESS_LIST_VERSION, Ownership.WRITER, is_set=False).pack()


@dataclass(frozen=True, slots=True)
class NewAccess:
    """The access to a new object. ``owner``: its tenant, or empty: the bucket's owner. ``acl``:
    its list, packed, or empty: none was asked for."""

    owner: bytes = b""
    acl: bytes = b""


_BUCKET_OWNERS: Final = NewAccess()


def access_of_new(call: Call, request: HttpRequest) -> NewAccess:
    """Return the owner and the list of the object that a call makes.

    Args:
        request: the call's own, or one that a form stands for.

    Raises:
        S3Error: AccessDenied: the list is public, and such are blocked; as the headers can be
            wrong.
    """
    bucket = call.bucket
    if not bucket.rules.uses_lists:
        return _BUCKET_OWNERS
    asked = asked_list(request)
    is_for_bucket_owner = asked is not None and asked.canned == FOR_BUCKET_OWNER
    owner = owner_of_new(bucket, call.principal, is_for_bucket_owner=is_for_bucket_owner)
    if asked is None:
        return NewAccess(owner)
    actual = owner or bucket.owner.tenant_id
    grants = asked.of_object(actual, bucket.owner.tenant_id)
    _check_public(bucket, grants)
    return NewAccess(owner, pack_grants(grants, actual))


def documents_of_new(request: HttpRequest, owner: bytes) -> dict[str, bytes]:
    """Return the documents about ownership and access that a new bucket begins with.

    Args:
        owner: the tenant that will own it.

    Raises:
        S3Error: InvalidBucketAclWithBlockPublicAccessError: a public list; as the headers can be
            wrong.
    """
    rule = asked_ownership(request)
    if rule is Ownership.BUCKET_OWNER:
        return {}
    documents = {OWNERSHIP: BucketOwnership(ACCESS_LIST_VERSION, rule).pack()}
    asked = asked_list(request)
    if asked is not None:
        grants = asked.of_bucket(owner)
        if is_public_list(grants):
            raise S3Error(errors.INVALID_BUCKET_ACL_WITH_BLOCK)
        packed = pack_grants(grants, owner)
        if packed:
            documents[ACL] = packed
    return documents


def _check_public(bucket: Bucket, grants: tuple[AclGrant, ...]) -> None:
    """Refuse a public list where the bucket's public access block does. Raises S3Error."""
    if bucket.rules.limits.block_acls and is_public_list(grants):
        raise S3Error(
            errors.ACCESS_DENIED,
            "The access control list is public, and public lists are blocked by the "
            "BlockPublicAcls setting of the bucket's public access block.",
        )


async def get_bucket_acl(backend: Backend, call: Call) -> HttpResponse:
    """Show the bucket's list."""
    owner = call.bucket.owner.tenant_id
    rules = call.bucket.rules
    grants = rules.grants if rules.uses_lists else None
    return _shown(owner, own_grants(owner) if grants is None else grants)


async def get_object_acl(backend: Backend, call: Call) -> HttpResponse:
    """Show an object's list."""
    found = await find_called_object(backend, call)
    owner = owner_of(call.bucket, found.metadata.owner)
    grants = own_grants(owner) if found.acl is None else found.acl.grants
    response = _shown(owner, grants)
    response.headers += version_headers(found.version)
    return response


def _shown(owner: bytes, grants: tuple[AclGrant, ...]) -> HttpResponse:
    return xml_response(access_control(owner.hex(), acl_elements(grants)))


async def put_bucket_acl(backend: Backend, call: Call) -> HttpResponse:
    """Set the bucket's list."""
    owner = call.bucket.owner.tenant_id
    if not call.bucket.rules.uses_lists:
        await _check_own(backend, call)
        return HttpResponse(200)
    asked = asked_list(call.request)
    by_document = await _document(backend, call, owner, has_headers=asked is not None)
    if asked is not None:
        grants = asked.of_bucket(owner)
    else:
        assert by_document is not None, "one of both is there"
        grants = by_document.grants

    def check(bucket: Bucket) -> None:
        if not bucket.rules.uses_lists:
            raise S3Error(errors.ACL_NOT_SUPPORTED)
        _check_public(bucket, grants)

    await set_document(backend, call.bucket, ACL, pack_grants(grants, owner) or None, check)
    return HttpResponse(200)


async def put_object_acl(backend: Backend, call: Call) -> HttpResponse:
    """Set the list of an object, of this very version."""
    found = await find_called_object(backend, call)
    if not call.bucket.rules.uses_lists:
        await _check_own(backend, call)
        return HttpResponse(200)
    owner = owner_of(call.bucket, found.metadata.owner)
    asked = asked_list(call.request)
    by_document = await _document(backend, call, owner, has_headers=asked is not None)
    if asked is not None:
        grants = asked.of_object(owner, call.bucket.owner.tenant_id)
    else:
        assert by_document is not None, "one of both is there"
        grants = by_document.grants
    _check_public(call.bucket, grants)
    cause = call.cause(EventKind.ACL)
    await set_grants(backend, call.bucket, call.name, found, grants, cause)
    return HttpResponse(200, version_headers(found.version))


async def _document(
    backend: Backend, call: Call, owner: bytes, *, has_headers: bool
) -> AskedDocument | None:
    """The list that the body of a call asks for; None: it has no body, but headers.

    Raises:
        S3Error: there are both, or neither; AccessDenied: it names another owner; as the document
            can be wrong.
    """
    asked = await read_document(
        backend, call, lambda document: parse_acl(document) if document else None
    )
    if has_headers:
        if asked is not None:
            _both()
    elif asked is None:
        _neither()
    elif asked.owner != owner.hex():
        raise S3Error(
            errors.ACCESS_DENIED, "The list names another owner, which a list does not change."
        )
    return asked


async def _check_own(backend: Backend, call: Call) -> None:
    """Refuse any list but the owner's, where no list counts. Headers with another were refused
    before."""
    own = _own_acl(call.bucket.owner.tenant_id.hex())
    asked = await read_document(
        backend,
        call,
        lambda document: parse_configuration(document, own.name) if document else None,
    )
    by_headers = has_acl_headers(call.request)
    if by_headers and asked is not None:
        _both()
    if not by_headers:
        if asked is None:
            _neither()
        if asked != own:
            raise S3Error(errors.ACL_NOT_SUPPORTED)


def _both() -> NoReturn:
    raise S3Error(errors.INVALID_REQUEST, "Specify either a canned ACL or an ACL, not both.")


def _neither() -> NoReturn:
    raise S3Error(
        errors.MISSING_SECURITY_HEADER,
        "Your request was missing a required header",
        MissingHeaderName="x-amz-acl",
    )


def _own_acl(owner_id: str) -> Tree:
    owner = (Tree("ID", owner_id),)
    grant = Tree("Grant", "", (Tree("Grantee", "", owner), Tree("Permission", "FULL_CONTROL")))
    children = (Tree("AccessControlList", "", (grant,)), Tree("Owner", "", owner))
    return Tree("AccessControlPolicy", "", children)


async def put_ownership(backend: Backend, call: Call) -> HttpResponse:
    """Set the rule by which the bucket's objects have their owners. Where they become the bucket
    owner's, its own list must give nobody else anything."""
    rule = await read_document(backend, call, parse_ownership, must_vouch=False)

    def check(bucket: Bucket) -> None:
        owner = bucket.owner.tenant_id
        if rule is Ownership.BUCKET_OWNER and any(
            grant.grantee != Grantee.ACCOUNT or grant.account != owner
            for grant in bucket.rules.grants or ()
        ):
            raise S3Error(errors.INVALID_BUCKET_ACL_WITH_OWNERSHIP)

    # Buckets without the document have this rule, and pay nothing for it.
    is_default = rule is Ownership.BUCKET_OWNER
    body = None if is_default else BucketOwnership(ACCESS_LIST_VERSION, rule).pack()
    await set_document(backend, call.bucket, OWNERSHIP, body, check)
    return HttpResponse(200)


async def get_ownership(backend: Backend, call: Call) -> HttpResponse:
    """Show the rule by which the bucket's objects have their owners."""
    body = call.bucket.settings.document(OWNERSHIP)
    rule = Ownership.BUCKET_OWNER
    if body is not None:
        ownership = unpack_ownership(body)
        if not ownership.is_set:
            raise S3Error(errors.OWNERSHIP_CONTROLS_NOT_FOUND, BucketName=call.bucket.name)
        rule = Ownership(ownership.rule)
    return xml_response(configuration(ownership_tree(rule)))


async def delete_ownership(backend: Backend, call: Call) -> HttpResponse:
    """Remove the rule: objects are their writers' then, as on S3."""
    await set_document(backend, call.bucket, OWNERSHIP, _WRITER)
    return HttpResponse(204)
