"""Names of classes that clients ask for: where operators let them lead, and what follows."""

from __future__ import annotations

import pytest
import trio
from coordinator_rig import BUCKET, Gateway, Rig, running
from test_misplaced import ask
from test_storage_classes import SITES, refused
from trio.testing import MockClock

from common import limits
from common.wire import messages as m

COLD = {"name": "COLD", "redundancy": "2/4"}
NEAR = {"name": "NEAR", "redundancy": "1/2", "sites": ["roma"]}
NAMED = m.NamedClass(b"a sealed name", "COLD")


async def swarm(rig: Rig) -> Gateway:
    """A gateway with a bucket, of a swarm with two more classes."""
    for number in range(9):
        await rig.add_cell(site=SITES[number % 3])
    gateway = await rig.add_gateway()
    await gateway.make_bucket()
    for each in (COLD, NEAR):
        await rig.operate("POST", "/v1/classes", each)
    await trio.sleep(2)
    return gateway


async def name(rig: Rig, name: str, storage_class: str) -> None:
    await rig.operate("POST", f"/v1/class-names/{name}", {"storage_class": storage_class})


async def names_of(gateway: Gateway) -> dict[str, str]:
    """The names that a gateway hears with its bucket."""
    record: m.BucketRecord = await gateway.call(m.BucketGet(gateway.tenant_id, BUCKET))
    return {each.name: each.storage_class for each in record.class_names}


async def change(rig: Rig, storage_class: str) -> None:
    await rig.operate("POST", f"/v1/buckets/{BUCKET}/class", {"storage_class": storage_class})
    await trio.sleep(2)


async def wanted(gateway: Gateway) -> dict[bytes, str]:
    """What is to be written again, by its name, and in which class."""
    return {each.name: each.storage_class for each in (await ask(gateway)).pages}


async def test_names_lead_to_classes_and_back_to_that_of_the_bucket(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm(rig)
        assert await names_of(gateway) == {}
        await name(rig, "STANDARD_IA", "COLD")
        await name(rig, "GLACIER_IR", "NEAR")
        await name(rig, "ONEZONE_IA", "COLD")
        await name(rig, "ONEZONE_IA", "STANDARD")
        assert await names_of(gateway) == {"STANDARD_IA": "COLD", "GLACIER_IR": "NEAR"}
        listed = (await rig.operate("GET", "/v1/classes"))["classes"]
        assert {each["name"]: each["names"] for each in listed} == {
            "STANDARD": ["ONEZONE_IA"],
            "COLD": ["STANDARD_IA"],
            "NEAR": ["GLACIER_IR"],
        }
        await change(rig, "COLD")
        assert await names_of(gateway) == {"GLACIER_IR": "NEAR", "ONEZONE_IA": "STANDARD"}
        await rig.operate("DELETE", "/v1/class-names/GLACIER_IR")
        assert await names_of(gateway) == {"ONEZONE_IA": "STANDARD"}


async def test_no_name_leads_out_of_the_sites_of_a_bucket(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm(rig)
        wide = {"name": "WIDE", "redundancy": "1/2", "sites": ["roma", "torino"]}
        within = {"name": "WITHIN", "redundancy": "1/1", "sites": ["roma"]}
        for each in (wide, within):
            await rig.operate("POST", "/v1/classes", each)
        await trio.sleep(2)
        for storage_class in ("COLD", "WIDE", "WITHIN", "STANDARD"):
            await name(rig, f"LEADS_TO_{storage_class}", storage_class)
        await change(rig, "NEAR")
        assert await names_of(gateway) == {"LEADS_TO_WITHIN": "WITHIN"}


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "standard_ia", "COLD", (400, "bad_value")),
        ("POST", "STANDARD", "COLD", (400, "bad_value")),
        ("POST", "X" * 33, "COLD", (400, "bad_value")),
        ("POST", "STANDARD_IA", "NONE", (404, "no_such_class")),
        ("POST", "STANDARD_IA", "FAR", (409, "class_not_writable")),
        ("DELETE", "STANDARD_IA", None, (404, "no_such_class")),
    ],
)
async def test_what_leads_nowhere_is_refused(
    autojump_clock: MockClock, method: str, path: str, body: str | None, told: tuple[int, str]
) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm(rig)
        far = {"name": "FAR", "redundancy": "1/2", "sites": ["nowhere"]}
        await rig.operate("POST", "/v1/classes", far)
        given = None if body is None else {"storage_class": body}
        assert (await refused(rig, method, f"/v1/class-names/{path}", given))[:2] == told
        assert await names_of(gateway) == {}


async def test_no_more_names_than_the_limit(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        await swarm(rig)
        for number in range(limits.MAX_CLASS_NAMES):
            await name(rig, f"C{number}", "COLD")
        path, body = "/v1/class-names/ANOTHER", {"storage_class": "COLD"}
        assert (await refused(rig, "POST", path, body))[1] == "too_many_classes"
        await name(rig, "C0", "NEAR")


async def test_a_class_that_names_lead_to_is_in_use(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        await swarm(rig)
        await name(rig, "STANDARD_IA", "NEAR")
        assert (await refused(rig, "DELETE", "/v1/classes/NEAR"))[:2] == (409, "class_in_use")
        for cell in rig.cells:
            if cell.site == "roma":
                cell.beating = False
                cell.scope.cancel()
        await trio.sleep(20)
        told = await rig.operate("GET", "/v1/status")
        words = [each["what"] for each in told["outlook"]["concerns"]]
        assert any("storage class NEAR" in each for each in words), words


async def test_what_was_asked_for_stays_when_the_bucket_moves_and_follows_when_its_class_is_gone(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm(rig)
        await name(rig, "STANDARD_IA", "COLD")
        for key, named in ((b"cold", NAMED), (b"plain", None)):
            await gateway.put(key, named_class=named)
        assert await wanted(gateway) == {b"cold": "COLD"}
        await change(rig, "NEAR")
        assert await wanted(gateway) == {b"cold": "NEAR", b"plain": "NEAR"}
        await change(rig, "STANDARD")
        assert await wanted(gateway) == {b"cold": "COLD"}
        await rig.operate("DELETE", "/v1/class-names/STANDARD_IA")
        assert await wanted(gateway) == {b"cold": "COLD"}
        await rig.operate("DELETE", "/v1/classes/COLD")
        await trio.sleep(2)
        assert await wanted(gateway) == {}, "it lies in the class of its bucket"
        await rig.operate("POST", "/v1/classes", COLD)
        await trio.sleep(3)
        assert await wanted(gateway) == {b"cold": "COLD"}


async def test_a_class_that_is_not_there_is_that_of_the_bucket(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm(rig)
        for storage_class in ("NONE", ""):
            named = m.NamedClass(b"a sealed name", storage_class)
            await gateway.put(b"key", named_class=named)
            assert (await gateway.get(b"key")).class_name == b"a sealed name"
        assert rig.one("SELECT count(*) FROM versions WHERE storage_class IS NOT NULL") == 0
        assert await wanted(gateway) == {}
