"""Object Lock as S3 has it: given, set, shown, extended, bypassed, and in force."""

from __future__ import annotations

import json
from collections.abc import Mapping

import form_client
import pytest
from access_client import other_account, set_policy, statement
from gateway_rig import Answer, Rig
from locks_client import (
    BYPASS,
    HOLD,
    LOCKS,
    MODE,
    UNTIL,
    digest_of,
    hold,
    in_days,
    put_locked,
    remove,
    retain,
    retained,
    set_default,
    set_document,
    wait,
)
from trio.testing import MockClock
from versions_client import delete, get, ids, one_part, only, set_versioning, version_of

GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"
MINUTE = len("2027-01-15T08:00")


@pytest.fixture
async def rig(autojump_clock: MockClock) -> Rig:
    made = Rig()
    await made.put("/bucket", b"", LOCKS)
    return made


async def lock_of(rig: Rig, key: str, version: str | None = None) -> list[str | None]:
    """Mode, date to the minute and hold as HEAD shows them; GET shows the same."""
    head, whole = [await get(rig, key, version, method) for method in ("HEAD", "GET")]
    mode, until, held = (head.headers.get(name) for name in (MODE, UNTIL, HOLD))
    assert [mode, until, held] == [whole.headers.get(name) for name in (MODE, UNTIL, HOLD)]
    return [mode, until and until[:MINUTE], held]


async def retention_of(rig: Rig, key: str, version: str) -> Answer:
    return await rig.ask("GET", f"/bucket/{key}", f"retention=&versionId={version}")


async def hold_of(rig: Rig, key: str, version: str) -> Answer:
    return await rig.ask("GET", f"/bucket/{key}", f"legal-hold=&versionId={version}")


async def refused(answer: Answer, code: str, status: int = 403) -> None:
    assert (answer.status, answer.code) == (status, code), answer.body


# --- buckets ---------------------------------------------------------------------------------


async def test_a_bucket_is_made_with_locks(rig: Rig) -> None:
    shown = await rig.ask("GET", "/bucket", "versioning=")
    assert shown.text("Status") == "Enabled"
    shown = await rig.ask("GET", "/bucket", "object-lock=")
    assert shown.text("ObjectLockEnabled") == "Enabled"
    assert shown.text("Rule") is None
    await rig.put("/bucket", b"", LOCKS)
    await rig.put("/plain", b"", {"x-amz-bucket-object-lock-enabled": "false"})
    again = await rig.ask("PUT", "/plain", "", b"", LOCKS)
    await refused(again, "BucketAlreadyOwnedByYou", 409)
    assert (await rig.ask("GET", "/plain", "versioning=")).text("Status") is None


async def test_locks_need_versioning_and_keep_it(rig: Rig) -> None:
    await rig.put("/plain", b"")
    for state in ("", "Suspended"):
        if state:
            await set_versioning(rig, state, "plain")
        await refused(await set_default(rig, "", "plain"), "InvalidBucketState", 409)
        shown = await rig.ask("GET", "/plain", "object-lock=")
        await refused(shown, "ObjectLockConfigurationNotFoundError", 404)
    await set_versioning(rig, "Enabled", "plain")
    assert (await set_default(rig, "", "plain")).status == 200
    for bucket in ("plain", "bucket"):
        await refused(await set_versioning(rig, "Suspended", bucket), "InvalidBucketState", 409)
        assert (await set_versioning(rig, "Enabled", bucket)).status == 200
        assert (await rig.ask("GET", f"/{bucket}", "versioning=")).text("Status") == "Enabled"


