"""Requests that pages of other origins make: preflight, and the headers of the answers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import pytest
import trio
from gateway_rig import Answer, Rig

from common.errors import Unavailable
from common.reasons import Outage
from common.wire import messages as m
from gateway.bucket_cache import REMEMBERED_S

VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
RULES = """<CORSConfiguration>
<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>
<AllowedOrigin>https://one.example</AllowedOrigin><AllowedOrigin>http://*.two.example</AllowedOrigin>
<AllowedHeader>x-AMZ-meta-*</AllowedHeader><AllowedHeader>Content-Type</AllowedHeader>
<ExposeHeader>ETag</ExposeHeader><ExposeHeader>x-amz-id-2</ExposeHeader>
<MaxAgeSeconds>3000</MaxAgeSeconds></CORSRule>
<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>
<CORSRule><AllowedMethod>DELETE</AllowedMethod><AllowedOrigin>*</AllowedOrigin>
<AllowedHeader>*</AllowedHeader></CORSRule>
</CORSConfiguration>"""


async def configure(rig: Rig, rules: str) -> None:
    data = rules.encode()
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    answer = await rig.ask("PUT", "/bucket", "cors=", data, {"content-md5": md5})
    assert answer.status == 200, answer.body


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    await made.put("/bucket/key", b"content")
    await configure(made, RULES)
    return made


async def preflight(
    rig: Rig,
    origin: str | None,
    method: str | None,
    headers: str | None = None,
    path: str = "/bucket/key",
    query: str = "",
) -> Answer:
    given = {
        "host": rig.host,
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
    }
    pairs = [(name, value) for name, value in given.items() if value is not None]
    return await rig.send("OPTIONS", path, query, b"", pairs)


def cross(answer: Answer) -> dict[str, str]:
    return {
        name: value
        for name, value in answer.headers.items()
        if name.startswith("access-control-") or name == "vary"
    }


ONE = {
    "access-control-allow-origin": "https://one.example",
    "access-control-allow-methods": "GET, PUT",
    "access-control-expose-headers": "ETag, x-amz-id-2",
    "access-control-max-age": "3000",
    "access-control-allow-credentials": "true",
    "vary": VARY,
}
ANYONE = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET",
    "vary": VARY,
}


@pytest.mark.parametrize(
    ("origin", "method", "headers", "wanted"),
    [
        ("https://one.example", "PUT", None, ONE),
        ("https://one.example", "GET", "", ONE),
        (
            "https://one.example",
            "GET",
            "X-Amz-Meta-A,  content-type",
            {**ONE, "access-control-allow-headers": "x-amz-meta-a, content-type"},
        ),
        (
            "http://a.b.two.example",
            "PUT",
            None,
            {**ONE, "access-control-allow-origin": "http://a.b.two.example"},
        ),
        ("https://any.example", "GET", None, ANYONE),
        ("null", "GET", None, ANYONE),
        (
            "https://one.example",
            "DELETE",
            "x-anything",
            {
                "access-control-allow-origin": "*",
                "access-control-allow-methods": "DELETE",
                "access-control-allow-headers": "x-anything",
                "vary": VARY,
            },
        ),
    ],
)
async def test_the_first_rule_that_fits_answers_a_preflight_request(
    rig: Rig, origin: str, method: str, headers: str | None, wanted: dict[str, str]
) -> None:
    for path in ("/bucket/key", "/bucket/not-there", "/bucket"):
        answer = await preflight(rig, origin, method, headers, path)
        assert (answer.status, answer.body) == (200, b"")
        assert cross(answer) == wanted
        assert answer.headers["x-amz-request-id"]


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        ("https://any.example", "PUT", None),
        ("https://one.example.evil", "PUT", None),
        ("https://one.exampl", "PUT", None),
        ("HTTPS://ONE.EXAMPLE", "PUT", None),
        ("https://a.two.example", "PUT", None),
        ("http://two.example", "PUT", None),
        ("https://one.example", "POST", None),
        ("https://one.example", "put", None),
        ("https://one.example", "PUT", "x-other"),
        ("https://one.example", "PUT", "x-amz-meta-a, x-other"),
        ("https://any.example", "GET", "content-type"),
    ],
)
async def test_what_no_rule_allows_is_forbidden(
    rig: Rig, origin: str, method: str, headers: str | None
) -> None:
    for path, kind in (("/bucket/key", "OBJECT"), ("/bucket", "BUCKET")):
        answer = await preflight(rig, origin, method, headers, path)
        assert (answer.status, answer.code) == (403, "AccessForbidden")
        assert (answer.text("Method"), answer.text("ResourceType")) == (method, kind)
        assert cross(answer) == {}


async def test_a_preflight_request_says_enough_or_is_a_bad_request(rig: Rig) -> None:
    for origin, method in ((None, "GET"), (None, None), ("", "GET"), ("https://one.example", None)):
        answer = await preflight(rig, origin, method)
        assert (answer.status, answer.code) == (400, "BadRequest")
    assert (await preflight(rig, None, "GET", path="/nothing/key")).code == "BadRequest"


async def test_without_rules_or_bucket_every_origin_is_forbidden(rig: Rig) -> None:
    await rig.ask("DELETE", "/bucket", "cors=")
    for path, message in (
        ("/bucket/key", "CORSResponse: CORS is not enabled for this bucket."),
        ("/nothing", "CORSResponse: Bucket not found"),
        ("/No_bucket/key", "CORSResponse: Bucket not found"),
        ("/", "CORSResponse: Bucket not found"),
    ):
        for method, shown in (("PUT", "PUT"), (None, "OPTIONS")):
            answer = await preflight(rig, "https://one.example", method, path=path)
            assert (answer.status, answer.code) == (403, "AccessForbidden")
            assert (answer.text("Message"), answer.text("ResourceType")) == (message, "BUCKET")
            assert answer.text("Method") == shown


async def test_a_preflight_request_for_a_presigned_url_is_not_held_against_its_signature(
    rig: Rig,
) -> None:
    query = rig.presign("PUT", "/bucket/key", headers={"content-type": "text/plain"})
    answer = await preflight(rig, "https://one.example", "PUT", "content-type", query=query)
    assert answer.status == 200
    for odd in ("uploads=", "X-Amz-Signature=x&X-Amz-Acl=public-read", "acl", "versionId=x"):
        assert (await preflight(rig, "https://one.example", "PUT", query=odd)).status == 200


async def test_answers_to_an_allowed_origin_carry_what_its_preflight_request_carried(
    rig: Rig,
) -> None:
    origin = {"origin": "https://one.example"}
    assert cross(await rig.ask("GET", "/bucket/key", "", b"", origin)) == ONE
    assert cross(await rig.ask("PUT", "/bucket/key", "", b"new", origin)) == ONE
    anyone = await rig.ask("GET", "/bucket/key", "", b"", {"origin": "https://any.example"})
    assert (anyone.body, cross(anyone)) == (b"new", ANYONE)
    listed = await rig.ask("GET", "/bucket", "list-type=2", b"", origin)
    assert cross(listed) == ONE
    partial = await rig.ask("GET", "/bucket/key", "", b"", {**origin, "range": "bytes=0-0"})
    assert (partial.status, cross(partial)) == (206, ONE)


async def test_errors_carry_them_too_so_that_the_page_can_read_the_code(rig: Rig) -> None:
    origin = {"origin": "https://one.example"}
    for answer, code in (
        (await rig.ask("GET", "/bucket/nothing", "", b"", origin), "NoSuchKey"),
        (await rig.ask("GET", "/bucket/key", "", b"", origin, access_key="OTHER"), "AccessDenied"),
        (
            await rig.ask("GET", "/bucket/key", "", b"", origin, secret="wrong"),
            "SignatureDoesNotMatch",
        ),
        (
            await rig.send("GET", "/bucket/key", "", b"", {"host": rig.host, **origin}),
            "AccessDenied",
        ),
        (await rig.ask("GET", "/bucket/key", "unknown", b"", origin), "NotImplemented"),
    ):
        assert (answer.code, cross(answer)) == (code, ONE)


async def test_without_a_fitting_rule_the_answer_is_as_it_is_without_an_origin(rig: Rig) -> None:
    for headers in (
        {"origin": "https://any.example", "access-control-request-method": "PUT"},
        {"origin": "https://any.example", "access-control-request-headers": "x-other"},
        {},
    ):
        answer = await rig.ask("GET", "/bucket/key", "", b"", headers)
        assert (answer.body, cross(answer)) == (b"content", {})
    refused = await rig.ask("PUT", "/bucket/key", "", b"x", {"origin": "https://any.example"})
    assert (refused.status, cross(refused)) == (200, {})
    assert cross(await rig.ask("GET", "/", "", b"", {"origin": "https://one.example"})) == {}


async def test_another_gateway_obeys_new_rules_within_the_time_that_buckets_are_remembered(
    rig: Rig, autojump_clock: object
) -> None:
    beside = Rig(beside=rig)
    assert (await preflight(beside, "https://one.example", "PUT")).status == 200
    await rig.ask("DELETE", "/bucket", "cors=")
    assert (await preflight(rig, "https://one.example", "PUT")).status == 403, "at once here"
    await trio.sleep(REMEMBERED_S)
    assert (await preflight(beside, "https://one.example", "PUT")).status == 403


async def test_a_preflight_request_costs_one_call_for_the_owner_and_one_for_the_rules(
    rig: Rig,
) -> None:
    beside = Rig(beside=rig)
    rig.coordinators.requests.clear()
    for _ in range(3):
        await preflight(beside, "https://one.example", "PUT")
    assert rig.coordinators.calls == ["BucketOwnerGet", "BucketGet"]


@pytest.mark.parametrize("headers", [{}, {"origin": "https://one.example"}])
async def test_rules_cost_requests_no_call(rig: Rig, headers: dict[str, str]) -> None:
    for method, body, calls in (
        ("GET", b"", ["ObjectGet"]),
        ("HEAD", b"", ["ObjectGet"]),
        ("PUT", b"content", ["ObjectCommit"]),
    ):
        rig.coordinators.requests.clear()
        await rig.ask(method, "/bucket/key", "", body, headers)
        assert [call for call in rig.coordinators.calls if "Get" in call or "Commit" in call] == (
            calls
        )


async def test_rules_that_cannot_be_looked_up_leave_the_answer_without_them(rig: Rig) -> None:
    async def fail(request: m.Request) -> None:
        raise Unavailable(Outage.NO_COORDINATOR)

    beside = Rig(beside=rig)
    rig.coordinators.faults[m.BucketOwnerGet] = fail
    headers: Sequence[tuple[str, str]] = [("host", rig.host), ("origin", "https://one.example")]
    answer = await beside.send("GET", "/bucket/key", "", b"", headers)
    assert (answer.status, cross(answer)) == (503, {})
    assert (await preflight(beside, "https://one.example", "PUT")).status == 503
