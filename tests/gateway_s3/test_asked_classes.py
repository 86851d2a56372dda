"""The storage class that a client asks for: kept, shown as it was given, and where it leads."""

from __future__ import annotations

import pytest
import versions_client as v
from class_client import HEADER, MAPPED, follow, lies_in, with_classes
from form_client import post, signed
from gateway_rig import Answer, Rig
from keys_client import KEY_A, customer
from test_multipart_handlers import complete, part

from common.errors import Corrupt
from common.wire import messages as m
from coordinator.store import buckets, classes, misplaced
from gateway.class_names import CLASS_NAMES
from gateway.objects import find_object

NAMES = sorted(CLASS_NAMES)
KEY = "/bucket/key"


@pytest.fixture
async def rig() -> Rig:
    made = with_classes(Rig())
    await made.put("/bucket", b"")
    return made


def asked(name: str) -> dict[str, str]:
    return {HEADER: name}


async def put(rig: Rig, name: str, key: str = "key", body: bytes = b"content") -> Answer:
    return await rig.put(f"/bucket/{key}", body, asked(name))


async def listed(rig: Rig, query: str, path: str = "Contents") -> list[tuple[str, str]]:
    """Keys and classes of a listing."""
    answer = await rig.ask("GET", "/bucket", query)
    assert answer.status == 200, answer.body
    return [
        (each.findtext("Key") or "", each.findtext("StorageClass") or "")
        for each in answer.xml().iterfind(path)
    ]


async def shown(rig: Rig, key: str = "key") -> str:
    """The class of an object in all places that show it, which have to agree."""
    found = set()
    for method in ("GET", "HEAD"):
        headers = (await rig.ask(method, f"/bucket/{key}")).headers
        found.add(headers.get(HEADER, "STANDARD"))
    attributes = await rig.ask(
        "GET", f"/bucket/{key}", "attributes=", b"", {"x-amz-object-attributes": "StorageClass"}
    )
    found.add(attributes.text("StorageClass") or "")
    for query in ("", "list-type=2"):
        found.add(dict(await listed(rig, query))[key])
    found.add(dict(await listed(rig, "versions=", "Version"))[key])
    assert len(found) == 1, found
    return found.pop()


@pytest.mark.parametrize("name", NAMES)
async def test_a_class_comes_back_as_it_was_given(rig: Rig, name: str) -> None:
    await put(rig, name)
    assert await shown(rig) == name
    assert (await rig.ask("GET", KEY)).headers[HEADER] == name
    assert (await rig.ask("GET", KEY)).body == b"content"
    assert lies_in(rig, "key") == {MAPPED.get(name, "STANDARD")}


@pytest.mark.parametrize("headers", [{}, asked("STANDARD")])
async def test_standard_is_not_said_in_headers(rig: Rig, headers: dict[str, str]) -> None:
    await rig.put(KEY, b"content", headers)
    assert HEADER not in (await rig.ask("GET", KEY)).headers
    assert HEADER not in (await rig.ask("HEAD", KEY)).headers
    assert await shown(rig) == "STANDARD"
    assert lies_in(rig, "key") == {"STANDARD"}
    row = rig.coordinators.sql.execute("SELECT class_name, storage_class FROM versions").fetchone()
    assert row == (b"", None), "what asks for nothing costs nothing"


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("GLACIER", 501, "NotImplemented"),
        ("DEEP_ARCHIVE", 501, "NotImplemented"),
        *[
            (name, 400, "InvalidStorageClass")
            for name in (
                *("EXPRESS_ONEZONE", "OUTPOSTS", "SNOW", "FSX_ONTAP", "FSX_OPENZFS"),
                *("COLD", "standard", "STANDARD_IA ,", "standard_ia", "x" * 300),
            )
        ],
    ],
)
async def test_other_classes_are_refused_wherever_they_are_asked_for(
    rig: Rig, name: str, status: int, code: str
) -> None:
    await rig.put("/bucket/source", b"content")
    copied = {"x-amz-copy-source": "/bucket/source", **asked(name)}
    answers = [
        await rig.ask("PUT", KEY, "", b"content", asked(name)),
        await rig.ask("PUT", KEY, "", b"", copied),
        await rig.ask("POST", KEY, "uploads=", b"", asked(name)),
        await post(rig, signed(rig, {"key": "key", HEADER: name})),
    ]
    assert [(each.status, each.code) for each in answers] == [(status, code)] * 4
    assert await v.live(rig) == ["source"]
    assert not rig.coordinators.uploads


