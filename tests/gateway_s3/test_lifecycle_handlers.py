"""Lifecycle rules: set, shown and removed, which are refused, and what answers say of them."""

from __future__ import annotations

import pytest
import versions_client as v
from gateway_rig import Rig
from lifecycle_client import days, get_rules, pass_days, put_rules, rule, set_rules

from gateway_s3.errors import S3Error
from gateway_s3.xml.lifecycle import parse_lifecycle

SMALLEST = "x-amz-transition-default-minimum-object-size"
TAG = "<Tag><Key>{}</Key><Value>{}</Value></Tag>"
DAY = days(1)


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


def to(class_name: str, number: int | str, name: str = "Days") -> str:
    """Content of a transition."""
    return f"<{name}>{number}</{name}><StorageClass>{class_name}</StorageClass>"


def both(id: str, one: str, other: str, action: str = "Transition", **parts: str) -> str:
    """A rule with two transitions."""
    made = rule(id=id, **{action: one}, **parts)
    end = f"</{action}>"
    return made.replace(end, f"{end}<{action}>{other}{end}")


ALL_FORMS = [
    rule(id="days", prefix="logs/", Expiration=days(3)),
    rule(id="date", Filter="", Expiration="<Date>2030-01-02T00:00:00.000Z</Date>"),
    rule(
        id="marker",
        prefix="",
        Expiration="<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>",
    ),
    rule(
        id="no marker",
        Expiration="<ExpiredObjectDeleteMarker>false</ExpiredObjectDeleteMarker>",
    ),
    rule(id="old form", Prefix="tmp/", Expiration=days(1)),
    rule(id="old form, all", status="Disabled", Prefix="", Expiration=days(1)),
    rule(id="tag", Filter=TAG.format("a", "b"), Expiration=days(2147483647)),
    rule(
        id="and",
        Filter="<And><Prefix>x</Prefix>"
        + TAG.format("a", "b")
        + TAG.format("c", "")
        + "<ObjectSizeGreaterThan>0</ObjectSizeGreaterThan>"
        "<ObjectSizeLessThan>4096</ObjectSizeLessThan></And>",
        Expiration=DAY,
    ),
    rule(id="size", Filter="<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>", Expiration=DAY),
    rule(
        id="versions",
        prefix="é&lt;",
        NoncurrentVersionExpiration="<NoncurrentDays>4</NoncurrentDays>"
        "<NewerNoncurrentVersions>5</NewerNoncurrentVersions>",
        AbortIncompleteMultipartUpload="<DaysAfterInitiation>7</DaysAfterInitiation>",
    ),
    both("classes", to("GLACIER_IR", 90), to("STANDARD_IA", 30)),
    rule(
        id="class at a date",
        Transition="<Date>2031-01-02T00:00:00.000Z</Date><StorageClass>ONEZONE_IA</StorageClass>",
        Expiration="<Date>2031-01-03T00:00:00.000Z</Date>",
    ),
    rule(
        id="classes of versions",
        NoncurrentVersionTransition="<NoncurrentDays>0</NoncurrentDays>"
        "<NewerNoncurrentVersions>3</NewerNoncurrentVersions>"
        "<StorageClass>INTELLIGENT_TIERING</StorageClass>",
        NoncurrentVersionExpiration="<NoncurrentDays>9</NoncurrentDays>",
    ),
]


