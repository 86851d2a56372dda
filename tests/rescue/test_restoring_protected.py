"""Objects under keys that no kit has come back with these keys, and are named without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from keys_client import KEY_A, KEY_B, customer
from rescue_rig import SHAPE, SimTree, kit_of, lose, rescue, wait_kept
from trio.testing import MockClock

from cli.encryption_keys import change_ring
from cli.operators import OperatorApi
from common.format import key_ring
from common.format.envelope import WrappingKey
from rescue.restore import Wanted
from sim.cluster import Cluster
from sim.world import SimWorld


class Operator(OperatorApi):
    """The operator of a simulated swarm."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def call(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        answer: dict[str, Any] = await self._cluster.operate(method, path, body)
        return answer


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


async def test_what_named_keys_protect_comes_back_unless_they_were_destroyed(
    autojump_clock: MockClock,
) -> None:
    async with Cluster(SimWorld(1), replace(SHAPE, overrides=OVERRIDES)) as cluster:
        entropy = cluster.swarm.node("operator").world.entropy
        api = Operator(cluster)

        async def change(made: Callable[..., key_ring.KeyRing], *facts: object) -> None:
            await change_ring(api, "sim", cluster.tenant, lambda ring: made(ring, *facts))

        client = cluster.client()
        await client.request("PUT", "/bucket")
        await wait_kept(cluster)
        await change(key_ring.create, "kept", 1, entropy)
        await change(key_ring.create, "gone", 1, entropy)
        kit = await kit_of(cluster)  # before they change
        for name, key in (("old", "kept"), ("lost", "gone"), ("new", "kept")):
            headers = {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": key,
            }
            answer = await client.request("PUT", f"/bucket/{name}", None, LARGE, headers)
            assert answer.status_code == 200, answer.text
            await change(key_ring.rotate, "kept", 2, entropy)
        await change(key_ring.destroy, "gone", 3)
        await change(lambda ring: key_ring.set_enabled(ring, "kept", 4, enabled=False))
        await lose(cluster, *cluster.cells[:2])
        tree = SimTree(cluster.swarm.node("rescuer"))
        report = (await rescue(cluster, kit, tree, Wanted())).report()
        assert (report["restored"], report["missing"], report["without_key"]) == (2, 1, 1)
        assert [each["why"] for each in tree.lines("missing.jsonl")] == [
            "no_such_named_key (key='gone')"
        ]
        assert tree.files("objects/bucket/") == {"old": LARGE, "new": LARGE}
