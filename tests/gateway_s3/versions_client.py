"""What tests ask of a bucket with versions, in few words."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway_rig import Answer, Rig


@dataclass(frozen=True)
class Listed:
    """A row of ListObjectVersions."""

    key: str
    version: str
    is_latest: bool
    is_marker: bool
    etag: str | None = None
    size: int | None = None


def version_of(answer: Answer) -> str:
    """The version id that an answer names."""
    return answer.headers["x-amz-version-id"]


async def set_versioning(rig: Rig, status: str, bucket: str = "bucket") -> Answer:
    """PutBucketVersioning."""
    body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
    return await rig.ask("PUT", f"/{bucket}", "versioning=", body)


async def put(rig: Rig, key: str, body: bytes, headers: Mapping[str, str] | None = None) -> str:
    """Put an object; its version id."""
    return version_of(await rig.put(f"/bucket/{key}", body, headers))


async def get(rig: Rig, key: str, version: str | None = None, method: str = "GET") -> Answer:
    """GET or HEAD, of a version."""
    query = "" if version is None else f"versionId={version}"
    return await rig.ask(method, f"/bucket/{key}", query)


async def delete(rig: Rig, key: str, version: str | None = None) -> Answer:
    """DELETE, of a version; it must succeed."""
    query = "" if version is None else f"versionId={version}"
    answer = await rig.ask("DELETE", f"/bucket/{key}", query)
    assert answer.status == 204, answer.body
    return answer


async def delete_many(rig: Rig, *objects: str) -> Answer:
    """DeleteObjects of these elements."""
    document = "".join(f"<Object>{each}</Object>" for each in objects)
    body = f"<Delete>{document}</Delete>".encode()
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    return await rig.ask("POST", "/bucket", "delete=", body, {"content-md5": md5})


def one_part(etag: str) -> bytes:
    """CompleteMultipartUpload of the part 1."""
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    return f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()


def rows_of(answer: Answer) -> list[Listed]:
    """The rows of ListObjectVersions, in the document's order."""
    assert answer.status == 200, answer.body
    rows = []
    for element in answer.xml():
        if element.tag in {"Version", "DeleteMarker"}:
            size = element.findtext("Size")
            rows.append(
                Listed(
                    element.findtext("Key") or "",
                    element.findtext("VersionId") or "",
                    element.findtext("IsLatest") == "true",
                    element.tag == "DeleteMarker",
                    element.findtext("ETag"),
                    None if size is None else int(size),
                )
            )
    return rows


async def versions(rig: Rig, query: str = "") -> list[Listed]:
    """All rows of one page of ListObjectVersions."""
    return rows_of(await rig.ask("GET", "/bucket", "versions=" + query))


async def ids(rig: Rig, key: str) -> list[str]:
    """The versions of a key, the latest first; a delete marker with a ``-`` before it."""
    return [
        ("-" if row.is_marker else "") + row.version
        for row in await versions(rig)
        if row.key == key
    ]


async def live(rig: Rig) -> list[str]:
    """The keys that ListObjectsV2 shows."""
    answer = await rig.ask("GET", "/bucket", "list-type=2")
    return answer.texts("Contents/Key")


def only(values: Sequence[str]) -> str:
    """The one value there is."""
    (value,) = values
    return value