@pytest.mark.parametrize(
    ("rule", "path", "number"),
    [
        ("<Mode>GOVERNANCE</Mode><Days>3</Days>", "Days", "3"),
        ("<Years>2</Years><Mode>COMPLIANCE</Mode>", "Years", "2"),
        ("<Mode>COMPLIANCE</Mode><Days>36500</Days>", "Days", "36500"),
    ],
)
async def test_a_default_retention_is_set_shown_and_removed(
    rig: Rig, rule: str, path: str, number: str
) -> None:
    assert (await set_default(rig, rule)).status == 200
    shown = await rig.ask("GET", "/bucket", "object-lock=")
    assert shown.text(f"Rule/DefaultRetention/{path}") == number
    assert str(shown.text("Rule/DefaultRetention/Mode")) in rule
    assert (await set_default(rig, "")).status == 200
    assert (await rig.ask("GET", "/bucket", "object-lock=")).text("Rule") is None


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("", "MalformedXML"),
        ("<ObjectLockEnabled>Disabled</ObjectLockEnabled>", "MalformedXML"),
        ("<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule/>", "MalformedXML"),
        ("<Mode>GOVERNANCE</Mode>", "MalformedXML"),
        ("<Days>1</Days>", "MalformedXML"),
        ("<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>", "MalformedXML"),
        ("<Mode>governance</Mode><Days>1</Days>", "MalformedXML"),
        ("<Mode>GOVERNANCE</Mode><Days>one</Days>", "MalformedXML"),
        ("<Mode>GOVERNANCE</Mode><Days>1</Days><Days>2</Days>", "MalformedXML"),
        ("<Mode>GOVERNANCE</Mode><Days>0</Days>", "InvalidArgument"),
        ("<Mode>GOVERNANCE</Mode><Days>-1</Days>", "InvalidArgument"),
        ("<Mode>GOVERNANCE</Mode><Days>36501</Days>", "InvalidArgument"),
        ("<Mode>GOVERNANCE</Mode><Years>101</Years>", "InvalidArgument"),
    ],
)
async def test_a_lock_configuration_that_cannot_be_meant_is_refused(
    rig: Rig, inner: str, code: str
) -> None:
    if inner and not inner.startswith("<ObjectLockEnabled>"):
        answer = await set_default(rig, inner)
    else:
        answer = await set_document(
            rig, "/bucket", "object-lock=", "ObjectLockConfiguration", inner
        )
    await refused(answer, code, 400)


async def test_a_lock_configuration_must_be_vouched_for(rig: Rig) -> None:
    enabled = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>"
    body = f"<ObjectLockConfiguration>{enabled}</ObjectLockConfiguration>".encode()
    await refused(await rig.ask("PUT", "/bucket", "object-lock=", body), "InvalidRequest", 400)


# --- writes ----------------------------------------------------------------------------------


async def test_every_way_to_write_locks_the_version(rig: Rig) -> None:
    given = {**retained(rig, COMPLIANCE, 2), HOLD: "ON"}
    wanted = [COMPLIANCE, in_days(rig, 2)[:MINUTE], "ON"]
    await put_locked(rig, "put", b"body", given)
    copied = await rig.ask(
        "PUT", "/bucket/copied", "", b"", {"x-amz-copy-source": "/bucket/put", **given}
    )
    assert copied.status == 200
    begun = await rig.ask("POST", "/bucket/parts", "uploads=", b"", given)
    upload = begun.text("UploadId")
    query = f"partNumber=1&uploadId={upload}"
    part = await rig.ask("PUT", "/bucket/parts", query, b"part", digest_of(b"part"))
    document = one_part(part.headers["etag"])
    assert (await rig.ask("POST", "/bucket/parts", f"uploadId={upload}", document)).status == 200
    fields = {"key": "posted", **given, **digest_of(b"form")}
    body = form_client.body_of(list(form_client.signed(rig, fields).items()), b"form")
    kind = f"multipart/form-data; boundary={form_client.BOUNDARY}"
    posted = await rig.send(
        *("POST", "/bucket", "", body),
        {"host": rig.host, "content-type": kind, "content-length": str(len(body))},
    )
    assert posted.status == 204, posted.body
    for key in ("put", "copied", "parts", "posted"):
        assert await lock_of(rig, key) == wanted, key
        version = only(await ids(rig, key))
        await refused(await remove(rig, key, version, BYPASS), "AccessDenied")


async def test_a_copy_does_not_take_the_lock_of_its_source(rig: Rig) -> None:
    await put_locked(rig, "key", b"body", {HOLD: "ON"})
    copied = await rig.put("/bucket/copy", b"", {"x-amz-copy-source": "/bucket/key"})
    assert await lock_of(rig, "copy") == [None, None, None]
    assert (await remove(rig, "copy", version_of(copied))).status == 204


