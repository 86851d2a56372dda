"""Bodies of requests: decode them (aws-chunked) and verify length, Content-MD5, signed SHA-256
and checksum (in header or trailer).

Source: docs/s3-compatibility.md, "Integrity".
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from functools import partial
from typing import Final, Protocol

from common import limits
from common.http.records import HttpRequest
from common.limits import MIB
from common.ports import Buffer, Workers
from gateway.checksums import Algorithm, new_checksum
from gateway.ingest import INLINE_BYTES, HashBacklog, Ingest
from gateway_s3 import errors
from gateway_s3.auth.chunked import ChunkDecoder, announced_trailers, payload_bytes
from gateway_s3.auth.sigv4 import Payload, Verified
from gateway_s3.errors import S3Error
from gateway_s3.request.checksums import (
    content_md5,
    expected_checksum,
    header_of,
    parse_checksum,
)

MANY_PIECES: Final = 16
SMALL_PIECE_BYTES: Final = 4096
"""More than MANY_PIECES that are smaller than this on average are joined: a body in chunks of one
byte must not become as many objects."""
HELD_BYTES: Final = 1 * MIB
"""Bytes that a signed chunk may always hold; SDKs send 64 KiB to 1 MiB."""


class _Running(Protocol):
    def update(self, data: Buffer, /) -> object: ...
    def digest(self) -> bytes: ...


class IncomingBody:
    """The body of one request.

    Args:
        request: its body is not yet touched.
        verified: how the body is bound to the signature.
        stored: the checksum that must be known at the end; None: the one that the client says, or
            CRC64NVME, as S3 does.
        strict: a checksum that the client says must be the stored one.
        required: and the client must say it.
        checksum_is_of_body: False: a checksum header is of something else (the finished object).
        needs_md5: False: its MD5 is computed only to be compared with the client's.

    Raises:
        S3Error: the head promises no length, too much, or contradicts itself.
    """

    def __init__(
        self,
        request: HttpRequest,
        verified: Verified,
        *,
        stored: Algorithm | None = None,
        strict: bool = False,
        required: bool = False,
        checksum_is_of_body: bool = True,
        needs_md5: bool = True,
    ) -> None:
        self.size = payload_bytes(request, verified.payload)
        trailers = announced_trailers(request, verified.payload)
        self._expected = expected_checksum(request, trailers) if checksum_is_of_body else None
        self._content_md5 = content_md5(request)
        self._hashes_md5 = needs_md5 or self._content_md5 is not None
        self._verified = verified
        self._body = request.body
        said = self._expected.algorithm if self._expected is not None else None
        if strict and stored is not None and said is not stored and (said or required):
            raise S3Error(
                errors.INVALID_REQUEST,
                "Checksum Type mismatch occurred, expected checksum Type: "
                f"{stored.value.lower()}, "
                f"actual checksum Type: {said.value.lower() if said else 'null'}",
            )
        self.algorithm = stored or said or Algorithm.CRC64NVME
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._checksums: dict[Algorithm, _Running] = {
            algorithm: new_checksum(algorithm)
            for algorithm in {self.algorithm, said or self.algorithm}
        }
        self._sha256: _Running | None = None
        if verified.payload is Payload.HASHED:
            self._sha256 = self._checksums.get(Algorithm.SHA256) or hashlib.sha256()
        self._trailer: dict[str, str] = {}
        self._decoder: ChunkDecoder | None = None
        if verified.payload.is_chunked:
            self._decoder = ChunkDecoder(verified, decoded_bytes=self.size, trailers=trailers)
            self._decodes_slowly = verified.payload is not Payload.UNSIGNED_CHUNKS_TRAILER
            self._released: deque[Buffer] = deque()
            self._ended = False
            self._held_bytes = 0

    @property
    def is_vouched_for(self) -> bool:
        """Return whether the client sent a digest of the body, beside the signature."""
        return self._expected is not None or self._content_md5 is not None

    def ingest(self, workers: Workers, backlog: HashBacklog) -> Ingest:
        """The pipeline of this body; only once."""
        slow: list[_Running] = [self._md5] if self._hashes_md5 else []
        fast: list[_Running] = []
        for algorithm, running in self._checksums.items():
            (fast if algorithm.is_crc else slow).append(running)
        if self._sha256 is not None and self._sha256 not in slow:
            slow.append(self._sha256)
        self._workers = workers
        self._backlog = backlog
        return Ingest(
            receive=self._body.receive if self._decoder is None else self._receive_decoded,
            size=self.size,
            slow=slow,
            fast=fast,
            check=self._check,
            workers=workers,
            backlog=backlog,
            close=None if self._decoder is None else partial(self._hold, 0),
        )

    def md5(self) -> bytes:
        """MD5 of the whole body, once it is in."""
        return self._md5.digest()

    def checksum(self) -> bytes:
        """The stored checksum's digest of the whole body, once it is in."""
        return self._checksums[self.algorithm].digest()

    async def _receive_decoded(self) -> Buffer:
        decoder = self._decoder
        assert decoder is not None
        while not self._released:
            if self._ended:
                return b""
            data = await self._body.receive()
            if not len(data):
                self._ended = True
                self._trailer = decoder.finish()
                return b""
            if self._decodes_slowly and len(data) > INLINE_BYTES:
                pieces = await self._workers.run(lambda data=data: decoder.feed(data))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            else:
                pieces = decoder.feed(data)
            self._hold(0 if pieces else self._held_bytes + len(data))
            if len(pieces) > MANY_PIECES and sum(map(len, pieces)) < SMALL_PIECE_BYTES * len(
                pieces
            ):
                self._released.append(b"".join(pieces))
            else:
                self._released.extend(pieces)
        return self._released.popleft()

    def _hold(self, count: int) -> None:
        """Account for what a chunk holds back until its signature is known to hold.

        Raises:
            S3Error: SlowDown: a large chunk when all together hold too much.
        """
        self._backlog.held_bytes += count - self._held_bytes
        self._held_bytes = count
        if count > HELD_BYTES and self._backlog.held_bytes > limits.MAX_HELD_CHUNKS_BYTES:
            raise S3Error(errors.SLOW_DOWN)

    def _check(self) -> None:
        """Hold the digests of the whole body against what was promised."""
        if self._sha256 is not None:
            signed = self._verified.payload_sha256
            assert signed is not None
            if not hmac.compare_digest(self._sha256.digest(), signed):
                raise S3Error(errors.CONTENT_SHA256_MISMATCH)
        if self._content_md5 is not None and self._md5.digest() != self._content_md5:
            raise S3Error(errors.BAD_DIGEST)
        if self._expected is not None:
            algorithm = self._expected.algorithm
            digest = self._expected.digest
            if digest is None:
                digest = parse_checksum(algorithm, self._trailer[header_of(algorithm)])
            if self._checksums[algorithm].digest() != digest:
                raise S3Error(
                    errors.BAD_DIGEST,
                    f"The {algorithm.value} you specified did not match the calculated checksum.",
                )
