"""Tenants of one coordinator: the requests of one leave the others, cells and operators theirs."""

from __future__ import annotations

import pytest
import trio
from coordinator_rig import Rig, running

from common import limits
from common.errors import NotFound, Refused, Unavailable
from common.wire import messages as m


async def asked(gateway, count):
    """Ask so often at once; the reasons of the answers."""
    reasons = []

    async def ask():
        try:
            await gateway.call(m.ObjectGet(gateway.tenant_id, "none", b"key", None, False, 0, 0))
        except (NotFound, Unavailable) as error:
            reasons.append(str(error.reason))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(ask)
    return sorted(reasons)


async def turned_away(rig: Rig) -> float:
    text = (await rig.http("GET", "/metrics")).text
    line = next(
        each
        for each in text.splitlines()
        if each.startswith("alveary_coordinator_requests_turned_away ")
    )
    return float(line.split()[1])


async def test_a_tenants_rate_is_its_own_over_all_its_gateways(autojump_clock):
    async with running(cells=1, tenant_requests_per_s=5) as rig:
        one, other = await rig.add_gateway("one"), await rig.add_gateway("other")
        assert await asked(one, 8) == ["no_such_bucket"] * 5 + ["share_used"] * 3
        assert await turned_away(rig) == 3
        assert await asked(other, 5) == ["no_such_bucket"] * 5
        await rig.cells[0].beat()
        assert await rig.operate("GET", "/v1/tenants")
        await trio.sleep(1)
        await one.make_bucket()


async def test_a_name_that_was_not_proven_takes_nothing_of_its_tenant(autojump_clock):
    async with running(cells=0, tenant_requests_per_s=5) as rig:
        one, thief = await rig.add_gateway("one"), await rig.add_gateway("thief")
        thief.tenant_id = one.tenant_id
        for _ in range(20):
            with pytest.raises(Refused, match="tenant_not_open"):
                await thief.call(m.ObjectGet(one.tenant_id, "none", b"key", None, False, 0, 0))
        assert await asked(one, 5) == ["no_such_bucket"] * 5


async def test_a_tenant_that_fills_its_turns_leaves_others_theirs(autojump_clock, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TENANT_CALLS", 64)
    monkeypatch.setattr(limits, "MAX_TENANT_CALLS_AT_WORK", 8)
    async with running(cells=0) as rig:
        many, other = await rig.add_gateway("many"), await rig.add_gateway("other")
        await other.make_bucket()
        reasons = await asked(many, 100)
        assert set(reasons) <= {"no_such_bucket", "share_used"}
        assert reasons.count("no_such_bucket") >= 32
        assert await turned_away(rig) == reasons.count("share_used")
        assert (await other.names()).objects == ()