async def test_new_versions_get_the_default_retention(rig: Rig) -> None:
    before = version_of(await rig.put("/bucket/key", b"before"))
    begun = await rig.ask("POST", "/bucket/parts", "uploads=")
    await set_default(rig, "<Mode>GOVERNANCE</Mode><Days>3</Days>")
    await put_locked(rig, "key", b"plain", {})
    held = await put_locked(rig, "key", b"held", {HOLD: "ON"})
    own = await put_locked(rig, "key", b"own", retained(rig, COMPLIANCE, 1))
    wait(rig, 1)
    upload = begun.text("UploadId")
    query = f"partNumber=1&uploadId={upload}"
    part = await rig.ask("PUT", "/bucket/parts", query, b"part", digest_of(b"part"))
    await rig.ask("POST", "/bucket/parts", f"uploadId={upload}", one_part(part.headers["etag"]))
    assert await lock_of(rig, "key", before) == [None, None, None]
    assert await lock_of(rig, "key", held) == [GOVERNANCE, in_days(rig, 2)[:MINUTE], "ON"]
    assert await lock_of(rig, "key", own) == [COMPLIANCE, in_days(rig, 0)[:MINUTE], None]
    assert await lock_of(rig, "parts") == [GOVERNANCE, in_days(rig, 3)[:MINUTE], None]
    marker = version_of(await delete(rig, "key"))
    assert (await remove(rig, "key", marker)).status == 204
    assert (await remove(rig, "key", before)).status == 204


@pytest.mark.parametrize(
    "headers",
    [
        {MODE: GOVERNANCE},
        {UNTIL: "2999-01-01T00:00:00Z"},
        {MODE: "governance", UNTIL: "2999-01-01T00:00:00Z"},
        {MODE: GOVERNANCE, UNTIL: "2001-01-01T00:00:00Z"},
        {MODE: GOVERNANCE, UNTIL: "tomorrow"},
        {MODE: GOVERNANCE, UNTIL: "2999-01-01"},
        {MODE: GOVERNANCE, UNTIL: "9999-12-31T23:59:59-23:59"},
        {MODE: GOVERNANCE, UNTIL: ""},
        {HOLD: "on"},
        {HOLD: ""},
    ],
)
@pytest.mark.parametrize(("method", "query"), [("PUT", ""), ("POST", "uploads=")])
async def test_a_lock_that_cannot_be_meant_is_refused(
    rig: Rig, headers: Mapping[str, str], method: str, query: str
) -> None:
    answer = await rig.ask(method, "/bucket/key", query, b"", {**headers, **digest_of(b"")})
    await refused(answer, "InvalidArgument", 400)
    assert await ids(rig, "key") == []


async def test_a_bucket_without_locks_locks_nothing(rig: Rig) -> None:
    await rig.put("/plain", b"")
    await rig.put("/plain/key", b"body")
    for headers in (retained(rig, GOVERNANCE, 1), {HOLD: "OFF"}):
        given = {**headers, **digest_of(b"")}
        for answer in (
            await rig.ask("PUT", "/plain/new", "", b"", given),
            await rig.ask("POST", "/plain/new", "uploads=", b"", given),
            await rig.ask(
                "PUT", "/plain/new", "", b"", {"x-amz-copy-source": "/plain/key", **given}
            ),
        ):
            await refused(answer, "InvalidRequest", 400)
    for query in ("retention=", "legal-hold="):
        await refused(await rig.ask("GET", "/plain/key", query), "InvalidRequest", 400)
    inner = f"<Mode>GOVERNANCE</Mode><RetainUntilDate>{in_days(rig, 1)}</RetainUntilDate>"
    answer = await set_document(rig, "/plain/key", "retention=", "Retention", inner)
    await refused(answer, "InvalidRequest", 400)
    answer = await set_document(
        rig, "/plain/key", "legal-hold=", "LegalHold", "<Status>ON</Status>"
    )
    await refused(answer, "InvalidRequest", 400)


