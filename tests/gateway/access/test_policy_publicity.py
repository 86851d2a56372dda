"""Which policies are public, as a table."""

from __future__ import annotations

import json

import pytest

from gateway.access.policy_document import parse_policy
from gateway.access.publicity import is_public

OURS = "0" * 31 + "1"


def public(principal: object, condition: object = None, **more: object) -> bool:
    statement = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::bucket/*",
        **more,
    }
    if condition is not None:
        statement["Condition"] = condition
    document = {"Version": "2012-10-17", "Statement": statement}
    return is_public(parse_policy(json.dumps(document).encode(), "bucket"))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (None, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"IpAddress": {"aws:SourceIp": ["8.8.8.8", "9.0.0.0/8"]}}, False),
        ({"IpAddress": {"aws:SourceIp": ["8.8.8.8", "0.0.0.0/1"]}}, True),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, True),
        ({"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}, False),
        ({"IpAddress": {"aws:SourceIp": "2000::/3"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "8.8.8.8"}}, True),
        ({"IpAddressIfExists": {"aws:SourceIp": "8.8.8.8"}}, True),
        ({"ForAllValues:IpAddress": {"aws:SourceIp": "8.8.8.8"}}, True),
        ({"StringEquals": {"aws:PrincipalAccount": OURS}}, False),
        ({"StringLike": {"aws:PrincipalAccount": OURS[:-1] + "*"}}, True),
        ({"StringLike": {"aws:userid": "${aws:userid}"}}, True),
        ({"StringEquals": {"aws:userid": OURS}}, False),
        ({"StringEquals": {"aws:userid": "anonymous"}}, True),
        ({"StringEquals": {"aws:userid": [OURS, "anonymous"]}}, True),
        ({"StringEqualsIgnoreCase": {"aws:userid": "Anonymous"}}, True),
        ({"StringLike": {"aws:userid": "anonymous"}}, True),
        ({"StringNotEquals": {"aws:PrincipalAccount": OURS}}, True),
        ({"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{OURS}:root"}}, False),
        ({"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{OURS}:*"}}, True),
        ({"StringEquals": {"aws:Referer": "https://example.com/"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, True),
        ({"Null": {"aws:SourceIp": "false"}}, True),
    ],
)
def test_what_is_allowed_to_everyone_is_public_unless_a_fact_fixes_who_asks(
    condition: object, expected: bool
) -> None:
    assert public("*", condition) is expected
    assert public({"AWS": "*"}, condition) is expected
    assert not public({"AWS": OURS}, condition)
    assert not public("*", condition, Effect="Deny")


def test_what_is_allowed_to_all_but_some_is_public() -> None:
    statement = {
        "Effect": "Allow",
        "NotPrincipal": {"AWS": OURS},
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::bucket/*",
    }
    document = json.dumps({"Statement": [statement]}).encode()
    assert is_public(parse_policy(document, "bucket"))
