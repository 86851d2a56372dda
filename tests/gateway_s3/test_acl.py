"""Access control lists: the owner's alone is accepted, in headers, URLs, forms and documents."""

from __future__ import annotations

from collections.abc import Mapping

import form_client
import pytest
from gateway_rig import Answer, Rig
from object_rig import SECRET

from common.http.records import HttpRequest
from gateway_s3.errors import S3Error
from gateway_s3.request.acl import CANNED, GRANTS, check_acl_headers
from gateway_s3.request.header_rules import ACCEPTED
from gateway_s3.request.operations import OPERATIONS

OWNERS = ("private", "bucket-owner-full-control", "bucket-owner-read")
OTHERS = sorted(ACCEPTED[CANNED] - set(OWNERS))
SETTING = [
    ("PUT", "/bucket/new", ""),
    ("POST", "/bucket/new", "uploads="),
    ("PUT", "/bucket/key", "acl="),
    ("PUT", "/bucket", "acl="),
]
NOT_SUPPORTED = (400, "AccessControlListNotSupported")


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    await made.put("/bucket/key", b"content")
    return made


async def set_list(
    rig: Rig, method: str, path: str, query: str, headers: Mapping[str, str]
) -> Answer:
    return await rig.ask(method, path, query, b"", headers)


@pytest.mark.parametrize(("method", "path", "query"), SETTING)
async def test_a_list_that_gives_others_something_is_refused_and_nothing_is_done(
    rig: Rig, method: str, path: str, query: str
) -> None:
    for canned in OTHERS:
        answer = await set_list(rig, method, path, query, {"x-amz-acl": canned})
        assert (answer.status, answer.code) == NOT_SUPPORTED
    for name in GRANTS:
        for grantee in (
            'uri="http://acs.amazonaws.com/groups/global/AllUsers"',
            f'id="{"1" * 32}"',
            f'id="{rig.tenant.tenant_id.hex()}", id="{"1" * 32}"',
            "",
        ):
            answer = await set_list(rig, method, path, query, {name.decode(): grantee})
            assert (answer.status, answer.code) == NOT_SUPPORTED
    assert (await rig.ask("HEAD", "/bucket/new")).status == 404
    shown = await rig.ask("GET", "/bucket/key", "acl=")
    assert len(shown.texts("AccessControlList/Grant")) == 1


@pytest.mark.parametrize(("method", "path", "query"), SETTING)
async def test_a_list_that_is_the_owners_is_accepted(
    rig: Rig, method: str, path: str, query: str
) -> None:
    owner = rig.tenant.tenant_id.hex()
    for headers in (
        *({"x-amz-acl": canned} for canned in OWNERS),
        {"x-amz-grant-full-control": f'id="{owner}"'},
        {"x-amz-grant-full-control": f"id={owner}"},
    ):
        assert (await set_list(rig, method, path, query, headers)).status == 200


async def test_a_copy_sets_no_list(rig: Rig) -> None:
    headers = {"x-amz-copy-source": "/bucket/key", "x-amz-acl": "public-read"}
    answer = await rig.ask("PUT", "/bucket/copy", "", b"", headers)
    assert (answer.status, answer.code) == NOT_SUPPORTED


async def test_a_bucket_is_made_without_a_list(rig: Rig) -> None:
    for headers in ({"x-amz-acl": "public-read"}, {"x-amz-grant-read": 'id="1"'}):
        answer = await rig.ask("PUT", "/another", "", b"", headers)
        assert (answer.status, answer.code) == (400, "InvalidBucketAclWithObjectOwnership")
    assert (await rig.ask("HEAD", "/another")).status == 404
    assert (await rig.ask("PUT", "/another", "", b"", {"x-amz-acl": "private"})).status == 200


async def test_a_canned_list_and_grants_are_not_set_together(rig: Rig) -> None:
    headers = {
        "x-amz-acl": "private",
        "x-amz-grant-full-control": f'id="{rig.tenant.tenant_id.hex()}"',
    }
    answer = await rig.ask("PUT", "/bucket/new", "", b"", headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_a_presigned_url_and_a_form_set_no_list(rig: Rig) -> None:
    query = rig.presign("PUT", "/bucket/new", "x-amz-acl=public-read")
    headers = {"host": rig.host, "content-length": "0"}
    answer = await rig.send("PUT", "/bucket/new", query, b"", headers)
    assert (answer.status, answer.code) == NOT_SUPPORTED
    fields = form_client.signed(
        rig, {"key": "new", "acl": "public-read"}, access_key="AK", secret=SECRET
    )
    answer = await form_client.post(rig, fields)
    assert (answer.status, answer.code) == NOT_SUPPORTED
    assert (await rig.ask("HEAD", "/bucket/new")).status == 404


async def test_who_may_not_write_hears_no_more_than_that(rig: Rig) -> None:
    headers = {"x-amz-acl": "public-read"}
    answer = await rig.ask("PUT", "/bucket/new", "", b"", headers, access_key="OTHER")
    assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.parametrize(
    "body",
    [
        "<AccessControlPolicy/>",
        "<AccessControlPolicy><Owner><ID>{owner}</ID></Owner><AccessControlList><Grant><Grantee>"
        "<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>"
        "<Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>",
    ],
)
async def test_a_document_with_another_list_is_refused(rig: Rig, body: str) -> None:
    document = body.replace("{owner}", rig.tenant.tenant_id.hex()).encode()
    for path in ("/bucket", "/bucket/key"):
        answer = await rig.ask("PUT", path, "acl=", document)
        assert (answer.status, answer.code) == NOT_SUPPORTED


@pytest.mark.parametrize("operation", [each.name for each in OPERATIONS if each.implemented])
def test_no_operation_passes_over_a_list(operation: str) -> None:
    for name in (CANNED, *GRANTS):
        request = HttpRequest("PUT", b"/b/k", b"/b/k", b"", [(name, b"public-read")])
        with pytest.raises(S3Error) as caught:
            check_acl_headers(request, operation, "0" * 32, uses_lists=False)
        assert caught.value.status in {400, 501}