async def test_a_gateway_hears_at_once_that_a_bucket_got_locks(rig: Rig) -> None:
    await rig.put("/plain", b"")
    await set_versioning(rig, "Enabled", "plain")
    await rig.put("/plain/key", b"body")
    beside = Rig(beside=rig)
    await set_default(beside, "", "plain")
    given = {**retained(rig, COMPLIANCE, 1), **digest_of(b"locked")}
    await rig.put("/plain/key", b"locked", given)
    assert (await rig.ask("HEAD", "/plain/key")).headers[MODE] == COMPLIANCE


async def test_what_is_locked_at_once_is_vouched_for(rig: Rig) -> None:
    for headers in (retained(rig, GOVERNANCE, 1), {HOLD: "ON"}):
        await refused(
            await rig.ask("PUT", "/bucket/key", "", b"body", headers), "InvalidRequest", 400
        )
    await rig.put("/bucket/key", b"hello", {"x-amz-checksum-crc32": "NhCmhg==", HOLD: "OFF"})
    begun = await rig.ask("POST", "/bucket/key", "uploads=", b"", {HOLD: "OFF"})
    query = f"partNumber=1&uploadId={begun.text('UploadId')}"
    await refused(await rig.ask("PUT", "/bucket/key", query, b"part"), "InvalidRequest", 400)
    await set_default(rig, "<Mode>GOVERNANCE</Mode><Days>1</Days>")
    await refused(await rig.ask("PUT", "/bucket/key", "", b"body"), "InvalidRequest", 400)
    await rig.put("/bucket/key", b"body", digest_of(b"body"))


# --- in force --------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, BYPASS], ids=["plain", "bypass"])
async def test_a_locked_version_is_not_deleted(rig: Rig, headers: Mapping[str, str]) -> None:
    locks = {"held": {HOLD: "ON"}, "kept": retained(rig, COMPLIANCE, 1)}
    versions = {key: await put_locked(rig, key, key.encode(), lock) for key, lock in locks.items()}
    free = version_of(await rig.put("/bucket/free", b"free"))
    for key, version in versions.items():
        answer = await remove(rig, key, version, headers)
        await refused(answer, "AccessDenied")
        assert answer.text("Message") == "Access Denied because object protected by object lock."
    every = {**versions, "free": free}
    rows = [
        f"<Object><Key>{key}</Key><VersionId>{version}</VersionId></Object>"
        for key, version in every.items()
    ]
    body = f"<Delete>{''.join(rows)}</Delete>".encode()
    answer = await rig.ask("POST", "/bucket", "delete=", body, {**digest_of(body), **headers})
    assert answer.texts("Deleted/Key") == ["free"]
    assert answer.texts("Error/Key") == list(versions)
    assert answer.texts("Error/Code") == ["AccessDenied"] * 2
    assert answer.texts("Error/VersionId") == list(versions.values())
    for key, version in versions.items():
        marker = version_of(await delete(rig, key))
        assert (await get(rig, key, version)).body == key.encode()
        await delete(rig, key, marker)
        await put_locked(rig, key, b"newer", {})
        assert (await get(rig, key, version)).body == key.encode()
    await refused(await rig.ask("DELETE", "/bucket"), "BucketNotEmpty", 409)


async def test_a_retention_that_is_over_protects_nothing(rig: Rig) -> None:
    versions = {
        mode: await put_locked(rig, mode, b"body", retained(rig, mode, 1))
        for mode in (GOVERNANCE, COMPLIANCE)
    }
    end = in_days(rig, 1)
    wait(rig, 0.999)
    for mode, version in versions.items():
        await refused(await remove(rig, mode, version), "AccessDenied")
    wait(rig, 0.002)
    for mode, version in versions.items():
        shown = await retention_of(rig, mode, version)
        assert (shown.text("Mode"), shown.text("RetainUntilDate")) == (mode, end)
        assert (await remove(rig, mode, version)).status == 204
        assert await ids(rig, mode) == []


