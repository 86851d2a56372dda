"""Keys that other servers took for paths, other keys or other buckets: each is only itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

import pytest
from gateway_rig import Rig
from thoroughness import quick_or

from common.http.records import HttpRequest
from gateway.names import IdentityNames
from gateway_s3.request.copy_source import parse_copy_source
from gateway_s3.request.router import route

KEYS = quick_or(4_000, 1_000_000)
STORED = quick_or(120, 2_000)
FRAGMENTS = (
    *("a", "A", ".", "..", "/", "//", "\\", "%", "%2F", "%2f", "%252F", "%00", "\0", "\x01"),
    *("+", " ", "\t", "\n", "\r\n", "?", "#", "&", "=", ";", ":", "*", "~", '"', "'", "<", "]]>"),
    *("e\u0301", "\u00e9", "K", "\u212a", "\ufeff", "\u2028", "\ufffd", "\U0001f41d", "\u202e"),
    *("bucket", "bucket/", "../other/", "versionId=null", "?versionId=null", "?acl", "uploads"),
    *(
        "null",
        "None",
        "con",
        ".sys",
        "arn:aws:s3:::bucket/key",
        "http://",
        "-",
        "_",
        "0",
        "x" * 200,
    ),
)


def keys(count: int) -> Iterator[bytes]:
    """So many different keys: every fragment alone, then every two, then some of three, ..."""
    seen: set[bytes] = set()
    number = 0
    while len(seen) < count:
        parts, left = [], number
        while True:
            left, digit = divmod(left, len(FRAGMENTS))
            parts.append(FRAGMENTS[digit])
            if not left:
                break
            left -= 1
        number += 1
        key = "".join(parts).encode()
        if len(key) <= 1024 and key not in seen:
            seen.add(key)
            yield key


def spellings(key: bytes) -> Iterator[bytes]:
    """Ways in which clients write a key into a path."""
    escaped = quote(key, safe="")
    yield quote(key, safe="/-_.~").encode()
    yield escaped.encode()
    yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), escaped).encode()


def routed(path: bytes) -> tuple[str, bytes]:
    found = route(HttpRequest("GET", path, path, b"", []), [])
    return found.bucket, found.key


@pytest.mark.incident(23, 24, 32)
@pytest.mark.timeout(1800)
def test_no_key_is_mistaken_for_another_one() -> None:
    """A key that comes back as itself from each place can be no other's."""
    names = IdentityNames()
    stored = set()
    for key in keys(KEYS):
        for spelling in spellings(key):
            assert routed(b"/bucket/" + spelling) == ("bucket", key)
            source = parse_copy_source(b"/bucket/" + spelling)
            assert (source.bucket, source.key) == ("bucket", key)
        assert names.decode(names.encode(key)) == key
        stored.add(names.encode(key))
    assert len(stored) == KEYS


@pytest.mark.incident(23, 24)
async def test_each_stored_key_has_its_own_content_and_its_own_row() -> None:
    rig = Rig()
    for name in ("bucket", "other"):
        assert (await rig.ask("PUT", f"/{name}")).status == 200
    await rig.put("/other/kept", b"kept")
    written = list(keys(STORED))
    for key in written:
        assert (await rig.ask("PUT", f"/bucket/{quote(key, safe='')}", "", key)).status == 200
    for key in written:
        answer = await rig.ask("GET", f"/bucket/{quote(key, safe='')}")
        assert (answer.status, answer.body) == (200, key)
    listed: list[bytes] = []
    after = ""
    while True:
        query = f"encoding-type=url&list-type=2&max-keys=50{after}"
        page = await rig.ask("GET", "/bucket", "&".join(sorted(query.split("&"))))
        listed += [unquote(each.replace("+", " ")).encode() for each in page.texts("Contents/Key")]
        token = page.text("NextContinuationToken")
        if token is None:
            break
        after = f"&continuation-token={quote(token, safe='')}"
    assert listed == sorted(written)
    for key in written:
        assert (await rig.ask("DELETE", f"/bucket/{quote(key, safe='')}")).status == 204
    assert (await rig.ask("GET", "/bucket", "list-type=2")).texts("Contents/Key") == []
    assert (await rig.ask("GET", "/other/kept")).body == b"kept"
