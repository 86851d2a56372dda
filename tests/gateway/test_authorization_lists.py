"""Authorization by access control lists, as tables: what each grant gives to whom, whose an object
is, and what policies, users and the limits of public access make of that."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

import pytest

from common.crypto.keys import TenantKey
from common.format.access_lists import (
    AccessList,
    AclGrant,
    AclPermission,
    BucketOwnership,
    Grantee,
    Ownership,
)
from common.format.configurations import PolicyText, PublicAccess
from common.format.objects import METADATA_VERSION, BucketDocument, BucketSettings
from common.ids import BucketId, TenantId
from gateway.access.lists import ABSENT, JudgedObject, JudgedUpload, Subject, own_grants
from gateway.access.permissions import OF_BUCKETS as BUCKET_PERMISSIONS
from gateway.access.permissions import OF_OBJECTS, OWNERS_ALWAYS
from gateway.access.policy_document import parse_user_policy
from gateway.access.rules import ACL, BLOCK_NOTHING, NO_RULES, OWNERSHIP, POLICY, PUBLIC_ACCESS
from gateway.authorization import Action, Allow, Denial, Deny, Verdict, authorize
from gateway.principals import Anonymous, Bucket, KeyHolder, Principal, Session

OWNER, WRITER, THIRD = (TenantKey(TenantId(each * 16), b"k" * 32) for each in (b"o", b"w", b"t"))
EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


def user_of(tenant: TenantKey, *statements: dict[str, str]) -> KeyHolder:
    """A user of a tenant, allowed nothing without statements."""
    given = list(statements) or [{**EVERYTHING, "Resource": "arn:aws:s3:::nothing"}]
    text = json.dumps({"Version": "2012-10-17", "Statement": given}).encode()
    return KeyHolder(tenant, "USER", "user", parse_user_policy(text))


OWNERS, WRITERS, THIRDS = (KeyHolder(each, "KEY") for each in (OWNER, WRITER, THIRD))
NOBODY: Final = Anonymous()
CALLERS: Final[dict[str, Principal]] = {
    "owner": OWNERS,
    "owner's user": user_of(OWNER, EVERYTHING),
    "owner's poor user": user_of(OWNER),
    "writer": WRITERS,
    "writer's user": user_of(WRITER, EVERYTHING),
    "writer's poor user": user_of(WRITER),
    "third": THIRDS,
    "third's user": user_of(THIRD, EVERYTHING),
    "third's poor user": user_of(THIRD),
    "third's denied user": user_of(THIRD, EVERYTHING, {**EVERYTHING, "Effect": "Deny"}),
    "nobody": NOBODY,
}
SETTINGS = BucketSettings(METADATA_VERSION, 0)
KEY = b"key"

GIVEN_BY_BUCKET: Final = {
    AclPermission.READ: {"s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"},
    AclPermission.WRITE: {"s3:PutObject", "s3:DeleteObject"},
    AclPermission.READ_ACP: {"s3:GetBucketAcl"},
    AclPermission.WRITE_ACP: {"s3:PutBucketAcl"},
}
GIVEN_BY_OBJECT: Final = {
    AclPermission.READ: {"s3:GetObject", "s3:GetObjectVersion"},
    AclPermission.WRITE: set[str](),
    AclPermission.READ_ACP: {"s3:GetObjectAcl", "s3:GetObjectVersionAcl"},
    AclPermission.WRITE_ACP: {"s3:PutObjectAcl", "s3:PutObjectVersionAcl"},
}
DECIDED_BY_OBJECT: Final = {
    *(each for given in GIVEN_BY_OBJECT.values() for each in given),
    "s3:GetObjectAttributes",
    "s3:GetObjectVersionAttributes",
}
PERMISSIONS: Final = sorted((OF_OBJECTS | BUCKET_PERMISSIONS) - OWNERS_ALWAYS)


def given_by(table: dict[AclPermission, set[str]], permission: AclPermission) -> set[str]:
    if permission is AclPermission.FULL_CONTROL:
        return set().union(*table.values())
    return table[permission]


def bucket_with(
    *grants: AclGrant,
    rule: Ownership = Ownership.WRITER,
    limits: PublicAccess = BLOCK_NOTHING,
    statements: tuple[dict[str, object], ...] = (),
) -> Bucket:
    documents = [
        BucketDocument(OWNERSHIP, BucketOwnership(1, rule).pack()),
        BucketDocument(ACL, AccessList(1, grants).pack()),
        BucketDocument(PUBLIC_ACCESS, limits.pack()),
    ]
    if statements:
        text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()
        documents.append(BucketDocument(POLICY, PolicyText(1, text).pack()))
    settings = replace(SETTINGS, documents=tuple(documents))
    return Bucket("bucket", OWNER, BucketId(b"b" * 16), settings, 1)


def ask(
    principal: Principal, bucket: Bucket, permission: str, subject: Subject | None = None
) -> Verdict:
    """The verdict about a permission. Which action stands for it decides nothing here."""
    key = KEY if permission in OF_OBJECTS else None
    action = Action.READ_OBJECT_ACCESS
    return authorize(principal, action, bucket, key, permission=permission, subject=subject)


def allowed(principal: Principal, bucket: Bucket, subject: Subject | None) -> set[str]:
    return {each for each in PERMISSIONS if ask(principal, bucket, each, subject) == Allow()}


def object_of(owner: TenantKey, *grants: AclGrant) -> JudgedObject:
    return JudgedObject(owner.tenant_id.hex(), grants)


TO_THIRD, TO_OWNER = (
    [AclGrant(Grantee.ACCOUNT, each.tenant_id, permission) for permission in AclPermission]
    for each in (THIRD, OWNER)
)
TO_EVERYONE, TO_AUTHENTICATED, TO_LOGS = (
    [AclGrant(grantee, b"", permission) for permission in AclPermission]
    for grantee in (Grantee.EVERYONE, Grantee.AUTHENTICATED, Grantee.LOG_DELIVERY)
)
HAVE: Final = (
    # grants, who has what they give, of callers that own neither bucket nor object
    (TO_THIRD, {"third", "third's user"}),
    (
        TO_EVERYONE,
        {"writer", "writer's user", "third", "third's user", "nobody"},
    ),
    (TO_AUTHENTICATED, {"writer", "writer's user", "third", "third's user"}),
    (TO_LOGS, set[str]()),
)


@pytest.mark.parametrize("permission", AclPermission)
@pytest.mark.parametrize(("grants", "have"), HAVE)
def test_a_grant_in_a_buckets_list_gives_what_its_permission_is_good_for(
    grants: list[AclGrant], have: set[str], permission: AclPermission
) -> None:
    bucket = bucket_with(grants[permission])
    given = given_by(GIVEN_BY_BUCKET, permission)
    for name, caller in CALLERS.items():
        if not name.startswith("owner"):
            assert allowed(caller, bucket, None) == (given if name in have else set()), name


@pytest.mark.parametrize("permission", AclPermission)
@pytest.mark.parametrize(("grants", "have"), HAVE)
@pytest.mark.parametrize("owner", [OWNER, WRITER])
def test_a_grant_in_an_objects_list_gives_what_its_permission_is_good_for(
    grants: list[AclGrant], have: set[str], permission: AclPermission, owner: TenantKey
) -> None:
    bucket, subject = bucket_with(), object_of(owner, grants[permission])
    given = given_by(GIVEN_BY_OBJECT, permission)
    for name, caller in CALLERS.items():
        if not name.startswith(("owner", "writer")):
            assert allowed(caller, bucket, subject) == (given if name in have else set()), name


def test_who_owns_neither_and_is_granted_nothing_may_nothing() -> None:
    for owner in (OWNER, WRITER):
        for name in ("third", "third's user", "third's poor user", "nobody"):
            assert allowed(CALLERS[name], bucket_with(), object_of(owner)) == set()


def test_the_owner_of_bucket_and_object_may_everything_whatever_the_lists_say() -> None:
    for bucket, subject in (
        (bucket_with(), object_of(OWNER)),
        (bucket_with(TO_THIRD[4]), object_of(OWNER, TO_THIRD[4])),
    ):
        for caller in (OWNERS, CALLERS["owner's user"]):
            assert allowed(caller, bucket, subject) == set(PERMISSIONS)
        assert allowed(CALLERS["owner's poor user"], bucket, subject) == set()


def test_an_object_of_another_tenant_is_its_own_and_the_bucket_the_bucket_owners() -> None:
    bucket, subject = bucket_with(), object_of(WRITER)
    assert allowed(OWNERS, bucket, subject) == set(PERMISSIONS) - DECIDED_BY_OBJECT
    assert "s3:DeleteObject" in allowed(OWNERS, bucket, subject)
    assert "s3:DeleteObjectVersion" in allowed(OWNERS, bucket, subject)
    for caller in (WRITERS, CALLERS["writer's user"]):
        assert allowed(caller, bucket, subject) == DECIDED_BY_OBJECT
    assert allowed(CALLERS["writer's poor user"], bucket, subject) == set()


@pytest.mark.parametrize("permission", AclPermission)
def test_the_bucket_owner_reads_anothers_object_by_its_list(
    permission: AclPermission,
) -> None:
    subject = object_of(WRITER, *own_grants(WRITER.tenant_id), TO_OWNER[permission])
    given = given_by(GIVEN_BY_OBJECT, permission)
    rest = set(PERMISSIONS) - DECIDED_BY_OBJECT
    assert allowed(OWNERS, bucket_with(), subject) == rest | given
    # An account that is granted something decides itself what its users get of it.
    assert allowed(CALLERS["owner's user"], bucket_with(), subject) == rest | given
    assert allowed(CALLERS["owner's poor user"], bucket_with(), subject) == set()


def test_a_user_of_the_owner_gets_what_everyone_gets_and_not_what_its_account_gets() -> None:
    poor = CALLERS["owner's poor user"]
    read = AclPermission.READ
    everyones = bucket_with(TO_EVERYONE[read])
    assert allowed(poor, everyones, None) == GIVEN_BY_BUCKET[read]
    assert allowed(poor, bucket_with(TO_OWNER[read]), None) == set()
    denied = user_of(OWNER, {**EVERYTHING, "Effect": "Deny"})
    assert ask(denied, everyones, "s3:ListBucket") == Deny(Denial.USER_POLICY)


def test_lists_count_for_nothing_where_all_is_the_bucket_owners() -> None:
    bucket = bucket_with(*TO_EVERYONE, rule=Ownership.BUCKET_OWNER)
    subject = object_of(WRITER, *TO_EVERYONE)
    for name, caller in CALLERS.items():
        is_owner = name in {"owner", "owner's user"}
        assert allowed(caller, bucket, subject) == (set(PERMISSIONS) if is_owner else set())


@pytest.mark.parametrize("rule", [Ownership.PREFERRED, Ownership.WRITER])
def test_public_grants_are_ignored_where_the_owner_says_so_and_others_are_not(
    rule: Ownership,
) -> None:
    limits = replace(BLOCK_NOTHING, is_set=True, ignore_acls=True)
    groups = [*TO_EVERYONE, *TO_AUTHENTICATED]
    ignoring = bucket_with(*groups, rule=rule, limits=limits)
    for name, caller in CALLERS.items():
        if not name.startswith(("owner", "writer")):
            assert allowed(caller, ignoring, object_of(WRITER, *groups)) == set(), name
    bucket = bucket_with(TO_THIRD[0], TO_EVERYONE[4], rule=rule, limits=limits)
    given = GIVEN_BY_BUCKET[AclPermission.READ] | GIVEN_BY_OBJECT[AclPermission.READ]
    assert allowed(THIRDS, bucket, object_of(WRITER, TO_EVERYONE[4], TO_THIRD[0])) == given


def test_an_object_that_was_not_looked_up_is_nobodys() -> None:
    bucket = bucket_with(*TO_EVERYONE, statements=(statement("Allow", "s3:GetObject"),))
    for permission in DECIDED_BY_OBJECT:
        for caller in CALLERS.values():
            assert ask(caller, bucket, permission, None) != Allow()


def test_that_an_object_is_missing_is_said_to_who_may_list_the_bucket() -> None:
    private, listed = bucket_with(), bucket_with(TO_EVERYONE[AclPermission.READ])
    written = bucket_with(TO_EVERYONE[AclPermission.WRITE])
    for permission in DECIDED_BY_OBJECT:
        assert ask(OWNERS, private, permission, ABSENT) == Allow()
        for caller in (THIRDS, NOBODY):
            assert ask(caller, listed, permission, ABSENT) == Allow()
            for bucket in (private, written):
                assert isinstance(ask(caller, bucket, permission, ABSENT), Deny)


@pytest.mark.parametrize("permission", ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"])
def test_an_upload_is_for_who_began_it_and_the_bucket_owner(permission: str) -> None:
    subject = JudgedUpload(WRITER.tenant_id.hex())
    bucket = bucket_with(*TO_EVERYONE)
    have = {"owner", "owner's user", "writer", "writer's user"}
    for name, caller in CALLERS.items():
        assert (ask(caller, bucket, permission, subject) == Allow()) is (name in have), name
        is_owner = name in {"owner", "owner's user"}
        assert (ask(caller, bucket, permission, None) == Allow()) is is_owner


def statement(effect: str, action: str, principal: object = "*") -> dict[str, object]:
    resource = "arn:aws:s3:::bucket" + ("/*" if "Object" in action else "")
    return {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource}


def test_a_policy_denies_what_lists_give_and_the_owner_of_an_object() -> None:
    denying = bucket_with(*TO_EVERYONE, statements=(statement("Deny", "s3:GetObject"),))
    subject = object_of(WRITER, *TO_EVERYONE)
    for caller in CALLERS.values():
        verdict = ask(caller, denying, "s3:GetObject", subject)
        assert verdict == Deny(Denial.POLICY)
        assert ask(caller, denying, "s3:ListBucket") == Allow() or caller.policy is not None


def test_a_policy_allows_what_is_in_its_owners_objects_and_in_no_others() -> None:
    opening = bucket_with(statements=(statement("Allow", "s3:GetObject"),))
    for caller in (THIRDS, NOBODY, CALLERS["third's user"]):
        assert ask(caller, opening, "s3:GetObject", object_of(OWNER)) == Allow()
        assert isinstance(ask(caller, opening, "s3:GetObject", object_of(WRITER)), Deny)
        assert ask(caller, opening, "s3:GetObject", object_of(WRITER, TO_EVERYONE[0])) == Allow()


def test_a_restricted_bucket_is_closed_to_what_its_public_policy_opens_and_not_to_lists() -> None:
    limits = replace(BLOCK_NOTHING, is_set=True, restrict_buckets=True)
    opening = (statement("Allow", "s3:GetObject"), statement("Allow", "s3:ListBucket"))
    restricted = bucket_with(limits=limits, statements=opening)
    closed = Deny(Denial.PUBLIC_POLICY)
    assert ask(THIRDS, restricted, "s3:GetObject", object_of(OWNER)) == closed
    assert ask(THIRDS, restricted, "s3:ListBucket") == closed
    assert ask(THIRDS, restricted, "s3:GetObject", object_of(OWNER, TO_THIRD[0])) == Allow()
    granted = bucket_with(TO_THIRD[0], limits=limits, statements=opening)
    assert ask(THIRDS, granted, "s3:ListBucket") == Allow()


def test_what_only_owners_have_no_list_gives() -> None:
    bucket = bucket_with(*TO_EVERYONE, *TO_THIRD)
    for permission in OWNERS_ALWAYS:
        for caller in (THIRDS, NOBODY, WRITERS):
            assert isinstance(ask(caller, bucket, permission), Deny)


def test_lists_that_cannot_be_read_open_nothing() -> None:
    for kind, body in ((OWNERSHIP, b"\x63"), (ACL, b"\x63")):
        good = bucket_with(*TO_EVERYONE)
        broken = replace(good, settings=good.settings.with_document(kind, body))
        for caller in CALLERS.values():
            assert ask(caller, broken, "s3:ListBucket") == Deny(Denial.UNREADABLE)


def test_a_bucket_without_documents_about_access_has_no_rules() -> None:
    plain = Bucket("bucket", OWNER, BucketId(b"b" * 16), SETTINGS, 1)
    assert plain.rules is NO_RULES
    assert not plain.rules.uses_lists
    removed = BucketOwnership(1, Ownership.BUCKET_OWNER, is_set=False).pack()
    settings = SETTINGS.with_document(OWNERSHIP, removed)
    assert replace(plain, settings=settings).rules.ownership is Ownership.WRITER


def test_a_list_of_deletions_is_taken_where_a_grant_might_give_one() -> None:
    for bucket, taken in (
        (bucket_with(TO_EVERYONE[AclPermission.WRITE]), True),
        (bucket_with(TO_EVERYONE[AclPermission.WRITE], rule=Ownership.BUCKET_OWNER), False),
    ):
        verdict = authorize(THIRDS, Action.DELETE_BATCH, bucket)
        assert (verdict == Allow()) is taken


def test_a_sessions_policy_takes_of_what_lists_give() -> None:
    reads = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{**EVERYTHING, "Action": "s3:ListBucket"}],
        }
    ).encode()
    session = Session(0, "role", "name", parse_user_policy(reads))
    everything = json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]}).encode()
    caller = KeyHolder(THIRD, "KEY", policy=parse_user_policy(everything), session=session)
    bucket = bucket_with(*TO_EVERYONE)
    assert allowed(caller, bucket, object_of(WRITER, *TO_EVERYONE)) == {"s3:ListBucket"}
    assert allowed(caller, bucket_with(), object_of(THIRD)) == set()
    unbound = replace(caller, session=replace(session, policy=None))
    assert allowed(unbound, bucket_with(), object_of(THIRD)) == DECIDED_BY_OBJECT
