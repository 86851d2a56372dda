"""A client that puts the bucket into the host name where that is not set up."""

from __future__ import annotations

import pytest
from gateway_rig import Rig

from gateway_s3.request.virtual_hosts import buckets_of_host

pytestmark = pytest.mark.fault("B35")
OBJECT_HEADERS = [
    {"x-amz-checksum-crc32": "AAAAAA=="},
    {"x-amz-sdk-checksum-algorithm": "CRC32"},
    {"x-amz-meta-a": "b"},
    {"Content-Encoding": "gzip"},
]


async def buckets(rig: Rig) -> list[str]:
    rig.host = "127.0.0.1:9000"
    return (await rig.ask("GET", "/")).texts("Buckets/Bucket/Name")


async def test_an_empty_put_under_a_buckets_host_makes_no_bucket_and_a_delete_removes_none() -> (
    None
):
    rig = Rig()
    for name in ("first", "other-key"):
        await rig.put(f"/{name}", b"")
    rig.host = "first.s3.example.org:9000"
    for method in ("PUT", "DELETE"):
        for key in ("some-key", "other-key"):
            answer = await rig.ask(method, f"/{key}")
            assert (answer.status, answer.code) == (400, "InvalidRequest")
            assert "Virtual hosts" in (answer.text("Message") or "")
    assert await buckets(rig) == ["first", "other-key"]


@pytest.mark.parametrize("headers", OBJECT_HEADERS, ids=lambda each: next(iter(each)))
async def test_a_header_of_objects_makes_no_bucket(headers: dict[str, str]) -> None:
    rig = Rig()
    rig.host = "bucket.s3.example.org"
    answer = await rig.ask("PUT", "/some-key", "", b"", headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert "Virtual hosts" in (answer.text("Message") or "")
    assert await buckets(rig) == []


async def test_an_operation_id_of_objects_makes_and_removes_no_bucket() -> None:
    rig = Rig()
    await rig.put("/key", b"")
    rig.host = "bucket.s3.example.org"
    for method, name in (("PUT", "PutObject"), ("DELETE", "DeleteObject"), ("GET", "GetObject")):
        answer = await rig.ask(method, "/key", f"x-id={name}")
        assert (answer.status, answer.code) == (400, "InvalidRequest"), name
    assert await buckets(rig) == ["key"]


@pytest.mark.parametrize(
    ("method", "query"),
    [("PUT", ""), ("HEAD", ""), ("DELETE", ""), ("GET", "list-type=2"), ("GET", "delimiter=%2F")],
)
async def test_what_is_asked_of_the_service_but_is_of_a_bucket_is_refused(
    method: str, query: str
) -> None:
    rig = Rig()
    rig.host = "bucket.s3.example.org"
    answer = await rig.ask(method, "/", query)
    assert answer.status in {400, 405}
    if method != "HEAD":
        assert "Virtual hosts" in (answer.text("Message") or "")


async def test_path_style_under_any_host_name_is_as_before() -> None:
    rig = Rig()
    for host in ("127.0.0.1:9000", "[::1]:9000", "localhost:9000", "store.example.org"):
        rig.host = host
        await rig.put("/one-bucket", b"")
        assert (await rig.ask("DELETE", "/one-bucket")).status == 204
    await rig.put("/store", b"")
    assert (await rig.ask("DELETE", "/store")).status == 204, "the bucket of the host's own name"


async def test_virtual_hosts_that_are_set_up_work_and_their_domain_is_path_style() -> None:
    rig = Rig(domains=("store.example.org",))
    rig.host = "store.example.org"
    await rig.put("/store", b"")
    await rig.put("/second", b"")
    rig.host = "second.store.example.org"
    await rig.put("/key", b"")
    assert (await rig.ask("DELETE", "/key")).status == 204
    assert (await rig.ask("DELETE", "/", "x-id=DeleteBucket")).status == 204


@pytest.mark.parametrize(
    ("host", "found"),
    [
        (b"bucket.s3.example.org:9000", ["bucket", "bucket.s3", "bucket.s3.example"]),
        (b"bucket.localhost.", ["bucket"]),
        (b"localhost", []),
        (b"10.0.0.1:9000", []),
        (b"[fe80::1]:9000", []),
        (b"set.up", []),
        (b"x.set.up", ["x.set"]),
        (b"", []),
        (b"\xff.example", []),
    ],
)
def test_the_buckets_that_a_host_may_name(host: bytes, found: list[str]) -> None:
    assert buckets_of_host(host, ["set.up"]) == found
