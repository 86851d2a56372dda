"""Objects expire in whole swarms: clients write, tag and delete while gateways and coordinators
crash. What no rule names is never gone, and what one names is gone in bounded time."""

from __future__ import annotations

import base64
import hashlib
import random
from dataclasses import dataclass, field

import httpx
import pytest
import trio
from thoroughness import quick_or
from trio.testing import MockClock

from sim.checkers.ownership import check_ownership
from sim.checkers.tables import store_rows
from sim.cluster import Cluster, Shape
from sim.s3_client import S3Client
from sim.world import SimWorld

DAY_S = 20
SHAPE = Shape(
    cells=3,
    redundancy="1/3",
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
BOUND_S = 3 * DAY_S + 60
"""Two days and their ends, a lease that has to end first, and the pauses between looks."""
RULES = """<LifecycleConfiguration>
<Rule><ID>due</ID><Status>Enabled</Status><Filter><Prefix>due/</Prefix></Filter>
 <Expiration><Days>1</Days></Expiration>
 <AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>
 </AbortIncompleteMultipartUpload></Rule>
<Rule><ID>tagged</ID><Status>Enabled</Status>
 <Filter><Tag><Key>drop</Key><Value>yes</Value></Tag></Filter>
 <Expiration><Days>1</Days></Expiration></Rule>
</LifecycleConfiguration>"""
VERSION_RULES = """<LifecycleConfiguration>
<Rule><Status>Enabled</Status><Filter><Prefix>v/</Prefix></Filter>
 <Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>
 <NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>
 <NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>
</LifecycleConfiguration>"""
VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
TAGS = "<Tagging><TagSet><Tag><Key>drop</Key><Value>{}</Value></Tag></TagSet></Tagging>"


def vouched(body: bytes) -> dict[str, str]:
    return {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}


async def patiently(
    client: S3Client,
    method: str,
    path: str,
    query: dict[str, str] | None = None,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """Send a request again until it is answered for certain."""
    with trio.fail_after(300):
        while True:
            try:
                answer = await client.request(method, path, query, body, headers)
            except httpx.TransportError:
                pass
            else:
                if answer.status_code < 500:
                    return answer
            await trio.sleep(1)


@dataclass
class Known:
    """An object as its only writer knows it. ``since``: the world's time before it was first sent.
    ``expires``: a rule names it."""

    body: bytes
    since: float
    expires: bool


@dataclass
class Writer:
    """A client with keys of its own."""

    client: S3Client
    name: str
    chance: random.Random
    known: dict[str, Known] = field(default_factory=dict)

    def _clock(self) -> float:
        return self.client._clock.now()

    async def act(self) -> None:
        kind = self.chance.choice(["due", "kept", "tagged"])
        key = f"{kind}/{self.name}-{self.chance.randrange(4)}"
        what = self.chance.random()
        if what < 0.5:
            await self.put(key, kind)
        elif what < 0.6 and kind != "due":
            answer = await patiently(self.client, "DELETE", f"/bucket/{key}")
            assert answer.status_code == 204
            self.known.pop(key, None)
        elif what < 0.75 and kind == "tagged":
            await self.tag(key)
        await self.check(self.chance.choice([key, *self.known]))

    async def put(self, key: str, kind: str) -> None:
        since, body = self._clock(), self.chance.randbytes(self.chance.randrange(1, 3000))
        is_dropped = kind == "tagged" and self.chance.random() < 0.7
        headers = {"x-amz-tagging": "drop=yes"} if is_dropped else {}
        answer = await patiently(self.client, "PUT", f"/bucket/{key}", None, body, headers)
        assert answer.status_code == 200, answer.text
        expires = is_dropped or kind == "due"
        assert ("x-amz-expiration" in answer.headers) is expires
        self.known[key] = Known(body, since, expires)

    async def tag(self, key: str) -> None:
        value = self.chance.choice(["yes", "no"])
        body = TAGS.format(value).encode()
        answer = await patiently(
            self.client, "PUT", f"/bucket/{key}", {"tagging": ""}, body, vouched(body)
        )
        if answer.status_code == 404:
            self.check_may_be_gone(key)
        else:
            assert answer.status_code == 200, answer.text
            self.known[key].expires = value == "yes"

    async def check(self, key: str) -> None:
        answer = await patiently(self.client, "GET", f"/bucket/{key}")
        if answer.status_code == 404:
            self.check_may_be_gone(key)
        else:
            assert answer.content == self.known[key].body, key

    def check_may_be_gone(self, key: str) -> None:
        known = self.known.pop(key, None)
        if known is not None:
            assert known.expires, f"{key} is gone, which no rule names"
            end = (known.since // DAY_S + 2) * DAY_S
            assert self._clock() >= end, f"{key} is gone too early"

    async def act_until(self, stop: trio.Event) -> None:
        while not stop.is_set():
            await self.act()
            await trio.sleep(self.chance.uniform(0, 4))


async def crash_some(cluster: Cluster, chance: random.Random) -> None:
    """Crash daemons, gateways most of all, now and then in the middle of a run."""
    for number in range(6):
        await trio.sleep(chance.uniform(1, DAY_S / 2))
        if number % 2:
            with trio.move_on_after(2 * DAY_S):
                while not store_rows(  # noqa: ASYNC110  # virtual time
                    cluster, "SELECT 1 FROM lifecycles WHERE after <> ?", b""
                ):
                    await trio.sleep(0.05)  # stores know no events
        crowd = [*cluster.gateways, *cluster.gateways, *cluster.coordinators]
        chance.choice(crowd).crash(power=chance.random() < 0.5)
        await cluster.wait_all_up()


async def set_up(client: S3Client) -> None:
    for bucket, rules in (("bucket", RULES), ("versions", VERSION_RULES)):
        assert (await client.request("PUT", f"/{bucket}")).status_code == 200
        body = rules.encode()
        answer = await client.request("PUT", f"/{bucket}", {"lifecycle": ""}, body, vouched(body))
        assert answer.status_code == 200, answer.text
    answer = await client.request("PUT", "/versions", {"versioning": ""}, VERSIONED)
    assert answer.status_code == 200, answer.text


async def write_versions(client: S3Client, chance: random.Random) -> dict[str, list[str]]:
    """Write versions under keys that a rule is for, and others; the ids of each, the oldest
    first."""
    made: dict[str, list[str]] = {}
    for number in range(6):
        key = f"{'vw'[number % 2]}/{number}"
        for _ in range(chance.randrange(1, 5)):
            answer = await patiently(client, "PUT", f"/versions/{key}", None, b"1")
            made.setdefault(key, []).append(answer.headers["x-amz-version-id"])
            await trio.sleep(chance.uniform(0, 3))
    for key in ("v/gone", "w/gone"):
        await patiently(client, "DELETE", f"/versions/{key}")
    return made


async def listed(client: S3Client, query: dict[str, str], bucket: str, element: str) -> list[str]:
    text = (await patiently(client, "GET", f"/{bucket}", query)).text
    return [piece.split(f"</{element}>")[0] for piece in text.split(f"<{element}>")[1:]]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", quick_or(range(1), range(30)))
async def test_just_what_rules_name_expires_whatever_crashes(
    seed: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.limits.LIFECYCLE_PAGE", 2)
    swarm = SimWorld(900 + seed)
    async with Cluster(swarm, SHAPE) as cluster:
        client = cluster.client()
        await set_up(client)
        chance = swarm.random("crashes")
        writers = [
            Writer(
                cluster.client(f"writer-{name}", int(name)), name, swarm.random(f"writer {name}")
            )
            for name in "01"
        ]
        for key in ("due/upload", "kept/upload"):
            await patiently(client, "POST", f"/bucket/{key}", {"uploads": ""})
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            for writer in writers:
                nursery.start_soon(writer.act_until, stop)
            made = await write_versions(client, chance)
            await crash_some(cluster, chance)
            stop.set()
        await trio.sleep(BOUND_S)
        stays = {
            key for writer in writers for key, each in writer.known.items() if not each.expires
        }
        assert set(await listed(client, {"list-type": "2"}, "bucket", "Key")) == stays
        for writer in writers:
            for key in list(writer.known):
                await writer.check(key)
        assert await listed(client, {"uploads": ""}, "bucket", "Key") == ["kept/upload"]

        left = await listed(client, {"versions": ""}, "versions", "VersionId")
        for key, ids in made.items():
            for version in ids:
                assert (version in left) is (key[0] == "w" or version in ids[-2:]), key
        keys = await listed(client, {"versions": ""}, "versions", "Key")
        assert "v/gone" not in keys
        assert "w/gone" in keys

        problems: list[str] = []
        with trio.move_on_after(600):
            while problems := await check_ownership(cluster):  # noqa: ASYNC110  # virtual time
                await trio.sleep(5)  # stores know no events
        assert problems == []
