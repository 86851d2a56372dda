"""What backup software asks of a storage before it uses it."""

from __future__ import annotations

import pytest
from gateway_rig import Rig

from gateway_s3.handlers.smart_storage import CAPACITY, SYSTEM

SYSTEM_PATH, CAPACITY_PATH = f"/bucket/{SYSTEM.decode()}", f"/bucket/{CAPACITY.decode()}"


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    made.backend.space.capacity_bytes = 1000
    made.backend.space.free_bytes = 300
    return made


async def test_every_bucket_says_what_the_storage_can_do(rig: Rig) -> None:
    answer = await rig.ask("GET", SYSTEM_PATH)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/xml")
    assert answer.xml().tag == "SystemInfo"
    assert b"xmlns" not in answer.body
    assert answer.text("ProtocolVersion") == '"1.0"'
    assert answer.text("ProtocolCapabilities/CapacityInfo") == "true"
    assert answer.text("ProtocolCapabilities/IAMSTS") == "false"
    assert answer.text("SystemRecommendations/S3MultiObjectDeleteLimit") == "1000"


async def test_every_bucket_says_the_space_of_the_swarm(rig: Rig) -> None:
    answer = await rig.ask("GET", CAPACITY_PATH)
    shown = [(each.tag, each.text) for each in answer.xml()]
    assert shown == [("Capacity", "1000"), ("Available", "300"), ("Used", "700")]


async def test_space_that_nobody_has_said_yet_is_not_made_up(rig: Rig) -> None:
    rig.backend.space.capacity_bytes = 0
    answer = await rig.ask("GET", CAPACITY_PATH)
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")


@pytest.mark.parametrize("path", [SYSTEM_PATH, CAPACITY_PATH])
async def test_heads_say_what_gets_would(rig: Rig, path: str) -> None:
    get, head = await rig.ask("GET", path), await rig.ask("HEAD", path)
    assert head.status == 200
    for name in ("etag", "content-length", "content-type"):
        assert head.headers[name] == get.headers[name]


async def test_an_object_of_that_name_is_shown_in_its_place(rig: Rig) -> None:
    await rig.put(SYSTEM_PATH, b"my own")
    assert (await rig.ask("GET", SYSTEM_PATH)).body == b"my own"
    await rig.ask("DELETE", SYSTEM_PATH)
    assert (await rig.ask("GET", SYSTEM_PATH)).xml().tag == "SystemInfo"
    assert (await rig.ask("GET", "/bucket")).texts("Contents/Key") == []


async def test_only_those_who_may_read_the_bucket_are_told(rig: Rig) -> None:
    for path in (SYSTEM_PATH, CAPACITY_PATH):
        assert (await rig.ask("GET", path, access_key="OTHER")).status == 403
        assert (await rig.send("GET", path, "", b"", {"host": rig.host})).status == 403
    missing = await rig.ask("GET", SYSTEM_PATH.replace("/bucket/", "/nothing/"))
    assert missing.code == "NoSuchBucket"
    for other in ("system.xm", "other.xml"):
        answer = await rig.ask("GET", SYSTEM_PATH.replace("system.xml", other))
        assert answer.code == "NoSuchKey"
    named = await rig.ask("GET", SYSTEM_PATH, "versionId=null")
    assert named.code == "NoSuchVersion"