async def test_all_forms_of_rules_are_shown_as_they_were_set(rig: Rig) -> None:
    await set_rules(rig, *ALL_FORMS)
    shown = await get_rules(rig)
    assert shown.status == 200
    assert shown.headers[SMALLEST] == "all_storage_classes_128K"
    first, *_ = shown.xml()
    assert [each.tag for each in first] == ["ID", "Filter", "Status", "Expiration"]
    assert shown.texts("Rule/ID") == [
        "days",
        "date",
        "marker",
        "no marker",
        "old form",
        "old form, all",
        "tag",
        "and",
        "size",
        "versions",
        "classes",
        "class at a date",
        "classes of versions",
    ]
    assert shown.texts("Rule/Transition/StorageClass") == [
        *("GLACIER_IR", "STANDARD_IA", "ONEZONE_IA")
    ]
    assert parse_lifecycle(shown.body) == parse_lifecycle(
        f"<LifecycleConfiguration>{''.join(ALL_FORMS)}</LifecycleConfiguration>".encode()
    )
    assert shown.texts("Rule/Expiration/Date") == [
        *("2030-01-02T00:00:00.000Z", "2031-01-03T00:00:00.000Z")
    ]
    assert shown.texts("Rule/Transition/Date") == ["2031-01-02T00:00:00.000Z"]


async def test_rules_without_an_id_get_one_and_all_are_removed(rig: Rig) -> None:
    assert (await get_rules(rig)).code == "NoSuchLifecycleConfiguration"
    answer = await put_rules(
        rig,
        rule(Expiration=DAY),
        rule(prefix="b", Expiration=DAY),
        headers={SMALLEST: "varies_by_storage_class"},
    )
    assert answer.status == 200
    assert answer.headers[SMALLEST] == "varies_by_storage_class"
    shown = await get_rules(rig)
    ids = shown.texts("Rule/ID")
    assert len({each for each in ids if each}) == 2
    assert (await get_rules(rig)).texts("Rule/ID") == ids
    assert shown.headers[SMALLEST] == "varies_by_storage_class"
    for _ in range(2):
        assert (await rig.ask("DELETE", "/bucket", "lifecycle=")).status == 204
    assert (await get_rules(rig)).status == 404
    assert (await rig.ask("DELETE", "/nothing", "lifecycle=")).code == "NoSuchBucket"
    assert (await put_rules(rig, rule(Expiration=DAY), access_key="OTHER")).status == 403
    assert (await get_rules(rig, access_key="OTHER")).status == 403


def expiration(content: str) -> str:
    return rule(Expiration=content)


def noncurrent(content: str) -> str:
    return rule(NoncurrentVersionExpiration=content)