async def test_a_class_is_asked_for_once(rig: Rig) -> None:
    pairs = [*rig.sign("PUT", KEY, "", asked("STANDARD_IA")).items(), (HEADER, "ONEZONE_IA")]
    assert (await rig.send("PUT", KEY, "", b"", pairs)).status in {400, 403}
    assert await v.live(rig) == []


async def test_a_class_means_nothing_where_nothing_is_made(rig: Rig) -> None:
    await put(rig, "STANDARD_IA")
    upload = (await rig.ask("POST", KEY, "uploads=")).text("UploadId")
    query = f"partNumber=1&uploadId={upload}"
    for method, which in (("PUT", query), ("GET", ""), ("DELETE", "")):
        refused = await rig.ask(method, KEY, which, b"", asked("ONEZONE_IA"))
        assert (refused.status, refused.code) == (501, "NotImplemented")
    assert (await rig.ask("PUT", KEY, query, b"x", asked("STANDARD"))).status == 200


async def test_two_names_of_one_class_are_told_apart(rig: Rig) -> None:
    await put(rig, "STANDARD_IA", "a")
    await put(rig, "ONEZONE_IA", "b")
    assert [await shown(rig, key) for key in "ab"] == ["STANDARD_IA", "ONEZONE_IA"]
    assert lies_in(rig, "a") == lies_in(rig, "b") == {"COLD"}


async def test_a_coordinator_learns_where_data_is_to_lie_and_no_name(rig: Rig) -> None:
    await put(rig, "STANDARD_IA", "aa")
    await put(rig, "INTELLIGENT_TIERING", "bb")
    await rig.ask("POST", "/bucket/cc", "uploads=", b"", asked("REDUCED_REDUNDANCY"))
    await listed(rig, "")
    sent = b"".join(each.pack() for each in rig.coordinators.requests)
    rows = rig.coordinators.sql.execute(
        "SELECT class_name FROM versions UNION ALL SELECT class_name FROM uploads"
    ).fetchall()
    for name in NAMES:
        assert name.encode() not in sent
        assert not any(name.encode() in sealed for (sealed,) in rows)
    assert len({len(sealed) for (sealed,) in rows}) == 1, "the length tells it"


async def test_a_write_replaces_the_class_too(rig: Rig) -> None:
    await put(rig, "STANDARD_IA")
    await rig.put(KEY, b"content")
    assert await shown(rig) == "STANDARD"
    await put(rig, "GLACIER_IR")
    assert await shown(rig) == "GLACIER_IR"


async def test_a_copy_has_the_class_that_is_asked_for_it(rig: Rig) -> None:
    await put(rig, "STANDARD_IA")
    source = {"x-amz-copy-source": "/bucket/key"}
    assert (await rig.ask("PUT", "/bucket/plain", "", b"", source)).status == 200
    assert await shown(rig, "plain") == "STANDARD", "that of the source is none of the copy's"
    named = {**source, **asked("REDUCED_REDUNDANCY")}
    assert (await rig.ask("PUT", "/bucket/named", "", b"", named)).status == 200
    assert await shown(rig, "named") == "REDUCED_REDUNDANCY"
    assert lies_in(rig, "named") == {"COLD"}, "no data was moved yet"
    assert await follow(rig) == 2
    assert (lies_in(rig, "plain"), lies_in(rig, "named")) == ({"STANDARD"}, {"THIN"})
    assert lies_in(rig, "key") == {"COLD"}
    assert await follow(rig) == 0
    for key in ("key", "plain", "named"):
        assert (await rig.ask("GET", f"/bucket/{key}")).body == b"content"