async def test_the_coordinators_clock_decides(rig: Rig) -> None:
    version = await put_locked(rig, "key", b"body", retained(rig, COMPLIANCE, 1))
    rig.node.clock_offset_s += 600  # Less than a signature may be off; the gateway's word is none.
    rig.coordinators.node.clock_offset_s += 86_390
    await refused(await remove(rig, "key", version), "AccessDenied")
    rig.coordinators.node.clock_offset_s += 20
    assert (await remove(rig, "key", version)).status == 204


async def test_governance_is_bypassed_with_the_permission_only(rig: Rig) -> None:
    every = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::bucket*"}
    plain = {
        "Effect": "Deny",
        "Action": "s3:BypassGovernanceRetention",
        "Resource": "arn:aws:s3:::bucket/*",
    }
    rig.add_user("ann", every)
    rig.add_user("bob", every, plain)
    for user, may in (("bob", False), ("ann", True)):
        version = await put_locked(rig, "key", b"body", retained(rig, GOVERNANCE, 2))
        await refused(await remove(rig, "key", version, None, user), "AccessDenied")
        answer = await remove(rig, "key", version, {**BYPASS}, user)
        assert answer.status == (204 if may else 403)
        version = await put_locked(rig, "many", b"body", retained(rig, GOVERNANCE, 2))
        row = f"<Object><Key>many</Key><VersionId>{version}</VersionId></Object>"
        body = f"<Delete>{row}</Delete>".encode()
        given = {**digest_of(body), **BYPASS}
        answer = await rig.ask("POST", "/bucket", "delete=", body, given, access_key=user)
        assert answer.texts("Deleted/Key") == ["many"] * may
        assert answer.texts("Error/Code") == ["AccessDenied"] * (not may)
        version = await put_locked(rig, "less", b"body", retained(rig, GOVERNANCE, 2))
        answer = await retain(rig, "less", version, GOVERNANCE, 1, BYPASS, user)
        assert answer.status == (200 if may else 403)
    version = await put_locked(rig, "key", b"body", {**retained(rig, GOVERNANCE, 2), HOLD: "ON"})
    await refused(await remove(rig, "key", version, BYPASS), "AccessDenied")
    not_asked = {"x-amz-bypass-governance-retention": "false"}
    version = await put_locked(rig, "key", b"body", retained(rig, GOVERNANCE, 2))
    await refused(await remove(rig, "key", version, not_asked), "AccessDenied")
    assert (await remove(rig, "key", version, BYPASS)).status == 204


# --- set on versions -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [GOVERNANCE, COMPLIANCE])
async def test_a_retention_is_extended_and_never_shortened(rig: Rig, mode: str) -> None:
    version = version_of(await rig.put("/bucket/key", b"body"))
    other = COMPLIANCE if mode == GOVERNANCE else GOVERNANCE
    assert (await retain(rig, "key", version, mode, 2)).status == 200
    assert (await retain(rig, "key", version, mode, 2)).status == 200
    done = await retain(rig, "key", version, mode, 4)
    assert (done.status, version_of(done)) == (200, version)
    for answer in (
        await retain(rig, "key", version, mode, 3.9),
        await retain(rig, "key", version, other, 5),
        await retain(rig, "key", version),
    ):
        await refused(answer, "AccessDenied")
    shown = await retention_of(rig, "key", version)
    assert (shown.text("Mode"), shown.text("RetainUntilDate")) == (mode, in_days(rig, 4))
    if mode == COMPLIANCE:
        for answer in (
            await retain(rig, "key", version, mode, 3, BYPASS),
            await retain(rig, "key", version, other, 5, BYPASS),
            await retain(rig, "key", version, "", 0, BYPASS),
        ):
            await refused(answer, "AccessDenied")
        wait(rig, 4)
        assert (await retain(rig, "key", version, other, 1)).status == 200
        return
    assert (await retain(rig, "key", version, mode, 1, BYPASS)).status == 200
    assert (await retain(rig, "key", version, "", 0, BYPASS)).status == 200
    await refused(await retention_of(rig, "key", version), "NoSuchObjectLockConfiguration", 404)
    assert (await retain(rig, "key", version, mode, 1)).status == 200
    assert (await retain(rig, "key", version, other, 1, BYPASS)).status == 200
    await refused(await remove(rig, "key", version, BYPASS), "AccessDenied")


