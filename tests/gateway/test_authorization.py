"""The rules of authorization as tables: the owner may do everything, others nothing, where nothing
else is set; and what a policy and the limits of public access make of that."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from common.crypto.keys import TenantKey
from common.errors import Refused
from common.format.configurations import PolicyText, PublicAccess
from common.format.objects import METADATA_VERSION, BucketDocument, BucketSettings
from common.ids import BucketId, TenantId
from gateway.access.permissions import OWNERS_ALWAYS
from gateway.access.rules import BLOCK_NOTHING, NO_RULES, POLICY, PUBLIC_ACCESS
from gateway.authorization import OF_TENANT, Action, Allow, Denial, Deny, Verdict, authorize, check
from gateway.principals import Anonymous, Bucket, ForeignBucket, KeyHolder, Principal

OWNER = TenantKey(TenantId(b"o" * 16), b"k" * 32)
OTHER = TenantKey(TenantId(b"t" * 16), b"l" * 32)
SETTINGS = BucketSettings(METADATA_VERSION, 0)
BUCKET = Bucket("bucket", OWNER, BucketId(b"b" * 16), SETTINGS, 1)
FOREIGN = ForeignBucket("bucket")
ANONYMOUS = Anonymous()
OWNERS_KEY = KeyHolder(OWNER, "OWNER")
OWNERS_OTHER_KEY = KeyHolder(OWNER, "SECOND")
OTHERS_KEY = KeyHolder(OTHER, "OTHER")
NOT_OWNER = Deny(Denial.NOT_OWNER)
NOBODY = Deny(Denial.ANONYMOUS)

OF_A_BUCKET = [
    (OWNERS_KEY, BUCKET, Allow()),
    (OWNERS_OTHER_KEY, BUCKET, Allow()),
    (OTHERS_KEY, BUCKET, NOT_OWNER),
    (OTHERS_KEY, FOREIGN, NOT_OWNER),
    (OWNERS_KEY, FOREIGN, NOT_OWNER),
    (ANONYMOUS, BUCKET, NOBODY),
    (ANONYMOUS, FOREIGN, NOBODY),
]


@pytest.mark.parametrize("action", [each for each in Action if each not in OF_TENANT])
@pytest.mark.parametrize(("principal", "bucket", "verdict"), OF_A_BUCKET)
@pytest.mark.parametrize("key", [None, b"key"])
def test_the_owner_of_a_bucket_may_do_everything_and_others_nothing(
    action: Action,
    principal: Principal,
    bucket: Bucket | ForeignBucket,
    verdict: Verdict,
    key: bytes | None,
) -> None:
    assert authorize(principal, action, bucket, key) == verdict


@pytest.mark.parametrize("action", [each for each in Action if each in OF_TENANT])
@pytest.mark.parametrize(
    ("principal", "verdict"),
    [(OWNERS_KEY, Allow()), (OTHERS_KEY, Allow()), (ANONYMOUS, NOBODY)],
)
def test_a_tenant_may_list_and_make_buckets_of_its_own(
    action: Action, principal: Principal, verdict: Verdict
) -> None:
    assert authorize(principal, action, None) == verdict


OURS, THEIRS = OWNER.tenant_id.hex(), OTHER.tenant_id.hex()
PUBLIC_POLICY = Deny(Denial.PUBLIC_POLICY)
DENIED = Deny(Denial.POLICY)


def with_rules(*statements: dict[str, object], limits: PublicAccess = BLOCK_NOTHING) -> Bucket:
    """The bucket with a policy, if there are statements."""
    documents = [BucketDocument(PUBLIC_ACCESS, limits.pack())]
    if statements:
        text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()
        documents.insert(0, BucketDocument(POLICY, PolicyText(1, text).pack()))
    return replace(BUCKET, settings=replace(SETTINGS, documents=tuple(documents)))


def statement(effect: str, principal: object, action: str = "s3:GetObject") -> dict[str, object]:
    resource = "arn:aws:s3:::bucket" + ("/*" if "Object" in action else "")
    return {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource}


RESTRICTED = replace(BLOCK_NOTHING, is_set=True, restrict_buckets=True)
TO_ALL = statement("Allow", "*")
TO_OTHER = statement("Allow", {"AWS": THEIRS})
TO_OWNER = statement("Allow", {"AWS": OURS})
NOT_TO_ALL = statement("Deny", "*")
NOT_TO_OTHER = statement("Deny", {"AWS": THEIRS})
NOT_TO_OWNER = statement("Deny", {"AWS": OURS})

READS = [
    # rules, then the verdicts for the owner, another tenant, an anonymous caller
    (with_rules(), Allow(), NOT_OWNER, NOBODY),
    (with_rules(limits=RESTRICTED), Allow(), NOT_OWNER, NOBODY),
    (with_rules(TO_ALL), Allow(), Allow(), Allow()),
    (with_rules(TO_OTHER), Allow(), Allow(), NOBODY),
    (with_rules(TO_OWNER), Allow(), NOT_OWNER, NOBODY),
    (with_rules(NOT_TO_ALL), DENIED, DENIED, DENIED),
    (with_rules(TO_ALL, NOT_TO_ALL), DENIED, DENIED, DENIED),
    (with_rules(NOT_TO_OTHER, TO_ALL), Allow(), DENIED, Allow()),
    (with_rules(NOT_TO_OWNER, TO_ALL), DENIED, Allow(), Allow()),
    (with_rules(NOT_TO_OWNER), DENIED, NOT_OWNER, NOBODY),
    (with_rules(TO_ALL, limits=RESTRICTED), Allow(), PUBLIC_POLICY, PUBLIC_POLICY),
    (with_rules(TO_ALL, TO_OTHER, limits=RESTRICTED), Allow(), PUBLIC_POLICY, PUBLIC_POLICY),
    (with_rules(TO_OTHER, limits=RESTRICTED), Allow(), Allow(), NOBODY),
    (with_rules(NOT_TO_OTHER, TO_ALL, limits=RESTRICTED), Allow(), DENIED, PUBLIC_POLICY),
    (with_rules(statement("Allow", "*", "s3:PutObject")), Allow(), NOT_OWNER, NOBODY),
]


@pytest.mark.parametrize(("bucket", "owner", "other", "nobody"), READS)
def test_a_denial_outweighs_the_owner_and_the_owner_what_is_not_said(
    bucket: Bucket, owner: Verdict, other: Verdict, nobody: Verdict
) -> None:
    for principal, verdict in ((OWNERS_KEY, owner), (OTHERS_KEY, other), (ANONYMOUS, nobody)):
        assert authorize(principal, Action.READ_OBJECT, bucket, b"key") == verdict


@pytest.mark.parametrize("permission", sorted(OWNERS_ALWAYS))
def test_the_policy_stays_its_owners_and_nobody_elses(permission: str) -> None:
    def ask(principal: Principal, bucket: Bucket) -> Verdict:
        return authorize(principal, Action.WRITE_BUCKET_ACCESS, bucket, permission=permission)

    to_nobody = with_rules(statement("Deny", "*", "s3:*"))
    assert ask(OWNERS_KEY, to_nobody) == Allow()
    assert ask(OTHERS_KEY, to_nobody) == DENIED
    to_all = with_rules(statement("Allow", "*", "s3:*"))
    for principal in (OTHERS_KEY, ANONYMOUS):
        assert ask(principal, to_all) == Deny(Denial.OWNER_ONLY)


def test_rules_that_cannot_be_read_leave_the_owner_the_policy_alone() -> None:
    documents = (BucketDocument(POLICY, b"\x63"),)
    bucket = replace(BUCKET, settings=replace(SETTINGS, documents=documents))
    for principal in (OWNERS_KEY, OTHERS_KEY, ANONYMOUS):
        assert authorize(principal, Action.READ_OBJECT, bucket, b"key") == Deny(Denial.UNREADABLE)
    action = Action.WRITE_BUCKET_ACCESS
    assert authorize(OWNERS_KEY, action, bucket, permission="s3:PutBucketPolicy") == Allow()


def test_a_list_of_deletions_is_taken_from_who_might_delete_one() -> None:
    for bucket, others in ((BUCKET, NOT_OWNER), (with_rules(TO_ALL), Allow())):
        assert authorize(OWNERS_KEY, Action.DELETE_BATCH, bucket) == Allow()
        assert authorize(OTHERS_KEY, Action.DELETE_BATCH, bucket) == others


def test_keys_that_are_no_text_are_judged_by_their_bytes() -> None:
    bucket = with_rules({**TO_ALL, "Resource": "arn:aws:s3:::bucket/?"})
    assert authorize(ANONYMOUS, Action.READ_OBJECT, bucket, b"\xff") == Allow()
    assert authorize(ANONYMOUS, Action.READ_OBJECT, bucket, b"\xff\xff") == NOBODY


def test_a_bucket_has_its_rules_read_with_its_settings() -> None:
    assert BUCKET.rules is NO_RULES
    policy = with_rules(TO_ALL).rules.policy
    assert policy is not None
    assert len(policy.statements) == 1


def test_a_denial_is_refused_with_its_reason() -> None:
    check(Allow())
    for denial in Denial:
        with pytest.raises(Refused, match="access_denied") as caught:
            check(Deny(denial))
        assert caught.value.fields == {"denial": denial.value}
