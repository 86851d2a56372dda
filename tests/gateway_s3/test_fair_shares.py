"""Tenants of one gateway: what one asks for leaves the others, the public, and strangers theirs."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from access_client import anonymous, set_policy, statement
from gateway_rig import Answer, Rig

from common.errors import Unavailable
from common.http.records import BytesBody, HttpRequest
from common.reasons import Outage
from common.rpc.fair_queue import FairQueue
from common.wire import messages as m
from gateway.objects import ObjectBody
from gateway_s3.app import App

MIB = 1 << 20


def limit(rig: Rig, **settings: Any) -> FairQueue:
    """Give the gateway's app a queue with these limits."""
    queue = FairQueue(**{"places": 12, "at_work": 12, "patience_s": 5.0, **settings})
    rig.app = App(rig.backend, rig.keys, (), queue=queue)
    return queue


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    for name, owner in (("bucket", "AK"), ("theirs", "OTHER")):
        assert (await made.ask("PUT", f"/{name}", access_key=owner)).status == 200
        answer = await made.ask("PUT", f"/{name}/key", "", b"content", access_key=owner)
        assert answer.status == 200
    return made


def hold_reads(rig: Rig) -> trio.Event:
    """Let the coordinator answer no question about objects of ``bucket`` until the event is set."""
    released = trio.Event()

    async def wait(request: m.Request) -> None:
        if getattr(request, "bucket", "") == "bucket":
            await released.wait()

    rig.coordinators.faults[m.ObjectGet] = wait
    return released


async def test_a_tenant_beyond_its_share_is_asked_to_come_later_and_others_are_served(
    rig: Rig,
) -> None:
    queue = limit(rig)
    released = hold_reads(rig)
    answers: list[Answer] = []

    async def read() -> None:
        answers.append(await rig.ask("GET", "/bucket/key"))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        refused = [(each.status, each.code, each.headers["retry-after"]) for each in answers]
        assert refused == [(503, "SlowDown", "2")] * 14
        assert queue.turned_away == 14
        other = await rig.ask("GET", "/theirs/key", access_key="OTHER")
        assert other.body == b"content"
        released.set()
    assert sorted(each.status for each in answers) == [200] * 6 + [503] * 14
    assert (await rig.ask("GET", "/bucket/key")).status == 200
    assert queue.waiting == 0


async def test_the_public_that_reads_a_bucket_leaves_its_owner_a_share(rig: Rig) -> None:
    await rig.ask("DELETE", "/bucket", "publicAccessBlock=")
    await set_policy(rig, statement("s3:GetObject"))
    limit(rig)
    released = hold_reads(rig)
    answers: list[Answer] = []

    async def read() -> None:
        answers.append(await anonymous(rig, "GET", "/bucket/key"))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert [each.code for each in answers] == ["SlowDown"] * 14
        assert (await rig.ask("GET", "/bucket", "list-type=2")).status == 200
        released.set()


async def test_refused_requests_share_one_place_in_line(rig: Rig) -> None:
    queue = limit(rig, requests_per_s=5)
    codes = [(await rig.ask("GET", "/bucket/key", secret="wrong")).code for _ in range(10)]
    assert codes == ["SignatureDoesNotMatch"] * 5 + ["SlowDown"] * 5
    assert queue.turned_away == 5
    assert (await rig.ask("GET", "/bucket/key")).body == b"content"


async def test_only_so_many_requests_of_a_tenant_are_carried_out_in_a_second(
    rig: Rig, autojump_clock: object
) -> None:
    limit(rig, requests_per_s=3)

    async def read(owner: str, path: str) -> int:
        return (await rig.ask("GET", path, access_key=owner)).status

    assert [await read("AK", "/bucket/key") for _ in range(5)] == [200] * 3 + [503] * 2
    assert [await read("OTHER", "/theirs/key") for _ in range(5)] == [200] * 3 + [503] * 2
    await trio.sleep(0.34)
    assert [await read("AK", "/bucket/key") for _ in range(2)] == [200, 503]


async def test_bytes_of_a_tenant_take_the_time_that_its_rate_says(
    rig: Rig, autojump_clock: object
) -> None:
    limit(rig, bytes_per_s=MIB)
    data = bytes(3 * MIB)
    began = trio.current_time()
    assert (await rig.ask("PUT", "/bucket/large", "", data)).status == 200
    assert trio.current_time() - began == pytest.approx(2, abs=0.1)
    other_began = trio.current_time()
    assert (await rig.ask("GET", "/theirs/key", access_key="OTHER")).status == 200
    assert trio.current_time() == other_began
    assert (await rig.ask("GET", "/bucket/large")).body == data
    assert trio.current_time() - began == pytest.approx(5, abs=0.2)


async def test_small_answers_take_the_time_of_their_bytes_too(
    rig: Rig, autojump_clock: object
) -> None:
    data = bytes(64 << 10)
    await rig.put("/bucket/small", data)
    limit(rig, bytes_per_s=MIB)
    began = trio.current_time()
    for _ in range(48):
        assert (await rig.ask("GET", "/bucket/small")).body == data
    assert trio.current_time() - began == pytest.approx(2, abs=0.1)


@pytest.mark.incident(13)
async def test_every_end_of_a_request_gives_its_place_back(rig: Rig) -> None:
    queue = limit(rig, places=4, at_work=2)
    large = bytes(2 * MIB)
    assert (await rig.ask("PUT", "/bucket/large", "", large)).status == 200

    async def fail(request: m.Request) -> None:
        raise Unavailable(Outage.STORE_FAILED)

    async def bug(request: m.Request) -> None:
        raise AssertionError("a fault of ours")

    for _ in range(10):
        assert (await rig.ask("GET", "/bucket/large")).body == large
        assert (await rig.ask("GET", "/bucket/none")).status == 404
        assert (await rig.ask("GET", "/theirs/key")).status == 403
        assert (await anonymous(rig, "GET", "/bucket/key")).status == 403
        assert (await anonymous(rig, "OPTIONS", "/bucket/key")).status == 400
        assert (await rig.ask("HEAD", "/bucket/key", secret="wrong")).status == 403
        for fault, status in ((fail, 503), (bug, 500)):
            rig.coordinators.faults[m.ObjectGet] = fault
            assert (await rig.ask("GET", "/bucket/key")).status == status
        del rig.coordinators.faults[m.ObjectGet]
        await abandon(rig, "/bucket/large")
        await cancel(rig, "/bucket/key")
    assert rig.app.running == 0
    assert queue.turned_away == 0


async def abandon(rig: Rig, path: str) -> None:
    """Read one piece of an answer and go."""
    headers = rig.sign("GET", path, "", {})
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    request = HttpRequest("GET", path.encode(), path.encode(), b"", pairs, BytesBody())
    response = await rig.app(request)
    assert isinstance(response.body, ObjectBody)
    await anext(response.body)
    await response.body.aclose()


async def cancel(rig: Rig, path: str) -> None:
    """Begin a request and break its connection while it is worked on."""
    released = hold_reads(rig)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.ask, "GET", path)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    released.set()
    del rig.coordinators.faults[m.ObjectGet]