async def test_a_copy_onto_itself_changes_the_class_alone(rig: Rig) -> None:
    headers = {"x-amz-meta-a": "b", "content-type": "text/plain", "x-amz-tagging": "k=v"}
    before = await rig.put(KEY, b"content", headers)
    itself = {"x-amz-copy-source": "/bucket/key"}
    assert (await rig.ask("PUT", KEY, "", b"", itself)).code == "InvalidRequest"
    answer = await rig.ask("PUT", KEY, "", b"", {**itself, **asked("STANDARD_IA")})
    assert answer.status == 200, answer.body
    got = await rig.ask("GET", KEY)
    assert got.headers["etag"] == before.headers["etag"]
    assert (got.headers["x-amz-meta-a"], got.headers["content-type"]) == ("b", "text/plain")
    assert (got.headers["x-amz-tagging-count"], got.body) == ("1", b"content")
    assert await shown(rig) == "STANDARD_IA"
    assert await follow(rig) == 1
    assert lies_in(rig, "key") == {"COLD"}
    back = await rig.ask("PUT", KEY, "", b"", {**itself, **asked("STANDARD")})
    assert (back.status, await shown(rig)) == (200, "STANDARD")
    assert await follow(rig) == 1
    assert lies_in(rig, "key") == {"STANDARD"}


async def test_a_copy_that_is_written_is_written_in_its_class(rig: Rig) -> None:
    rig.secure = True
    key = customer(KEY_A)
    await put(rig, "STANDARD_IA")
    named = {"x-amz-copy-source": "/bucket/key", **asked("REDUCED_REDUNDANCY"), **key}
    answer = await rig.ask("PUT", "/bucket/own", "", b"", named)
    assert answer.status == 200, answer.body
    assert lies_in(rig, "own") == {"THIN"}
    assert (await rig.ask("HEAD", "/bucket/own", headers=key)).headers[HEADER] == (
        "REDUCED_REDUNDANCY"
    )


async def test_an_upload_in_parts_is_of_its_class_from_the_beginning(rig: Rig) -> None:
    begun = await rig.ask("POST", KEY, "uploads=", b"", asked("STANDARD_IA"))
    upload = begun.text("UploadId") or ""
    await rig.ask("POST", "/bucket/other", "uploads=")
    etag = (await part(rig, upload, 1, b"content")).headers["etag"]
    assert await listed(rig, "uploads=", "Upload") == [
        ("key", "STANDARD_IA"),
        ("other", "STANDARD"),
    ]
    parts = await rig.ask("GET", KEY, f"uploadId={upload}")
    assert parts.text("StorageClass") == "STANDARD_IA"
    assert (await complete(rig, upload, [(1, etag)])).status == 200
    assert await shown(rig) == "STANDARD_IA"
    assert lies_in(rig, "key") == {"COLD"}
    assert await follow(rig) == 0


async def test_a_part_that_is_copied_follows_into_the_class_of_its_upload(rig: Rig) -> None:
    await put(rig, "REDUCED_REDUNDANCY", "source")
    begun = await rig.ask("POST", KEY, "uploads=", b"", asked("STANDARD_IA"))
    upload = begun.text("UploadId") or ""
    source = {"x-amz-copy-source": "/bucket/source"}
    copied = await rig.ask("PUT", KEY, f"partNumber=1&uploadId={upload}", b"", source)
    assert copied.status == 200, copied.body
    etag = copied.text("ETag") or ""
    assert (await complete(rig, upload, [(1, etag)])).status == 200
    assert await follow(rig) == 1
    assert lies_in(rig, "key") == {"COLD"}


