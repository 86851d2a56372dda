"""Storage classes: made, given to buckets, kept on their sites, clear where cells are too few."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio
from coordinator_rig import BUCKET, Gateway, Rig, running
from trio.testing import MockClock

from common import limits
from common.errors import Unavailable
from common.wire import messages as m
from coordinator.policy.placement import Redundancy
from coordinator.policy.storage_classes import STANDARD, redundancy_of, standard

SITES = ("bologna", "roma", "torino")
COLD = {"name": "COLD", "redundancy": "2/4", "sites": ["bologna", "roma"]}


async def swarm_of(rig: Rig, cells: int) -> Gateway:
    """Add cells on three sites, and a gateway with a bucket."""
    for number in range(cells):
        await rig.add_cell(site=SITES[number % 3])
    gateway = await rig.add_gateway()
    await gateway.make_bucket()
    return gateway


async def grant(gateway: Gateway, storage_class: str) -> m.Grants:
    if not gateway.lease:
        await gateway.open_lease()
    reply: m.Grants = await gateway.call(
        m.WriteStart(gateway.tenant_id, gateway.lease, 32, 100, storage_class)
    )
    return reply


def sites_of(rig: Rig, grants: m.Grants) -> Counter[str]:
    """The sites of the slots of grants."""
    return Counter(
        rig.cell_of(grants.endpoints[cell].cell_id).site
        for each in grants.grants
        for cell in each.cells
    )


async def refused(rig: Rig, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
    answer = await rig.http(method, path, body)
    told = answer.json()
    return answer.status_code, told["error"], told["message"]


@pytest.mark.parametrize(
    ("text", "quorum", "expected"),
    [
        ("4/6", None, Redundancy(4, 6, 5)),
        ("4/6", 4, Redundancy(4, 6, 4)),
        ("4/6", 7, None),
        ("4/6", 3, None),
        ("6/4", None, None),
        ("0/4", None, None),
        ("4", None, None),
        (f"1/{limits.MAX_SLOTS + 1}", None, None),
    ],
)
def test_a_redundancy_is_read(text: str, quorum: int | None, expected: Redundancy | None) -> None:
    assert redundancy_of(text, quorum) == expected


def test_the_configured_class_is_everywhere() -> None:
    assert (standard(Redundancy(1, 2, 2)).number, standard(Redundancy(1, 2, 2)).fence) == (
        STANDARD,
        frozenset(),
    )


async def test_a_class_is_written_on_its_sites_and_the_standard_one_everywhere(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm_of(rig, 9)
        await trio.sleep(2)
        assert rig.one("SELECT count(DISTINCT storage_class) FROM rings") == 1
        made = await rig.operate("POST", "/v1/classes", COLD)
        assert made == {**COLD, "write_quorum": 3}
        assert await rig.operate("POST", "/v1/classes", COLD) == made, "the same again is fine"
        await trio.sleep(2)
        await rig.operate("POST", f"/v1/buckets/{BUCKET}/class", {"storage_class": "COLD"})
        record = await gateway.call(m.BucketGet(gateway.tenant_id, BUCKET))
        assert record.storage_class == "COLD"

        cold = await grant(gateway, "COLD")
        assert {(each.k, each.n, each.home_k, each.home_n) for each in cold.grants} == {
            (2, 4, 2, 4)
        }
        sites = sites_of(rig, cold)
        assert sites.keys() == {"bologna", "roma"}
        assert sites["bologna"] == sites["roma"], "n - k slots on each"
        plain = await grant(gateway, "STANDARD")
        assert {(each.k, each.n) for each in plain.grants} == {(4, 6)}
        assert sites_of(rig, plain).keys() == set(SITES)
        with pytest.raises(Unavailable, match="no_ring") as unknown:
            await grant(gateway, "UNKNOWN")
        assert unknown.value.fields["storage_class"] == "UNKNOWN"

        await rig.restart()
        await trio.sleep(20)
        gateway.lease = 0
        await gateway.open()
        assert sites_of(rig, await grant(gateway, "COLD")).keys() == {"bologna", "roma"}
        found = await rig.operate("GET", "/v1/classes")
        assert [(each["name"], each["buckets"]) for each in found["classes"]] == [
            ("STANDARD", 0),
            ("COLD", 1),
        ]
        (listed,) = (await rig.operate("GET", "/v1/buckets"))["buckets"]
        assert (listed["name"], listed["storage_class"]) == (BUCKET, "COLD")


async def test_a_fence_with_too_few_cells_is_refused_for_buckets_and_said_in_words(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm_of(rig, 9)
        await rig.operate("POST", "/v1/classes", {**COLD, "sites": ["bologna"]})
        await trio.sleep(2)
        path, wanted = f"/v1/buckets/{BUCKET}/class", {"storage_class": "COLD"}
        status, reason, message = await refused(rig, "POST", path, wanted)
        assert (status, reason) == (409, "class_not_writable")
        assert "COLD: 3 of the 4 cells" in message
        with pytest.raises(Unavailable, match="no_ring") as found:
            await grant(gateway, "COLD")
        assert found.value.fields == {"have": 3, "need": 4, "storage_class": "COLD"}

        fourth = await rig.add_cell(site="bologna")
        await trio.sleep(2)
        assert (await rig.operate("POST", path, wanted))["changed"] is True
        assert (await rig.operate("POST", path, wanted))["changed"] is False
        assert sites_of(rig, await grant(gateway, "COLD")).keys() == {"bologna"}
        for cell in rig.cells:
            if cell.site == "bologna":
                cell.beating = False
                cell.scope.cancel()
        await trio.sleep(60)
        told = await rig.operate("GET", "/v1/status")
        (cold,) = (each for each in told["classes"] if each["name"] == "COLD")
        assert (cold["writable"], cold["cells"], cold["cells_needed"]) == (False, 0, 4)
        words = [each["what"] for each in told["outlook"]["concerns"]]
        assert (
            "Nothing can be written in storage class COLD: it takes 4 cells, and 0 can be written"
            " to on its sites (bologna)."
        ) in words
        assert told["writable"], "other buckets are written"
        metrics = (await rig.http("GET", "/metrics")).text
        assert "alveary_classes_not_writable 1.0" in metrics
        assert fourth.site == "bologna"


async def test_a_class_falls_back_within_its_fence(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm_of(rig, 12)
        await rig.operate("POST", "/v1/classes", {**COLD, "redundancy": "4/6"})
        await trio.sleep(2)
        await rig.operate("POST", f"/v1/buckets/{BUCKET}/class", {"storage_class": "COLD"})
        away = [cell for cell in rig.cells if cell.site == "roma"][:3]
        for cell in away:
            cell.beating = False
            cell.scope.cancel()
        await trio.sleep(6)
        cold = await grant(gateway, "COLD")
        assert {(each.k, each.n, each.home_k, each.home_n) for each in cold.grants} == {
            (2, 4, 4, 6)
        }
        assert sites_of(rig, cold).keys() <= {"bologna", "roma"}
        assert {each.k for each in (await grant(gateway, "STANDARD")).grants} == {4}
        told = await rig.operate("GET", "/v1/status")
        assert any(
            "Too few cells are left for storage class COLD" in each["what"]
            for each in told["outlook"]["concerns"]
        )


async def test_a_class_is_never_changed_and_removed_only_without_buckets(
    autojump_clock: MockClock,
) -> None:
    async with running(cells=0) as rig:
        gateway = await swarm_of(rig, 9)
        for body, reason in (
            ({**COLD, "name": "cold"}, "bad_value"),
            ({**COLD, "redundancy": "4"}, "bad_value"),
            ({**COLD, "write_quorum": 1}, "bad_value"),
            ({**COLD, "sites": [""]}, "bad_value"),
            ({**COLD, "sites": [7]}, "bad_value"),
            ({**COLD, "sites": "bologna"}, "bad_value"),
            ({**COLD, "name": "STANDARD"}, "class_exists"),
        ):
            assert (await refused(rig, "POST", "/v1/classes", body))[1] == reason
        await rig.operate("POST", "/v1/classes", COLD)
        await trio.sleep(2)
        other = {**COLD, "redundancy": "4/6"}
        assert (await refused(rig, "POST", "/v1/classes", other))[:2] == (409, "class_exists")
        path = f"/v1/buckets/{BUCKET}/class"
        await rig.operate("POST", path, {"storage_class": "COLD"})
        assert (await refused(rig, "DELETE", "/v1/classes/COLD"))[:2] == (409, "class_in_use")
        assert (await refused(rig, "DELETE", "/v1/classes/STANDARD"))[1] == "class_in_use"
        assert (await refused(rig, "DELETE", "/v1/classes/NONE"))[:2] == (404, "no_such_class")
        assert (await refused(rig, "POST", path, {"storage_class": "NONE"}))[0] == 404
        missing = await refused(rig, "POST", "/v1/buckets/none/class", {"storage_class": "COLD"})
        assert missing[:2] == (404, "no_such_bucket")

        await rig.operate("POST", path, {"storage_class": "STANDARD"})
        await rig.operate("DELETE", "/v1/classes/COLD")
        with pytest.raises(Unavailable, match="no_ring"):
            await grant(gateway, "COLD")
        assert rig.one("SELECT count(*) FROM rings WHERE storage_class = 1 AND is_open = 1") == 0
        assert (await refused(rig, "POST", "/v1/classes", other))[1] == "class_exists"
        await rig.operate("POST", "/v1/classes", COLD)
        await trio.sleep(2)
        assert sites_of(rig, await grant(gateway, "COLD")).keys() == {"bologna", "roma"}
        assert rig.one("SELECT count(*) FROM storage_classes") == 1


async def test_no_more_classes_than_the_limit(autojump_clock: MockClock) -> None:
    async with running(cells=0) as rig:
        for number in range(limits.MAX_STORAGE_CLASSES):
            await rig.operate("POST", "/v1/classes", {**COLD, "name": f"C{number}"})
        assert (await refused(rig, "POST", "/v1/classes", COLD))[1] == "too_many_classes"
