"""The document with the rules by which webhooks are notified of events, read and written.

Source: Amazon S3 API Reference, PutBucketNotificationConfiguration; User Guide, "Configuring event
notifications using object key name filtering"; docs/s3-compatibility.md, "Event notifications".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from common import limits
from common.format.configurations import NotificationRule
from gateway.notifications import EventKind, is_of, overlap
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.xml.read import Tree, malformed, members_of, parse_children

_SERVICES: Final[Mapping[str, tuple[str, str]]] = {
    "TopicConfiguration": ("Topic", "sns"),
    "QueueConfiguration": ("Queue", "sqs"),
    "CloudFunctionConfiguration": ("CloudFunction", "lambda"),
}
"""By the element of a rule: the element that names its receiver, and the service of its ARN."""
_EVENT_BRIDGE: Final = "EventBridgeConfiguration"
_S3: Final = "s3:"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ELEMENTS: Final = 64
_NEVER: Final = (
    "ReducedRedundancyLostObject",
    "ObjectRestore:*",
    "ObjectRestore:Post",
    "ObjectRestore:Completed",
    "ObjectRestore:Delete",
    "Replication:*",
    "Replication:OperationFailedReplication",
    "Replication:OperationMissedThreshold",
    "Replication:OperationReplicatedAfterThreshold",
    "Replication:OperationNotTracked",
    "IntelligentTiering",
    "ObjectAnnotation:*",
    "ObjectAnnotation:Put",
    "ObjectAnnotation:Delete",
)
"""Kinds that S3 has, and that come about nowhere here."""


def _wrong(message: str, name: str, value: str) -> S3Error:
    return S3Error(errors.INVALID_ARGUMENT, message, ArgumentName=name, ArgumentValue=value[:255])


def webhook_of(target: str, service: str) -> str | None:
    """Return the name of the receiver that an ARN stands for; None: it stands for none.

    ``arn:aws:SERVICE:REGION:ACCOUNT:NAME``, with ``function:NAME`` for a function; and, as MinIO
    has it, ``arn:minio:sqs:REGION:NAME:webhook``.
    """
    parts = target.split(":")
    if len(parts) < 6 or parts[0] != "arn" or parts[2] != service:
        return None
    name = parts[-1]
    if service == "lambda":
        fits = len(parts) == 7 and parts[5] == "function"
    elif parts[1] == "minio":
        fits = len(parts) == 6 and name == "webhook"
        name = parts[4]
    else:
        fits = len(parts) == 6
    return name if fits and _NAME.fullmatch(name) is not None else None


def parse_notifications(data: bytes) -> tuple[NotificationRule, ...]:
    """The rules of a NotificationConfiguration document; none take back those that were set. A rule
    without an id has an empty one.

    Raises:
        S3Error: MalformedXML, InvalidArgument: what S3 refuses, too; NotImplemented: EventBridge,
            and events that come about nowhere here.
    """
    most = limits.MAX_NOTIFICATION_RULES
    found = parse_children(data, "NotificationConfiguration", most + 1, _ELEMENTS)
    if any(element.name == _EVENT_BRIDGE for element in found):
        raise S3Error(errors.NOT_IMPLEMENTED, Element=_EVENT_BRIDGE)
    if len(found) > most:
        raise _wrong(
            f"The number of notification configurations must not exceed {most}",
            "NotificationConfiguration",
            str(len(found)),
        )
    rules = tuple(map(_rule, found))
    ids = [rule.rule_id for rule in rules if rule.rule_id]
    if len(ids) != len(set(ids)):
        twice = next(each for each in ids if ids.count(each) > 1)
        raise _wrong("Configurations must have unique ids", "Id", twice)
    for at, rule in enumerate(rules):
        for other in rules[:at]:
            if overlap(rule, other):
                raise _wrong(
                    "Configurations overlap. Configurations on the same bucket cannot share a "
                    "common event type with overlapping prefixes and suffixes.",
                    "Event",
                    _S3 + rule.kinds[0],
                )
    return rules


def _rule(element: Tree) -> NotificationRule:
    if element.name not in _SERVICES:
        malformed()
    name, service = _SERVICES[element.name]
    kinds = [child for child in element.children if child.name == "Event"]
    others = tuple([child for child in element.children if child.name != "Event"])
    members = members_of(Tree(element.name, "", others), frozenset({"Id", "Filter", name}))
    if name not in members or not kinds or any(child.children for child in kinds):
        malformed()
    rule_id = _text(members, "Id")
    if len(rule_id) > limits.MAX_LIFECYCLE_ID_CHARACTERS:
        raise _wrong("The id of a configuration is too long", "Id", rule_id)
    target = _text(members, name)
    webhook = webhook_of(target, service) if len(target) <= limits.MAX_CORS_TEXT_BYTES else None
    if webhook is None:
        raise _wrong("The ARN could not be parsed or is not well formed", name, target)
    prefix, suffix = _filter(members.get("Filter"))
    return NotificationRule(
        rule_id,
        target,
        webhook,
        element.name,
        tuple([_kind(child.text.strip()) for child in kinds]),
        prefix,
        suffix,
    )


def _text(members: Mapping[str, Tree], name: str) -> str:
    child = members.get(name)
    if child is None:
        return ""
    if child.children:
        malformed()
    return child.text.strip()


def _kind(text: str) -> str:
    """A pattern of kinds of events, without the ``s3:`` before it."""
    pattern = text.removeprefix(_S3)
    if text.startswith(_S3):
        if pattern in _NEVER:
            raise S3Error(errors.NOT_IMPLEMENTED, Event=text)
        if any(is_of(pattern, each.value) for each in EventKind):
            return pattern
    raise _wrong("The event is not supported for notifications", "Event", text)


def _filter(element: Tree | None) -> tuple[str, str]:
    """The prefix and the suffix of keys."""
    if element is None:
        return "", ""
    found: dict[str, str] = {}
    for key in members_of(element, frozenset({"S3Key"})).values():
        for rule in key.children:
            if rule.name != "FilterRule":
                malformed()
            members = members_of(rule, frozenset({"Name", "Value"}))
            if members.keys() != {"Name", "Value"}:
                malformed()
            name = _text(members, "Name").lower()
            value = members["Value"]
            if value.children:
                malformed()
            if name not in {"prefix", "suffix"}:
                raise _wrong("filter rule name must be either prefix or suffix", "Name", name)
            if name in found:
                raise _wrong(f"Cannot specify more than one {name} rule in a filter.", "Name", name)
            if len(value.text.encode("utf-8")) > limits.MAX_LIFECYCLE_PREFIX_BYTES:
                raise _wrong(
                    "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation",
                    "Value",
                    value.text,
                )
            found[name] = value.text
    return found.get("prefix", ""), found.get("suffix", "")


def notifications_tree(rules: tuple[NotificationRule, ...]) -> Tree:
    """The NotificationConfiguration document of rules."""
    return Tree("NotificationConfiguration", "", tuple(map(_tree, rules)))


def _tree(rule: NotificationRule) -> Tree:
    children = [
        Tree("Id", rule.rule_id),
        Tree(_SERVICES[rule.element][0], rule.target),
        *(Tree("Event", _S3 + kind) for kind in rule.kinds),
    ]
    filters = [
        Tree("FilterRule", "", (Tree("Name", name), Tree("Value", value)))
        for name, value in (("Prefix", rule.prefix), ("Suffix", rule.suffix))
        if value
    ]
    if filters:
        children.append(Tree("Filter", "", (Tree("S3Key", "", tuple(filters)),)))
    return Tree(rule.element, "", tuple(children))
