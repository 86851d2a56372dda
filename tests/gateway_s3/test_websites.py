"""Buckets as websites, as a browser sees them."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from gateway_rig import Answer, Rig

from common.http.records import BytesBody, HttpRequest
from common.rpc.fair_queue import FairQueue
from gateway_s3.app import App
from gateway_s3.turns import REFUSAL_PAUSE_S

DOMAIN = "web.test"
HOST = f"bucket.{DOMAIN}"
INDEX = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>"
ERROR = "<ErrorDocument><Key>error.html</Key></ErrorDocument>"
PAGES = {
    "index.html": b"home",
    "a/index.html": b"page a",
    "a/b.html": b"page b",
    "error.html": b"something is wrong",
    "old/new": b"kept",
}


def rules(*pairs: tuple[str, str]) -> str:
    whole = "".join(
        f"<RoutingRule>{condition and f'<Condition>{condition}</Condition>'}"
        f"<Redirect>{redirect}</Redirect></RoutingRule>"
        for condition, redirect in pairs
    )
    return f"<RoutingRules>{whole}</RoutingRules>"


async def put(rig: Rig, query: str, body: bytes) -> Answer:
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    return await rig.ask("PUT", "/bucket", query, body, {"content-md5": md5})


async def configure(rig: Rig, inner: str) -> Answer:
    body = f"<WebsiteConfiguration>{inner}</WebsiteConfiguration>".encode()
    return await put(rig, "website=", body)


async def publish(rig: Rig, *actions: str) -> None:
    assert (await rig.ask("DELETE", "/bucket", "publicAccessBlock=")).status == 204
    statements = [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": action,
            "Resource": "arn:aws:s3:::bucket" + ("/*" if "Object" in action else ""),
        }
        for action in actions
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
    answer = await put(rig, "policy=", policy)
    assert answer.status == 204, answer.body


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    made.app = App(made.backend, made.keys, (), website_domains=(DOMAIN,))
    await made.put("/bucket", b"")
    for key, content in PAGES.items():
        await made.put(f"/bucket/{key}", content, {"content-type": "text/html"})
    await publish(made, "s3:GetObject", "s3:ListBucket")
    assert (await configure(made, INDEX + ERROR)).status == 200
    return made


async def browse(
    rig: Rig, path: str, method: str = "GET", host: str = HOST, query: str = "", **headers: str
) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await rig.send(method, path, query, b"", {"host": host, **named})


@pytest.mark.parametrize(
    ("effect", "condition", "is_shown"),
    [
        ("Deny", {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, False),
        ("Deny", {"StringLike": {"aws:Referer": "https://a.example/*"}}, False),
        ("Allow", {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, True),
        ("Allow", {"StringLike": {"aws:Referer": "https://a.example/*"}}, True),
    ],
)
async def test_a_policy_is_told_of_the_browser(
    rig: Rig, effect: str, condition: object, is_shown: bool
) -> None:
    everything = {"Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}
    statements = [{"Effect": effect, "Condition": condition, **everything}]
    if effect == "Deny":
        statements.append({"Effect": "Allow", **everything})
    answer = await put(rig, "policy=", json.dumps({"Statement": statements}).encode())
    assert answer.status == 204
    for path, status, content in (
        ("/", 200, PAGES["index.html"]),
        ("/nothing", 403, PAGES["error.html"]),
    ):
        shown = await browse(rig, path, referer="https://a.example/page")
        assert (shown.body == content) is is_shown
        assert shown.status == (status if is_shown else 403)
    directory = await browse(rig, "/a", referer="https://a.example/page")
    assert directory.status == (302 if is_shown else 403)


async def test_the_cross_origin_rules_of_a_website_are_those_of_its_bucket(rig: Rig) -> None:
    allowed = (
        "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>{}</AllowedOrigin></CORSRule>"
    )
    await rig.put("/old", b"")
    for bucket, origin in (("bucket", "https://ours.example"), ("old", "https://theirs.example")):
        body = f"<CORSConfiguration>{allowed.format(origin)}</CORSConfiguration>".encode()
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        set_rules = await rig.ask("PUT", f"/{bucket}", "cors=", body, {"content-md5": md5})
        assert set_rules.status == 200
    for path, status in (("/old/new", 200), ("/", 200), ("/nothing", 404)):
        ours = await browse(rig, path, origin="https://ours.example")
        assert ours.status == status
        assert ours.headers["access-control-allow-origin"] == "https://ours.example"
        theirs = await browse(rig, path, origin="https://theirs.example")
        assert "access-control-allow-origin" not in theirs.headers


@pytest.mark.parametrize(
    ("path", "content"),
    [("/", b"home"), ("/a/", b"page a"), ("/a/b.html", b"page b"), ("/index.html", b"home")],
)
async def test_pages_and_indexes_of_directories_are_shown(
    rig: Rig, path: str, content: bytes
) -> None:
    for query in ("", "utm=x&acl&versionId=1"):
        answer = await browse(rig, path, query=query)
        assert (answer.status, answer.body) == (200, content)
        assert answer.headers["content-type"] == "text/html"
    head = await browse(rig, path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(content))


async def test_conditions_and_ranges_of_browsers_count(rig: Rig) -> None:
    etag = (await browse(rig, "/")).headers["etag"]
    assert (await browse(rig, "/", if_none_match=etag)).status == 304
    assert (await browse(rig, "/", range="bytes=1-2")).body == b"om"


async def test_a_directory_without_its_slash_is_sent_there(rig: Rig) -> None:
    answer = await browse(rig, "/a")
    assert (answer.status, answer.headers["location"]) == (302, "/a/")


async def test_an_error_shows_the_error_page_with_its_own_status(rig: Rig) -> None:
    for method, body in (("GET", b"something is wrong"), ("HEAD", b"")):
        answer = await browse(rig, "/nothing", method)
        assert (answer.status, answer.body) == (404, body)
    assert (await browse(rig, "/nothing", range="bytes=0-1", if_none_match="*")).status == 404


async def test_without_an_error_page_an_error_is_a_page_of_its_own(rig: Rig) -> None:
    await configure(rig, INDEX)
    answer = await browse(rig, "/%3Cscript%3E")
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<li>Code: NoSuchKey</li>" in answer.body
    assert b"<script>" not in answer.body
    await rig.ask("DELETE", "/bucket/error.html")
    await configure(rig, INDEX + ERROR)
    assert b"<h1>404 Not Found</h1>" in (await browse(rig, "/nothing")).body


async def test_what_is_not_public_is_not_shown(rig: Rig) -> None:
    await publish(rig, "s3:GetObject")
    assert (await browse(rig, "/nothing")).status == 403, "who may not list learns no absence"
    await rig.ask("DELETE", "/bucket", "policy=")
    answer = await browse(rig, "/")
    assert (answer.status, b"AccessDenied" in answer.body) == (403, True)
    signed = rig.sign("GET", "/", "", {"host": HOST})
    assert (await rig.send("GET", "/", "", b"", signed)).status == 403, "nobody is proven here"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "OPTIONS"])
async def test_a_website_is_read_only(rig: Rig, method: str) -> None:
    answer = await browse(rig, "/index.html", method)
    assert (answer.status, b"MethodNotAllowed" in answer.body) == (405, True)
    assert (await browse(rig, "/")).body == b"home"


async def test_other_buckets_are_no_websites(rig: Rig) -> None:
    for host, code in (
        (f"nothing.{DOMAIN}", b"NoSuchBucket"),
        (f"No_bucket.{DOMAIN}", b"NoSuchBucket"),
    ):
        answer = await browse(rig, "/", host=host)
        assert (answer.status, code in answer.body) == (404, True)
    await rig.ask("DELETE", "/bucket", "website=")
    answer = await browse(rig, "/")
    assert (answer.status, b"NoSuchWebsiteConfiguration" in answer.body) == (404, True)


@pytest.mark.parametrize(
    ("inner", "path", "status", "location"),
    [
        (
            "<RedirectAllRequestsTo><HostName>other.example</HostName></RedirectAllRequestsTo>",
            "/a/b%20c",
            301,
            "http://other.example/a/b%20c",
        ),
        (
            "<RedirectAllRequestsTo><HostName>other.example</HostName><Protocol>https</Protocol>"
            "</RedirectAllRequestsTo>",
            "/",
            301,
            "https://other.example/",
        ),
        (
            INDEX
            + rules(
                (
                    "<KeyPrefixEquals>old/</KeyPrefixEquals>",
                    "<ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith>",
                )
            ),
            "/old/new",
            301,
            f"http://{HOST}/new/new",
        ),
        (
            INDEX
            + rules(
                (
                    "<HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals>",
                    "<HostName>lost.example</HostName><ReplaceKeyWith>lost</ReplaceKeyWith>"
                    "<HttpRedirectCode>307</HttpRedirectCode>",
                )
            ),
            "/nothing",
            307,
            "http://lost.example/lost",
        ),
        (INDEX + rules(("", "<Protocol>https</Protocol>")), "/x", 301, f"https://{HOST}/x"),
    ],
)
async def test_redirects(rig: Rig, inner: str, path: str, status: int, location: str) -> None:
    assert (await configure(rig, inner)).status == 200
    answer = await browse(rig, path)
    assert (answer.status, answer.body) == (status, b"")
    assert answer.headers["location"] == location
    shown = (await rig.ask("GET", "/bucket", "website=")).body
    assert (await put(rig, "website=", shown)).status == 200, "what is shown is fine"


async def test_a_redirect_on_errors_leaves_pages_alone_and_nothing_ends_a_header(rig: Rig) -> None:
    condition = "<HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals>"
    await configure(rig, INDEX + rules((condition, "<HostName>lost.example</HostName>")))
    assert (await browse(rig, "/a/b.html")).body == b"page b"
    answer = await browse(rig, "/%0d%0aset-cookie:x")
    assert answer.headers["location"] == "http://lost.example/%0D%0Aset-cookie:x"


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("", "InvalidArgument"),
        ("<Other/>", "MalformedXML"),
        ("<IndexDocument/>", "InvalidArgument"),
        ("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>", "InvalidArgument"),
        (INDEX + INDEX, "MalformedXML"),
        (INDEX + "<ErrorDocument/>", "MalformedXML"),
        ("<RedirectAllRequestsTo/>", "MalformedXML"),
        (
            "<RedirectAllRequestsTo><HostName>a&#10;b</HostName></RedirectAllRequestsTo>",
            "InvalidArgument",
        ),
        (
            INDEX + "<RedirectAllRequestsTo><HostName>a</HostName></RedirectAllRequestsTo>",
            "InvalidRequest",
        ),
        (INDEX + "<RoutingRules><RoutingRule/></RoutingRules>", "MalformedXML"),
        (INDEX + rules(("", "")), "MalformedXML"),
        (INDEX + rules(("", "<Protocol>ftp</Protocol>")), "InvalidRequest"),
        (INDEX + rules(("", "<HttpRedirectCode>200</HttpRedirectCode>")), "InvalidRequest"),
        (INDEX + rules(("", "<HttpRedirectCode>300</HttpRedirectCode>")), "InvalidRequest"),
        (
            INDEX
            + rules(
                ("", "<ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith/>"),
            ),
            "InvalidRequest",
        ),
        (
            INDEX
            + rules(
                (
                    "<HttpErrorCodeReturnedEquals>200</HttpErrorCodeReturnedEquals>",
                    "<HostName>a</HostName>",
                )
            ),
            "InvalidRequest",
        ),
        (
            INDEX
            + "<RoutingRules><RoutingRule><Condition/><Redirect><HostName>a</HostName></Redirect>"
            "</RoutingRule></RoutingRules>",
            "InvalidRequest",
        ),
        (INDEX + rules(*[("", "<HostName>a</HostName>")] * 51), "InvalidRequest"),
    ],
)
async def test_what_no_website_can_be_is_refused(rig: Rig, inner: str, code: str) -> None:
    answer = await configure(rig, inner)
    assert (answer.status, answer.code) == (400, code)
    assert (await browse(rig, "/")).body == b"home", "the website is as it was"


@pytest.mark.parametrize("location", ["/a/b.html", "http://other.example/", "https://o.example/x"])
async def test_an_object_can_send_browsers_elsewhere(rig: Rig, location: str) -> None:
    named = {"x-amz-website-redirect-location": location}
    await rig.put("/bucket/moved", bytes(300_000), named)
    begun = await rig.ask("POST", "/bucket/parts", "uploads=", b"", named)
    query = f"uploadId={begun.text('UploadId')}"
    part = await rig.ask("PUT", "/bucket/parts", f"partNumber=1&{query}", b"part")
    whole = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    )
    await rig.ask("POST", "/bucket/parts", query, whole.encode())
    for path in ("/moved", "/parts"):
        for method in ("GET", "HEAD"):
            answer = await browse(rig, path, method)
            assert (answer.status, answer.headers["location"]) == (301, location)
            stored = await rig.ask(method, f"/bucket{path}")
            assert (stored.status, stored.headers["x-amz-website-redirect-location"]) == (
                200,
                location,
            )
    assert rig.swarm.open_reads == 0
    assert rig.app.running == 0


async def test_a_copy_does_not_send_browsers_where_its_source_did(rig: Rig) -> None:
    name = "x-amz-website-redirect-location"
    await rig.put("/bucket/moved", b"x", {name: "/a", "cache-control": "no-cache"})
    source = {"x-amz-copy-source": "/bucket/moved"}
    await rig.put("/bucket/copy", b"", source)
    copy = await rig.ask("HEAD", "/bucket/copy")
    assert copy.headers["cache-control"] == "no-cache"
    assert name not in copy.headers
    await rig.put("/bucket/copy", b"", {**source, name: "/b"})
    assert (await rig.ask("HEAD", "/bucket/copy")).headers[name] == "/b"
    await rig.put("/bucket/moved", b"", {**source, name: "/c"})  # onto itself
    assert (await browse(rig, "/moved")).headers["location"] == "/c"


@pytest.mark.parametrize("location", ["", "a", "ftp://x", "/" + "a" * 2048, "/\xe9"])
async def test_a_place_that_is_none_is_refused(rig: Rig, location: str) -> None:
    named = {"x-amz-website-redirect-location": location}
    for method, query in (("PUT", ""), ("POST", "uploads=")):
        answer = await rig.ask(method, "/bucket/key", query, b"", named)
        assert (answer.status, answer.code) == (400, "InvalidRedirectLocation")
    assert ("bucket", b"key") not in rig.coordinators.current


async def test_a_browser_beyond_the_share_of_the_public_is_not_read_from_for_a_while(
    rig: Rig,
) -> None:
    queue = FairQueue(places=12, at_work=12, patience_s=5.0, most_of_one=0)
    rig.app = App(rig.backend, rig.keys, (), website_domains=(DOMAIN,), queue=queue)
    headers = [(b"host", HOST.encode())]
    response = await rig.app(HttpRequest("GET", b"/", b"/", b"", headers, BytesBody()))
    assert (response.status, response.pause_s) == (503, REFUSAL_PAUSE_S)
    assert isinstance(response.body, bytes)
    assert b"SlowDown" in response.body