async def test_a_form_asks_for_a_class(rig: Rig) -> None:
    answer = await post(rig, signed(rig, {"key": "key", HEADER: "STANDARD_IA"}), b"content")
    assert answer.status == 204, answer.body
    assert await shown(rig) == "STANDARD_IA"
    assert lies_in(rig, "key") == {"COLD"}


async def test_a_renamed_object_keeps_its_class(rig: Rig) -> None:
    await put(rig, "STANDARD_IA", "old")
    renamed = await rig.ask(
        "PUT", KEY, "renameObject=", headers={"x-amz-rename-source": "/bucket/old"}
    )
    assert renamed.status == 200, renamed.body
    assert await shown(rig) == "STANDARD_IA"
    assert await follow(rig) == 0
    assert lies_in(rig, "key") == {"COLD"}


async def test_each_version_has_a_class_of_its_own(rig: Rig) -> None:
    await v.set_versioning(rig, "Enabled")
    ids = [v.version_of(await put(rig, name)) for name in ("STANDARD_IA", "STANDARD", "GLACIER_IR")]
    answers = [await v.get(rig, "key", each, "HEAD") for each in ids]
    assert [each.headers.get(HEADER) for each in answers] == ["STANDARD_IA", None, "GLACIER_IR"]
    await v.delete(rig, "key")
    assert await listed(rig, "versions=", "Version") == [
        ("key", name) for name in ("GLACIER_IR", "STANDARD", "STANDARD_IA")
    ]
    assert await listed(rig, "versions=", "DeleteMarker") == [("key", "")]


async def test_a_policy_can_ask_for_the_class(rig: Rig) -> None:
    equals = {"StringEquals": {"s3:x-amz-storage-class": "STANDARD_IA"}}
    allow = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*", "Condition": equals}
    rig.add_user("thrifty", allow)
    answers = [
        await rig.ask("PUT", KEY, "", b"x", headers, access_key="thrifty")
        for headers in (asked("STANDARD_IA"), asked("ONEZONE_IA"), {})
    ]
    assert [each.status for each in answers] == [200, 403, 403]


async def test_a_condition_on_a_write_says_nothing_of_the_class(rig: Rig) -> None:
    etag = (await put(rig, "STANDARD_IA")).headers["etag"]
    headers = {"if-match": etag, **asked("ONEZONE_IA")}
    assert (await rig.ask("PUT", KEY, "", b"new", headers)).status == 200
    assert (await rig.ask("PUT", KEY, "", b"newer", headers)).status == 412
    assert await shown(rig) == "ONEZONE_IA"


# --- where names lead -----------------------------------------------------------------------------


def bucket_of(rig: Rig, name: str = "bucket") -> m.BucketRecord:
    return rig.coordinators.owned[name]


async def give_class(rig: Rig, storage_class: str) -> None:
    """Give the bucket a class, as an operator does."""
    sql = rig.coordinators.sql
    number = buckets.set_class(sql, "bucket", storage_class)
    assert number is not None
    misplaced.follow(sql, number)
    while misplaced.scan(sql, 100):
        pass
    rig.backend.buckets.forget(rig.tenant, "bucket")


async def test_a_named_class_stays_when_the_bucket_moves(rig: Rig) -> None:
    await put(rig, "REDUCED_REDUNDANCY", "own")
    await put(rig, "GLACIER_IR", "nowhere")
    await rig.put("/bucket/plain", b"content")
    await give_class(rig, "COLD")
    assert await follow(rig) == 2
    assert [lies_in(rig, key) for key in ("own", "nowhere", "plain")] == [
        {"THIN"},
        {"COLD"},
        {"COLD"},
    ]
    assert [await shown(rig, key) for key in ("own", "nowhere")] == [
        "REDUCED_REDUNDANCY",
        "GLACIER_IR",
    ]


