"""Access control lists and ownership, set in every way and shown as they were set."""

from __future__ import annotations

import form_client
import pytest
from acl_client import (
    ACL,
    ALL,
    AUTHENTICATED,
    EVERYONE,
    LOGS,
    OWNERSHIP,
    account,
    complete,
    document,
    list_of,
    made,
    other_account,
    ownership,
    refusal,
    set_list,
    statuses,
)
from gateway_rig import Rig
from object_rig import SECRET

from gateway_s3.errors import S3Error
from gateway_s3.xml.acl import parse_acl


async def test_ownership_is_set_shown_and_removed() -> None:
    rig = Rig()
    await rig.put("/bucket", b"")

    async def rule() -> str | None:
        return (await rig.ask("GET", "/bucket", OWNERSHIP)).text("Rule/ObjectOwnership")

    assert await rule() == "BucketOwnerEnforced"
    for name in ("ObjectWriter", "BucketOwnerPreferred", "BucketOwnerEnforced"):
        assert (await rig.ask("PUT", "/bucket", OWNERSHIP, ownership(name))).status == 200
        assert await rule() == name
    assert (await rig.ask("DELETE", "/bucket", OWNERSHIP)).status == 204
    gone = await rig.ask("GET", "/bucket", OWNERSHIP)
    assert refusal(gone) == (404, "OwnershipControlsNotFoundError")
    await set_list(rig, "/bucket", "private")  # as under ObjectWriter
    for name in ("ObjectWriter", "BucketOwnerPreferred"):
        await rig.put(f"/{name.lower()}", b"", {"x-amz-object-ownership": name})
        answer = await rig.ask("GET", f"/{name.lower()}", OWNERSHIP)
        assert answer.text("Rule/ObjectOwnership") == name
    answer = await rig.ask("PUT", "/another", "", b"", {"x-amz-object-ownership": "Nobody"})
    assert refusal(answer) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        ownership("Nobody"),
        b"<OwnershipControls/>",
        b"<OwnershipControls><Rule/></OwnershipControls>",
        ownership("ObjectWriter").replace(b"ObjectOwnership", b"Other"),
    ],
)
async def test_another_ownership_is_refused(body: bytes) -> None:
    rig = await made()
    answer = await rig.ask("PUT", "/bucket", OWNERSHIP, body)
    assert refusal(answer) == (400, "MalformedXML")


async def test_lists_are_switched_off_only_while_the_buckets_own_opens_nothing() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    await set_list(rig, "/bucket/key", "public-read")
    await set_list(rig, "/bucket", "public-read")
    answer = await rig.ask("PUT", "/bucket", OWNERSHIP, ownership("BucketOwnerEnforced"))
    assert refusal(answer) == (400, "InvalidBucketAclWithObjectOwnership")
    await set_list(rig, "/bucket", "private")
    assert (
        await rig.ask("PUT", "/bucket", OWNERSHIP, ownership("BucketOwnerEnforced"))
    ).status == 200
    assert await statuses(rig, "GET", "/bucket/key") == [200, 403, 403]
    own = [(account(rig), "FULL_CONTROL")]
    assert await list_of(rig, "/bucket/key") == (account(rig), own)
    answer = await rig.ask("PUT", "/bucket/key", ACL, b"", {"x-amz-acl": "public-read"})
    assert refusal(answer) == (400, "AccessControlListNotSupported")
    # What was granted counts again with the lists.
    await rig.ask("PUT", "/bucket", OWNERSHIP, ownership("BucketOwnerPreferred"))
    assert await statuses(rig, "GET", "/bucket/key") == [200, 200, 200]


async def test_a_list_that_nobody_set_is_the_owners() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    own = (account(rig), [(account(rig), "FULL_CONTROL")])
    assert await list_of(rig, "/bucket") == own
    assert await list_of(rig, "/bucket/key") == own
    kind = "{http://www.w3.org/2001/XMLSchema-instance}type"
    answer = await rig.ask("GET", "/bucket/key", ACL)
    (grantee,) = answer.xml().iterfind("AccessControlList/Grant/Grantee")
    assert grantee.tag == "Grantee"
    assert b'xsi:type="CanonicalUser"' in answer.body, kind


CANNED = {
    "private": [],
    "public-read": [(EVERYONE, "READ")],
    "public-read-write": [(EVERYONE, "READ"), (EVERYONE, "WRITE")],
    "authenticated-read": [(AUTHENTICATED, "READ")],
}


