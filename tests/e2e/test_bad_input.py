"""Bad input over real sockets: the right error, nothing half visible, nothing left behind."""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from e2e_raw import RawClient, read_answer
from e2e_swarm import Swarm, wait_until

MIB = 1024 * 1024
HOUR = datetime.timedelta(hours=1)


@pytest.fixture(scope="module")
def attacked(make_swarm: Callable[..., Swarm]) -> Swarm:
    """Three cells at 2/3 with a bucket and one object."""
    swarm = make_swarm(cells=3, redundancy="2/3")
    swarm.start()
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="kept", Body=b"kept")
    return swarm


@pytest.fixture
def raw(attacked: Swarm) -> RawClient:
    return RawClient(attacked)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def names(swarm: Swarm) -> list[str]:
    with closing(swarm.boto3()) as s3:
        return [row["Key"] for row in s3.list_objects_v2(Bucket="bucket").get("Contents", [])]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(attacked: Swarm) -> None:
    """One object of the module's start, and its shards, are all there is at the end."""
    wait_until(lambda: attacked.shards() == 3, 30, "the kept object's shards are counted")


def test_a_connection_cut_in_the_middle_of_a_put_leaves_nothing(
    attacked: Swarm, raw: RawClient
) -> None:
    for sent in (0, 1, 100_000, 3 * MIB):
        with raw.connect() as stream:
            stream.sendall(raw.head("PUT", "/bucket/cut", length=8 * MIB))
            stream.sendall(os.urandom(sent))
    with raw.connect() as stream:
        stream.sendall(raw.head("PUT", "/bucket/cut-at-64", length=100 * MIB))
        for _ in range(70):
            stream.sendall(bytes(MIB))
    assert names(attacked) == ["kept"]
    wait_until(lambda: attacked.shards() == 3, 40, "shards of failed puts are gone")


def test_a_body_with_another_digest_is_refused_and_leaves_nothing(
    attacked: Swarm, raw: RawClient
) -> None:
    body = os.urandom(3 * MIB)
    wrong = hashlib.sha256(b"another").hexdigest()
    answer = raw.request("PUT", "/bucket/wrong", body, sha256=wrong)
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")
    md5 = base64.b64encode(hashlib.md5(b"another").digest()).decode()
    answer = raw.request("PUT", "/bucket/wrong", body, headers={"content-md5": md5})
    assert (answer.status, answer.code) == (400, "BadDigest")
    answer = raw.request("PUT", "/bucket/wrong", body, headers={"content-md5": "rubbish"})
    assert (answer.status, answer.code) == (400, "InvalidDigest")
    crc = base64.b64encode(b"\0\0\0\1").decode()
    answer = raw.request("PUT", "/bucket/wrong", body, headers={"x-amz-checksum-crc32": crc})
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert names(attacked) == ["kept"]
    wait_until(lambda: attacked.shards() == 3, 40, "shards of failed puts are gone")


def test_bytes_after_the_promised_body_are_no_part_of_it(attacked: Swarm, raw: RawClient) -> None:
    body = b"0123456789"
    with raw.connect() as stream:
        stream.sendall(
            raw.head("PUT", "/bucket/longer", length=len(body)) + body + b"surplus\r\n\r\n"
        )
        assert read_answer(stream).status == 200
        surplus = read_answer(stream).status
    with closing(attacked.boto3()) as s3:
        kept = s3.get_object(Bucket="bucket", Key="longer")["Body"].read()
        s3.delete_object(Bucket="bucket", Key="longer")
    assert kept == body
    assert surplus in (0, 400, 501), "the surplus is read as another request, and is none"


