"""The data of a bucket follows its storage class: read all the while, whatever dies on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
import trio
from prometheus_client import CollectorRegistry, Counter
from trio.testing import MockClock

from gateway.objects import find_object, open_body
from gateway.spans import EVERYTHING, Span
from sim.checkers.ownership import check_ownership
from sim.checkers.tables import store_rows
from sim.cluster import Cluster, Shape
from sim.s3_client import S3Client
from sim.world import SimWorld

GRACE_S = 5
SHAPE = Shape(
    cells=9,
    sites=3,
    gateways=2,
    overrides={
        "coordinator": {
            "write_lease_ttl_s": 20,
            "delete_grace_s": GRACE_S,
            "inherited_lease_grace_s": 60,
        }
    },
)
FENCE = ("site-0", "site-1")
COLD = {"name": "COLD", "redundancy": "2/4", "sites": list(FENCE)}
PART_BYTES = 5 * 1024 * 1024
SIZES = (1, 5000, 300_000, 1_100_000, 3_000_000, 2000, 40_000, 900_000)


def body_of(name: str, size: int) -> bytes:
    return (name.encode() * (size // len(name) + 1))[:size]


def plain_objects() -> dict[str, bytes]:
    names = [f"/bucket/object-{number}" for number in range(len(SIZES))]
    return {name: body_of(name, size) for name, size in zip(names, SIZES, strict=True)}


def found_in(text: str, pattern: str) -> str:
    """What the one group of a pattern matches."""
    found = re.search(pattern, text)
    assert found is not None, text
    return found[1]


async def put(client: S3Client, name: str, body: bytes) -> str:
    answer = await client.request("PUT", name, None, body, {"x-amz-meta-color": "blue"})
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


async def put_in_parts(client: S3Client, name: str, bodies: list[bytes]) -> str:
    answer = await client.request("POST", name, {"uploads": ""})
    upload = found_in(answer.text, "<UploadId>(.*)</UploadId>")
    parts = ""
    for number, body in enumerate(bodies, start=1):
        query = {"partNumber": str(number), "uploadId": upload}
        etag = (await client.request("PUT", name, query, body)).headers["etag"]
        parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    answer = await client.request("POST", name, {"uploadId": upload}, document)
    assert answer.status_code == 200, answer.text
    return f'"{found_in(answer.text, "<ETag>&quot;(.*)&quot;</ETag>")}"'


async def read_all(client: S3Client, wanted: Mapping[str, bytes]) -> None:
    for name, body in wanted.items():
        answer = await client.request("GET", name)
        assert answer.status_code == 200, f"{name}: {answer.status_code} {answer.text[:300]}"
        assert answer.content == body, name


async def begin(cluster: Cluster) -> tuple[S3Client, dict[str, bytes]]:
    """Make a bucket with objects of many sizes, and a class to be given to it."""
    client = cluster.client()
    assert (await client.request("PUT", "/bucket")).status_code == 200
    wanted = plain_objects()
    for name, body in wanted.items():
        await put(client, name, body)
    parts = [body_of(f"part-{number}", PART_BYTES) for number in range(2)]
    await put_in_parts(client, "/bucket/in-parts", parts)
    wanted["/bucket/in-parts"] = b"".join(parts)
    await cluster.operate("POST", "/v1/classes", COLD)
    await trio.sleep(2)
    return client, wanted


async def change(cluster: Cluster, storage_class: str) -> None:
    await cluster.operate("POST", "/v1/buckets/bucket/class", {"storage_class": storage_class})


def outside(cluster: Cluster, storage_class: int) -> int:
    """Segments that do not lie in a class."""
    found: int = store_rows(
        cluster,
        "SELECT count(*) FROM segments s JOIN rings r ON r.ring = s.ring"
        " WHERE r.storage_class <> ?",
        storage_class,
    )[0][0]
    return found


def sites_of(cluster: Cluster) -> set[str]:
    """The sites of the cells that hold slots of segments."""
    return {
        site
        for (site,) in store_rows(
            cluster,
            "SELECT DISTINCT c.site FROM segments s JOIN ring_slots r ON r.ring = s.ring"
            " JOIN cells c ON c.cell = r.cell",
        )
    }


async def wait_followed(cluster: Cluster) -> None:
    with trio.fail_after(1500):
        while await is_following(cluster):  # noqa: ASYNC110  # virtual time
            await trio.sleep(1)  # over HTTP there is no event to wait for


async def is_following(cluster: Cluster) -> bool:
    told = (await cluster.operate("GET", "/v1/status"))["following"]
    return bool(told["pages"] or told["buckets_to_look_through"])


async def wait_at_rest(cluster: Cluster) -> None:
    """Wait until nothing is left over of what was written before."""
    problems: list[str] = []
    with trio.move_on_after(1500):
        while problems := await check_ownership(cluster):  # noqa: ASYNC110  # virtual time
            await trio.sleep(5)  # stores know no events
    assert problems == []


@pytest.mark.timeout(300)
async def test_objects_are_read_while_they_follow_and_stay_the_same_versions(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(7), SHAPE) as cluster:
        client, wanted = await begin(cluster)
        before = {name: (await client.request("HEAD", name)).headers for name in wanted}
        assert sites_of(cluster) == {"site-0", "site-1", "site-2"}
        segments = store_rows(cluster, "SELECT count(*) FROM segments")[0][0]
        await change(cluster, "COLD")

        reads = 0
        async with trio.open_nursery() as nursery:

            async def read_on() -> None:
                nonlocal reads
                reader = cluster.client("reader", 1)
                while True:
                    await read_all(reader, wanted)
                    reads += 1
                    await trio.sleep(1)

            nursery.start_soon(read_on)
            await wait_followed(cluster)
            assert reads, "they were read meanwhile"
            nursery.cancel_scope.cancel()

        assert outside(cluster, 1) == segments, "the former segments have their grace"
        await trio.sleep(2 * GRACE_S)
        assert outside(cluster, 1) == 0, "and are gone after it"
        assert sites_of(cluster) == set(FENCE)
        await read_all(client, wanted)
        for name, headers in before.items():
            after = (await client.request("HEAD", name)).headers
            for header in ("etag", "last-modified", "content-length"):
                assert after[header] == headers[header]
            assert after.get("x-amz-meta-color") == headers.get("x-amz-meta-color")
        await wait_at_rest(cluster)

        await change(cluster, "STANDARD")
        await wait_followed(cluster)
        await trio.sleep(2 * GRACE_S)
        assert outside(cluster, 0) == 0
        await read_all(client, wanted)
        await wait_at_rest(cluster)
        for storage_class in ("COLD", "STANDARD"):
            await change(cluster, storage_class)
            await wait_followed(cluster)
        await read_all(client, wanted)
        backend = cluster.gateways[0].serving.app._backend
        bucket = await backend.buckets.find(cluster.tenant, "bucket")
        manifest = (await find_object(backend, bucket, b"in-parts")).manifest
        assert len(manifest.keys) <= 2 * len(manifest.pages), "keys that nothing needs are gone"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
async def test_writes_deletes_and_crashes_on_the_way_lose_nothing_and_leave_nothing(
    seed: int, autojump_clock: MockClock
) -> None:
    swarm = SimWorld(60 + seed)
    async with Cluster(swarm, SHAPE) as cluster:
        client, wanted = await begin(cluster)
        chance = swarm.random("crashes")
        await change(cluster, "COLD")
        for step in range(14):
            await trio.sleep(chance.uniform(0.2, 6))
            victim = chance.choice(
                [*cluster.gateways, *cluster.gateways, *cluster.coordinators, *cluster.cells]
            )
            victim.crash(power=chance.random() < 0.5)
            await cluster.wait_all_up()
            await trio.sleep(6)
            name = chance.choice(sorted(plain_objects()))
            if chance.random() < 0.3:
                assert (await client.request("DELETE", name)).status_code == 204
                wanted.pop(name, None)
            else:
                wanted[name] = body_of(f"new-{step}", chance.randrange(1, 200_000))
                await put(client, name, wanted[name])
            if step == 7:
                await change(cluster, "STANDARD")
                await change(cluster, "COLD")
            await read_all(cluster.client("reader", 1), wanted)
        await wait_followed(cluster)
        await read_all(client, wanted)
        await trio.sleep(90)  # gateways that remember the former class, and leases of dead ones
        await wait_followed(cluster)
        await wait_at_rest(cluster)
        assert outside(cluster, 1) == 0
        assert sites_of(cluster) <= set(FENCE)
        await read_all(client, wanted)


@pytest.mark.timeout(300)
async def test_what_comes_late_or_is_shared_follows_too(autojump_clock: MockClock) -> None:
    async with Cluster(SimWorld(8), SHAPE) as cluster:
        client, wanted = await begin(cluster)
        assert (await client.request("PUT", "/cold")).status_code == 200
        await cluster.operate("POST", "/v1/buckets/cold/class", {"storage_class": "COLD"})
        answer = await client.request("POST", "/cold/late", {"uploads": ""})
        upload = found_in(answer.text, "<UploadId>(.*)</UploadId>")
        query = {"partNumber": "1", "uploadId": upload}
        # The gateway that made the bucket remembers its former class.
        etag = (await client.request("PUT", "/cold/late", query, b"late")).headers["etag"]
        part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
        done = await client.request("POST", "/cold/late", {"uploadId": upload}, document)
        assert done.status_code == 200
        await put(client, "/cold/plain", b"plain")
        for name in ("object-3", "in-parts"):
            copied = await client.request(
                "PUT", f"/cold/{name}", headers={"x-amz-copy-source": f"/bucket/{name}"}
            )
            assert copied.status_code == 200, copied.text
        wanted |= {f"/cold/{name}": wanted[f"/bucket/{name}"] for name in ("object-3", "in-parts")}
        wanted |= {"/cold/late": b"late", "/cold/plain": b"plain"}
        await wait_followed(cluster)
        await read_all(client, wanted)
        for name in plain_objects():
            assert (await client.request("DELETE", name)).status_code == 204
            del wanted[name]
        assert (await client.request("DELETE", "/bucket/in-parts")).status_code == 204
        del wanted["/bucket/in-parts"]
        await wait_at_rest(cluster)
        assert outside(cluster, 1) == 0
        assert sites_of(cluster) == set(FENCE)
        await read_all(client, wanted)


@pytest.mark.timeout(300)
async def test_a_download_goes_on_where_the_bytes_are_now(autojump_clock: MockClock) -> None:
    overrides = {"coordinator": {**SHAPE.overrides["coordinator"], "delete_grace_s": 0}}
    async with Cluster(SimWorld(9), replace(SHAPE, gateways=1, overrides=overrides)) as cluster:
        client, wanted = await begin(cluster)
        parts = [body_of(f"large-{number}", PART_BYTES) for number in range(4)]
        await put_in_parts(client, "/bucket/large", parts)
        (gateway,) = cluster.gateways
        backend = gateway.serving.app._backend
        bucket = await backend.buckets.find(cluster.tenant, "bucket")
        name = b"large"
        found = await find_object(backend, bucket, name, span=EVERYTHING)
        span = Span(0, found.manifest.size - 1)
        taken = Counter("taken", "of the test", registry=CollectorRegistry())
        body = await open_body(backend, bucket, name, found, span, taken, object_key=None)
        got = bytes(await body.begin())
        got = bytes(await anext(body))
        await change(cluster, "COLD")
        await wait_followed(cluster)
        await trio.sleep(10)
        assert outside(cluster, 1) == 0, "what the reader knows is gone"
        async for chunk in body:
            got += bytes(chunk)
        await body.aclose()
        assert got == b"".join(parts)
        await read_all(client, wanted)


@pytest.mark.timeout(300)
async def test_versions_that_are_not_current_follow_too(autojump_clock: MockClock) -> None:
    async with Cluster(SimWorld(10), SHAPE) as cluster:
        client, wanted = await begin(cluster)
        enable = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        answer = await client.request("PUT", "/bucket", {"versioning": ""}, enable)
        assert answer.status_code == 200, answer.text
        versions: dict[str, bytes] = {}
        for body in (b"first", b"second", body_of("third", 500_000)):
            answer = await client.request("PUT", "/bucket/kept", None, body)
            versions[answer.headers["x-amz-version-id"]] = body
        assert (await client.request("DELETE", "/bucket/kept")).status_code == 204
        await change(cluster, "COLD")
        await wait_followed(cluster)
        await trio.sleep(2 * GRACE_S)
        assert outside(cluster, 1) == 0
        for version_id, body in versions.items():
            answer = await client.request("GET", "/bucket/kept", {"versionId": version_id})
            assert (answer.status_code, answer.content) == (200, body)
        assert (await client.request("GET", "/bucket/kept")).status_code == 404
        await read_all(client, wanted)


@pytest.mark.timeout(300)
async def test_keys_of_replaced_pages_go_before_a_manifest_has_too_many(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.MAX_UPLOAD_KEYS_PER_OBJECT", 2)
    async with Cluster(SimWorld(11), replace(SHAPE, gateways=1)) as cluster:
        client, wanted = await begin(cluster)
        await change(cluster, "COLD")
        await wait_followed(cluster)
        (gateway,) = cluster.gateways
        backend = gateway.serving.app._backend
        bucket = await backend.buckets.find(cluster.tenant, "bucket")
        found = await find_object(backend, bucket, b"in-parts")
        assert (len(found.manifest.pages), len(found.manifest.keys)) == (2, 2)
        await read_all(client, wanted)
