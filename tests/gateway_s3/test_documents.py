"""Documents of clients: whole, checked, bounded in work and memory."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from counted_work import Work, work_of
from gateway_rig import Rig

from common.limits import MAX_XML_BODY_BYTES, MIB
from gateway.ingest import INLINE_BYTES
from gateway_s3.documents import PARSED_PER_BYTE
from gateway_s3.errors import S3Error
from gateway_s3.xml.read import parse_complete_upload, parse_delete

TEXT = b"0123456"


def many_short(count: int) -> bytes:
    """As many elements with text between them as a document may have."""
    return (
        b"<CompleteMultipartUpload>" + (TEXT + b"<Part/>") * count + b"</CompleteMultipartUpload>"
    )


def parts_with_text_between(count: int) -> bytes:
    rows = "".join(
        f"0123456<Part>0123<PartNumber>{n}</PartNumber>456<ETag>x</ETag></Part>"
        for n in range(1, count + 1)
    )
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


def text_in_pieces(count: int) -> bytes:
    """One text that the parser gives in pieces."""
    return b"<Delete><Object><Key>" + b"a&amp;b&#13;" * count + b"</Key></Object></Delete>"


def work(parse: Callable[[bytes], Any], data: bytes) -> Work:
    def attempt() -> None:
        with suppress(S3Error):
            parse(data)

    return work_of(attempt)


@pytest.mark.fault("M2")
@pytest.mark.parametrize(
    ("make", "parse", "count"),
    [
        (parts_with_text_between, parse_complete_upload, 150),
        (text_in_pieces, parse_delete, 20_000),
    ],
)
def test_parsing_is_linear(
    make: Callable[[int], bytes], parse: Callable[[bytes], Any], count: int
) -> None:
    small, large = make(count), make(8 * count)
    assert len(large) <= MAX_XML_BODY_BYTES
    assert work(parse, large).is_within(12, work(parse, small))


@pytest.mark.fault("M2")
def test_a_document_of_what_does_not_belong_there_is_refused_early() -> None:
    tiny = b"<CompleteMultipartUpload><Part>" + b"<a/>" * 119_000
    tiny += b"</Part></CompleteMultipartUpload>"
    for document in (many_short(119_000), tiny):
        done = work(parse_complete_upload, document)
        assert done.lines < 1000
        assert done.allocated_bytes < 2 * len(document)


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


def delete_of(count: int, key_bytes: int = 900) -> bytes:
    rows = "".join(f"<Object><Key>{number:0{key_bytes}}</Key></Object>" for number in range(count))
    return f"<Delete><Quiet>true</Quiet>{rows}</Delete>".encode()


async def ask_delete(rig: Rig, body: bytes) -> int:
    headers = {"x-amz-checksum-crc32": _crc32(body)}
    return (await rig.ask("POST", "/bucket", "delete=", body, headers)).status


def _crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


@pytest.mark.fault("M2")
async def test_a_large_document_is_parsed_in_a_worker_inside_the_budget(rig: Rig) -> None:
    body = delete_of(1000)
    assert len(body) > INLINE_BYTES
    budget = rig.backend.budget
    total = budget.free_bytes
    held = []
    run = rig.backend.workers.run

    class Watched:
        async def run(self, work: Callable[[], Any]) -> Any:
            held.append(total - budget.free_bytes)
            return await run(work)

    object.__setattr__(rig.backend, "workers", Watched())
    assert await ask_delete(rig, body) == 200
    assert max(held) == PARSED_PER_BYTE * len(body)
    assert budget.free_bytes == total
    assert rig.backend.gathered.held_bytes == 0


@pytest.mark.fault("M2")
async def test_documents_of_many_wait_for_room(
    rig: Rig, autojump_clock: trio.testing.MockClock
) -> None:
    budget = rig.backend.budget
    assert budget.take_nowait(budget.free_bytes - MIB)
    began = trio.current_time()
    assert await ask_delete(rig, delete_of(1000)) == 503
    assert trio.current_time() > began
    assert await ask_delete(rig, delete_of(2)) == 200
    assert rig.backend.gathered.held_bytes == 0
    assert budget.free_bytes == MIB


async def test_documents_are_vouched_for_and_bounded(rig: Rig) -> None:
    answer = await rig.ask("POST", "/bucket", "delete=", delete_of(1))
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    answer = await rig.ask("POST", "/bucket", "delete=", bytes(MAX_XML_BODY_BYTES + 1))
    assert (answer.status, answer.code) == (400, "MaxMessageLengthExceeded")
    answer = await rig.ask("PUT", "/other", "", b"", payload="0" * 64)
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")
    assert (await rig.ask("PUT", "/other", "", b"")).status == 200
