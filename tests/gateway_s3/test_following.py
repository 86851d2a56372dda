"""Data follows the class of its bucket: what a gateway does while nothing is to be written."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from gateway_rig import Rig
from locks_client import HOLD, LOCKS, put_locked
from prometheus_client import CollectorRegistry, Counter
from trio.testing import MockClock

from common import limits
from common.wire import messages as m
from gateway.following import Follower


async def test_a_gateway_rests_while_it_is_told_of_nothing_but_locked_versions(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_MISPLACED_LOOKED_AT", 1)
    rig = Rig()
    await rig.put("/bucket", b"", LOCKS)
    for key in ("a", "b", "c"):
        await put_locked(rig, key, b"data", {HOLD: "ON"})
    sql = rig.coordinators.sql
    sql.execute("UPDATE buckets SET storage_class = 1")
    sql.execute("INSERT INTO storage_classes VALUES (1, 'COLD', 2, 4, 3, 0)")
    sql.execute(
        "INSERT INTO misplaced_pages (owner, number, tenant)"
        " SELECT v.sequence, 0, b.tenant FROM versions v JOIN buckets b ON b.bucket = v.bucket"
    )
    moments = []

    async def slow(request: Any) -> None:
        if request.lease:
            moments.append(trio.current_time())
            await trio.sleep(3)

    rig.coordinators.faults[m.MisplacedList] = slow
    counter = Counter("rewritten", "Bytes", registry=CollectorRegistry())
    await Follower(rig.backend, rig.tenants, counter)._look()
    first, second, third, fourth = moments
    assert second - first == third - second == fourth - third == pytest.approx(6)
    assert sql.execute("SELECT count(*) FROM misplaced_pages").fetchone() == (3,)
