"""Objects get other classes by rules in whole swarms, while gateways and coordinators crash: in
bounded time, the same versions all the while, their data where their class says."""

from __future__ import annotations

import random

import pytest
import trio
from test_classes_follow import COLD, FENCE, is_following, sites_of
from test_objects_expire import listed, patiently, vouched
from thoroughness import quick_or
from trio.testing import MockClock

from sim.checkers.fences import not_followed, outside_of_fences
from sim.checkers.ownership import check_ownership
from sim.cluster import Cluster, Shape
from sim.s3_client import S3Client
from sim.world import SimWorld

DAY_S = 20
SHAPE = Shape(
    cells=9,
    sites=3,
    gateways=2,
    overrides={
        "coordinator": {
            "write_lease_ttl_s": 15,
            "delete_grace_s": 5,
            "inherited_lease_grace_s": 20,
        },
        "gateway": {"lifecycle_day_s": DAY_S},
    },
)
BOUND_S = 3 * DAY_S + 120
HEADER = "x-amz-storage-class"
SIZES = "<ObjectSizeGreaterThan>0</ObjectSizeGreaterThan>"
RULES = f"""<LifecycleConfiguration>
<Rule><ID>moves</ID><Status>Enabled</Status><Filter><And><Prefix>moves/</Prefix>{SIZES}</And></Filter>
 <Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule>
<Rule><ID>goes</ID><Status>Enabled</Status><Filter><And><Prefix>goes/</Prefix>{SIZES}</And></Filter>
 <Transition><Days>0</Days><StorageClass>GLACIER_IR</StorageClass></Transition>
 <Expiration><Days>2</Days></Expiration></Rule>
</LifecycleConfiguration>"""
BYTES = 150_000


async def set_up(cluster: Cluster, client: S3Client) -> None:
    await cluster.operate("POST", "/v1/classes", COLD)
    await trio.sleep(2)
    await cluster.operate("POST", "/v1/class-names/GLACIER_IR", {"storage_class": "COLD"})
    assert (await client.request("PUT", "/bucket")).status_code == 200
    body = RULES.encode()
    answer = await client.request("PUT", "/bucket", {"lifecycle": ""}, body, vouched(body))
    assert answer.status_code == 200, answer.text


async def crash_some(cluster: Cluster, chance: random.Random) -> None:
    for _ in range(8):
        await trio.sleep(chance.uniform(1, DAY_S / 2))
        crowd = [*cluster.gateways, *cluster.gateways, *cluster.coordinators]
        chance.choice(crowd).crash(power=chance.random() < 0.5)
        await cluster.wait_all_up()


async def read(client: S3Client, wanted: dict[str, tuple[bytes, str]], *, is_over: bool) -> None:
    """Read all that no rule lets expire: the same bytes, the same version, whatever its class."""
    for key, (body, etag) in wanted.items():
        answer = await patiently(client, "GET", f"/bucket/{key}")
        if key.startswith("goes/") and answer.status_code == 404:
            continue
        assert answer.status_code == 200, answer.text
        assert (answer.content, answer.headers["etag"]) == (body, etag), key
        shown = answer.headers.get(HEADER)
        if key.startswith("stays/"):
            assert shown is None
        elif key.startswith("moves/") and is_over:
            assert shown == "GLACIER_IR"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", quick_or(range(1), range(20)))
async def test_just_what_rules_name_gets_its_class_whatever_crashes(
    seed: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.LIFECYCLE_PAGE", 2)
    swarm = SimWorld(1900 + seed)
    async with Cluster(swarm, SHAPE) as cluster:
        client = cluster.client()
        await set_up(cluster, client)
        chance = swarm.random("crashes")
        wanted: dict[str, tuple[bytes, str]] = {}
        for number in range(9):
            key = f"{('moves', 'goes', 'stays')[number % 3]}/{number}"
            body = chance.randbytes(chance.choice([1, 3000, BYTES]))
            answer = await patiently(client, "PUT", f"/bucket/{key}", None, body)
            assert answer.status_code == 200, answer.text
            wanted[key] = body, answer.headers["etag"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash_some, cluster, chance)
            for _ in range(10):
                await read(cluster.client("reader", 1), wanted, is_over=False)
                await trio.sleep(chance.uniform(1, DAY_S / 2))
        await trio.sleep(BOUND_S)
        with trio.fail_after(1500):
            while await is_following(cluster):  # noqa: ASYNC110 - HTTP knows no events
                await trio.sleep(1)
        await read(client, wanted, is_over=True)
        stay = [key for key in sorted(wanted) if not key.startswith("goes/")]
        assert sorted(await listed(client, {"list-type": "2"}, "bucket", "Key")) == stay
        assert not_followed(cluster) == []
        assert outside_of_fences(cluster) == []
        for key in [key for key in wanted if key.startswith("stays/")]:
            await patiently(client, "DELETE", f"/bucket/{key}")
        problems: list[str] = []
        with trio.move_on_after(600):
            while problems := await check_ownership(cluster):  # noqa: ASYNC110 - nor do stores
                await trio.sleep(5)
        assert problems == []
        assert sites_of(cluster) <= set(FENCE), "all that is left is of the class COLD"