async def test_a_legal_hold_is_set_and_ended(rig: Rig) -> None:
    version = version_of(await rig.put("/bucket/key", b"body"))
    for shown in (await hold_of(rig, "key", version), await retention_of(rig, "key", version)):
        await refused(shown, "NoSuchObjectLockConfiguration", 404)
    for _ in range(2):
        done = await hold(rig, "key", version, "ON")
        assert (done.status, version_of(done)) == (200, version)
    await refused(await remove(rig, "key", version), "AccessDenied")
    assert (await hold_of(rig, "key", version)).text("Status") == "ON"
    wait(rig, 40_000)
    await refused(await remove(rig, "key", version), "AccessDenied")
    assert (await hold(rig, "key", version, "OFF")).status == 200
    assert await lock_of(rig, "key", version) == [None, None, "OFF"]
    assert (await remove(rig, "key", version)).status == 204


@pytest.mark.parametrize(
    ("query", "root", "inner", "code"),
    [
        ("retention", "Retention", "<Mode>GOVERNANCE</Mode>", "MalformedXML"),
        ("retention", "Retention", "<RetainUntilDate>{}</RetainUntilDate>", "MalformedXML"),
        (
            "retention",
            "Retention",
            "<Mode>X</Mode><RetainUntilDate>{}</RetainUntilDate>",
            "MalformedXML",
        ),
        (
            "retention",
            "Retention",
            "<Mode>GOVERNANCE</Mode><RetainUntilDate>soon</RetainUntilDate>",
            "MalformedXML",
        ),
        (
            "retention",
            "Retention",
            "<Mode>GOVERNANCE</Mode><RetainUntilDate>2001-01-01T00:00:00Z</RetainUntilDate>",
            "InvalidArgument",
        ),
        ("legal-hold", "LegalHold", "", "MalformedXML"),
        ("legal-hold", "LegalHold", "<Status>on</Status>", "MalformedXML"),
        ("legal-hold", "Retention", "<Status>ON</Status>", "MalformedXML"),
    ],
)
async def test_a_document_that_cannot_be_meant_is_refused(
    rig: Rig, query: str, root: str, inner: str, code: str
) -> None:
    await rig.put("/bucket/key", b"body")
    answer = await set_document(
        rig, "/bucket/key", query + "=", root, inner.format(in_days(rig, 1))
    )
    await refused(answer, code, 400)
    assert await lock_of(rig, "key") == [None, None, None]


async def test_a_marker_has_no_lock(rig: Rig) -> None:
    await rig.put("/bucket/key", b"body")
    marker = version_of(await delete(rig, "key"))
    for answer in (
        await retain(rig, "key", marker, GOVERNANCE, 1),
        await hold(rig, "key", marker, "ON"),
        await retention_of(rig, "key", marker),
    ):
        await refused(answer, "MethodNotAllowed", 405)
    for query in ("retention=", "legal-hold="):
        await refused(await rig.ask("GET", "/bucket/key", query), "NoSuchKey", 404)
        await refused(await rig.ask("GET", "/bucket/none", query), "NoSuchKey", 404)
        answer = await rig.ask("GET", "/bucket/key", query + "&versionId=" + "a1" * 16)
        await refused(answer, "NoSuchVersion", 404)


async def test_what_was_there_before_locks_can_be_locked(rig: Rig) -> None:
    await rig.put("/plain", b"")
    await rig.put("/plain/key", b"before")
    await set_versioning(rig, "Enabled", "plain")
    await set_default(rig, "<Mode>GOVERNANCE</Mode><Days>1</Days>", "plain")
    inner = f"<Mode>COMPLIANCE</Mode><RetainUntilDate>{in_days(rig, 1)}</RetainUntilDate>"
    query = "retention=&versionId=null"
    done = await set_document(rig, "/plain/key", query, "Retention", inner)
    assert (done.status, version_of(done)) == (200, "null")
    await rig.put("/plain/key", b"newer", digest_of(b"newer"))
    answer = await rig.ask("DELETE", "/plain/key", "versionId=null")
    await refused(answer, "AccessDenied")
    assert (await rig.ask("GET", "/plain/key", "versionId=null")).body == b"before"


