"""Objects that another tenant than their bucket's owner owns."""

from __future__ import annotations

import form_client
from acl_client import (
    ACL,
    OWNERSHIP,
    account,
    anonymous,
    complete,
    list_of,
    made,
    other_account,
    ownership,
    refusal,
    set_list,
    statuses,
)
from object_rig import SECRET

from common.format.manifest import open_acl, open_manifest
from common.format.objects import unpack_object
from common.wire.messages import ObjectGet


async def test_an_object_is_its_writers_and_the_bucket_owner_may_delete_it_and_no_more() -> None:
    rig = await made()
    other = other_account(rig)
    await set_list(rig, "/bucket", "public-read-write")
    await rig.ask("PUT", "/bucket/theirs", "", b"theirs", access_key="OTHER")
    assert await list_of(rig, "/bucket/theirs", access_key="OTHER") == (
        other,
        [(other, "FULL_CONTROL")],
    )
    assert await statuses(rig, "GET", "/bucket/theirs") == [403, 200, 403]
    assert await statuses(rig, "HEAD", "/bucket/theirs") == [403, 200, 403]
    assert await statuses(rig, "GET", "/bucket/theirs", ACL) == [403, 200, 403]
    attributes = {"x-amz-object-attributes": "ETag"}
    answers = await statuses(rig, "GET", "/bucket/theirs", "attributes=", b"", attributes)
    assert answers == [403, 200, 403]
    answer = await rig.ask("PUT", "/bucket/theirs", ACL, b"", {"x-amz-acl": "public-read"})
    assert answer.status == 403
    copied = {"x-amz-copy-source": "/bucket/theirs"}
    assert (await rig.ask("PUT", "/bucket/copy", "", b"", copied)).status == 403
    assert (await rig.ask("HEAD", "/bucket/copy")).status == 404
    await set_list(rig, "/bucket/theirs", "bucket-owner-read", access_key="OTHER")
    assert await statuses(rig, "GET", "/bucket/theirs") == [200, 200, 403]
    assert (await rig.ask("GET", "/bucket/theirs", ACL)).status == 403
    await set_list(rig, "/bucket/theirs", "bucket-owner-full-control", access_key="OTHER")
    grants = [(other, "FULL_CONTROL"), (account(rig), "FULL_CONTROL")]
    assert await list_of(rig, "/bucket/theirs") == (other, grants)
    answer = await rig.ask("PUT", "/bucket/copy", "", b"", copied)
    assert answer.status == 200
    assert (await list_of(rig, "/bucket/copy"))[0] == account(rig), "a copy is its maker's"
    assert (await rig.ask("DELETE", "/bucket/theirs")).status == 204


async def test_the_data_of_anothers_object_is_sealed_with_the_bucket_owners_keys() -> None:
    rig = await made()
    await set_list(rig, "/bucket", "public-read-write")
    headers = {"x-amz-acl": "bucket-owner-read"}
    await rig.ask("PUT", "/bucket/theirs", "", b"theirs", headers, access_key="OTHER")
    found = await rig.coordinators.call(
        ObjectGet(rig.tenant.tenant_id, "bucket", b"theirs", None, False, 0, 0)
    )
    place = (rig.tenant, found.bucket_id, b"theirs", found.version_id)
    metadata = unpack_object(open_manifest(*place, found.sealed).metadata)
    assert metadata.owner.hex() == other_account(rig)
    other = other_account(rig).encode()
    assert bytes.fromhex(other.decode()) in open_acl(*place, found.acl)
    for opaque in (found.sealed, found.acl):
        assert bytes.fromhex(other.decode()) not in opaque


async def test_what_is_written_for_the_bucket_owner_is_its_own_where_that_is_preferred() -> None:
    rig = await made("BucketOwnerPreferred")
    other, own = other_account(rig), account(rig)
    await set_list(rig, "/bucket", "public-read-write")
    for canned, owner in (
        ("", other),
        ("private", other),
        ("bucket-owner-read", other),
        ("bucket-owner-full-control", own),
    ):
        headers = {"x-amz-acl": canned} if canned else {}
        copied = {**headers, "x-amz-copy-source": "/bucket/source"}
        answer = await rig.ask("PUT", "/bucket/source", "", b"x", headers, access_key="OTHER")
        assert answer.status == 200
        await set_list(rig, "/bucket/source", "public-read", "AK" if owner == own else "OTHER")
        answer = await rig.ask("PUT", "/bucket/copy", "", b"", copied, access_key="OTHER")
        assert answer.status == 200
        begun = await rig.ask("POST", "/bucket/parts", "uploads=", b"", headers, access_key="OTHER")
        await complete(rig, "/bucket/parts", begun, access_key="OTHER")
        fields = {"key": "posted", **({"acl": canned} if canned else {})}
        fields = form_client.signed(rig, fields, access_key="OTHER", secret=SECRET)
        assert (await form_client.post(rig, fields)).status == 204
        for path in ("/bucket/source", "/bucket/copy", "/bucket/parts", "/bucket/posted"):
            key = "AK" if owner == own else "OTHER"
            assert (await list_of(rig, path, access_key=key))[0] == owner, (canned, path)
    # A grant alone is not asked for it.
    headers = {"x-amz-grant-full-control": f'id="{own}"'}
    await rig.ask("PUT", "/bucket/key", "", b"x", headers, access_key="OTHER")
    assert await list_of(rig, "/bucket/key") == (other, [(own, "FULL_CONTROL")])