async def test_no_name_leads_beyond_the_fence_of_a_bucket() -> None:
    rig = with_classes(Rig(), fence=("bologna",))
    await rig.put("/bucket", b"")
    await put(rig, "REDUCED_REDUNDANCY", "before")
    await give_class(rig, "COLD")
    assert await follow(rig) == 1
    assert lies_in(rig, "before") == {"COLD"}
    await put(rig, "REDUCED_REDUNDANCY", "after")
    assert lies_in(rig, "after") == {"COLD"}
    assert bucket_of(rig).class_names == ()
    assert await shown(rig, "after") == await shown(rig, "before") == "REDUCED_REDUNDANCY"
    rig.coordinators.add_class("NEAR", rig.coordinators.redundancy, [[0]], ("bologna",))
    classes.set_name(rig.coordinators.sql, "GLACIER_IR", "NEAR")
    rig.coordinators.lease.held = 0
    rig.backend.buckets.forget(rig.tenant, "bucket")
    await put(rig, "GLACIER_IR", "near")
    assert lies_in(rig, "near") == {"NEAR"}
    await give_class(rig, "STANDARD")
    assert await follow(rig) == 2
    # For the second one nothing else was asked than the class of the bucket.
    assert (lies_in(rig, "before"), lies_in(rig, "after")) == ({"THIN"}, {"STANDARD"})


async def test_a_gateway_that_remembers_too_much_does_not_break_a_fence(rig: Rig) -> None:
    fenced = with_classes(Rig(), fence=("bologna",))
    await fenced.put("/bucket", b"")
    await put(fenced, "STANDARD", "first")  # the bucket is remembered
    number = buckets.set_class(fenced.coordinators.sql, "bucket", "COLD")
    assert number is not None
    await put(fenced, "REDUCED_REDUNDANCY")
    assert lies_in(fenced, "key") == {"THIN"}
    assert await follow(fenced) == 1
    assert lies_in(fenced, "key") == {"COLD"}


async def test_names_that_lead_elsewhere_are_for_what_comes_then(rig: Rig) -> None:
    await put(rig, "STANDARD_IA", "before")
    classes.set_name(rig.coordinators.sql, "STANDARD_IA", "THIN")
    rig.backend.buckets.forget(rig.tenant, "bucket")
    await put(rig, "STANDARD_IA", "after")
    assert (lies_in(rig, "before"), lies_in(rig, "after")) == ({"COLD"}, {"THIN"})
    assert await follow(rig) == 0
    classes.remove_name(rig.coordinators.sql, "STANDARD_IA")
    rig.backend.buckets.forget(rig.tenant, "bucket")
    await put(rig, "STANDARD_IA", "last")
    assert (lies_in(rig, "last"), await shown(rig, "last")) == ({"STANDARD"}, "STANDARD_IA")


async def test_a_class_that_is_gone_is_none(rig: Rig) -> None:
    await put(rig, "REDUCED_REDUNDANCY")
    sql = rig.coordinators.sql
    classes.remove_name(sql, "REDUCED_REDUNDANCY")
    number = classes.remove(sql, "THIN")
    assert classes.buckets_with(sql, number) == [1]
    misplaced.follow(sql, 1)
    while misplaced.scan(sql, 100):
        pass
    assert await follow(rig) == 1
    assert (lies_in(rig, "key"), await shown(rig)) == ({"STANDARD"}, "REDUCED_REDUNDANCY")


# --- what a coordinator may do with it ------------------------------------------------------------


async def test_a_class_of_another_object_is_refused(rig: Rig) -> None:
    await put(rig, "STANDARD_IA", "aa")
    await put(rig, "GLACIER_IR", "bb")
    rig.coordinators.sql.execute(
        "UPDATE versions SET class_name ="
        " (SELECT o.class_name FROM versions o WHERE o.name = 'bb' OR o.name = x'6262')"
        " WHERE name = x'6161'"
    )
    bucket = await rig.backend.buckets.find(rig.tenant, "bucket")
    with pytest.raises(Corrupt, match="record_not_authentic"):
        await find_object(rig.backend, bucket, b"aa")
