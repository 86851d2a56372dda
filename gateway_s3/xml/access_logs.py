"""The document that says where the access log of a bucket goes, read and written.

Source: Amazon S3 API Reference, PutBucketLogging; docs/s3-compatibility.md, "Access logs".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common import limits
from common.format.configurations import (
    CONFIGURATION_VERSION,
    LOG_BY_DELIVERY_TIME,
    LOG_BY_EVENT_TIME,
    AccessLogging,
)
from gateway.names import is_bucket_name
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.xml.read import Tree, malformed, members_of, parse_children

_ROOT: Final = "BucketLoggingStatus"
_SIMPLE: Final = "SimplePrefix"
_PARTITIONED: Final = "PartitionedPrefix"
_SOURCES: Final[Mapping[str, str]] = {
    "EventTime": LOG_BY_EVENT_TIME,
    "DeliveryTime": LOG_BY_DELIVERY_TIME,
}
_ELEMENTS: Final = 64


def parse_logging(data: bytes) -> AccessLogging | None:
    """The target that a BucketLoggingStatus document names; None: none.

    Raises:
        S3Error: MalformedXML; InvalidTargetBucketForLogging: no bucket has this name;
            NotImplemented: grants for the objects of the log.
    """
    found = parse_children(data, _ROOT, 1, _ELEMENTS)
    if not found:
        return None
    enabled = found[0]
    if enabled.name != "LoggingEnabled":
        malformed()
    known = frozenset({"TargetBucket", "TargetPrefix", "TargetGrants", "TargetObjectKeyFormat"})
    members = members_of(enabled, known)
    if "TargetBucket" not in members or "TargetPrefix" not in members:
        malformed()
    grants = members.get("TargetGrants")
    if grants is not None and grants.children:
        raise S3Error(errors.NOT_IMPLEMENTED, Element="TargetGrants")
    bucket, prefix = _text(members["TargetBucket"]).strip(), _text(members["TargetPrefix"])
    if not is_bucket_name(bucket):
        raise S3Error(errors.INVALID_TARGET_BUCKET_FOR_LOGGING, TargetBucket=bucket[:255])
    if len(prefix.encode("utf-8")) > limits.MAX_LOG_PREFIX_BYTES:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            f"The prefix of a log has at most {limits.MAX_LOG_PREFIX_BYTES} bytes.",
            ArgumentName="TargetPrefix",
            ArgumentValue=prefix[:255],
        )
    return AccessLogging(
        CONFIGURATION_VERSION, bucket, prefix, _partition(members.get("TargetObjectKeyFormat"))
    )


def _text(element: Tree) -> str:
    if element.children:
        malformed()
    return element.text


def _partition(element: Tree | None) -> str:
    """The time by which keys are partitioned; empty: they are not."""
    if element is None:
        return ""
    members = members_of(element, frozenset({_SIMPLE, _PARTITIONED}))
    if len(members) != 1:
        malformed()
    if _SIMPLE in members:
        if members[_SIMPLE].children:
            malformed()
        return ""
    inner = members_of(members[_PARTITIONED], frozenset({"PartitionDateSource"}))
    source = _text(inner["PartitionDateSource"]).strip() if inner else "DeliveryTime"
    if source not in _SOURCES:
        malformed()
    return _SOURCES[source]


def logging_tree(rules: AccessLogging | None) -> Tree:
    """The BucketLoggingStatus document."""
    if rules is None:
        return Tree(_ROOT)
    if rules.partition:
        source = next(name for name, value in _SOURCES.items() if value == rules.partition)
        form = Tree(_PARTITIONED, "", (Tree("PartitionDateSource", source),))
    else:
        form = Tree(_SIMPLE)
    children = (
        Tree("TargetBucket", rules.bucket),
        Tree("TargetPrefix", rules.prefix),
        Tree("TargetObjectKeyFormat", "", (form,)),
    )
    return Tree(_ROOT, "", (Tree("LoggingEnabled", "", children),))
