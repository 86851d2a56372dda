"""A receiver of events, and what tests ask of notifications, in few words."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from gateway_rig import REGION, Answer, Rig

from common.errors import Unavailable
from common.reasons import Outage
from gateway.notifying import Notifier
from gateway.webhooks import Webhooks, parse_webhook
from gateway_s3.event_records import event_record

SECRET = bytes(range(32))
SECRET_TEXT = "whsec_" + base64.b64encode(SECRET).decode()
HOOK = f'url = "https://receiver.test/hook"\nsecret = "{SECRET_TEXT}"\n'
ARN = "arn:aws:sqs:::hook"


@dataclass
class Receiver:
    """Takes events, unless it is told to do otherwise. ``taken``: documents, with test events;
    ``seen``: ids of all messages that reached it."""

    taken: list[dict[str, Any]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    answers: Callable[[dict[str, Any]], int | None] = lambda document: 200
    before: Callable[[], Awaitable[None]] | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """See :class:`common.ports.WebhookSender`."""
        assert url == "https://receiver.test/hook"
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.digest(SECRET, signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        if self.before is not None:
            await self.before()
        document = json.loads(body)
        status = self.answers(document)
        self.seen.append(headers["webhook-id"])
        if status is None:
            raise Unavailable(Outage.CONNECT_FAILED)
        if status < 300:
            self.taken.append(document)
        return status

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of all events but test events, in the order in which they came."""
        return [record for each in self.taken for record in each.get("Records", ())]

    @property
    def told(self) -> list[tuple[str, str]]:
        """The same, as kinds and keys."""
        return [(each["eventName"], each["s3"]["object"]["key"]) for each in self.records]


def listen(rig: Rig, receiver: Receiver | None = None, *hooks: str) -> Receiver:
    """Let the rig's gateway know receivers of these names (one, ``hook``)."""
    receiver = receiver or Receiver()
    webhooks = Webhooks(rig.node.world.disk, "webhooks", rig.node.world.log)
    webhooks._known = {name: parse_webhook(name, HOOK.encode()) for name in hooks or ("hook",)}
    webhooks._read_at_s = float("inf")
    rig.backend = replace(rig.backend, webhooks=webhooks, sender=receiver)
    rig.app._backend = rig.backend
    return receiver


def rule(
    *kinds: str,
    id: str = "",
    prefix: str = "",
    suffix: str = "",
    arn: str = ARN,
    element: str = "Queue",
) -> str:
    """A rule of the document."""
    filters = "".join(
        f"<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>"
        for name, value in (("prefix", prefix), ("suffix", suffix))
        if value
    )
    outer = f"{element}Configuration"
    return (
        f"<{outer}>"
        + (f"<Id>{id}</Id>" if id else "")
        + f"<{element}>{arn}</{element}>"
        + "".join(f"<Event>{kind}</Event>" for kind in kinds)
        + (f"<Filter><S3Key>{filters}</S3Key></Filter>" if filters else "")
        + f"</{outer}>"
    )


async def put_rules(
    rig: Rig, *rules: str, headers: Mapping[str, str] | None = None, bucket: str = "bucket"
) -> Answer:
    """PutBucketNotificationConfiguration."""
    body = f"<NotificationConfiguration>{''.join(rules)}</NotificationConfiguration>".encode()
    return await rig.ask("PUT", f"/{bucket}", "notification=", body, headers)


async def set_rules(rig: Rig, *rules: str, bucket: str = "bucket") -> None:
    """The same, which must succeed."""
    answer = await put_rules(rig, *rules, bucket=bucket)
    assert answer.status == 200, answer.body


def notifier(rig: Rig) -> Notifier:
    """What delivers the notifications of the rig's gateway."""
    backend = rig.backend
    assert backend.webhooks is not None
    assert backend.sender is not None
    return Notifier(
        backend,
        rig.tenants,
        backend.webhooks,
        backend.sender,
        partial(event_record, region=REGION),
        backend.metrics,
        rig.node.world.chance.random,
    )


async def deliver(rig: Rig) -> None:
    """Deliver what waits, once."""
    await notifier(rig)._look()


def waiting(rig: Rig) -> int:
    """How many notifications wait in the store."""
    (rows,) = rig.coordinators.sql.execute("SELECT count(*) FROM notifications").fetchone()
    (counted,) = rig.coordinators.sql.execute("SELECT sum(notifications) FROM tenants").fetchone()
    assert rows == counted
    return int(rows)
