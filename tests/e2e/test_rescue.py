"""Every coordinator and gateway is gone for ever, and n-k cells: a kit brings the objects back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from e2e_swarm import QUICK, Swarm, wait_until

from rescue.file_names import name_of

OBJECTS = int(os.environ.get("ALVEARY_RESCUE_OBJECTS", "12"))
"""Small ones beside the others."""
PART = 5 << 20
KEYS = ("a", "a/b", "a/b/", "../../etc/passwd", "/", "ü/%2F\n", "L" * 600, "A/B")


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    made = Swarm(tmp_path / "swarm", cells=6)
    made.configure("coordinator", **QUICK, journal="on")
    made.start()
    try:
        yield made
    finally:
        made.destroy()


def body_of(key: str, size: int = 3000) -> bytes:
    return hashlib.shake_128(key.encode()).digest(size)


class Written:
    """What clients wrote, and what they were told of it."""

    def __init__(self, s3: Any) -> None:
        self.bodies: dict[tuple[str, str, str], bytes] = {}
        """By bucket, key and version id."""
        self.heads: dict[tuple[str, str, str], Any] = {}
        self.s3 = s3

    def put(self, bucket: str, key: str, body: bytes, **more: Any) -> None:
        made = self.s3.put_object(Bucket=bucket, Key=key, Body=body, **more)
        self.note(bucket, key, made.get("VersionId", ""), body)

    def note(self, bucket: str, key: str, version: str, body: bytes) -> None:
        self.bodies[bucket, key, version] = body
        asked = {"VersionId": version} if version else {}
        self.heads[bucket, key, version] = self.s3.head_object(Bucket=bucket, Key=key, **asked)

    def all(self) -> None:
        s3 = self.s3
        for bucket in ("plain", "versions", "empty"):
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        for key in KEYS:
            self.put("plain", key, body_of(key))
        for number in range(OBJECTS):
            self.put("plain", f"many/{number}", body_of(str(number)))
        self.put("plain", "nothing", b"")
        self.put(
            "plain",
            "told",
            body_of("told", 200_000),
            ContentType="text/x-poem",
            CacheControl="no-store",
            Metadata={"colour": "blue"},
            Tagging="state=wet&kind=sea",
        )
        for text in ("one", "two", "three"):
            self.put("versions", "kept", text.encode())
        self.put("versions", "gone", b"gone")
        s3.delete_object(Bucket="versions", Key="gone")
        upload = s3.create_multipart_upload(Bucket="plain", Key="parts", ContentType="x/parts")
        named = {"Bucket": "plain", "Key": "parts", "UploadId": upload["UploadId"]}
        bodies = [body_of("1", PART), body_of("2", 70_000)]
        parts = [
            {
                "PartNumber": number,
                "ETag": s3.upload_part(**named, PartNumber=number, Body=body)["ETag"],
            }
            for number, body in enumerate(bodies, start=1)
        ]
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
        self.note("plain", "parts", "", b"".join(bodies))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(each) for each in path.read_text().splitlines()]


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_all_objects_come_back_without_coordinators_and_n_minus_k_cells(
    swarm: Swarm, tmp_path: Path
) -> None:
    wait_until(lambda: swarm.status()["journal"]["state"] == "kept", 60, "the journal is kept")
    kit = tmp_path / "kit.json"
    swarm.alveary("rescue", "kit", str(kit), f"--data={swarm.root}", "--operator")
    assert kit.stat().st_mode & 0o77 == 0
    with closing(swarm.boto3()) as s3:
        written = Written(s3)
        written.all()
    found = json.loads(swarm.alveary("rescue", "check", "--json", str(kit)).stdout)
    assert (found["complete"], found["tenants"][0]["objects"]) == (True, len(KEYS) + OBJECTS + 4)

    swarm.kill("coordinator", "gateway")
    shutil.rmtree(swarm.root / "coordinator")
    shutil.rmtree(swarm.root / "gateway")
    swarm.kill("cell-01", "cell-02")

    target = tmp_path / "restored"
    command = ("rescue", "restore", "--json", f"--to={target}", "--versions=all", str(kit))
    began = time.monotonic()
    done = swarm.alveary(*command, check=False)
    took_s = time.monotonic() - began
    report = json.loads(done.stdout)
    print(f"{report['objects']} versions, {report['bytes']} bytes in {took_s:.1f} s")
    assert (report["missing"], len(report["silent_cells"])) == (0, 2)
    assert (done.returncode, report["journal"]["may_lack_newest"]) == (0, False)
    check_files(target, written)
    assert lines_of(target / "missing.jsonl") == []

    again = json.loads(swarm.alveary(*command, check=False).stdout)
    assert (again["restored"], again["kept"]) == (0, report["restored"])


def check_files(target: Path, written: Written) -> None:
    lines = lines_of(target / "objects.jsonl")
    assert {each["bucket"] for each in lines if each["kind"] == "bucket"} == {
        "plain",
        "versions",
        "empty",
    }
    (marker,) = [each for each in lines if each["kind"] == "delete-marker"]
    assert (marker["key"], marker["is_latest"]) == ("gone", True)
    objects = {
        (each["bucket"], each["key"], each["version_id"]): each
        for each in lines
        if each["kind"] == "object"
    }
    assert objects.keys() == written.bodies.keys()
    for named, body in written.bodies.items():
        record, head = objects[named], written.heads[named]
        file = target / record["path"]
        assert file.read_bytes() == body
        assert int(file.stat().st_mtime) == int(head["LastModified"].timestamp())
        assert record["headers"].get("content-type") == head["ContentType"]
        assert record["headers"].get("cache-control") == head.get("CacheControl")
        assert record["metadata"] == head["Metadata"]
        assert f'"{record["etag"]}"' == head["ETag"]
        _, _, below = record["path"].split("/", 2)
        assert name_of(below)[0].decode() == named[1]
    assert objects["plain", "told", ""]["tags"] == {"state": "wet", "kind": "sea"}
    assert len(objects["plain", "parts", ""]["parts"]) == 2
    assert sorted(each["is_latest"] for each in objects.values() if each["key"] == "kept") == [
        False,
        False,
        True,
    ]
