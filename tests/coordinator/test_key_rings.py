"""Key rings at the coordinator: one tenant's each, replaced whole, and lost to no race."""

from __future__ import annotations

from typing import Any

import pytest
from coordinator_rig import running

from common.errors import Refused
from common.wire import messages as m


async def status(rig: Any, method: str, path: str, body: Any = None) -> int:
    answer = await rig.http(method, path, body)
    found: int = answer.status_code
    return found


async def test_a_ring_is_for_gateways_of_its_tenant(autojump_clock: Any) -> None:
    async with running(cells=0) as rig:
        gateway = await rig.add_gateway()
        other = await rig.add_gateway("other")
        asked = m.KeyRingGet(gateway.tenant_id)
        assert await gateway.call(asked) == m.SealedKeyRing(0, b"")
        body = {"revision": 1, "sealed": "c2VhbGVk"}
        await rig.operate("PUT", "/v1/tenants/tenant/key-ring", body)
        assert await gateway.call(asked) == m.SealedKeyRing(1, b"sealed")
        assert await other.call(m.KeyRingGet(other.tenant_id)) == m.SealedKeyRing(0, b"")
        with pytest.raises(Refused, match="tenant_not_open"):
            await other.call(asked)


async def test_of_two_changes_at_once_one_is_refused(autojump_clock: Any) -> None:
    async with running(cells=0) as rig:
        await rig.add_gateway()
        path = "/v1/tenants/tenant/key-ring"
        first = {"revision": 1, "sealed": "Zmlyc3Q="}
        for _ in range(2):  # the same again is fine
            await rig.operate("PUT", path, first)
        for revision in (1, 3, 0):
            body = {"revision": revision, "sealed": "c2Vjb25k"}
            assert await status(rig, "PUT", path, body) == (400 if revision == 0 else 409)
        assert await rig.operate("GET", path) == {"revision": 1, "sealed": "Zmlyc3Q="}
        for sealed in ("", "%", "A" * 60_000):
            assert await status(rig, "PUT", path, {"revision": 2, "sealed": sealed}) == 400
        assert await status(rig, "GET", "/v1/tenants/nobody/key-ring") == 404


async def test_a_removed_tenant_leaves_no_ring(autojump_clock: Any) -> None:
    async with running(cells=0) as rig:
        await rig.add_gateway()
        await rig.operate("PUT", "/v1/tenants/tenant/key-ring", {"revision": 1, "sealed": "eA=="})
        await rig.operate("DELETE", "/v1/tenants/tenant")
        assert rig.one("SELECT count(*) FROM key_rings") == 0