# --- who ---------------------------------------------------------------------------------------


async def test_locks_are_shown_to_who_may_see_them(rig: Rig) -> None:
    await put_locked(rig, "key", b"body", {**retained(rig, GOVERNANCE, 1), HOLD: "ON"})
    other = {"AWS": other_account(rig)}
    for permission, shown in (
        ("s3:GetObject", set()),
        ("s3:GetObjectRetention", {MODE, UNTIL}),
        ("s3:GetObjectLegalHold", {HOLD}),
    ):
        allowed = ["s3:GetObject", permission]
        await set_policy(rig, statement(sorted(set(allowed)), Principal=other))
        answer = await rig.ask("GET", "/bucket/key", access_key="OTHER")
        assert answer.headers.keys() & {MODE, UNTIL, HOLD} == shown
        for query, needed in (("retention", {MODE, UNTIL}), ("legal-hold", {HOLD})):
            asked = await rig.ask("GET", "/bucket/key", query + "=", access_key="OTHER")
            assert asked.status == (200 if needed == shown else 403)


@pytest.mark.parametrize(
    ("headers", "permission"),
    [({MODE: GOVERNANCE}, "s3:PutObjectRetention"), ({HOLD: "ON"}, "s3:PutObjectLegalHold")],
)
async def test_a_lock_needs_its_permission(
    rig: Rig, headers: Mapping[str, str], permission: str
) -> None:
    given = {**headers, **digest_of(b"body")}
    if MODE in headers:
        given[UNTIL] = in_days(rig, 1)
    resource = "arn:aws:s3:::bucket/*"
    rig.add_user("ann", {"Effect": "Allow", "Action": "s3:PutObject", "Resource": resource})
    both = ["s3:PutObject", permission]
    rig.add_user("bob", {"Effect": "Allow", "Action": both, "Resource": resource})
    for user, status in (("ann", 403), ("bob", 200)):
        answer = await rig.ask("PUT", "/bucket/key", "", b"body", given, access_key=user)
        assert answer.status == status


async def test_a_bucket_with_locks_needs_their_permissions(rig: Rig) -> None:
    needed = ["CreateBucket", "PutBucketVersioning", "PutBucketObjectLockConfiguration"]
    for count in range(1, 4):
        user = f"user{count}"
        actions = [f"s3:{name}" for name in needed[:count]]
        rig.add_user(user, {"Effect": "Allow", "Action": actions, "Resource": "*"})
        answer = await rig.ask("PUT", f"/{user}", "", b"", LOCKS, access_key=user)
        assert answer.status == (200 if count == 3 else 403)


async def test_the_lock_that_a_request_gives_is_a_fact(rig: Rig) -> None:
    most = {"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": "10"}}
    deny = {"Effect": "Deny", "Principal": "*", "Resource": "arn:aws:s3:::bucket/*"}
    body = [
        {**deny, "Action": "s3:PutObjectRetention", "Condition": most},
        {
            **deny,
            "Action": "s3:PutObjectLegalHold",
            "Condition": {"StringEquals": {"s3:object-lock-legal-hold": "OFF"}},
        },
        {
            **deny,
            "Action": "s3:PutObjectRetention",
            "Condition": {"StringEquals": {"s3:object-lock-mode": "COMPLIANCE"}},
        },
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": body}).encode()
    assert (await rig.ask("PUT", "/bucket", "policy=", document)).status == 204
    for mode, days, status in (
        (GOVERNANCE, 9.9, 200),
        (GOVERNANCE, 10.1, 403),
        (COMPLIANCE, 1, 403),
    ):
        given = {**retained(rig, mode, days), **digest_of(b"body")}
        answer = await rig.ask("PUT", "/bucket/key", "", b"body", given)
        assert answer.status == status
        version = version_of(await rig.put("/bucket/other", b"body"))
        assert (await retain(rig, "other", version, mode, days)).status == status
    assert (await hold(rig, "other", version, "ON")).status == 200
    assert (await hold(rig, "other", version, "OFF")).status == 403
