"""Answers that no honest coordinator could have given to the question are violations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.client.policy.answers import check_answer
from common.errors import PeerViolation
from common.ids import BucketId, TenantId, VersionId
from common.wire import messages as m

TENANT = TenantId(b"t" * 16)
ONE, TWO, THREE = (VersionId(bytes([number]) * 16) for number in (1, 2, 3))
BUCKET, OTHER = BucketId(b"b" * 16), BucketId(b"o" * 16)


def row(name: bytes) -> m.ListedObject:
    return m.ListedObject(name, ONE, 1, 0, 5, b"")


def objects(prefix: bytes = b"", delimiter: bytes = b"", after: bytes = b"") -> m.ObjectsList:
    return m.ObjectsList(TENANT, "bucket", prefix, delimiter, after, 3)


def listing(
    *names: bytes, prefixes: tuple[bytes, ...] = (), last: bytes | None = None
) -> m.Listing:
    end = max((*names, *prefixes), default=b"") if last is None else last
    return m.Listing(BUCKET, tuple(map(row, names)), prefixes, True, end)


def uploads(after: bytes = b"", after_upload: bytes = b"") -> m.UploadsList:
    return m.UploadsList(TENANT, "bucket", b"", b"", after, after_upload, 3)


def in_progress(*rows: tuple[bytes, VersionId]) -> m.Uploads:
    last, last_upload = rows[-1] if rows else (b"", VersionId(b""))
    return m.Uploads(tuple(m.UploadRow(*each, 0) for each in rows), (), True, last, last_upload)


def bucket_rows(*names: str) -> m.Buckets:
    return m.Buckets(tuple(m.BucketRow(BUCKET, name, 0, b"", 1) for name in names), True)


def parts(*numbers: int) -> m.Parts:
    return m.Parts(BUCKET, tuple(m.PartRow(number, ONE, 5, 0, b"") for number in numbers), True)


RECORD = m.ObjectRecord(BUCKET, ONE, 1, 0, 5, b"")
GET = m.ObjectGet(TENANT, "bucket", b"name", ONE, False, 0, 0)
PARTS = m.PartsList(TENANT, "bucket", b"name", ONE, 4, 3)
NAMED = m.BucketGet(TENANT, "bucket")
MADE = m.BucketRecord(BUCKET, "bucket", 0, b"sealed", 1)
CREATE = m.BucketCreate(TENANT, BUCKET, "bucket", b"sealed")
SET = m.BucketSettingsSet(TENANT, "bucket", BUCKET, 6, b"sealed")
CHANGED = replace(MADE, revision=7)
BUCKETS = m.BucketsList(TENANT, "b", "ba", 3)
BEGIN = m.UploadCreate(TENANT, "bucket", b"name", ONE, b"", BUCKET)
BEGUN = m.UploadRecord(BUCKET, ONE, 0, b"")
LOOK = m.UploadGet(TENANT, "bucket", b"name", ONE)
DELETE = m.ObjectsDelete(TENANT, "bucket", (m.DeleteItem(b"a"), m.DeleteItem(b"b")))
DONE = m.DeleteResult()
MARKED = m.DeleteResult(None, m.VERSIONED, True)
LOCKING = m.BucketLocksSet(TENANT, "bucket", BUCKET, m.DefaultRetention())
LOCKED = replace(MADE, versioning=m.VERSIONED, default_retention=m.DefaultRetention())
VERSIONING = m.BucketVersioningSet(TENANT, "bucket", BUCKET, m.VERSIONED)
VERSIONED = replace(MADE, versioning=m.VERSIONED)
NULL = m.ObjectGet(TENANT, "bucket", b"name", None, False, 0, 0, True)


def versions(
    after: bytes = b"", after_version: bytes = b"", *, null: bool = False
) -> m.VersionsList:
    return m.VersionsList(TENANT, "bucket", b"", b"", after, after_version, null, 3)


def kept(
    *rows: tuple[bytes, int], latest: bool = False, last_version: bytes | None = None
) -> m.VersionListing:
    listed = tuple(
        m.ListedVersion(name, ONE, sequence, 0, 5, b"", False, latest, False)
        for name, sequence in rows
    )
    end = (ONE if rows else b"") if last_version is None else last_version
    return m.VersionListing(BUCKET, listed, (), True, rows[-1][0] if rows else b"", end)


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (m.LeaseRenew(0), m.Lease(7, 300)),
        (m.LeaseRenew(7), m.Lease(7, 300)),
        (GET, RECORD),
        (replace(GET, version_id=None), RECORD),
        (objects(), listing(b"a", b"b", b"c")),
        (objects(after=b"a"), listing(b"b")),
        (objects(after=b"z"), listing(last=b"z")),
        (objects(b"p"), listing(b"p", b"pq")),
        (objects(b"", b"/"), listing(b"a", prefixes=(b"a/", b"b/"))),
        (objects(b"", b"/", b"a/m"), listing(b"b", prefixes=(b"a/",))),
        (objects(b"", b"/", b"a/"), listing(b"b")),
        (uploads(), in_progress((b"a", ONE), (b"a", TWO), (b"b", ONE))),
        (uploads(b"a", ONE), in_progress((b"a", TWO))),
        (PARTS, parts(5, 6, 9)),
        (NAMED, MADE),
        (CREATE, MADE),
        (SET, CHANGED),
        (BUCKETS, bucket_rows("baa", "bb")),
        (BEGIN, BEGUN),
        (LOOK, BEGUN),
        (DELETE, m.Deleted((DONE, DONE))),
        (replace(DELETE, items=(m.DeleteItem(b"a", named=True),)), m.Deleted((MARKED,))),
        (VERSIONING, VERSIONED),
        (replace(CREATE, has_locks=True), LOCKED),
        (LOCKING, LOCKED),
        (replace(GET, named=True), replace(RECORD, is_null=False)),
        (NULL, RECORD),
        (versions(), kept((b"a", 9), (b"a", 4), (b"b", 7))),
        (versions(b"a", ONE), kept((b"a", 9), (b"b", 7))),
        (versions(b"a", null=True), kept((b"a", 9))),
        (versions(b"z", ONE), replace(kept(), last=b"z", last_version=ONE)),
        (m.Ping(), m.Done()),
    ],
)
def test_an_answer_to_the_question_is_taken(request_: m.Request, reply: m.Reply) -> None:
    check_answer(request_, reply)


@pytest.mark.fault("H1")
@pytest.mark.parametrize(
    ("request_", "reply", "what"),
    [
        (m.LeaseRenew(7), m.Lease(8, 300), "lease"),
        (m.LeaseRenew(0), m.Lease(0, 300), "lease"),
        (GET, replace(RECORD, version_id=TWO), "version_id"),
        (objects(), listing(b"a", b"b", b"c", b"d"), "limit"),
        (objects(), listing(b"a", b"c", b"b"), "order"),
        (objects(), listing(b"a", b"a"), "order"),
        (objects(after=b"b"), listing(b"b", b"c"), "after"),
        (objects(after=b"b"), listing(b"a", b"c"), "after"),
        (objects(b"p"), listing(b"p", b"q"), "prefix"),
        (objects(), listing(b"a", last=b"b"), "last"),
        (objects(after=b"a"), listing(last=b""), "last"),
        (objects(b"", b"/"), listing(b"a/b"), "delimiter"),
        (objects(b"", b"/"), listing(prefixes=(b"a/b/",)), "delimiter"),
        (objects(b"", b"/"), listing(prefixes=(b"a",)), "delimiter"),
        (objects(), listing(prefixes=(b"a/",)), "delimiter"),
        (objects(b"", b"/"), listing(prefixes=(b"b/", b"a/")), "order"),
        (objects(b"", b"/", b"b/m"), listing(prefixes=(b"a/",)), "after"),
        (objects(b"", b"/", b"a/"), listing(prefixes=(b"a/",)), "after"),
        (objects(b"", b"/", b"b/"), listing(prefixes=(b"a/",)), "after"),
        (objects(b"", b"/", b"b/"), listing(prefixes=(b"a/", b"c/")), "after"),
        (uploads(), in_progress((b"a", TWO), (b"a", ONE)), "order"),
        (uploads(b"a"), in_progress((b"a", TWO)), "after"),
        (uploads(b"a", TWO), in_progress((b"a", TWO)), "after"),
        (PARTS, parts(4), "part_number"),
        (PARTS, parts(6, 5), "order"),
        (PARTS, parts(5, 6, 7, 8), "limit"),
        (NAMED, replace(MADE, name="other"), "name"),
        (CREATE, replace(MADE, bucket_id=OTHER), "bucket"),
        (CREATE, replace(MADE, name="other"), "bucket"),
        (CREATE, replace(MADE, settings=b"others"), "settings"),
        (CREATE, LOCKED, "has_locks"),
        (replace(CREATE, has_locks=True), MADE, "has_locks"),
        (LOCKING, replace(LOCKED, bucket_id=OTHER), "bucket"),
        (LOCKING, replace(LOCKED, versioning=m.SUSPENDED), "versioning"),
        (LOCKING, MADE, "versioning"),
        (LOCKING, replace(LOCKED, default_retention=None), "default_retention"),
        (CREATE, replace(MADE, revision=2), "settings"),
        (SET, replace(CHANGED, bucket_id=OTHER), "bucket"),
        (SET, replace(CHANGED, name="other"), "bucket"),
        (SET, replace(CHANGED, settings=b"others"), "settings"),
        (SET, replace(CHANGED, revision=6), "settings"),
        (SET, replace(CHANGED, revision=8), "settings"),
        (BUCKETS, bucket_rows("ba"), "names"),
        (BUCKETS, bucket_rows("c"), "names"),
        (BUCKETS, bucket_rows("bc", "bb"), "order"),
        (BUCKETS, bucket_rows("bb", "bc", "bd", "be"), "limit"),
        (BEGIN, replace(BEGUN, upload_id=TWO), "upload"),
        (BEGIN, replace(BEGUN, bucket_id=OTHER), "upload"),
        (LOOK, replace(BEGUN, upload_id=TWO), "upload_id"),
        (DELETE, m.Deleted((DONE,)), "results"),
        (DELETE, m.Deleted((DONE, DONE, DONE)), "results"),
        (DELETE, m.Deleted((DONE, MARKED)), "delete_marker"),
        (VERSIONING, MADE, "versioning"),
        (VERSIONING, replace(VERSIONED, bucket_id=OTHER), "bucket"),
        (VERSIONING, replace(VERSIONED, name="other"), "bucket"),
        (replace(GET, named=True), RECORD, "is_null"),
        (NULL, replace(RECORD, is_null=False), "is_null"),
        (versions(), kept((b"a", 4), (b"a", 9)), "order"),
        (versions(), kept((b"b", 4), (b"a", 9)), "order"),
        (versions(), kept((b"a", 9), (b"a", 9)), "order"),
        (versions(), kept((b"a", 9), (b"a", 4), latest=True), "latest"),
        (versions(), kept((b"a", 4), (b"b", 4), (b"c", 4), (b"d", 4)), "limit"),
        (versions(), kept((b"a", 4), last_version=TWO), "last_version"),
        (versions(), kept((b"a", 4), last_version=b""), "last_version"),
        (versions(b"a"), kept((b"a", 4)), "after"),
        (versions(b"b", ONE), kept((b"a", 4)), "after"),
    ],
)
def test_an_answer_to_another_question_is_refused(
    request_: m.Request, reply: m.Reply, what: str
) -> None:
    with pytest.raises(PeerViolation, match="wrong_answer") as caught:
        check_answer(request_, reply)
    assert caught.value.fields == {"request": type(request_).__name__, "what": what}
