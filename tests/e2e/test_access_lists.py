"""Access control lists with real clients: aws-cli and boto3 set them, another tenant and a reader
without a key are let in by them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from e2e_swarm import Swarm

BUCKET = "lists"
GROUPS = "http://acs.amazonaws.com/groups/global/"


@pytest.fixture(scope="module")
def swarm(make_swarm: Callable[..., Swarm]) -> Iterator[Swarm]:
    made = make_swarm(cells=3, redundancy="2/3")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def other(swarm: Swarm) -> Iterator[Any]:
    """A client of another tenant."""
    command(swarm, "tenant", "create", "other")
    made = command(swarm, "key", "create", "--tenant", "other")
    keys = {name: made[name] for name in ("access_key", "secret_key")}
    # The gateway finds the tenant's new key file within a second.
    with closing(swarm.boto3(retries=4, **keys)) as client:
        yield client


def command(swarm: Swarm, *words: str) -> Any:
    return json.loads(swarm.alveary(*words, "--json", f"--data={swarm.root}").stdout)


def anonymous(swarm: Swarm, path: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.get(f"{swarm.credentials['endpoint']}/{path}")


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_an_object_is_published_with_aws_cli_and_read_without_a_key(
    swarm: Swarm, tmp_path: Path
) -> None:
    file = tmp_path / "page"
    file.write_bytes(b"published")
    swarm.aws("s3", "mb", f"s3://{BUCKET}")
    swarm.aws("s3", "cp", str(file), f"s3://{BUCKET}/page")
    assert anonymous(swarm, f"{BUCKET}/page").status_code == 403
    swarm.aws(
        "s3api",
        "put-bucket-ownership-controls",
        "--bucket",
        BUCKET,
        "--ownership-controls",
        "Rules=[{ObjectOwnership=ObjectWriter}]",
    )
    swarm.aws("s3api", "delete-public-access-block", "--bucket", BUCKET)
    assert anonymous(swarm, f"{BUCKET}/page").status_code == 403
    put = ("s3api", "put-object-acl", "--bucket", BUCKET, "--key", "page", "--acl")
    swarm.aws(*put, "public-read")
    shown = json.loads(swarm.aws("s3api", "get-object-acl", "--bucket", BUCKET, "--key", "page"))
    assert {
        "Grantee": {"Type": "Group", "URI": GROUPS + "AllUsers"},
        "Permission": "READ",
    } in shown["Grants"]
    assert anonymous(swarm, f"{BUCKET}/page").content == b"published"
    assert anonymous(swarm, BUCKET).status_code == 403
    swarm.aws(*put, "private")
    assert anonymous(swarm, f"{BUCKET}/page").status_code == 403
    swarm.aws("s3", "cp", str(file), f"s3://{BUCKET}/copied", "--acl", "public-read")
    assert anonymous(swarm, f"{BUCKET}/copied").content == b"published"


def test_tenants_write_into_each_others_buckets(swarm: Swarm, s3: Any, other: Any) -> None:
    bucket = "shared"
    s3.create_bucket(Bucket=bucket, ObjectOwnership="ObjectWriter")
    assert refused(lambda: other.put_object(Bucket=bucket, Key="k", Body=b"x")) == "AccessDenied"
    theirs = other.list_buckets()["Owner"]["ID"]
    s3.put_bucket_acl(Bucket=bucket, GrantWrite=f'id="{theirs}"', GrantRead=f'id="{theirs}"')
    other.put_object(Bucket=bucket, Key="k", Body=b"their own")
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"their own"
    assert [row["Key"] for row in other.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    assert refused(lambda: s3.get_object(Bucket=bucket, Key="k")) == "AccessDenied"
    other.put_object_acl(Bucket=bucket, Key="k", ACL="bucket-owner-full-control")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"their own"
    assert s3.get_object_acl(Bucket=bucket, Key="k")["Owner"]["ID"] == theirs
    part = bytes(6 << 20)
    upload = other.create_multipart_upload(Bucket=bucket, Key="parts", ACL="bucket-owner-read")
    named = {"Bucket": bucket, "Key": "parts", "UploadId": upload["UploadId"]}
    stored = other.upload_part(**named, PartNumber=1, Body=part)
    parts = {"Parts": [{"PartNumber": 1, "ETag": stored["ETag"]}]}
    other.complete_multipart_upload(**named, MultipartUpload=parts)
    assert s3.head_object(Bucket=bucket, Key="parts")["ContentLength"] == len(part)
    s3.delete_object(Bucket=bucket, Key="k")
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=controls)
    assert s3.get_object_acl(Bucket=bucket, Key="parts")["Owner"]["ID"] != theirs
    assert refused(lambda: other.get_object(Bucket=bucket, Key="parts")) == "AccessDenied"