@pytest.mark.parametrize("canned", CANNED)
async def test_a_canned_list_is_set_on_buckets_and_objects(canned: str) -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    await rig.put("/bucket/new", b"content", {"x-amz-acl": canned})
    copied = {"x-amz-copy-source": "/bucket/key", "x-amz-acl": canned}
    await rig.put("/bucket/copy", b"", copied)
    for path in ("/bucket", "/bucket/key"):
        await set_list(rig, path, canned)
    fields = form_client.signed(
        rig, {"key": "posted", "acl": canned}, access_key="AK", secret=SECRET
    )
    assert (await form_client.post(rig, fields)).status == 204
    begun = await rig.ask("POST", "/bucket/parts", "uploads=", b"", {"x-amz-acl": canned})
    await complete(rig, "/bucket/parts", begun)
    expected = [(account(rig), "FULL_CONTROL"), *CANNED[canned]]
    for path in ("", "/key", "/new", "/copy", "/posted", "/parts"):
        assert await list_of(rig, f"/bucket{path}") == (account(rig), expected), path


async def test_logs_may_be_delivered_to_a_bucket_and_not_to_an_object() -> None:
    rig = await made(blocked=True)
    await rig.put("/bucket/key", b"content")
    await set_list(rig, "/bucket", "log-delivery-write")
    grants = [(account(rig), "FULL_CONTROL"), (LOGS, "WRITE"), (LOGS, "READ_ACP")]
    assert await list_of(rig, "/bucket") == (account(rig), grants)
    answer = await rig.ask("PUT", "/bucket/key", ACL, b"", {"x-amz-acl": "log-delivery-write"})
    assert refusal(answer) == (400, "InvalidArgument")
    for path in ("/bucket", "/bucket/key"):
        answer = await rig.ask("PUT", path, ACL, b"", {"x-amz-acl": "aws-exec-read"})
        assert refusal(answer) == (501, "NotImplemented")


async def test_grants_in_headers_are_all_that_the_list_has() -> None:
    rig = await made()
    other = other_account(rig)
    headers = {
        "x-amz-grant-read": f'id="{other}", uri="{EVERYONE}"',
        "x-amz-grant-write": f"id={other}",
        "x-amz-grant-read-acp": f'id="{other}"',
        "x-amz-grant-write-acp": f'ID = "{other}"',
        "x-amz-grant-full-control": f'id="{other}",id="{account(rig)}"',
    }
    expected = [
        (other, "FULL_CONTROL"),
        (account(rig), "FULL_CONTROL"),
        (other, "READ"),
        (EVERYONE, "READ"),
        (other, "READ_ACP"),
        (other, "WRITE"),
        (other, "WRITE_ACP"),
    ]
    await rig.put("/bucket/new", b"content", headers)
    await rig.put("/bucket/key", b"content")
    for path in ("/bucket", "/bucket/key"):
        assert (await rig.ask("PUT", path, ACL, b"", headers)).status == 200
    for path in ("/bucket", "/bucket/key", "/bucket/new"):
        assert await list_of(rig, path) == (account(rig), expected)


async def test_a_bucket_is_made_with_a_list() -> None:
    rig = Rig()
    other = other_account(rig)
    writers = {"x-amz-object-ownership": "ObjectWriter"}
    await rig.put("/bucket", b"", {**writers, "x-amz-grant-write": f'id="{other}"'})
    assert await list_of(rig, "/bucket") == (account(rig), [(other, "WRITE")])
    assert await statuses(rig, "PUT", "/bucket/key", "", b"x") == [200, 200, 403]
    for canned in ("public-read", "authenticated-read"):
        answer = await rig.ask("PUT", "/public", "", b"", {**writers, "x-amz-acl": canned})
        assert refusal(answer) == (400, "InvalidBucketAclWithBlockPublicAccessError")
    assert (await rig.ask("HEAD", "/public")).status == 404


async def test_a_bucket_that_is_made_again_keeps_its_ownership_and_list_or_is_refused() -> None:
    rig = await made()
    await set_list(rig, "/bucket", "log-delivery-write")
    before = await list_of(rig, "/bucket")
    writers = {"x-amz-object-ownership": "ObjectWriter"}
    for headers, status in (
        ({}, 200),
        (writers, 200),
        ({"x-amz-object-ownership": "BucketOwnerPreferred"}, 409),
        ({**writers, "x-amz-grant-read": f'id="{other_account(rig)}"'}, 409),
        ({**writers, "x-amz-acl": "log-delivery-write"}, 200),
    ):
        assert (await rig.ask("PUT", "/bucket", "", b"", headers)).status == status
        assert await list_of(rig, "/bucket") == before


