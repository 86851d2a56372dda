"""Every client through TLS and in the clear: keys with spaces and pluses are copied and moved,
downloads are resumed, and URLs are presigned as each client does it by default.

boto3, aws-cli and rclone are in the test requirements, the others `make client-test` installs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from e2e_clients import KEYS, LARGE, Clients, all_in
from e2e_swarm import Swarm

BUCKET = "matrix"
OTHER = "matrix-other"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def buckets(s3: Any) -> Iterator[None]:
    for name in (BUCKET, OTHER):
        s3.create_bucket(Bucket=name)
    yield
    for name in (BUCKET, OTHER):
        for row in s3.list_objects_v2(Bucket=name).get("Contents", []):
            s3.delete_object(Bucket=name, Key=row["Key"])


def put_all(s3: Any) -> dict[str, bytes]:
    contents = {key: f"content of {key}".encode() for key in KEYS}
    for key, content in contents.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    return contents


@pytest.mark.fault("B01")
def test_boto3_copies_and_moves(s3: Any) -> None:
    contents = put_all(s3)
    for key in KEYS:
        s3.copy({"Bucket": BUCKET, "Key": key}, OTHER, key)
        s3.copy_object(Bucket=OTHER, Key=f"{key}2", CopySource={"Bucket": OTHER, "Key": key})
        s3.delete_object(Bucket=OTHER, Key=key)
    assert all_in(s3, OTHER) == {f"{key}2": content for key, content in contents.items()}


@pytest.mark.fault("B01", "B36")
def test_aws_cli_copies_and_moves_and_copies_large_objects_in_parts(
    swarm: Swarm, s3: Any, tmp_path: Path
) -> None:
    contents = put_all(s3)
    swarm.aws("s3", "cp", "--recursive", f"s3://{BUCKET}/", f"s3://{OTHER}/copied/")
    swarm.aws("s3", "mv", "--recursive", f"s3://{OTHER}/copied/", f"s3://{OTHER}/moved/")
    assert all_in(s3, OTHER) == {f"moved/{key}": content for key, content in contents.items()}
    assert all_in(s3, BUCKET) == contents
    (tmp_path / "large + file").write_bytes(LARGE)
    swarm.aws("s3", "cp", str(tmp_path / "large + file"), f"s3://{BUCKET}/l + f")
    swarm.aws("s3", "cp", f"s3://{BUCKET}/l + f", f"s3://{OTHER}/l + f")
    swarm.aws("s3", "mv", f"s3://{OTHER}/l + f", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == LARGE


@pytest.mark.fault("B01")
def test_rclone_copies_and_moves(swarm: Swarm, s3: Any, tmp_path: Path) -> None:
    contents = put_all(s3)
    swarm.rclone("copy", f"swarm:{BUCKET}", f"swarm:{OTHER}/copied")
    swarm.rclone("move", f"swarm:{OTHER}/copied", f"swarm:{OTHER}/moved")
    assert all_in(s3, OTHER) == {f"moved/{key}": content for key, content in contents.items()}
    (tmp_path / "large + file").write_bytes(LARGE)
    swarm.rclone("copy", str(tmp_path), f"swarm:{OTHER}/up")
    swarm.rclone("check", "--download", str(tmp_path), f"swarm:{OTHER}/up")


@pytest.mark.fault("B02", "B03", "B04")
@pytest.mark.parametrize("key", KEYS)
def test_urls_that_boto3_presigns_put_get_and_resume(s3: Any, http: httpx.Client, key: str) -> None:
    place = {"Bucket": BUCKET, "Key": key}
    put = http.put(s3.generate_presigned_url("put_object", place), content=b"0123456789")
    assert put.status_code == 200, put.text
    url = s3.generate_presigned_url("get_object", place)
    assert http.get(url).content == b"0123456789"
    resume = {"Range": "bytes=6-", "If-Range": put.headers["etag"]}
    rest = http.get(url, headers=resume)
    assert (rest.status_code, rest.content) == (206, b"6789")
    s3.put_object(Body=b"another content", **place)
    whole = http.get(url, headers=resume)
    assert (whole.status_code, whole.content) == (200, b"another content")


@pytest.mark.slow
@pytest.mark.fault("B01")
def test_s5cmd_copies_and_moves(clients: Clients, s3: Any, tmp_path: Path) -> None:
    s5cmd = clients.s5cmd
    contents = put_all(s3)
    for key in KEYS:
        s5cmd("cp", "--raw", f"s3://{BUCKET}/{key}", f"s3://{BUCKET}/copied/{key}")
    s5cmd("mv", f"s3://{BUCKET}/copied/*", f"s3://{OTHER}/moved/")
    assert all_in(s3, OTHER) == {f"moved/{key}": content for key, content in contents.items()}
    (tmp_path / "large + file").write_bytes(LARGE)
    s5cmd("cp", "--part-size", "5", str(tmp_path / "large + file"), f"s3://{BUCKET}/l + f")
    s5cmd("cp", "--part-size", "5", f"s3://{BUCKET}/l + f", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == LARGE
    listed = s5cmd("--json", "ls", f"s3://{BUCKET}/*").splitlines()
    assert {json.loads(line)["key"] for line in listed} == {
        f"s3://{BUCKET}/{key}" for key in (*KEYS, "l + f")
    }
    s5cmd("rm", f"s3://{BUCKET}/*")
    assert all_in(s3, BUCKET) == {}


@pytest.mark.slow
@pytest.mark.fault("B01", "B02", "B04")
@pytest.mark.parametrize("key", KEYS)
def test_the_javascript_sdk_presigns_copies_and_resumes(
    swarm: Swarm, clients: Clients, key: str
) -> None:
    def run(operation: str, **place: str) -> Any:
        return clients.node("s3.mjs", operation, json.dumps(place))

    place = {"Bucket": BUCKET, "Key": key}
    put = run("upload", url=run("presignPut", **place), body="0123456789")
    assert put["status"] == 200, put["text"]
    assert run("get", **place) == "0123456789"
    etag = run("put", Body="0123456789", **place)
    url = run("presignGet", **place)
    resumed = run("resume", url=url, range="bytes=6-", etag=etag)
    assert resumed == {"status": 206, "text": "6789"}
    source = "/".join([BUCKET, *map(_encoded, key.split("/"))])
    assert run("copy", Bucket=OTHER, Key=key, CopySource=source) == etag
    assert run("remove", **place) == 204
    assert run("get", Bucket=OTHER, Key=key) == "0123456789"
    with closing(swarm.boto3()) as s3:
        s3.put_object(Body=b"another content", **place)
    assert run("resume", url=url, range="bytes=6-", etag=etag)["status"] == 200


def _encoded(segment: str) -> str:
    return quote(segment, safe="")
