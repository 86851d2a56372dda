"""The object that an upload in parts becomes when it is completed. Pure: parts go in.

Source: docs/object-format.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial

from common import limits
from common.data_classes import dataclass
from common.errors import Corrupt, NotFound, Refused
from common.format.envelope import InnerLayer
from common.format.manifest import MANIFEST_VERSION, Manifest
from common.format.objects import (
    METADATA_VERSION,
    Checksum,
    ObjectMetadata,
    PartSpan,
    pack_parts,
    part_spans,
)
from common.reasons import Absence, Damage, Refusal
from gateway.checksums import Algorithm, combine, composite, encode
from gateway.parts import MultipartUpload, Part


@dataclass(frozen=True, slots=True)
class NamedPart:
    """A part as the client names it to complete an upload. ``etag``: without quotes."""

    number: int
    etag: str
    checksums: Mapping[Algorithm, str]


def choose(
    upload: MultipartUpload, wanted: Sequence[NamedPart], parts: Mapping[int, Part]
) -> list[Part]:
    """Return the parts that the request names, each verified against the request.

    Args:
        upload: that they are of.
        wanted: in ascending order.
        parts: of the upload, by number.

    Raises:
        NotFound: ``no_such_part``: not there, or not with this ETag and checksum.
        Refused: ``part_checksum_differs``, ``part_checksum_missing``, ``part_too_small``,
            ``object_too_large``.
    """
    chosen: list[Part] = []
    for each in wanted:
        part = parts.get(each.number)
        if part is None or part.etag != each.etag:
            raise _invalid(each)
        _check_checksums(upload, each, part)
        chosen.append(part)
    for part in chosen[:-1]:
        if part.manifest.size < limits.MIN_PART_BYTES:
            raise Refused(
                Refusal.PART_TOO_SMALL,
                size=part.manifest.size,
                least=limits.MIN_PART_BYTES,
                part=part.row.part_number,
                etag=part.etag,
            )
    if sum(part.manifest.size for part in chosen) > limits.MAX_OBJECT_BYTES:
        raise Refused(Refusal.OBJECT_TOO_LARGE, most=limits.MAX_OBJECT_BYTES)
    return chosen


def _check_checksums(upload: MultipartUpload, named: NamedPart, part: Part) -> None:
    """Hold a part against the checksums that the request says it has."""
    for algorithm, value in named.checksums.items():
        if algorithm is upload.algorithm:
            if encode(part.metadata.checksum) != value:
                raise _invalid(named)
        elif upload.is_explicit:
            raise Refused(
                Refusal.PART_CHECKSUM_DIFFERS, algorithm=algorithm.value.lower(), part=named.number
            )
    if upload.info.composite and upload.algorithm not in named.checksums:
        raise Refused(
            Refusal.PART_CHECKSUM_MISSING,
            algorithm=upload.algorithm.value.lower(),
            part=named.number,
        )


def whole_etag(digests: Sequence[bytes]) -> str:
    """The MD5 of the parts' MD5s, and their number."""
    digest = hashlib.md5(b"".join(digests), usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(digests)}"


def is_made_of(metadata: ObjectMetadata, wanted: Sequence[NamedPart]) -> bool:
    """Return whether an object is the one that these very parts make: their numbers, their ETags
    and, where they are given, their checksums.

    Args:
        metadata: of the object.
        wanted: as a request names them, in ascending order.
    """
    try:
        digests = [bytes.fromhex(part.etag) for part in wanted]
    except ValueError:
        return False
    spans = list(part_spans(metadata))
    return (
        all(digest.hex() == part.etag for digest, part in zip(digests, wanted, strict=True))
        and [span.number for span in spans] == [part.number for part in wanted]
        and metadata.etag == whole_etag(digests)
        and all(map(partial(_fits_checksum, metadata), spans, wanted))
    )


def _fits_checksum(metadata: ObjectMetadata, span: PartSpan, part: NamedPart) -> bool:
    if metadata.checksum is None:
        return True
    algorithm = Algorithm(metadata.checksum.algorithm)
    said = part.checksums.get(algorithm)
    size = algorithm.digest_bytes
    kept = metadata.part_checksums[span.index * size : (span.index + 1) * size]
    return said is None or not kept or said == encode(kept)


def whole_checksum(upload: MultipartUpload, parts: Sequence[Part]) -> Checksum | None:
    """The object's checksum; None when a copied part has none."""
    algorithm = upload.algorithm
    if any(not part.metadata.checksum for part in parts):
        return None
    if upload.info.composite:
        digests = [part.metadata.checksum for part in parts]
        return Checksum(algorithm.value, composite(algorithm, digests), composite=True)
    digest = combine(algorithm, [(part.metadata.checksum, part.manifest.size) for part in parts])
    return Checksum(algorithm.value, encode(digest))


def assemble(
    upload: MultipartUpload, parts: Sequence[Part], modified_ms: int
) -> tuple[Manifest, ObjectMetadata]:
    """The object that these parts make, in this order.

    Args:
        modified_ms: when, unix milliseconds.
    """
    checksum = whole_checksum(upload, parts)
    part_checksums = b""
    if checksum is not None:
        part_checksums = b"".join([part.metadata.checksum for part in parts])
    metadata = ObjectMetadata(
        METADATA_VERSION,
        whole_etag([part.metadata.md5 for part in parts]),
        modified_ms,
        upload.info.headers,
        upload.info.user,
        checksum,
        pack_parts([(part.row.part_number, part.manifest.size) for part in parts]),
        part_checksums,
        upload.info.owner,
    )
    keys = dict.fromkeys([key for part in parts for key in part.manifest.keys])
    manifest = Manifest(
        MANIFEST_VERSION,
        sum(part.manifest.size for part in parts),
        tuple([page for part in parts for page in part.manifest.pages]),
        tuple(keys),
        metadata.pack(),
        _inner_layer(upload, parts),
    )
    return manifest, metadata


def _inner_layer(upload: MultipartUpload, parts: Sequence[Part]) -> InnerLayer | None:
    """The inner layer of the parts together, whose object key the upload's envelope has.

    Raises:
        Corrupt: ``bad_metadata``: a part is not protected as its upload is.
    """
    layers = [part.manifest.inner for part in parts]
    if upload.info.envelope is None and layers == [None] * len(parts):
        return None
    kept = [layer.stretches for layer in layers if layer is not None]
    if upload.info.envelope is None or len(kept) < len(parts):
        raise Corrupt(Damage.BAD_METADATA, what="part")
    return InnerLayer(upload.info.envelope, b"".join(kept))


def _invalid(part: NamedPart) -> NotFound:
    return NotFound(Absence.NO_SUCH_PART, part=part.number, etag=part.etag[:128])
