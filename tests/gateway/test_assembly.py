"""The object that parts make: which parts may be named, and what the whole is."""

from __future__ import annotations

import hashlib

import pytest

from common import limits
from common.crypto.keys import TenantKey
from common.errors import NotFound, Refused
from common.format.manifest import MANIFEST_VERSION, Manifest, PageEntry
from common.format.objects import METADATA_VERSION, BucketSettings, UploadInfo
from common.ids import BucketId, TenantId, VersionId
from common.wire.messages.multipart import PartRow
from gateway.assembly import NamedPart, assemble, choose, is_made_of
from gateway.checksums import Algorithm, combine, composite, encode, new_checksum
from gateway.parts import MultipartUpload, Part, part_metadata
from gateway.principals import Bucket

LARGE = limits.MIN_PART_BYTES
TENANT = TenantKey(TenantId(bytes(16)), bytes(32))


def upload_with(algorithm: str = "", composite: bool = False) -> MultipartUpload:
    info = UploadInfo(
        METADATA_VERSION, (b"content-type", b"text/plain"), (b"a", b"b"), algorithm, composite
    )
    bucket_id = BucketId(bytes(16))
    bucket = Bucket("bucket", TENANT, bucket_id, BucketSettings(METADATA_VERSION, 0), 1)
    return MultipartUpload(bucket, b"name", bucket_id, VersionId(bytes(16)), info)


def part_of(
    number: int,
    size: int = LARGE,
    algorithm: Algorithm = Algorithm.CRC64NVME,
    *,
    bare: bool = False,
) -> Part:
    """Part ``number``, whose bytes are its number. ``bare``: a copied one without a checksum."""
    checksum = new_checksum(algorithm)
    checksum.update(bytes([number]))
    metadata = part_metadata(
        hashlib.md5(bytes([number])).digest(), number, algorithm, b"" if bare else checksum.digest()
    )
    key = bytes([number]) * 32
    manifest = Manifest(MANIFEST_VERSION, size, (PageEntry(key, size),), (key,), metadata.pack())
    return Part(PartRow(number, VersionId(bytes(16)), size, number, b""), manifest, metadata)


def named(part: Part, **checksums: str) -> NamedPart:
    return NamedPart(
        part.row.part_number,
        part.etag,
        {Algorithm[name]: value for name, value in checksums.items()},
    )


def chosen(upload: MultipartUpload, wanted: list[NamedPart], *parts: Part) -> list[Part]:
    return choose(upload, wanted, {part.row.part_number: part for part in parts})


def test_parts_are_chosen_by_number_and_etag() -> None:
    first, second, third = part_of(1), part_of(2), part_of(3, 1)
    found = chosen(upload_with(), [named(first), named(third)], first, second, third)
    assert found == [first, third]
    for wrong in (NamedPart(4, first.etag, {}), NamedPart(1, second.etag, {})):
        with pytest.raises(NotFound, match="no_such_part") as caught:
            chosen(upload_with(), [wrong], first, second)
        assert caught.value.fields["part"] == wrong.number


def test_every_part_but_the_last_has_the_least_size() -> None:
    small, last = part_of(1, LARGE - 1), part_of(2, 0)
    assert chosen(upload_with(), [named(small)], small) == [small]
    with pytest.raises(Refused, match="part_too_small"):
        chosen(upload_with(), [named(small), named(last)], small, last)


def test_an_object_larger_than_the_largest_is_refused() -> None:
    half = limits.MAX_OBJECT_BYTES // 2
    parts = [part_of(1, half), part_of(2, half), part_of(3, limits.MAX_OBJECT_BYTES % 2 + 1)]
    wanted = [named(part) for part in parts]
    assert chosen(upload_with(), wanted[:2], *parts) == parts[:2]
    with pytest.raises(Refused, match="object_too_large"):
        chosen(upload_with(), wanted, *parts)


def test_a_checksum_that_is_named_must_be_the_parts() -> None:
    part = part_of(1, algorithm=Algorithm.SHA256)
    right, wrong = encode(part.metadata.checksum), encode(bytes(32))
    upload = upload_with("SHA256", composite=True)
    assert chosen(upload, [named(part, SHA256=right)], part) == [part]
    with pytest.raises(NotFound, match="no_such_part"):
        chosen(upload, [named(part, SHA256=wrong)], part)
    with pytest.raises(Refused, match="part_checksum_missing"):
        chosen(upload, [named(part)], part)
    with pytest.raises(Refused, match="part_checksum_differs"):
        chosen(upload, [named(part, SHA256=right, CRC32=encode(bytes(4)))], part)
    # Where the client asked for no checksum, another one than the default says nothing.
    plain = part_of(1)
    assert chosen(upload_with(), [named(plain, CRC32=encode(bytes(4)))], plain) == [plain]


def test_the_whole_has_the_bytes_keys_and_parts_in_order() -> None:
    parts = [part_of(2), part_of(7, 5)]
    manifest, metadata = assemble(upload_with(), parts, 1234)
    assert manifest.size == LARGE + 5
    assert manifest.pages == parts[0].manifest.pages + parts[1].manifest.pages
    assert manifest.keys == parts[0].manifest.keys + parts[1].manifest.keys
    assert manifest.metadata == metadata.pack()
    digests = b"".join([part.metadata.md5 for part in parts])
    assert metadata.etag == hashlib.md5(digests).hexdigest() + "-2"
    assert (metadata.headers, metadata.user) == ((b"content-type", b"text/plain"), (b"a", b"b"))
    assert metadata.modified_ms == 1234


def test_the_checksum_of_the_whole_is_combined_or_composite_or_none() -> None:
    parts = [part_of(1), part_of(2, 5)]
    sized = [(part.metadata.checksum, part.manifest.size) for part in parts]
    _, metadata = assemble(upload_with(), parts, 0)
    assert metadata.checksum is not None
    assert metadata.checksum.value == encode(combine(Algorithm.CRC64NVME, sized))
    assert metadata.part_checksums == sized[0][0] + sized[1][0]

    parts = [part_of(number, algorithm=Algorithm.SHA1) for number in (1, 2)]
    _, metadata = assemble(upload_with("SHA1", composite=True), parts, 0)
    assert metadata.checksum is not None
    digests = [part.metadata.checksum for part in parts]
    assert metadata.checksum.value == composite(Algorithm.SHA1, digests)

    _, metadata = assemble(upload_with(), [part_of(1), part_of(2, bare=True)], 0)
    assert metadata.checksum is None
    assert metadata.part_checksums == b""


def test_an_object_is_known_by_the_very_parts_it_was_made_of() -> None:
    parts = [part_of(1), part_of(3, 5)]
    _, metadata = assemble(upload_with(), parts, 0)
    wanted = [named(part) for part in parts]
    assert is_made_of(metadata, wanted)
    right = encode(parts[1].metadata.checksum)
    assert is_made_of(metadata, [wanted[0], named(parts[1], CRC64NVME=right)])
    others = (
        wanted[:1],
        [wanted[0], NamedPart(2, wanted[1].etag, {})],
        [wanted[0], NamedPart(3, wanted[0].etag, {})],
        [wanted[0], NamedPart(3, "no digest", {})],
        [wanted[0], NamedPart(3, wanted[1].etag.upper(), {})],
        [wanted[0], named(parts[1], CRC64NVME=encode(bytes(8)))],
    )
    for other in others:
        assert not is_made_of(metadata, other)
