"""Forms read as they come, and their signatures against the example that AWS publishes."""

from __future__ import annotations

import pytest
from form_client import BOUNDARY, body_of

from gateway_s3.auth.post_form import FormClaim, verify_form
from gateway_s3.errors import S3Error
from gateway_s3.request.form import FormHead, form_boundary

FIELDS = [("key", "a"), ("empty", ""), ("lines", "a\r\nb\r\n\r\n--c"), ("Ünïcode", "é")]


def read(body: bytes, step: int, boundary: str = BOUNDARY) -> FormHead:
    head = FormHead(boundary.encode())
    for at in range(0, len(body), step):
        if head.feed(body[at : at + step]):
            assert head.rest() == body[head.file_start : at + step]
            return head
    raise AssertionError("the file did not begin")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("boundary", [BOUNDARY, "-" * 70, "a b", "'()+_,-./:=?"])
def test_a_form_is_read_alike_however_it_comes(step: int, boundary: str) -> None:
    body = body_of(FIELDS, b"content", boundary=boundary)
    head = read(body, step, boundary)
    assert [(name, value.decode()) for name, value in head.fields] == FIELDS
    assert head.file is not None
    assert head.file.name == "photo.jpg"
    assert body[head.file_start :].startswith(b"content\r\n--")


@pytest.mark.parametrize("step", [1, 10_000])
@pytest.mark.parametrize("before", [b"", b"\r\n", b"A preamble\r\nof lines\r\n"])
def test_what_stands_before_the_first_boundary_means_nothing(before: bytes, step: int) -> None:
    head = read(before + body_of(FIELDS, b"content"), step)
    assert len(head.fields) == len(FIELDS)
    assert head.file_start > len(before)


def test_white_space_behind_a_boundary_and_odd_heads_are_understood() -> None:
    body = (
        b"--xYzZY \t\r\nCONTENT-TYPE: text/plain\r\n"
        b"content-disposition:form-data ; Name=key ;\r\n\r\nv\r\n"
        b'--xYzZY\r\nContent-Disposition: FORM-DATA; name="File"; filename="a\\\\b\\"c"\r\n\r\nx'
    )
    head = read(body, 5)
    assert head.fields == [("key", b"v")]
    assert head.file is not None
    assert head.file.name == 'b"c'


def test_only_the_part_named_file_is_the_file() -> None:
    part = b'--xYzZY\r\nContent-Disposition: form-data; name="upload"; filename="x"\r\n\r\nv\r\n'
    head = read(part + body_of([], b"content"), 1000)
    assert head.fields == [("upload", b"v")]


def test_the_time_is_linear_in_what_is_fed() -> None:
    head = FormHead(b"xYzZY")
    looked_at = 0

    class Counted(bytearray):
        def find(self, wanted: bytes, start: int = 0) -> int:
            nonlocal looked_at
            looked_at += len(self) - start
            return super().find(wanted, start)

    head._buffer = Counted(b"\r\n")
    body = b'--xYzZY\r\nContent-Disposition: form-data; name="key"\r\n\r\n' + b"v" * 20_000
    for byte in body:
        head.feed(bytes([byte]))
    assert looked_at < 20 * len(body)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data;BOUNDARY="a b"', b"a b"),
        (b"multipart/form-data; charset=utf-8; boundary=----WebKitFormBoundaryX", b"----WebKit"),
    ],
)
def test_the_boundary_is_in_the_content_type(content_type: bytes, boundary: bytes) -> None:
    assert form_boundary(content_type).startswith(boundary)


EXAMPLE = (
    "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7"
    "ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91"
    "c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3Qi"
    "OiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwi"
    "fSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRh"
    "LXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVT"
    "MjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNy"
    "ZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9"
    "LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAi"
    "MjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9"
)
SIGNATURE = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"


def test_the_signature_of_the_published_example_holds() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    claim = FormClaim("AKIAIOSFODNN7EXAMPLE", EXAMPLE, SIGNATURE, "20151229", "us-east-1", 1.0)
    verify_form(claim, secret)
    with pytest.raises(S3Error):
        verify_form(claim, secret.lower())