NONCURRENT = "<NoncurrentDays>1</NoncurrentDays>"
ABORT = "<DaysAfterInitiation>1</DaysAfterInitiation>"
TRANSITION = to("GLACIER", 1)
NONCURRENT_TRANSITION = "NoncurrentVersionTransition"
BAD = [
    ("no rules", "", "MalformedXML"),
    ("unknown element", rule(Expiration=DAY, Transitions=""), "MalformedXML"),
    ("unknown status", rule(status="enabled", Expiration=DAY), "MalformedXML"),
    ("no filter, no prefix", rule(prefix=None, Expiration=DAY), "MalformedXML"),
    ("filter and prefix", rule(Filter="", Prefix="", Expiration=DAY), "MalformedXML"),
    ("text in the filter", rule(Filter="a", Expiration=DAY), "MalformedXML"),
    (
        "two conditions",
        rule(Filter="<Prefix>a</Prefix>" + TAG.format("a", "b"), Expiration=DAY),
        "MalformedXML",
    ),
    ("and of one", rule(Filter="<And><Prefix>a</Prefix></And>", Expiration=DAY), "MalformedXML"),
    ("tag without value", rule(Filter="<Tag><Key>a</Key></Tag>", Expiration=DAY), "MalformedXML"),
    (
        "one key twice",
        rule(Filter=f"<And>{TAG.format('a', 'b')}{TAG.format('a', 'c')}</And>", Expiration=DAY),
        "InvalidRequest",
    ),
    ("a key of AWS", rule(Filter=TAG.format("aws:a", ""), Expiration=DAY), "InvalidTag"),
    (
        "a size that is none",
        rule(Filter="<ObjectSizeLessThan>x</ObjectSizeLessThan>", Expiration=DAY),
        "MalformedXML",
    ),
    (
        "a size that none has",
        rule(Filter="<ObjectSizeLessThan>-1</ObjectSizeLessThan>", Expiration=DAY),
        "InvalidRequest",
    ),
    (
        "sizes the wrong way round",
        rule(
            Filter="<And><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>"
            "<ObjectSizeLessThan>5</ObjectSizeLessThan></And>",
            Expiration=DAY,
        ),
        "InvalidRequest",
    ),
    ("a long prefix", rule(prefix="p" * 1025, Expiration=DAY), "InvalidRequest"),
    ("a long id", rule(id="i" * 256, Expiration=DAY), "InvalidArgument"),
    ("no action", rule(), "InvalidRequest"),
    ("nothing in it", expiration(""), "MalformedXML"),
    ("days and date", expiration(DAY + "<Date>2030-01-02T00:00:00Z</Date>"), "MalformedXML"),
    (
        "days and markers",
        expiration(DAY + "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>"),
        "MalformedXML",
    ),
    ("no days", expiration(days(0)), "InvalidArgument"),
    ("fewer", expiration(days(-1)), "InvalidArgument"),
    ("too many", expiration(days(2147483648)), "InvalidArgument"),
    ("far too many", expiration(days("9" * 5000)), "InvalidArgument"),
    ("half a day", expiration(days("0.5")), "MalformedXML"),
    ("not midnight", expiration("<Date>2030-01-02T01:00:00Z</Date>"), "InvalidArgument"),
    ("midnight elsewhere", expiration("<Date>2030-01-02T00:00:00+01:00</Date>"), "InvalidArgument"),
    ("no date", expiration("<Date>tomorrow</Date>"), "MalformedXML"),
    ("before 1970", expiration("<Date>1960-01-02T00:00:00Z</Date>"), "InvalidArgument"),
    (
        "neither true nor false",
        expiration("<ExpiredObjectDeleteMarker>yes</ExpiredObjectDeleteMarker>"),
        "MalformedXML",
    ),
    (
        "markers with tags",
        rule(
            Filter=TAG.format("a", "b"),
            Expiration="<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>",
        ),
        "InvalidRequest",
    ),
    (
        "two expirations",
        rule(Expiration=DAY).replace("<Exp", f"<Expiration>{DAY}</Expiration><Exp"),
        "MalformedXML",
    ),
    ("no noncurrent days", noncurrent("<NoncurrentDays>0</NoncurrentDays>"), "InvalidArgument"),
    (
        "versions without days",
        noncurrent("<NewerNoncurrentVersions>1</NewerNoncurrentVersions>"),
        "MalformedXML",
    ),
    (
        "too many versions",
        noncurrent(NONCURRENT + "<NewerNoncurrentVersions>101</NewerNoncurrentVersions>"),
        "InvalidArgument",
    ),
    (
        "versions without a filter",
        rule(
            Prefix="",
            NoncurrentVersionExpiration=NONCURRENT
            + "<NewerNoncurrentVersions>1</NewerNoncurrentVersions>",
        ),
        "InvalidRequest",
    ),
    ("no abort", rule(AbortIncompleteMultipartUpload=""), "MalformedXML"),
    (
        "abort at once",
        rule(AbortIncompleteMultipartUpload="<DaysAfterInitiation>0</DaysAfterInitiation>"),
        "InvalidArgument",
    ),
    (
        "abort by tags",
        rule(Filter=TAG.format("a", "b"), AbortIncompleteMultipartUpload=ABORT),
        "InvalidRequest",
    ),
    (
        "abort by size",
        rule(
            Filter="<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>",
            AbortIncompleteMultipartUpload=ABORT,
        ),
        "InvalidRequest",
    ),
    *[
        (f"{it}, archive", document, "NotImplemented")
        for it, document in (
            ("transition", rule(Transition=TRANSITION)),
            ("transition and more", rule(Expiration=days(9), Transition=TRANSITION)),
            ("deep", rule(Transition=to("DEEP_ARCHIVE", 0))),
            ("behind others", both("r", to("STANDARD_IA", 30), to("GLACIER", 60))),
            ("noncurrent", rule(**{NONCURRENT_TRANSITION: to("GLACIER", 1, "NoncurrentDays")})),
        )
    ],
    *[
        (f"{it}, malformed", rule(Transition=content), "MalformedXML")
        for it, content in (
            ("no such class", to("COLD", 1)),
            ("no time", "<StorageClass>GLACIER</StorageClass>"),
            ("no class", "<Days>1</Days>"),
            ("two times", "<Date>2030-01-02T00:00:00Z</Date>" + to("GLACIER_IR", 1)),
            ("no number", to("GLACIER_IR", "x")),
            ("too many days", to("GLACIER_IR", 2**31)),
            ("newer", "<NewerNoncurrentVersions>1</NewerNoncurrentVersions>" + to("GLACIER_IR", 1)),
            ("class twice", "<StorageClass>GLACIER_IR</StorageClass>" + to("GLACIER_IR", 1)),
        )
    ],
    *[
        (f"{it}, argument", document, "InvalidArgument")
        for it, document in (
            ("back to standard", rule(Transition=to("STANDARD", 90))),
            ("back to reduced", rule(Transition=to("REDUCED_REDUNDANCY", 90))),
            ("negative", rule(Transition=to("GLACIER_IR", -1))),
            ("infrequent too early", rule(Transition=to("STANDARD_IA", 29))),
            ("one zone too early", rule(Transition=to("ONEZONE_IA", 0))),
            (
                "noncurrent too early",
                rule(**{NONCURRENT_TRANSITION: to("STANDARD_IA", 29, "NoncurrentDays")}),
            ),
            (
                "no midnight",
                rule(
                    Transition="<Date>2030-01-02T01:00:00Z</Date>"
                    "<StorageClass>GLACIER_IR</StorageClass>"
                ),
            ),
            ("the colder one first", both("r", to("GLACIER_IR", 30), to("STANDARD_IA", 60))),
            ("on one day", both("r", to("INTELLIGENT_TIERING", 5), to("GLACIER_IR", 5))),
            ("too short", both("r", to("STANDARD_IA", 30), to("GLACIER_IR", 59))),
            ("neither follows", both("r", to("ONEZONE_IA", 30), to("GLACIER_IR", 90))),
            (
                "noncurrent too short",
                both(
                    "r",
                    to("STANDARD_IA", 30, "NoncurrentDays"),
                    to("GLACIER_IR", 59, "NoncurrentDays"),
                    NONCURRENT_TRANSITION,
                ),
            ),
            ("expires first", rule(Transition=to("GLACIER_IR", 9), Expiration=days(9))),
            (
                "expires first, by date",
                rule(
                    Transition="<Date>2030-01-02T00:00:00Z</Date>"
                    "<StorageClass>GLACIER_IR</StorageClass>",
                    Expiration="<Date>2030-01-02T00:00:00Z</Date>",
                ),
            ),
            (
                "noncurrent expires first",
                rule(
                    NoncurrentVersionExpiration="<NoncurrentDays>9</NoncurrentDays>",
                    **{NONCURRENT_TRANSITION: to("GLACIER_IR", 9, "NoncurrentDays")},
                ),
            ),
            (
                "newer out of range",
                rule(
                    **{
                        NONCURRENT_TRANSITION: "<NewerNoncurrentVersions>101"
                        "</NewerNoncurrentVersions>" + to("GLACIER_IR", 9, "NoncurrentDays")
                    },
                ),
            ),
        )
    ],
    *[
        (f"{it}, request", document, "InvalidRequest")
        for it, document in (
            ("a class twice", both("r", to("GLACIER_IR", 1), to("GLACIER_IR", 5))),
            (
                "days and dates",
                both(
                    "r",
                    to("GLACIER_IR", 90),
                    "<Date>2030-01-02T00:00:00Z</Date><StorageClass>STANDARD_IA</StorageClass>",
                ),
            ),
            (
                "expires by date",
                rule(
                    Transition=to("GLACIER_IR", 9),
                    Expiration="<Date>2030-01-02T00:00:00Z</Date>",
                ),
            ),
            (
                "newer in the old form",
                rule(
                    Prefix="",
                    **{
                        NONCURRENT_TRANSITION: "<NewerNoncurrentVersions>1"
                        "</NewerNoncurrentVersions>" + to("GLACIER_IR", 9, "NoncurrentDays")
                    },
                ),
            ),
        )
    ],
]


