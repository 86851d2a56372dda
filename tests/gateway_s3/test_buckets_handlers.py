"""Buckets: made, found, listed and removed, by their owner only."""

from __future__ import annotations

import pytest
from gateway_rig import Rig


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


async def test_a_bucket_lives_and_dies(rig: Rig) -> None:
    head = await rig.ask("HEAD", "/bucket")
    assert (head.status, head.headers["x-amz-bucket-region"]) == (200, "us-east-1")
    location = await rig.ask("GET", "/bucket", "location=")
    assert (location.status, location.xml().text) == (200, None)
    versioning = await rig.ask("GET", "/bucket", "versioning=")
    assert (versioning.status, list(versioning.xml())) == (200, [])
    await rig.put("/bucket/key", b"x")
    full = await rig.ask("DELETE", "/bucket")
    assert (full.status, full.code) == (409, "BucketNotEmpty")
    await rig.ask("DELETE", "/bucket/key")
    assert (await rig.ask("DELETE", "/bucket")).status == 204
    assert (await rig.ask("DELETE", "/bucket")).code == "NoSuchBucket"
    head = await rig.ask("HEAD", "/bucket")
    assert (head.status, head.body) == (404, b"")


async def test_making_a_bucket_again_is_fine_for_its_owner_only(rig: Rig) -> None:
    again = await rig.ask("PUT", "/bucket", "", b"")
    assert (again.status, again.headers["location"]) == (200, "/bucket")
    other = await rig.ask("PUT", "/bucket", "", b"", access_key="OTHER")
    assert (other.status, other.code) == (409, "BucketAlreadyExists")


async def test_outside_us_east_1_making_it_again_is_a_conflict() -> None:
    rig = Rig(region="eu-central-1")
    body = (
        b"<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint>"
        b"</CreateBucketConfiguration>"
    )
    assert (await rig.ask("PUT", "/bucket", "", body)).status == 200
    again = await rig.ask("PUT", "/bucket", "", body)
    assert (again.status, again.code) == (409, "BucketAlreadyOwnedByYou")
    assert (await rig.ask("GET", "/bucket", "location=")).xml().text == "eu-central-1"


async def test_another_tenant_may_do_nothing(rig: Rig) -> None:
    await rig.put("/bucket/key", b"x")
    for method, path, query in (
        ("HEAD", "/bucket", ""),
        ("GET", "/bucket", ""),
        ("GET", "/bucket", "location="),
        ("DELETE", "/bucket", ""),
        ("GET", "/bucket/key", ""),
        ("PUT", "/bucket/key", ""),
        ("DELETE", "/bucket/key", ""),
        ("POST", "/bucket/key", "uploads="),
    ):
        answer = await rig.ask(method, path, query, b"", access_key="OTHER")
        assert answer.status == 403, (method, path, query)
        if method != "HEAD":
            assert answer.code == "AccessDenied"
    assert (await rig.ask("GET", "/bucket/key")).body == b"x"


@pytest.mark.parametrize(
    "name", ["ab", "a" * 64, "Upper", "under_score", "1.2.3.4", "a..b", "-a-", "xn--a", "b%2Fa"]
)
async def test_impossible_bucket_names(rig: Rig, name: str) -> None:
    made = await rig.ask("PUT", f"/{name}", "", b"")
    assert (made.status, made.code) == (400, "InvalidBucketName")
    found = await rig.ask("GET", f"/{name}")
    assert (found.status, found.code) == (404, "NoSuchBucket")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<x", "MalformedXML"),
        (b"<Other/>", "MalformedXML"),
        (
            b"<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint>"
            b"</CreateBucketConfiguration>",
            "InvalidLocationConstraint",
        ),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><CreateBucketConfiguration/>', "MalformedXML"),
    ],
)
async def test_bad_configurations(rig: Rig, body: bytes, code: str) -> None:
    answer = await rig.ask("PUT", "/another", "", body)
    assert (answer.status, answer.code) == (400, code)


async def test_only_ones_own_buckets_are_listed_in_pages(rig: Rig) -> None:
    for number in range(5):
        await rig.put(f"/bucket-{number}", b"")
    await rig.ask("PUT", "/foreign", "", b"", access_key="OTHER")
    names = ["bucket", *(f"bucket-{number}" for number in range(5))]
    rig.coordinators.reply_rows = 2
    answer = await rig.ask("GET", "/")
    assert answer.texts("Buckets/Bucket/Name") == names
    assert answer.text("Owner/ID")
    seen: list[str] = []
    query = "max-buckets=4"
    while True:
        answer = await rig.ask("GET", "/", query)
        seen += answer.texts("Buckets/Bucket/Name")
        token = answer.text("ContinuationToken")
        if token is None:
            break
        query = f"continuation-token={token.replace('=', '%3D')}&max-buckets=4"
    assert seen == names
    answer = await rig.ask("GET", "/", "prefix=bucket-3")
    assert answer.texts("Buckets/Bucket/Name") == ["bucket-3"]


async def test_buckets_are_listed_by_their_region(rig: Rig) -> None:
    await rig.put("/bucket", b"")
    ours = await rig.ask("GET", "/", f"bucket-region={rig.region}")
    assert ours.texts("Buckets/Bucket/Name") == ["bucket"]
    other = await rig.ask("GET", "/", "bucket-region=eu-west-9")
    assert (other.status, other.texts("Buckets/Bucket/Name")) == (200, [])
    assert other.text("ContinuationToken") is None
