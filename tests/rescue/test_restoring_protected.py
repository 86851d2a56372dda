"""Objects under keys that no kit has come back with these keys, and are named without them."""

from __future__ import annotations

from dataclasses import replace

from keys_client import KEY_A, KEY_B, customer
from rescue_rig import SHAPE, SimTree, kit_of, lose, rescue, wait_kept
from trio.testing import MockClock

from common.format.envelope import WrappingKey
from rescue.restore import Wanted
from sim.cluster import Cluster
from sim.world import SimWorld

OVERRIDES = {**SHAPE.overrides, "gateway": {"customer_keys_in_clear": True}}
LARGE = bytes(range(256)) * 10_000


async def test_what_customers_protect_comes_back_with_their_keys(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(1), replace(SHAPE, overrides=OVERRIDES)) as cluster:
        client = cluster.client()
        await client.request("PUT", "/bucket")
        await wait_kept(cluster)
        kit = await kit_of(cluster)
        for name, body, headers in (
            ("plain", b"plain", {}),
            ("small", b"small", customer(KEY_A)),
            ("large", LARGE, customer(KEY_A)),
            ("other", b"other", customer(KEY_B)),
        ):
            answer = await client.request("PUT", f"/bucket/{name}", None, body, headers)
            assert answer.status_code == 200, answer.text
        await lose(cluster, *cluster.cells[:2])
        tree = SimTree(cluster.swarm.node("rescuer"))
        report = (await rescue(cluster, kit, tree, Wanted())).report()
        assert (report["restored"], report["missing"], report["without_key"]) == (1, 3, 3)
        assert {each["why"] for each in tree.lines("missing.jsonl")} == {"object_key_missing"}
        wanted = Wanted(wrapping_keys=[WrappingKey(bytes(32)), WrappingKey(KEY_A)])
        report = (await rescue(cluster, kit, tree, wanted)).report()
        assert (report["restored"], report["kept"], report["without_key"]) == (2, 1, 1)
        files = tree.files("objects/bucket/")
        assert files == {"plain": b"plain", "small": b"small", "large": LARGE}
