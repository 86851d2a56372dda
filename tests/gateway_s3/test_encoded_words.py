"""Values that are not ASCII: RFC 2047's encoded words in and out."""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_s3.request.encoded_words import decode_words, encode_metadata, encode_words, plain_utf8

pytestmark = pytest.mark.fault("B06")


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"plain", "plain"),
        (b"", ""),
        ("grün".encode(), "grün"),
        ("grün".encode("latin-1"), "grün"),
        (b"=?UTF-8?B?Z3LDvG4=?=", "grün"),
        (b"=?utf-8?b?Z3LDvG4=?=", "grün"),
        (b"=?UTF-8?Q?gr=C3=BCn?=", "grün"),
        (b"=?ISO-8859-1?Q?gr=FCn_gras?=", "grün gras"),
        (b"=?windows-1252?q?=80?=", "€"),
        (b"=?UTF-8*de?Q?gr=c3=bcn?=", "grün"),
        (b"a =?UTF-8?Q?=C3=BC?= b", "a ü b"),
        (b"=?UTF-8?Q?=C3=BC?= =?UTF-8?Q?=C3=B6?=", "üö"),
        (b"=?UTF-8?Q?=C3=BC?=  =?ISO-8859-1?Q?=F6?= x", "üö x"),
        (b"=?UTF-8?B?w4E=?= =?UTF-8?Q?=C3?= =?UTF-8?Q?=BC?=", "Áü"),
        (b"=?UTF-8?Q?abc?=", "abc"),
        # none of them:
        (b"=?UTF-8?B?*?=", "=?UTF-8?B?*?="),
        (b"=?UTF-8?B?Z3LDv?=", "=?UTF-8?B?Z3LDv?="),
        (b"=?UTF-8?Q?=FF?=", "=?UTF-8?Q?=FF?="),
        (b"=?rot13?Q?abc?=", "=?rot13?Q?abc?="),
        (b"=?idna?Q?abc?=", "=?idna?Q?abc?="),
        (b"=?iso-8859-99?Q?abc?=", "=?iso-8859-99?Q?abc?="),
        (b"=?UTF-8?X?abc?=", "=?UTF-8?X?abc?="),
        (b"x=?UTF-8?Q?abc?=", "x=?UTF-8?Q?abc?="),
        (b"=?UTF-8?Q?abc?=x", "=?UTF-8?Q?abc?=x"),
        (b"=?UTF-8?Q?abc", "=?UTF-8?Q?abc"),
    ],
)
def test_a_value_is_read_however_it_is_sent(sent: bytes, text: str) -> None:
    assert decode_words(sent).decode() == text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300))
def test_what_is_sent_is_ascii_and_reads_back_as_it_was(text: str) -> None:
    kept = text.encode()
    shown = encode_metadata(kept)
    assert shown.isascii()
    assert decode_words(shown) == kept
    if not text.isascii():
        assert all(len(word) <= 75 for word in shown.split(b" "))
        assert str(make_header(decode_header(shown.decode()))) == text


@given(st.binary(max_size=100))
def test_any_bytes_are_read(value: bytes) -> None:
    decode_words(value).decode("utf-8")
    decode_words(b"=?UTF-8?Q?" + value + b"?=").decode("utf-8")
    decode_words(b"=?UTF-8?B?" + value + b"?=").decode("utf-8")
    assert encode_words(plain_utf8(value)).isascii()


def test_ascii_is_shown_as_it_is() -> None:
    for value in (b"plain", b"a=?b", b"=?x?y?z?="):
        assert encode_metadata(value) == encode_words(value) == value
    assert encode_words(b"=?UTF-8?Q?abc?=") == b"=?UTF-8?Q?abc?="