@pytest.mark.parametrize(("it", "document", "code"), BAD, ids=[each[0] for each in BAD])
def test_a_rule_that_s3_refuses_is_refused(it: str, document: str, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        parse_lifecycle(f"<LifecycleConfiguration>{document}</LifecycleConfiguration>".encode())
    assert refused.value.code.code == code, it


def test_a_refusal_says_what_is_wrong_as_s3_says_it() -> None:
    for document, message in (
        (
            both("r", to("STANDARD_IA", 30), to("GLACIER_IR", 59)),
            "'Days' in the 'Transition' action with StorageClass 'GLACIER_IR' for filter "
            "'(prefix=)' must be 30 days more than 'Days' in the 'Transition' action with "
            "StorageClass 'STANDARD_IA'",
        ),
        (
            rule(Transition=to("STANDARD_IA", 7)),
            "'Days' in Transition action must be greater than or equal to 30 for storageClass "
            "'STANDARD_IA'",
        ),
        (
            both("r", to("GLACIER_IR", 1), to("GLACIER_IR", 2)),
            "'StorageClass' must be different for 'Transition' actions in same 'Rule' with filter "
            "'(prefix=)'",
        ),
        (
            rule(Prefix="x", Transition=to("GLACIER_IR", 9), Expiration=days(3)),
            "'Days' in the Expiration action for prefix 'x' must be greater than 'Days' in the "
            "Transition action",
        ),
    ):
        with pytest.raises(S3Error) as refused:
            parse_lifecycle(f"<LifecycleConfiguration>{document}</LifecycleConfiguration>".encode())
        assert refused.value.message == message


async def test_an_archive_is_not_implemented_and_a_refused_rule_changes_nothing(rig: Rig) -> None:
    await set_rules(rig, rule(id="before", Expiration=DAY))
    refused = rule(Expiration=days(9), Transition=TRANSITION)
    for document, status in ((refused, 501), (rule(), 400)):
        assert (await put_rules(rig, document)).status == status
    assert (await get_rules(rig)).texts("Rule/ID") == ["before"]


async def test_ids_are_given_once_and_rules_are_a_thousand_at_most(rig: Rig) -> None:
    twice = [rule(id="same", prefix=prefix, Expiration=DAY) for prefix in "ab"]
    assert (await put_rules(rig, *twice)).code == "InvalidArgument"
    many = [rule(id=f"r{number}", prefix=f"p{number}", Expiration=DAY) for number in range(1001)]
    assert (await put_rules(rig, *many)).code == "InvalidRequest"
    long = [rule(id=f"{number:0255}", Expiration=DAY) for number in range(1000)]
    assert (await put_rules(rig, *long)).code == "EntityTooLarge"
    await set_rules(rig, *many[:1000])
    assert len((await get_rules(rig)).texts("Rule")) == 1000


async def test_a_digest_must_vouch_and_headers_mean_what_they_say(rig: Rig) -> None:
    body = f"<LifecycleConfiguration>{rule(Expiration=DAY)}</LifecycleConfiguration>".encode()
    answer = await rig.ask("PUT", "/bucket", "lifecycle=", body)
    assert answer.code == "InvalidRequest"
    answer = await put_rules(rig, rule(Expiration=DAY), headers={SMALLEST: "none"})
    assert answer.code == "InvalidArgument"
    answer = await rig.ask("PUT", "/bucket/key", "", b"x", {SMALLEST: "varies_by_storage_class"})
    assert answer.code == "NotImplemented"


# --- answers that say when ----------------------------------------------------------------------


async def test_answers_say_when_an_object_expires_and_by_which_rule(rig: Rig) -> None:
    await set_rules(
        rig,
        rule(id="late", Expiration=days(30)),
        rule(id="by tag, früh", Filter=TAG.format("a", "b"), Expiration=days(2)),
        rule(
            id="big", Filter="<ObjectSizeGreaterThan>9</ObjectSizeGreaterThan>", Expiration=days(5)
        ),
        rule(id="off", status="Disabled", Expiration=days(1)),
    )
    # The world begins on 15 January 2027, 8:00 UTC.
    late = 'expiry-date="Mon, 15 Feb 2027 00:00:00 GMT", rule-id="late"'
    by_tag = 'expiry-date="Mon, 18 Jan 2027 00:00:00 GMT", rule-id="by%20tag%2C%20fr%C3%BCh"'
    big = 'expiry-date="Thu, 21 Jan 2027 00:00:00 GMT", rule-id="big"'
    for key, body, headers, wanted in (
        ("plain", b"1", {}, late),
        ("tagged", b"1", {"x-amz-tagging": "a=b"}, by_tag),
        ("large", b"0123456789", {}, big),
    ):
        made = await rig.put(f"/bucket/{key}", body, headers)
        assert made.headers["x-amz-expiration"] == wanted
        for method in ("GET", "HEAD"):
            answer = await rig.ask(method, f"/bucket/{key}")
            assert answer.headers["x-amz-expiration"] == wanted
    part = await rig.ask("GET", "/bucket/large", "", b"", {"range": "bytes=0-1"})
    assert part.headers["x-amz-expiration"] == big
    copied = await rig.put("/bucket/copy", b"", {"x-amz-copy-source": "/bucket/tagged"})
    assert copied.headers["x-amz-expiration"] == by_tag
    begun = await rig.ask("POST", "/bucket/parts", "uploads=", b"", {"x-amz-tagging": "a=b"})
    upload = begun.text("UploadId") or ""
    assert "x-amz-abort-date" not in begun.headers
    sent = await rig.ask("PUT", "/bucket/parts", f"partNumber=1&uploadId={upload}", b"1")
    document = v.one_part(sent.headers["etag"])
    for _ in range(2):
        done = await rig.ask("POST", "/bucket/parts", f"uploadId={upload}", document)
        assert done.headers["x-amz-expiration"] == by_tag


async def test_a_date_is_said_as_it_is_and_a_version_that_is_named_says_nothing(rig: Rig) -> None:
    await v.set_versioning(rig, "Enabled")
    await set_rules(
        rig,
        rule(id="d", prefix="a", Expiration="<Date>2030-01-02T00:00:00Z</Date>"),
        rule(prefix="b", NoncurrentVersionExpiration=NONCURRENT),
    )
    version = await v.put(rig, "a", b"1")
    answer = await v.get(rig, "a")
    assert answer.headers["x-amz-expiration"] == (
        'expiry-date="Wed, 02 Jan 2030 00:00:00 GMT", rule-id="d"'
    )
    assert "x-amz-expiration" not in (await v.get(rig, "a", version)).headers
    assert "x-amz-expiration" not in (await rig.put("/bucket/b", b"")).headers
    assert "x-amz-expiration" not in (await rig.put("/bucket/c", b"")).headers


async def test_answers_about_uploads_say_when_they_are_aborted(rig: Rig) -> None:
    await set_rules(rig, rule(id="a b", prefix="up", AbortIncompleteMultipartUpload=ABORT))
    begun = await rig.ask("POST", "/bucket/up", "uploads=")
    upload = begun.text("UploadId") or ""
    pass_days(rig, 0.5)
    listed = await rig.ask("GET", "/bucket/up", f"uploadId={upload}")
    for answer in (begun, listed):
        assert answer.headers["x-amz-abort-date"] == "Sun, 17 Jan 2027 00:00:00 GMT"
        assert answer.headers["x-amz-abort-rule-id"] == "a%20b"
    other = await rig.ask("POST", "/bucket/other", "uploads=")
    assert "x-amz-abort-date" not in other.headers
