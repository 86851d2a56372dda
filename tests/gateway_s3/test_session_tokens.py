"""Session tokens: in every way of signing they work as they are, and in no other way."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import form_client
import pytest
import signing_v2
import sts_client
from gateway_rig import Answer, Rig
from object_rig import SECRET
from sts_client import READ, Temporary, session, status
from trio.testing import MockClock

from common import limits


@pytest.fixture
async def rig(autojump_clock: MockClock) -> Rig:
    return await sts_client.gateway()


async def by_header(rig: Rig, made: Temporary, *tokens: str) -> Answer:
    pairs = list(
        rig.sign(
            "GET",
            "/bucket/key",
            "",
            {"x-amz-security-token": tokens[0]} if tokens else {},
            access_key=made.access_key,
            secret=made.secret,
        ).items()
    )
    pairs += [("x-amz-security-token", each) for each in tokens[1:]]
    return await rig.send("GET", "/bucket/key", "", b"", pairs)


async def by_url(rig: Rig, made: Temporary, *tokens: str) -> Answer:
    given = "&".join(f"X-Amz-Security-Token={quote(each, safe='')}" for each in tokens)
    query = rig.presign("GET", "/bucket/key", given, access_key=made.access_key, secret=made.secret)
    return await rig.send("GET", "/bucket/key", query, b"", {"host": rig.host})


async def by_chunks(rig: Rig, made: Temporary, *tokens: str) -> Answer:
    headers = {
        "content-length": "86",
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": "0",
        **({"x-amz-security-token": tokens[0]} if tokens else {}),
    }
    payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    signed_headers = rig.sign(
        "PUT",
        "/bucket/new",
        "",
        headers,
        access_key=made.access_key,
        secret=made.secret,
        payload=payload,
    )
    body = rig.last_chunk(signed_headers, made.secret)
    pairs = [*signed_headers.items(), *(("x-amz-security-token", each) for each in tokens[1:])]
    return await rig.send("PUT", "/bucket/new", "", body, pairs)


async def by_v2_header(rig: Rig, made: Temporary, *tokens: str) -> Answer:
    given = {"x-amz-security-token": tokens[0]} if tokens else {}
    headers = signing_v2.signed(
        rig, "GET", "/bucket/key", "", given, access_key=made.access_key, secret=made.secret
    )
    pairs = [*headers.items(), *(("x-amz-security-token", each) for each in tokens[1:])]
    return await rig.send("GET", "/bucket/key", "", b"", pairs)


async def by_v2_url(rig: Rig, made: Temporary, *tokens: str) -> Answer:
    given = {"x-amz-security-token": tokens[0]} if tokens else {}
    query = signing_v2.url(
        rig, "GET", "/bucket/key", "", given, access_key=made.access_key, secret=made.secret
    )
    query += "".join(f"&x-amz-security-token={quote(each, safe='')}" for each in tokens[1:])
    return await rig.send("GET", "/bucket/key", query, b"", {"host": rig.host})


async def by_form(rig: Rig, made: Temporary, *tokens: str) -> Answer:
    fields = {"key": "new", **({"x-amz-security-token": tokens[0]} if tokens else {})}
    whole = form_client.signed(rig, fields, access_key=made.access_key, secret=made.secret)
    pairs = [*whole.items(), *(("x-amz-security-token", each) for each in tokens[1:])]
    return await form_client.post(rig, pairs)


async def by_v2_form(rig: Rig, made: Temporary, *tokens: str) -> Answer:
    fields = {"key": "new", **({"x-amz-security-token": tokens[0]} if tokens else {})}
    whole = form_client.signed_v2(rig, fields, access_key=made.access_key, secret=made.secret)
    pairs = [*whole.items(), *(("x-amz-security-token", each) for each in tokens[1:])]
    return await form_client.post(rig, pairs)


def changed(text: str, at: int) -> str:
    """The text with another letter there."""
    return text[:at] + ("B" if text[at] != "B" else "C") + text[at + 1 :]


WAYS = {
    "v4-header": by_header,
    "v4-url": by_url,
    "v4-chunks": by_chunks,
    "v2-header": by_v2_header,
    "v2-url": by_v2_url,
    "v4-form": by_form,
    "v2-form": by_v2_form,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_token_works_as_it_is_and_in_no_other_way(rig: Rig, way: str) -> None:
    sign = WAYS[way]
    rig.add_user("ann", READ, {**READ, "Action": "s3:PutObject"})
    made, other = await session(rig, "ann"), await session(rig, "ann")
    foreign = await session(rig, "OTHER")
    assert (await sign(rig, made, made.token)).status in {200, 204}
    before = dict(rig.coordinators.current)
    letters = made.token
    wrong = {
        "first letter": changed(letters, 0),
        "middle letter": changed(letters, len(letters) // 2),
        "last letter": changed(letters, len(letters.rstrip("=")) - 1),
        "cut": letters[:-4],
        "longer": letters + "AAAA",
        "padding": letters.rstrip("=") + "==" * 2,
        "spelled otherwise": letters[:40] + "\u00a0" + letters[40:],
        "empty": "",
        "nonsense": "x",
        "of another session": other.token,
        "of another tenant": foreign.token,
        "too long": "A" * (limits.MAX_SESSION_TOKEN_CHARACTERS + 4),
    }
    for change, token in wrong.items():
        if change == "spelled otherwise" and "form" not in way:
            continue
        answer = await sign(rig, made, token)
        assert (answer.status, answer.code) == (400, "InvalidToken"), change
    answer = await sign(rig, made)
    assert (answer.status, answer.code) == (403, "InvalidAccessKeyId"), "dropped"
    permanent = Temporary("ann", SECRET, "")
    assert (await sign(rig, permanent, made.token)).code == "InvalidToken"
    stolen = replace(made, secret=other.secret)
    assert (await sign(rig, stolen, made.token)).code == "SignatureDoesNotMatch"
    mixed = replace(other, token=made.token)
    assert (await sign(rig, mixed, made.token)).code == "InvalidToken"
    for second in (made.token, other.token):
        assert (await sign(rig, made, made.token, second)).code == "InvalidArgument"
    assert rig.coordinators.current == before
    assert (await sign(rig, made, made.token)).status in {200, 204}


@pytest.mark.parametrize("way", ["v4-url", "v2-url"])
async def test_a_token_in_the_query_and_in_a_header_is_refused(rig: Rig, way: str) -> None:
    made = await session(rig)
    token = quote(made.token, safe="")
    if way == "v4-url":
        query = rig.presign(
            "GET",
            "/bucket/key",
            f"X-Amz-Security-Token={token}",
            access_key=made.access_key,
            secret=made.secret,
        )
    else:
        query = signing_v2.url(
            rig,
            headers={"x-amz-security-token": made.token},
            access_key=made.access_key,
            secret=made.secret,
        )
    headers = {"host": rig.host, "x-amz-security-token": made.token}
    assert (await rig.send("GET", "/bucket/key", query, b"", headers)).code == "InvalidArgument"


async def test_a_token_alone_is_no_proof(rig: Rig) -> None:
    made = await session(rig)
    for query, headers in (
        ("", {"x-amz-security-token": made.token}),
        (f"X-Amz-Security-Token={quote(made.token, safe='')}", {}),
    ):
        answer = await rig.send("GET", "/bucket/key", query, b"", {"host": rig.host, **headers})
        assert answer.status in {400, 501}
    fields = {"key": "new", "x-amz-security-token": made.token}
    assert (await form_client.post(rig, fields)).code == "InvalidToken"


async def test_sessions_that_are_remembered_are_bounded(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_KNOWN_SESSIONS", 3)
    made = [await session(rig) for _ in range(6)]
    for each in made * 2:
        assert await status(rig, each) == 200
        assert len(rig.keys._sessions) <= 3
