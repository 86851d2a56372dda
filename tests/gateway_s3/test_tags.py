"""Which tags there can be, and the header that gives some to an object."""

from __future__ import annotations

import pytest

from gateway_s3.errors import S3Error
from gateway_s3.request.tags import bucket_tags, object_tags, parse_tagging_header


def read(header: bytes) -> list[tuple[str, str]]:
    return [(tag.key, tag.value) for tag in parse_tagging_header(header).tags]


@pytest.mark.parametrize(
    ("header", "pairs"),
    [
        (b"", []),
        (b"a=1&b=2", [("a", "1"), ("b", "2")]),
        (b"a&b=", [("a", ""), ("b", "")]),
        (b"&a=1&&", [("a", "1")]),
        (b"a%20b=c%2Bd&e+f=g=h", [("a b", "c+d"), ("e f", "g=h")]),
        (b"%C3%BC=%E6%96%87", [("ü", "文")]),
        (b"A=1&a=2", [("A", "1"), ("a", "2")]),
    ],
)
def test_the_header_is_a_query_string(header: bytes, pairs: list[tuple[str, str]]) -> None:
    assert read(header) == pairs


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"a=1&a=2", "InvalidArgument"),
        (b"=1", "InvalidArgument"),
        (b"a=%FF", "InvalidArgument"),
        (b"a=%zz", "InvalidArgument"),
        (b"&".join(b"k%d=" % number for number in range(11)), "BadRequest"),
        (b"a,b=1", "InvalidTag"),
        (b"a=1%2C2", "InvalidTag"),
        (b"aws:cost=1", "InvalidTag"),
        (b"a%00=1", "InvalidTag"),
        (b"a=%0A", "InvalidTag"),
    ],
)
def test_a_header_that_cannot_be_meant_is_refused(header: bytes, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_tagging_header(header)
    assert caught.value.code.code == code


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("k" * 128, "v" * 256),
        ("文" * 128, "é" * 256),
        ("𐐀" * 64, "𐐀" * 128),
        ("b c+d-e=f.g_h:i/j@k", "2 + 2 = 4"),
        ("empty", ""),
        ("awsome", "aws:"),
    ],
)
def test_what_a_tag_may_be(key: str, value: str) -> None:
    (tag,) = object_tags([(key, value)]).tags
    assert (tag.key, tag.value) == (key, value)
    assert object_tags([(key, value)]).pack()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", "v"),
        ("k" * 129, "v"),
        ("k", "v" * 257),
        ("𐐀" * 65, "v"),
        ("k", "𐐀" * 129),
        ("AWS:cost", "v"),
        *[(bad, "v") for bad in ("a,b", "a;b", "a?b", "a!b", "a*b", "a#b", "a%b", "a\tb", "😀")],
        *[("k", bad) for bad in ("a,b", "<b>", "a&b", "a\x00", "a\r\nb", "😀")],
    ],
)
def test_what_no_tag_may_be(key: str, value: str) -> None:
    for check in (object_tags, bucket_tags):
        with pytest.raises(S3Error) as caught:
            check([(key, value)])
        assert caught.value.code.code == "InvalidTag"


def test_an_object_has_ten_tags_at_most_and_a_bucket_fifty() -> None:
    for check, most in ((object_tags, 10), (bucket_tags, 50)):
        pairs = [(f"key-{number}", "") for number in range(most)]
        assert len(check(pairs).tags) == most
        with pytest.raises(S3Error) as caught:
            check([*pairs, ("more", "")])
        assert caught.value.code.code == "BadRequest"
        with pytest.raises(S3Error) as caught:
            check([("a", "1"), ("a", "2")])
        assert caught.value.code.code == "InvalidTag"