def test_a_signature_that_does_not_hold_is_refused(attacked: Swarm, raw: RawClient) -> None:
    forged = RawClient(attacked, secret="x" * 40)
    answer = forged.request("PUT", "/bucket/forged", b"x" * 100)
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    unknown = RawClient(attacked, key="AKIAUNKNOWNUNKNOWN00")
    answer = unknown.request("GET", "/bucket/kept")
    assert (answer.status, answer.code) == (403, "InvalidAccessKeyId")
    for skew in (-HOUR, HOUR):
        answer = raw.send(raw.head("GET", "/bucket/kept", at=now() + skew))
        assert (answer.status, answer.code) == (403, "RequestTimeTooSkewed")
    answer = raw.send(b"GET /bucket/kept HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (answer.status, answer.code) == (403, "AccessDenied")


def test_an_expired_or_changed_url_is_refused(raw: RawClient) -> None:
    def get(target: str) -> tuple[int, str]:
        answer = raw.send(f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1:{raw.port}\r\n\r\n".encode())
        return answer.status, answer.code

    good = raw.presigned("GET", "/bucket/kept", expires_s=60, at=now())
    assert get(good) == (200, "")
    assert get(good.replace("kept", "kepT")) == (403, "SignatureDoesNotMatch")
    old = raw.presigned("GET", "/bucket/kept", expires_s=60, at=now() - HOUR)
    assert get(old) == (403, "AccessDenied")
    for lifetime in (0, 604_801):
        endless = raw.presigned("GET", "/bucket/kept", expires_s=lifetime, at=now())
        assert get(endless) == (400, "AuthorizationQueryParametersError")


def test_a_changed_chunk_is_refused_before_it_is_used(attacked: Swarm, raw: RawClient) -> None:
    body = b"10000;chunk-signature=" + b"0" * 64 + b"\r\n" + b"x" * 65536 + b"\r\n"
    body += b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n"
    answer = raw.request(
        "PUT",
        "/bucket/chunked",
        body,
        sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        headers={"content-encoding": "aws-chunked", "x-amz-decoded-content-length": "65536"},
    )
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    assert names(attacked) == ["kept"]


def test_a_hundred_thousand_headers_are_refused_in_bounded_memory(
    attacked: Swarm, raw: RawClient
) -> None:
    before = attacked.peak_mib("gateway")
    many = b"".join(b"x-%d: y\r\n" % number for number in range(100_000))
    answer = raw.send(b"GET / HTTP/1.1\r\nhost: x\r\n", many, b"\r\n")
    assert answer.status in (0, 400, 431)
    long = b"GET /" + b"a" * 2_000_000 + b" HTTP/1.1\r\n\r\n"
    assert raw.send(long).status in (0, 400, 414, 431)
    assert raw.send(os.urandom(100_000) + b"\r\n\r\n").status in (0, 400, 431)
    assert attacked.peak_mib("gateway") - before < 16


@pytest.mark.incident(24)
@pytest.mark.parametrize(
    "key", ["..", "../../etc/passwd", "a/../b", "%00", "%2F", "a%2F%2Fb", "//", ".", "%E8%9C%82"]
)
def test_an_odd_key_is_only_a_name(attacked: Swarm, raw: RawClient, key: str) -> None:
    path = f"/bucket/{key}"
    put = raw.request("PUT", path, b"odd")
    assert (put.status, put.code) in {(200, ""), (400, "InvalidURI"), (400, "InvalidArgument")}
    got = raw.request("GET", path)
    if put.status == 200:
        assert (got.status, got.body) == (200, b"odd")
        assert raw.request("DELETE", path).status == 204
    assert names(attacked) == ["kept"]


def test_a_key_of_1025_bytes_is_refused_and_one_of_1024_is_not(raw: RawClient) -> None:
    answer = raw.request("PUT", "/bucket/" + "k" * 1025, b"x")
    assert (answer.status, answer.code) == (400, "KeyTooLongError")
    assert raw.request("PUT", "/bucket/" + "k" * 1024, b"x").status == 200
    assert raw.request("DELETE", "/bucket/" + "k" * 1024).status == 204


@pytest.mark.incident(9)
def test_documents_that_are_bombs_or_too_long_are_refused(attacked: Swarm, raw: RawClient) -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(10))
    bomb = f"<!DOCTYPE d [{levels}]><Delete><Object><Key>&l9;</Key></Object></Delete>".encode()
    rows = "<Object><Key>k</Key></Object>" * 10_001
    for document in (bomb, f"<Delete>{rows}</Delete>".encode(), b"<Delete>", b"\xff\xfe"):
        md5 = base64.b64encode(hashlib.md5(document).digest()).decode()
        answer = raw.request(
            "POST", "/bucket", document, query="delete=", headers={"content-md5": md5}
        )
        assert (answer.status, answer.code) == (400, "MalformedXML")
    assert names(attacked) == ["kept"]


def test_lengths_that_cannot_be_are_refused(raw: RawClient) -> None:
    answer = raw.send(raw.head("PUT", "/bucket/huge", length=6 * 1024 * MIB))
    assert (answer.status, answer.code) == (400, "EntityTooLarge")
    answer = raw.send(raw.head("PUT", "/bucket/none", length=None))
    assert (answer.status, answer.code) in {(411, "MissingContentLength"), (400, "")}
    for length in ("-1", "1e3", "0x10", "1, 2"):
        head = raw.head("PUT", "/bucket/odd", length=None)
        answer = raw.send(head[:-2] + f"content-length: {length}\r\n\r\n".encode(), b"x")
        assert answer.status in (0, 400, 411), length
    head = raw.head("PUT", "/bucket/both", length=5)
    answer = raw.send(head[:-2] + b"transfer-encoding: chunked\r\n\r\n", b"0\r\n\r\n")
    assert answer.status in (0, 400, 501), "two framings would be two readings"


def test_garbage_at_the_native_listeners_stops_no_daemon(attacked: Swarm) -> None:
    for name in ("coordinator", "cell-00"):
        text = (Path(attacked.root) / name / "config.toml").read_text()
        port = int(text.partition('listen = "127.0.0.1:')[2].partition('"')[0])
        for garbage in (b"", b"\0" * 1000, os.urandom(100_000), b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
                try:
                    stream.sendall(garbage)
                    stream.shutdown(socket.SHUT_WR)
                    while stream.recv(65536):
                        pass
                except OSError:  # hung up on, at whichever step
                    pass
    assert all(each["running"] for each in attacked.status()["processes"])


def test_after_all_of_it_only_the_kept_object_and_its_shards_are_there(attacked: Swarm) -> None:
    assert names(attacked) == ["kept"]
    wait_until(lambda: attacked.shards() == 3, 40, "only the kept object's shards are left")
    with closing(attacked.boto3()) as s3:
        assert s3.get_object(Bucket="bucket", Key="kept")["Body"].read() == b"kept"
    assert all(each["running"] for each in attacked.status()["processes"])
