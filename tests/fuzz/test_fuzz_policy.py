"""Any bytes as the policy of a bucket: a policy that judges, or the one refusal, bounded.

``policies/`` is the corpus: documents that reach far into the parser, good and bad, which every run
reads and changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import limits
from common.errors import Refused
from gateway.access.policy import Effect, Policy, PolicyCaller
from gateway.access.policy_document import parse_policy
from gateway.access.publicity import is_public
from gateway_s3.request.condition_keys import check_condition

CORPUS = {
    path.name: path.read_bytes() for path in sorted((Path(__file__).parent / "policies").iterdir())
}
ACCOUNT = "0" * 31 + "1"


class AnyFacts:
    """Circumstances in which every fact has the same values."""

    def __init__(self, values: tuple[str, ...]) -> None:
        self._values = values

    def values(self, key: str) -> tuple[str, ...] | None:
        return self._values or None


def read(data: bytes) -> Policy | None:
    try:
        return parse_policy(data, "bucket", check_condition)
    except Refused as error:
        refused = error
    assert refused.reason == "malformed_policy"
    assert set(refused.fields) == {"detail"}
    assert len(str(refused.fields["detail"])) <= 256
    return None


def check_judges(policy: Policy, *values: str) -> None:
    is_public(policy)
    for caller in (PolicyCaller(None), PolicyCaller(ACCOUNT), PolicyCaller(ACCOUNT, "ann")):
        effect = policy.judge(caller, "s3:GetObject", "arn:aws:s3:::bucket/key", AnyFacts(values))
        assert effect in {None, Effect.ALLOW, Effect.DENY}


def test_the_corpus_has_what_is_read_and_what_is_not() -> None:
    for name, data in CORPUS.items():
        policy = read(data)
        assert (policy is None) is name.startswith("bad-"), name
        if policy is not None:
            check_judges(policy, "1", "10.0.0.1")


PIECES = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
        b"*",
        b"?",
        b"${",
        b"\\u0000",
        b"\xff",
        b"1e9",
        b"null",
    ]
)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(CORPUS)),
    st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 6), PIECES | st.binary(max_size=3)),
        max_size=4,
    ),
    st.lists(st.text(max_size=20), max_size=2),
)
def test_a_changed_document_is_a_policy_or_refused(
    name: str, changes: list[tuple[int, int, bytes]], values: list[str]
) -> None:
    data = CORPUS[name]
    for at, dropped, piece in changes:
        place = at % (len(data) + 1)
        data = data[:place] + piece + data[place + dropped :]
    policy = read(data)
    if policy is not None:
        check_judges(policy, *values)


WORDS = st.sampled_from(
    [
        "*",
        "s3:*",
        "s3:GetObject",
        "arn:aws:s3:::bucket/*",
        "arn:aws:s3:::bucket",
        "Allow",
        "Deny",
        "2012-10-17",
        "10.0.0.0/8",
        "2026-01-01T00:00:00Z",
        ACCOUNT,
        f"arn:aws:iam::{ACCOUNT}:user/ann",
        "${aws:username, 'x'}",
        "true",
    ]
)
NAMES = st.sampled_from(
    [
        "AWS",
        "CanonicalUser",
        "StringLike",
        "ForAllValues:StringEqualsIfExists",
        "IpAddress",
        "DateLessThan",
        "NumericEquals",
        "Null",
        "aws:SourceIp",
        "s3:ExistingObjectTag/a",
        "s3:prefix",
    ]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    WORDS | st.text(max_size=8) | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ]
)
GOOD = {
    "Effect": "Allow",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"],
}


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(FIELDS, VALUES, max_size=3), st.lists(FIELDS, max_size=2))
def test_any_values_of_the_fields_are_a_policy_or_refused(
    fields: dict[str, Any], dropped: list[str]
) -> None:
    statement = {name: value for name, value in {**GOOD, **fields}.items() if name not in dropped}
    document = {"Version": "2012-10-17", "Statement": statement}
    policy = read(json.dumps(document).encode())
    if policy is not None:
        check_judges(policy, "x")


@pytest.mark.parametrize(
    "data",
    [
        b'{"Statement":' + b"[" * (limits.MAX_POLICY_BYTES - 20),
        b'{"a":' * (limits.MAX_POLICY_BYTES // 5 - 1),
        b'{"Version": ' + b"9" * (limits.MAX_POLICY_BYTES - 20) + b"}",
    ],
)
def test_deep_and_long_documents_are_refused(data: bytes) -> None:
    assert read(data) is None
