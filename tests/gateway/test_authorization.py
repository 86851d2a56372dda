"""The rule of authorization as a table: the owner may do everything, others nothing."""

from __future__ import annotations

import pytest

from common.crypto.keys import TenantKey
from common.errors import Refused
from common.format.objects import METADATA_VERSION, BucketSettings
from common.ids import BucketId, TenantId
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


@pytest.mark.parametrize("action", OF_TENANT)
@pytest.mark.parametrize(
    ("principal", "verdict"),
    [(OWNERS_KEY, Allow()), (OTHERS_KEY, Allow()), (ANONYMOUS, NOBODY)],
)
def test_a_tenant_may_list_and_make_buckets_of_its_own(
    action: Action, principal: Principal, verdict: Verdict
) -> None:
    assert authorize(principal, action, None) == verdict


def test_a_denial_is_refused_with_its_reason() -> None:
    check(Allow())
    for denial in Denial:
        with pytest.raises(Refused, match="access_denied") as caught:
            check(Deny(denial))
        assert caught.value.fields == {"denial": denial.value}
