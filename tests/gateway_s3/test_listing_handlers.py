"""Listings: every key once, in S3's order, whatever the page size."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from gateway_rig import Rig, encoded

KEYS = ["a", "a/", "a/b", "a/b/c", "a0", "b/x", "b/y", "\u00e4", "\U0001f600", "\uffee"]


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    for key in KEYS:
        await made.put("/bucket/" + encoded(key), key.encode())
    return made


def by_bytes(keys: list[str]) -> list[str]:
    return sorted(keys, key=lambda key: key.encode())


async def test_keys_come_in_byte_order_with_their_facts(rig: Rig) -> None:
    for query in ("", "list-type=2"):
        answer = await rig.ask("GET", "/bucket", query)
        assert answer.texts("Contents/Key") == by_bytes(KEYS)
        assert answer.text("IsTruncated") == "false"
        assert answer.text("MaxKeys") == "1000"
        sizes = [str(len(key.encode())) for key in by_bytes(KEYS)]
        assert answer.texts("Contents/Size") == sizes
        assert answer.texts("Contents/ETag")[0] == '"0cc175b9c0f1b6a831c399e269772661"'
        assert set(answer.texts("Contents/StorageClass")) == {"STANDARD"}
    assert answer.text("KeyCount") == str(len(KEYS))
    assert answer.texts("Contents/Owner/ID") == []
    assert answer.texts("Contents/ChecksumAlgorithm")[0] == "CRC64NVME"
    owned = await rig.ask("GET", "/bucket", "fetch-owner=true&list-type=2")
    assert len(owned.texts("Contents/Owner/ID")) == len(KEYS)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("reply_rows", [1, 2, 1000])
@pytest.mark.parametrize("delimiter", ["", "%2F"])
@pytest.mark.parametrize("version", [1, 2])
async def test_pages_neither_skip_nor_repeat(
    rig: Rig, size: int, reply_rows: int, delimiter: str, version: int
) -> None:
    rig.coordinators.reply_rows = reply_rows
    seen: list[str] = []
    query = f"max-keys={size}" + (f"&delimiter={delimiter}" if delimiter else "")
    if version == 2:
        query += "&list-type=2"
    more = ""
    for _ in range(30):
        answer = await rig.ask("GET", "/bucket", query + more)
        page = answer.texts("Contents/Key") + answer.texts("CommonPrefixes/Prefix")
        assert len(page) <= size
        seen += by_bytes(page)
        if answer.text("IsTruncated") == "false":
            break
        assert len(page) == size
        if version == 2:
            token = answer.text("NextContinuationToken")
            assert token
            more = "&continuation-token=" + quote(token, safe="")
        else:
            marker = answer.text("NextMarker") if delimiter else page[-1]
            assert marker
            assert (answer.text("NextMarker") is not None) == bool(delimiter)
            more = "&marker=" + quote(marker, safe="")
    expected = ["a", "a/", "a0", "b/", "\u00e4", "\uffee", "\U0001f600"] if delimiter else KEYS
    assert seen == by_bytes(expected)


async def test_prefix_and_start_after(rig: Rig) -> None:
    answer = await rig.ask("GET", "/bucket", "list-type=2&prefix=a%2F")
    assert answer.texts("Contents/Key") == ["a/", "a/b", "a/b/c"]
    answer = await rig.ask("GET", "/bucket", "delimiter=%2F&list-type=2&prefix=a%2F")
    assert answer.texts("Contents/Key") == ["a/", "a/b"]
    assert answer.texts("CommonPrefixes/Prefix") == ["a/b/"]
    answer = await rig.ask("GET", "/bucket", "list-type=2&start-after=b%2Fx")
    assert answer.texts("Contents/Key") == by_bytes(["b/y", "\u00e4", "\U0001f600", "\uffee"])
    assert answer.text("StartAfter") == "b/x"


async def test_max_keys_zero_is_empty_and_not_truncated(rig: Rig) -> None:
    for query in ("max-keys=0", "list-type=2&max-keys=0"):
        answer = await rig.ask("GET", "/bucket", query)
        assert answer.status == 200
        assert answer.texts("Contents/Key") == []
        assert answer.text("IsTruncated") == "false"


@pytest.mark.parametrize(
    "query",
    [
        "max-keys=-1",
        "max-keys=x",
        "max-keys=99999999999999",
        "encoding-type=base64",
        "continuation-token=nonsense&list-type=2",
        "prefix=%FF",
        "prefix=" + "x" * 1025,
    ],
)
async def test_bad_parameters_are_refused(rig: Rig, query: str) -> None:
    answer = await rig.ask("GET", "/bucket", query)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


async def test_keys_that_xml_cannot_hold_are_encoded_on_request(rig: Rig) -> None:
    key = "x\x01&<\n"
    await rig.put("/bucket/" + encoded(key), b"")
    answer = await rig.ask("GET", "/bucket", "encoding-type=url&list-type=2&prefix=x")
    assert answer.texts("Contents/Key") == [encoded(key)]
    raw = await rig.ask("GET", "/bucket", "list-type=2&prefix=x")
    assert b"x&#x1;&amp;&lt;&#xA;" in raw.body or b"x&#x1;&amp;&lt;\n" in raw.body


async def test_a_missing_bucket_is_404_also_for_zero_keys(rig: Rig) -> None:
    for query in ("", "max-keys=0", "list-type=2", "uploads="):
        answer = await rig.ask("GET", "/nobucket", query)
        assert (answer.status, answer.code) == (404, "NoSuchBucket")
