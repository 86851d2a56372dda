"""Rules by which webhooks are notified of events: set and read.

Source: Amazon S3 API Reference, PutBucketNotificationConfiguration,
GetBucketNotificationConfiguration; docs/s3-compatibility.md, "Event notifications".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from common.format.configurations import (
    CONFIGURATION_VERSION,
    NotificationRule,
    NotificationRules,
    unpack_notification_rules,
)
from common.http.records import HttpResponse
from gateway.configurations import set_document
from gateway.notifications import NOTIFICATIONS
from gateway.notifying import post
from gateway.webhooks import Webhook
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.errors import S3Error
from gateway_s3.event_records import trial_event
from gateway_s3.handlers.answers import xml_response
from gateway_s3.xml.notifications import notifications_tree, parse_notifications
from gateway_s3.xml.write import configuration

_SKIP: Final = b"x-amz-skip-destination-validation"
_ID_BYTES: Final = 18
_MESSAGE_ID_BYTES: Final = 16


async def put_notifications(backend: Backend, call: Call) -> HttpResponse:
    """Set the bucket's rules; those without an id get one. Each receiver is sent a test event
    first, and must take it."""
    given = await read_document(backend, call, parse_notifications)
    receivers = {rule.webhook: await _receiver(backend, call, rule) for rule in given}
    skips = (call.request.header(_SKIP) or b"").lower() == b"true"
    for rule in {rule.webhook: rule for rule in given}.values():
        if not skips:
            await _test(backend, call, receivers[rule.webhook], rule)
    named = [
        rule if rule.rule_id else replace(rule, rule_id=backend.entropy(_ID_BYTES).hex())
        for rule in given
    ]
    rules = NotificationRules(CONFIGURATION_VERSION, tuple(named))
    await set_document(backend, call.bucket, NOTIFICATIONS, rules.pack() if named else None)
    return HttpResponse(200)


async def get_notifications(backend: Backend, call: Call) -> HttpResponse:
    """Show the bucket's rules."""
    body = call.bucket.settings.document(NOTIFICATIONS)
    rules = () if body is None else unpack_notification_rules(body).rules
    return xml_response(configuration(notifications_tree(rules)))


def _invalid(rule: NotificationRule, why: str) -> S3Error:
    return S3Error(
        errors.INVALID_ARGUMENT,
        f"Unable to validate the following destination configurations: {why}",
        ArgumentName=rule.target,
        ArgumentValue=why,
    )


async def _receiver(backend: Backend, call: Call, rule: NotificationRule) -> Webhook:
    """The receiver that a rule names. Raises S3Error InvalidArgument: there is none."""
    webhooks = backend.webhooks
    found = None
    if webhooks is not None:
        found = await webhooks.find(rule.webhook, call.bucket.owner.tenant_id)
    if found is None:
        raise _invalid(rule, f"no webhook {rule.webhook} is configured for this tenant here")
    return found


async def _test(backend: Backend, call: Call, webhook: Webhook, rule: NotificationRule) -> None:
    """Send a test event. Raises S3Error InvalidArgument: it was not taken."""
    assert backend.sender is not None, "a receiver is known"
    now_ms = backend.now_ms()
    body = trial_event(call.bucket.name, now_ms, call.request_id, "")
    message_id = backend.entropy(_MESSAGE_ID_BYTES).hex()
    status = await post(backend.sender, webhook, message_id, now_ms, body)
    if status is None:
        raise _invalid(rule, f"the webhook {webhook.name} did not answer a test event")
    if not 200 <= status < 300:
        raise _invalid(rule, f"the webhook {webhook.name} answered a test event with {status}")
