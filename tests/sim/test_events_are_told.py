"""Webhooks are told of events in whole swarms, while gateways, coordinators and the receiver crash:
each event that a client knows of at least once, in order for each key, and nothing that was not."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from test_objects_expire import patiently
from thoroughness import quick_or
from trio.testing import MockClock

from common.http.records import HttpRequest, HttpResponse
from common.http.server import serve_http
from common.ports import Address
from gateway.webhooks import parse_webhook
from sim.checkers.tables import store_rows
from sim.cluster import Cluster, Shape, write_file
from sim.s3_client import S3Client
from sim.world import SimWorld

SHAPE = Shape(
    cells=3,
    redundancy="1/3",
    gateways=2,
    tells_events=True,
    overrides={
        "coordinator": {
            "write_lease_ttl_s": 15,
            "delete_grace_s": 5,
            "inherited_lease_grace_s": 20,
        },
    },
)
PORT = 8088
HOOK = (
    f'url = "http://receiver:{PORT}/events"\n'
    f'secret = "whsec_{base64.b64encode(bytes(32)).decode()}"\n'
)
RULES = b"""<NotificationConfiguration><QueueConfiguration><Id>rule</Id>
<Queue>arn:aws:sqs:::hook</Queue><Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event>
</QueueConfiguration></NotificationConfiguration>"""
BOUND_S = 400
"""The longest pause between tries, a lease that has to end first, and a look."""


@dataclass
class Receiver:
    """What the receiver took, in its order; now and then it takes nothing."""

    chance: random.Random
    is_well: bool = False
    records: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        body = b""
        while piece := await request.body.receive():
            body += bytes(piece)
        message = (request.header(b"webhook-id") or b"").decode()
        at_s = int(request.header(b"webhook-timestamp") or b"0")
        signed = parse_webhook("hook", HOOK.encode()).headers(message, at_s, body)
        assert request.header(b"webhook-signature") == signed["webhook-signature"].encode()
        if not self.is_well and self.chance.random() < 0.2:
            return HttpResponse(self.chance.choice([500, 503, 429]))
        self.records += json.loads(body).get("Records", [])
        if not self.is_well and self.chance.random() < 0.1:
            return HttpResponse(500)  # it has it, and nobody knows
        return HttpResponse(204)


@dataclass
class Writer:
    """A client with keys of its own. ``known``: by key, the ETags of its objects in the order in
    which it was told that they are stored, and None for a deletion. ``sent``: all ETags."""

    client: S3Client
    name: str
    chance: random.Random
    known: dict[str, list[str | None]] = field(default_factory=lambda: defaultdict(list))
    sent: set[str] = field(default_factory=set)

    async def act_until(self, stop: trio.Event) -> None:
        while not stop.is_set():
            key = f"{self.name}-{self.chance.randrange(3)}"
            if self.chance.random() < 0.8:
                body = self.chance.randbytes(20)
                etag = hashlib.md5(body).hexdigest()
                self.sent.add(etag)
                answer = await patiently(self.client, "PUT", f"/bucket/{key}", None, body)
                assert answer.status_code == 200, answer.text
                self.known[key].append(etag)
            else:
                answer = await patiently(self.client, "DELETE", f"/bucket/{key}")
                assert answer.status_code == 204, answer.text
                if self.known[key] and self.known[key][-1] is not None:
                    self.known[key].append(None)
            await trio.sleep(self.chance.uniform(0, 3))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", quick_or(range(2), range(30)))
async def test_each_event_is_told_in_order_whatever_crashes(
    seed: int, autojump_clock: MockClock
) -> None:
    swarm = SimWorld(700 + seed)
    receiver = Receiver(swarm.random("receiver"))
    node = swarm.node("receiver")
    for number in range(SHAPE.gateways):
        disk = swarm.node(f"gateway-{number}").world.disk
        await write_file(disk, "webhooks/hook.toml", HOOK.encode())
    async with Cluster(swarm, SHAPE) as cluster, trio.open_nursery() as outer:

        async def listen() -> None:
            listener = await node.world.network.listen(Address("receiver", PORT), identity=None)
            await serve_http(listener, receiver.handle, log=node.world.log, clock=node.world.clock)

        outer.start_soon(listen)
        client = cluster.client()
        assert (await client.request("PUT", "/bucket")).status_code == 200
        answer = await patiently(
            client,
            "PUT",
            "/bucket",
            {"notification": ""},
            RULES,
            {"x-amz-skip-destination-validation": "true"},
        )
        assert answer.status_code == 200, answer.text
        await trio.sleep(12)  # by then every gateway obeys
        writers = [
            Writer(cluster.client(f"writer-{name}", int(name)), name, swarm.random(f"w {name}"))
            for name in "01"
        ]
        stop, chance = trio.Event(), swarm.random("crashes")
        async with trio.open_nursery() as nursery:
            for writer in writers:
                nursery.start_soon(writer.act_until, stop)
            for _ in range(7):
                await trio.sleep(chance.uniform(1, 15))
                crowd = [*cluster.gateways, *cluster.gateways, *cluster.coordinators]
                chance.choice(crowd).crash(power=chance.random() < 0.5)
                await cluster.wait_all_up()
            stop.set()
        receiver.is_well = True
        with trio.fail_after(BOUND_S):
            while store_rows(cluster, "SELECT 1 FROM notifications"):  # noqa: ASYNC110  # virtual time
                await trio.sleep(1)  # stores know no events
        outer.cancel_scope.cancel()

    sent = {etag for writer in writers for etag in writer.sent}
    known = {key: each for writer in writers for key, each in writer.known.items()}
    told: dict[str, dict[str, str | None]] = defaultdict(dict)
    for record in receiver.records:
        about = record["s3"]["object"]
        etag = about.get("eTag")
        assert etag is None or etag in sent
        told[about["key"]].setdefault(about["sequencer"], etag)
    assert sum(map(len, known.values())) > 20
    for key, events in known.items():
        assert list(told[key]) == sorted(told[key]), "in order, but for repetitions"
        left = iter(told[key].values())
        assert all(event in left for event in events), f"{key}: each, in the client's order"
