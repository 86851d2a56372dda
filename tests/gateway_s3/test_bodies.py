"""Bodies are held against everything that is said of them, in every form they come in."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest

from common import limits
from common.http.records import BytesBody, HttpRequest
from common.ports import Buffer
from gateway.checksums import Algorithm
from gateway.ingest import HashBacklog, Receive
from gateway_s3.auth.sigv4 import Payload, Verified
from gateway_s3.bodies import HELD_BYTES, MANY_PIECES, IncomingBody
from gateway_s3.errors import S3Error
from sim.world import SimWorkers

DATA = bytes(range(256)) * 40


def verified(payload: Payload, sha256: bytes | None = None) -> Verified:
    return Verified(
        access_key_id="AK",
        payload=payload,
        payload_sha256=sha256,
        signing_key=b"k" * 32,
        seed_signature="0" * 64,
        timestamp="20270101T000000Z",
        scope="20270101/us-east-1/s3/aws4_request",
        presigned=False,
    )


def request(body: bytes, **headers: str) -> HttpRequest:
    pairs = [(b"host", b"s3"), (b"content-length", str(len(body)).encode())]
    pairs += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return HttpRequest("PUT", b"/b/k", b"/b/k", b"", pairs, BytesBody(body))


async def take(body: IncomingBody) -> tuple[bytes, list[int]]:
    got = bytearray()
    sizes = []

    async def write(receive: Receive) -> None:
        while len(got) < body.size:
            chunk: Buffer = await receive()
            sizes.append(len(chunk))
            got.extend(chunk)

    await body.ingest(SimWorkers(), HashBacklog()).through(write)
    return bytes(got), sizes


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


async def test_a_plain_body_gets_md5_and_crc64_when_nothing_is_asked() -> None:
    body = IncomingBody(request(DATA), verified(Payload.UNSIGNED))
    got, _ = await take(body)
    assert got == DATA
    assert body.md5() == hashlib.md5(DATA).digest()
    assert body.algorithm is Algorithm.CRC64NVME
    assert len(body.checksum()) == 8
    assert not body.is_vouched_for


@pytest.mark.incident(7)
@pytest.mark.parametrize("right", [True, False])
async def test_signed_sha256_content_md5_and_checksums_must_hold(right: bool) -> None:
    data = DATA if right else DATA[:-1] + b"!"
    crc = zlib.crc32(DATA).to_bytes(4, "big")
    cases = [
        ({}, hashlib.sha256(DATA).digest(), "XAmzContentSHA256Mismatch"),
        ({"content_md5": b64(hashlib.md5(DATA).digest())}, None, "BadDigest"),
        ({"x_amz_checksum_crc32": b64(crc)}, None, "BadDigest"),
        ({"x_amz_checksum_sha1": b64(hashlib.sha1(DATA).digest())}, None, "BadDigest"),
        ({"x_amz_checksum_sha256": b64(hashlib.sha256(DATA).digest())}, None, "BadDigest"),
    ]
    for headers, sha256, code in cases:
        kind = Payload.HASHED if sha256 else Payload.UNSIGNED
        body = IncomingBody(request(data, **headers), verified(kind, sha256))
        if right:
            assert (await take(body))[0] == DATA
        else:
            with pytest.raises(S3Error, match=code):
                await take(body)


@pytest.mark.parametrize("right", [True, False])
async def test_a_trailer_checksum_must_hold(right: bool) -> None:
    crc = b64(zlib.crc32(DATA if right else b"other").to_bytes(4, "big"))
    wire = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (len(DATA), DATA, crc.encode())
    body = IncomingBody(
        request(
            wire,
            x_amz_trailer="x-amz-checksum-crc32",
            x_amz_decoded_content_length=str(len(DATA)),
        ),
        verified(Payload.UNSIGNED_CHUNKS_TRAILER),
    )
    assert body.algorithm is Algorithm.CRC32
    if right:
        assert (await take(body))[0] == DATA
    else:
        with pytest.raises(S3Error, match="BadDigest"):
            await take(body)


async def test_chunks_of_one_byte_do_not_become_as_many_objects() -> None:
    wire = b"".join(b"1\r\n%c\r\n" % byte for byte in DATA) + b"0\r\n\r\n"
    body = IncomingBody(
        request(wire, x_amz_decoded_content_length=str(len(DATA))),
        verified(Payload.UNSIGNED_CHUNKS_TRAILER),
    )
    got, sizes = await take(body)
    assert got == DATA
    assert len(sizes) <= MANY_PIECES


async def test_large_signed_chunks_are_put_off_when_too_much_is_held() -> None:
    size = 3 * HELD_BYTES
    wire = b"%x;chunk-signature=%b\r\n" % (size, b"0" * 64) + bytes(size)
    for crowded, code in ((True, "SlowDown"), (False, "IncompleteBody")):
        backlog = HashBacklog()
        backlog.held_bytes = before = limits.MAX_HELD_CHUNKS_BYTES if crowded else 0
        asked = request(b"", x_amz_decoded_content_length=str(size))
        asked.body = Pieces([wire[at : at + 65536] for at in range(0, len(wire), 65536)])
        body = IncomingBody(asked, verified(Payload.SIGNED_CHUNKS))

        async def write(receive: Receive) -> None:
            await receive()

        with pytest.raises(S3Error, match=code):
            await body.ingest(SimWorkers(), backlog).through(write)
        assert backlog.held_bytes == before


class Pieces:
    """A body in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.length = sum(map(len, pieces))

    async def receive(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


async def test_a_checksum_that_differs_from_the_uploads_is_refused() -> None:
    crc = b64(zlib.crc32(DATA).to_bytes(4, "big"))
    asked = request(DATA, x_amz_checksum_crc32=crc)
    with pytest.raises(S3Error, match="InvalidRequest"):
        IncomingBody(asked, verified(Payload.UNSIGNED), stored=Algorithm.SHA256, strict=True)
    body = IncomingBody(asked, verified(Payload.UNSIGNED), stored=Algorithm.CRC64NVME)
    await take(body)
    assert len(body.checksum()) == 8
