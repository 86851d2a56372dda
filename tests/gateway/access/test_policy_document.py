"""Documents of policies: what is read, and what is refused with which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common import limits
from common.errors import Refused
from gateway.access.patterns import NOTHING_KNOWN
from gateway.access.policy import Effect, PolicyCaller, combined
from gateway.access.policy_document import parse_policy, parse_user_policy
from gateway_s3.request.condition_keys import check_condition

OURS = "0" * 31 + "1"
THEIRS = "0" * 31 + "2"
ALLOW: dict[str, Any] = {
    "Effect": "Allow",
    "Principal": "*",
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::bucket/*",
}


def text(*statements: object, **more: object) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more}).encode()


def judge(data: bytes, caller: PolicyCaller, permission: str, resource: str) -> Effect | None:
    policy = parse_policy(data, "bucket", check_condition)
    return policy.judge(caller, permission, "arn:aws:s3:::" + resource, NOTHING_KNOWN)


def changed(**changes: object) -> dict[str, Any]:
    return {name: value for name, value in {**ALLOW, **changes}.items() if value is not None}


def test_one_statement_stands_for_a_list_of_one() -> None:
    data = json.dumps({"Statement": ALLOW}).encode()
    assert judge(data, PolicyCaller(None), "s3:GetObject", "bucket/key") is Effect.ALLOW
    assert judge(data, PolicyCaller(None), "s3:GetObject", "bucket2/key") is None
    assert judge(data, PolicyCaller(None), "s3:PutObject", "bucket/key") is None


@pytest.mark.parametrize(
    ("principal", "callers"),
    [
        ("*", "nobody account user role other"),
        ({"AWS": "*"}, "nobody account user role other"),
        ({"AWS": [OURS]}, "account user role"),
        ({"AWS": f"arn:aws:iam::{OURS}:root"}, "account user role"),
        ({"AWS": f"arn:aws:iam::{OURS}:user/ann"}, "user"),
        ({"AWS": f"arn:aws:iam::{OURS}:user/team/ann"}, "user"),
        ({"AWS": f"arn:aws:iam::{OURS}:role/ann"}, "role"),
        ({"AWS": [f"arn:aws:iam::{OURS}:user/bob", THEIRS]}, "other"),
        ({"CanonicalUser": THEIRS}, "other"),
        ({"Service": "logging.s3.amazonaws.com"}, ""),
        ({"Service": "logging.s3.amazonaws.com", "AWS": THEIRS}, "other"),
    ],
)
def test_principals_are_everyone_accounts_users_and_roles(principal: object, callers: str) -> None:
    known = {
        "nobody": PolicyCaller(None),
        "account": PolicyCaller(OURS),
        "user": PolicyCaller(OURS, "ann"),
        "role": PolicyCaller(OURS, role="ann", session="s"),
        "other": PolicyCaller(THEIRS),
    }
    for field, expected in (("Principal", True), ("NotPrincipal", False)):
        data = text(changed(**{"Principal": None, field: principal}))
        for name, caller in known.items():
            effect = judge(data, caller, "s3:GetObject", "bucket/key")
            assert (effect is Effect.ALLOW) is ((name in callers.split()) is expected)


@pytest.mark.parametrize(
    ("action", "fitting", "others"),
    [
        ("s3:GetObject", ["s3:GetObject"], ["s3:GetObjectVersion", "s3:PutObject"]),
        ("S3:getobject", ["s3:GetObject"], ["s3:PutObject"]),
        ("s3:Get*", ["s3:GetObject", "s3:GetObjectAcl"], ["s3:PutObject"]),
        ("s3:?etObject", ["s3:GetObject"], ["s3:PutObject"]),
        (["s3:GetObject", "s3:PutObject"], ["s3:PutObject"], ["s3:DeleteObject"]),
        ("*", ["s3:DeleteObject"], []),
    ],
)
def test_actions_are_named_with_wildcards_and_without_case(
    action: object, fitting: list[str], others: list[str]
) -> None:
    for field, expected in (("Action", True), ("NotAction", False)):
        data = text(changed(**{"Action": None, field: action}))
        for permission in [*fitting, *others]:
            effect = judge(data, PolicyCaller(None), permission, "bucket/key")
            assert (effect is Effect.ALLOW) is ((permission in fitting) is expected)


def test_resources_are_those_that_are_named_or_all_others() -> None:
    data = text(changed(Resource=None, NotResource="arn:aws:s3:::bucket/private/*"))
    assert judge(data, PolicyCaller(None), "s3:GetObject", "bucket/key") is Effect.ALLOW
    assert judge(data, PolicyCaller(None), "s3:GetObject", "bucket/private/key") is None


def test_a_statement_that_denies_outweighs_those_that_allow_in_any_order() -> None:
    deny = changed(Effect="Deny", Principal={"AWS": OURS})
    for statements in ([ALLOW, deny], [deny, ALLOW]):
        data = text(*statements)
        assert judge(data, PolicyCaller(OURS), "s3:GetObject", "bucket/key") is Effect.DENY
        assert judge(data, PolicyCaller(THEIRS), "s3:GetObject", "bucket/key") is Effect.ALLOW


INVALID_JSON = "This policy contains invalid Json"
NOT_APPLICABLE = "Action does not apply to any resource(s) in statement"
NO_COMBINATION = "Conditions do not apply to combination of actions and resources in statement"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "Policies must be valid JSON and the first byte must be '{'"),
        (b" {}", "Policies must be valid JSON and the first byte must be '{'"),
        (b"[]", "Policies must be valid JSON and the first byte must be '{'"),
        (b"{", INVALID_JSON),
        (b"{\xff}", INVALID_JSON),
        (b'{"a":' + b"[" * 5000, INVALID_JSON),
        (b'{"Id": NaN}', INVALID_JSON),
        (b'{"Statement": [], "Statement": []}', INVALID_JSON),
        (b"{}", "Missing required field Statement"),
        (b'{"Statement": []}', "Could not parse the policy: Statement is empty!"),
        (b'{"Statement": "x"}', "Could not parse the policy: Statement is empty!"),
        (b'{"Statement": ["x"]}', "Invalid policy syntax."),
        (text(ALLOW, Version="2020-01-01"), "The policy must contain a valid version string"),
        (text(ALLOW, Version=2012), "The policy must contain a valid version string"),
        (text(ALLOW, Id=1), "Invalid policy syntax."),
        (text(ALLOW, Comment="x"), "Unknown field Comment"),
        (text(changed(Comment="x")), "Unknown field Comment"),
        (text(changed(Sid=1)), "Invalid policy syntax."),
        (
            text(changed(Sid="a"), changed(Sid="a")),
            "Statement IDs (SID) in a single policy must be unique: a",
        ),
        (text(changed(Effect=None)), "Missing required field Effect"),
        (text(changed(Effect="allow")), "Invalid effect: allow"),
        (text(changed(Effect=["Allow"])), "Invalid effect: ['Allow']"),
        (text(changed(Principal=None)), "Missing required field Principal"),
        (text(changed(Action=None)), "Missing required field Action"),
        (text(changed(Resource=None)), "Missing required field Resource"),
        (
            text(changed(NotAction="s3:GetObject")),
            "Statement cannot contain both Action and NotAction",
        ),
        *(
            (text(changed(Principal=wrong)), "Invalid principal in policy")
            for wrong in (
                "",
                "ann",
                [],
                {},
                {"AWS": []},
                {"AWS": 1},
                {"AWS": "123456789012"},
                {"AWS": "arn:aws:iam::123456789012:root"},
                {"AWS": f"arn:aws:iam::{OURS}:group/x"},
                {"AWS": f"arn:aws:iam::{OURS}:user/"},
                {"AWS": f"arn:aws:iam::{OURS}:user/*"},
                {"AWS": OURS.replace("0", "X")},
                {"CanonicalUser": "*"},
                {"Federated": "accounts.google.com"},
                {"Service": "*"},
                {"Other": OURS},
            )
        ),
        *(
            (text(changed(Action=wrong)), "Policy has invalid action")
            for wrong in ("", "GetObject", "s3:GetObjekt", "ec2:*", [], 1, ["s3:GetObject", 1])
        ),
        *(
            (text(changed(Resource=wrong)), "Policy has invalid resource")
            for wrong in (
                "",
                "*",
                "bucket/*",
                "arn:aws:s3:::other/*",
                "arn:aws:s3:::buck",
                "arn:aws:s3:::bucket2*",
                "arn:aws:sqs:::bucket/*",
                [],
                1,
                ["arn:aws:s3:::bucket/*", "arn:aws:s3:::other/*"],
            )
        ),
        (text(changed(Resource="arn:aws:s3:::bucket")), NOT_APPLICABLE),
        (text(changed(Action="s3:ListBucket")), NOT_APPLICABLE),
        (text(changed(Action=["s3:GetObject", "s3:ListBucket"])), NOT_APPLICABLE),
        (text(changed(Action="s3:ListAllMyBuckets")), NOT_APPLICABLE),
        (text(changed(Condition="x")), "Invalid policy syntax."),
        (text(changed(Condition={"Bool": "x"})), "Invalid policy syntax."),
        (text(changed(Condition={"Bool": {}})), "Invalid policy syntax."),
        (
            text(changed(Condition={"Bool": {"aws:SecureTransport": []}})),
            "Invalid policy syntax.",
        ),
        (
            text(changed(Condition={"Bool": {"aws:SecureTransport": None}})),
            "Invalid policy syntax.",
        ),
        (
            text(changed(Condition={"Boolean": {"aws:SecureTransport": "true"}})),
            "Invalid Condition type : Boolean",
        ),
        (
            text(changed(Condition={"StringEquals": {"s3:colour": "red"}})),
            "Policy has an invalid condition key - s3:colour",
        ),
        (
            text(changed(Condition={"StringEquals": {"s3:ExistingObjectTag/": "red"}})),
            "Policy has an invalid condition key - s3:ExistingObjectTag/",
        ),
        (text(changed(Condition={"StringEquals": {"s3:prefix": "a"}})), NO_COMBINATION),
        (
            text(changed(Sid="x" * limits.MAX_POLICY_BYTES)),
            "Policy exceeds the maximum allowed document size.",
        ),
    ],
)
def test_what_is_no_policy_is_refused_with_the_words_of_s3(data: bytes, detail: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_policy(data, "bucket", check_condition)
    assert caught.value.reason == "malformed_policy"
    assert caught.value.fields == {"detail": detail}


def test_the_longest_policy_is_read() -> None:
    room = limits.MAX_POLICY_BYTES - len(text(changed(Sid="")))
    assert parse_policy(text(changed(Sid="x" * room)), "bucket").statements


def test_values_of_conditions_may_be_flags_and_numbers() -> None:
    conditions = {
        "Bool": {"aws:SecureTransport": True},
        "NumericLessThan": {"aws:EpochTime": 12},
        "StringEquals": {"s3:ExistingObjectTag/a": ["b", "c"]},
    }
    policy = parse_policy(text(changed(Condition=conditions)), "bucket", check_condition)
    assert len(policy.statements[0].conditions) == 3
    assert policy.asks_existing_tags


def user_policy(*statements: object) -> bytes:
    return text(*statements)


def test_a_users_policy_names_any_bucket_and_no_principal() -> None:
    for resource in ("*", "arn:aws:s3:::*", "arn:aws:s3:::any/*"):
        policy = parse_user_policy(user_policy(changed(Principal=None, Resource=resource)))
        effect = policy.judge(
            PolicyCaller(OURS, "ann"), "s3:GetObject", "arn:aws:s3:::any/key", NOTHING_KNOWN
        )
        assert effect is Effect.ALLOW
    for wrong, detail in (
        (ALLOW, "Policy document should not specify a principal."),
        (
            changed(Principal=None, NotPrincipal="*"),
            "Policy document should not specify a principal.",
        ),
        (changed(Principal=None, Resource="bucket/*"), "Policy has invalid resource"),
        (
            changed(Principal=None, Sid="x" * limits.MAX_NAMED_POLICY_BYTES),
            "Policy exceeds the maximum allowed document size.",
        ),
    ):
        with pytest.raises(Refused) as caught:
            parse_user_policy(user_policy(wrong))
        assert caught.value.fields == {"detail": detail}


def test_a_users_policy_names_roles_and_a_buckets_none() -> None:
    role = f"arn:aws:iam::{OURS}:role/reader"
    caller = PolicyCaller(OURS, "ann")
    for resource, fits in ((role, True), ("*", True), (f"arn:aws:iam::{OURS}:role/w*", False)):
        statement = changed(Principal=None, Action="sts:AssumeRole", Resource=resource)
        policy = parse_user_policy(user_policy(statement), check_condition)
        effect = policy.judge(caller, "sts:AssumeRole", role, NOTHING_KNOWN)
        assert (effect is Effect.ALLOW) is fits
        assert policy.judge(caller, "s3:GetObject", role, NOTHING_KNOWN) is None
    with pytest.raises(Refused):
        parse_policy(text(changed(Action="sts:AssumeRole")), "bucket")
    of_objects = parse_user_policy(user_policy(changed(Principal=None, Action="*")))
    assert of_objects.judge(caller, "sts:AssumeRole", role, NOTHING_KNOWN) is None


def test_policies_together_allow_what_one_allows_and_none_denies() -> None:
    caller = PolicyCaller(OURS, "ann")
    names = {"read": "s3:GetObject", "write": "s3:PutObject"}
    read, write = (
        parse_user_policy(user_policy(changed(Principal=None, Action=each, Resource="*")))
        for each in names.values()
    )
    deny = changed(
        Principal=None,
        Effect="Deny",
        Resource="*",
        Condition={"StringEquals": {"s3:ExistingObjectTag/a": "b", "s3:RequestObjectTag/a": "b"}},
    )
    not_tagged = parse_user_policy(user_policy(deny))
    both = combined([read, write, not_tagged])
    for permission in names.values():
        effect = both.judge(caller, permission, "arn:aws:s3:::b/k", NOTHING_KNOWN)
        assert effect is Effect.ALLOW
    assert both.asks_existing_tags
    assert both.asks_given_tags
    assert not both.asks_given_lock
    assert combined([]).judge(caller, "s3:GetObject", "arn:aws:s3:::b/k", NOTHING_KNOWN) is None