async def test_what_nobody_proven_writes_is_the_bucket_owners() -> None:
    rig = await made()
    await set_list(rig, "/bucket", "public-read-write")
    assert (await anonymous(rig, "PUT", "/bucket/key", "", b"x")).status == 200
    assert await list_of(rig, "/bucket/key") == (account(rig), [(account(rig), "FULL_CONTROL")])
    assert await statuses(rig, "GET", "/bucket/key") == [200, 403, 403]
    headers = {"x-amz-acl": "public-read"}
    answer = await anonymous(rig, "PUT", "/bucket/key", "", b"x", headers)
    assert refusal(answer) == (403, "AccessDenied")


async def test_listings_name_the_owner_of_each_object() -> None:
    rig = await made()
    own, other = account(rig), other_account(rig)
    await set_list(rig, "/bucket", "public-read-write")
    await rig.put("/bucket/a", b"x")
    await rig.ask("PUT", "/bucket/b", "", b"x", access_key="OTHER")
    asked = (
        ("", "Contents"),
        ("fetch-owner=true&list-type=2", "Contents"),
        ("versions=", "Version"),
    )
    for query, row in asked:
        answer = await rig.ask("GET", "/bucket", query)
        assert answer.texts(f"{row}/Owner/ID") == [own, other]
    await set_list(rig, "/bucket", "private")
    await rig.ask("PUT", "/bucket", OWNERSHIP, ownership("BucketOwnerEnforced"))
    for query, row in asked:
        answer = await rig.ask("GET", "/bucket", query)
        assert answer.texts(f"{row}/Owner/ID") == [own, own]


async def test_an_upload_is_for_its_initiator_and_the_bucket_owner() -> None:
    rig = await made()
    other = other_account(rig)
    await set_list(rig, "/bucket", "public-read-write")
    begun = await rig.ask("POST", "/bucket/parts", "uploads=", access_key="OTHER")
    query = f"uploadId={begun.text('UploadId')}"
    part = f"partNumber=1&{query}"
    assert (await rig.ask("PUT", "/bucket/parts", part, b"x", access_key="OTHER")).status == 200
    assert await statuses(rig, "GET", "/bucket/parts", query) == [200, 200, 403]
    answer = await rig.ask("GET", "/bucket/parts", query)
    assert (answer.text("Initiator/ID"), answer.text("Owner/ID")) == (other, other)
    owners = await rig.ask("POST", "/bucket/owners", "uploads=")
    query_of_owner = f"uploadId={owners.text('UploadId')}"
    assert await statuses(rig, "GET", "/bucket/owners", query_of_owner) == [200, 403, 403]
    answers = await statuses(rig, "DELETE", "/bucket/owners", query_of_owner, keys=["OTHER", ""])
    assert answers == [403, 403]
    answers = await statuses(rig, "DELETE", "/bucket/parts", query, keys=["", "OTHER"])
    assert answers == [403, 204]
    wrong = await rig.ask("DELETE", "/bucket/parts", query, access_key="OTHER")
    assert wrong.status == 403, "there is none any more, which is not theirs to know"


async def test_the_source_of_a_copy_is_read_by_its_own_list() -> None:
    rig = await made()
    await rig.put("/bucket/open", b"open", {"x-amz-acl": "authenticated-read"})
    await rig.put("/bucket/closed", b"closed")
    await rig.ask("PUT", "/theirs", access_key="OTHER")
    begun = await rig.ask("POST", "/theirs/parts", "uploads=", access_key="OTHER")
    part = f"partNumber=1&uploadId={begun.text('UploadId')}"
    for name, status in (("open", 200), ("closed", 403), ("missing", 403)):
        headers = {"x-amz-copy-source": f"/bucket/{name}"}
        for path, query in (("/theirs/copy", ""), ("/theirs/parts", part)):
            answer = await rig.ask("PUT", path, query, b"", headers, access_key="OTHER")
            assert answer.status == status, (name, path)
    await set_list(rig, "/bucket", "public-read")
    headers = {"x-amz-copy-source": "/bucket/missing"}
    answer = await rig.ask("PUT", "/theirs/copy", "", b"", headers, access_key="OTHER")
    assert refusal(answer) == (404, "NoSuchKey")