@pytest.mark.parametrize("permission", ALL)
async def test_a_document_sets_a_list_and_is_shown_as_it_was_set(permission: str) -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    own = (account(rig), "FULL_CONTROL")
    grants = [(other_account(rig), permission), own, (EVERYONE, permission)]
    for path in ("/bucket", "/bucket/key"):
        answer = await rig.ask("PUT", path, ACL, document(account(rig), *grants))
        assert answer.status == 200, answer.body
        assert await list_of(rig, path) == (account(rig), grants)


async def test_all_grants_can_be_revoked_and_the_owner_still_sets_the_list() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    for path in ("/bucket", "/bucket/key"):
        assert (await rig.ask("PUT", path, ACL, document(account(rig)))).status == 200
        assert await list_of(rig, path) == (account(rig), [])
        await set_list(rig, path, "private")
        assert await list_of(rig, path) == (account(rig), [(account(rig), "FULL_CONTROL")])


WRONG = {
    "nothing of a list": (b"<AccessControlPolicy/>", (400, "MalformedACLError")),
    "no owner": (
        b"<AccessControlPolicy><AccessControlList/></AccessControlPolicy>",
        (400, "MalformedACLError"),
    ),
    "no document": (b"<AccessControlPolicy>", (400, "MalformedACLError")),
    "another permission": ([("{other}", "EVERYTHING")], (400, "MalformedACLError")),
    "another group": ([("http://acs.amazonaws.com/x", "READ")], (400, "InvalidArgument")),
    "no account": ([("somebody", "READ")], (400, "InvalidArgument")),
    "too many": ([("{other}", "READ")] * 101, (400, "MalformedACLError")),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_document_is_refused_and_changes_nothing(name: str) -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    given, expected = WRONG[name]
    if isinstance(given, bytes):
        body = given
    else:
        grants = [(who.replace("{other}", other_account(rig)), what) for who, what in given]
        body = document(account(rig), *grants)
    for path in ("/bucket", "/bucket/key"):
        assert refusal(await rig.ask("PUT", path, ACL, body)) == expected
        assert await list_of(rig, path) == (account(rig), [(account(rig), "FULL_CONTROL")])


async def test_a_list_names_the_owner_that_there_is() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    for path in ("/bucket", "/bucket/key"):
        answer = await rig.ask("PUT", path, ACL, document(other_account(rig)))
        assert refusal(answer) == (403, "AccessDenied")


async def test_a_list_is_given_once() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    for path in ("/bucket", "/bucket/key"):
        answer = await rig.ask("PUT", path, ACL)
        assert refusal(answer) == (400, "MissingSecurityHeader")
        headers = {"x-amz-acl": "private"}
        answer = await rig.ask("PUT", path, ACL, document(account(rig)), headers)
        assert refusal(answer) == (400, "InvalidRequest")
        headers["x-amz-grant-read"] = f'id="{account(rig)}"'
        answer = await rig.ask("PUT", path, ACL, b"", headers)
        assert refusal(answer) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", (400, "InvalidArgument")),
        ("id=", (400, "InvalidArgument")),
        ('id="x', (400, "InvalidArgument")),
        ("everyone", (400, "InvalidArgument")),
        ('id="0" id="1"', (400, "InvalidArgument")),
        ('uri="http://example.org/"', (400, "InvalidArgument")),
        (f'id="{"F" * 32}"', (400, "InvalidArgument")),
        (f'id="{"0" * 34}"', (400, "InvalidArgument")),
        ('emailAddress="a@example.org"', (405, "MethodNotAllowed")),
        (",".join([f'id="{number:032x}"' for number in range(101)]), (400, "MalformedACLError")),
    ],
)
async def test_a_wrong_grant_is_refused_and_nothing_is_written(
    value: str, expected: tuple[int, str]
) -> None:
    rig = await made()
    headers = {"x-amz-grant-read": value}
    for method, path, query in (
        ("PUT", "/bucket/new", ""),
        ("POST", "/bucket/new", "uploads="),
        ("PUT", "/bucket", ACL),
    ):
        assert refusal(await rig.ask(method, path, query, b"", headers)) == expected
    assert (await rig.ask("HEAD", "/bucket/new")).status == 404


async def test_email_is_answered_as_s3_does_since_2025() -> None:
    rig = await made()
    body = document(account(rig), ("x", "READ")).replace(
        b"<ID>x</ID>", b"<EmailAddress>a@b</EmailAddress>"
    )
    assert refusal(await rig.ask("PUT", "/bucket", ACL, body)) == (405, "MethodNotAllowed")


@pytest.mark.parametrize("length", range(0, 400, 7))
def test_a_document_that_ends_early_is_malformed(length: int) -> None:
    whole = document("0" * 32, ("1" * 32, "READ"), (EVERYONE, "FULL_CONTROL"))
    with pytest.raises(S3Error, match="MalformedACLError"):
        parse_acl(whole[:length])
