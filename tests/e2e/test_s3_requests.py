"""What ordinary clients send by default, through real daemons: presigned URLs, keys with spaces and
pluses that are copied and moved, downloads that are resumed, values that are not ASCII."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Callable, Iterator
from contextlib import closing
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from e2e_swarm import Swarm

BUCKET = "requests"
DATA = bytes(range(256)) * 5000


@pytest.fixture(scope="module")
def swarm(make_swarm: Callable[..., Swarm]) -> Swarm:
    """Three cells: what clients send is read before any."""
    made = make_swarm(cells=3, redundancy="2/3")
    made.start()
    return made


@pytest.fixture(autouse=True)
def bucket(s3: Any) -> Iterator[None]:
    s3.create_bucket(Bucket=BUCKET)
    yield
    for row in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=row["Key"])


def other_client(swarm: Swarm, region: str, **config: Any) -> Any:
    known = swarm.credentials
    return boto3.client(
        "s3",
        endpoint_url=known["endpoint"],
        region_name=region,
        aws_access_key_id=known["access_key"],
        aws_secret_access_key=known["secret_key"],
        config=Config(s3={"addressing_style": "path"}, **config),
    )


def ask(
    method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    with closing(connection):
        connection.request(method, f"{parts.path}?{parts.query}", body, headers or {})
        answer = connection.getresponse()
        shown = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, shown, answer.read()


@pytest.mark.fault("B03")
@pytest.mark.parametrize("key", ["plain", "with space + plus/ünï"])
def test_urls_that_boto3_presigns_by_default_put_and_get(s3: Any, key: str) -> None:
    place = {"Bucket": BUCKET, "Key": key}
    put = s3.generate_presigned_url("put_object", place)
    status, _, body = ask("PUT", put, DATA)
    assert status == 200, body
    url = s3.generate_presigned_url("get_object", place)
    assert ask("GET", url)[::2] == (200, DATA)
    assert ask("GET", url, headers={"Range": "bytes=5-9"})[::2] == (206, DATA[5:10])
    shown = place | {"ResponseContentType": "text/x-bee"}
    status, headers, _ = ask("GET", s3.generate_presigned_url("get_object", shown))
    assert (status, headers["content-type"]) == (200, "text/x-bee")
    assert ask("GET", url.replace("Expires=", "Expires=1"))[0] == 403


@pytest.mark.fault("B03")
def test_a_version_2_url_of_boto3_carries_headers(swarm: Swarm) -> None:
    client = other_client(swarm, "us-east-1", signature_version="s3")
    with closing(client):
        place = {"Bucket": BUCKET, "Key": "key"}
        sent = {"ContentType": "text/x-bee", "Metadata": {"bee": "queen"}}
        put = client.generate_presigned_url("put_object", place | sent)
        assert "AWSAccessKeyId=" in put
        assert ask("PUT", put, DATA)[0] == 200
        head = client.generate_presigned_url("head_object", place)
        status, headers, _ = ask("HEAD", head)
        assert (status, headers["content-type"], headers["x-amz-meta-bee"]) == (
            200,
            "text/x-bee",
            "queen",
        )
        listing = client.generate_presigned_url("list_objects_v2", {"Bucket": BUCKET})
        assert b"<Key>key</Key>" in ask("GET", listing)[2]


@pytest.mark.fault("B01")
def test_keys_with_spaces_and_pluses_are_copied_and_moved(
    swarm: Swarm, s3: Any, tmp_path: Path
) -> None:
    contents = {"a b.txt": b"space", "a+b.txt": b"plus", "a%2Bb.txt": b"percent"}
    for key, data in contents.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    for key, data in contents.items():
        s3.copy_object(Bucket=BUCKET, Key="by-boto3", CopySource={"Bucket": BUCKET, "Key": key})
        assert s3.get_object(Bucket=BUCKET, Key="by-boto3")["Body"].read() == data
        swarm.aws("s3", "mv", f"s3://{BUCKET}/{key}", f"s3://{BUCKET}/by-aws/{key}")
        swarm.rclone("moveto", f"swarm:{BUCKET}/by-aws/{key}", f"swarm:{BUCKET}/by-rclone/{key}")
        assert s3.get_object(Bucket=BUCKET, Key=f"by-rclone/{key}")["Body"].read() == data
    keys = {row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert keys == {"by-boto3", *(f"by-rclone/{key}" for key in contents)}


@pytest.mark.fault("B04", "B08")
def test_a_download_is_resumed_only_of_the_same_object(s3: Any) -> None:
    place = {"Bucket": BUCKET, "Key": "key"}
    etag = s3.put_object(Body=DATA, **place)["ETag"]
    url = s3.generate_presigned_url("get_object", place)
    resume = {"Range": "bytes=500-18446744073709551616", "If-Range": etag}
    assert ask("GET", url, headers=resume)[::2] == (206, DATA[500:])
    s3.put_object(Body=DATA[::-1], **place)
    assert ask("GET", url, headers=resume)[::2] == (200, DATA[::-1])
    beyond = {"Range": f"bytes={len(DATA)}-", "If-Range": etag}
    assert ask("GET", url, headers=beyond)[::2] == (200, DATA[::-1])


@pytest.mark.fault("B06")
def test_metadata_that_is_not_ascii_comes_back_readable(s3: Any) -> None:
    url = s3.generate_presigned_url(
        "get_object",
        {"Bucket": BUCKET, "Key": "key", "ResponseContentDisposition": "grün"},
    )
    word = "=?UTF-8?B?Z3LDvG4=?="
    s3.put_object(Bucket=BUCKET, Key="key", Body=b"x", Metadata={"n": word})
    found = s3.head_object(Bucket=BUCKET, Key="key")["Metadata"]["n"]
    assert str(make_header(decode_header(found))) == "grün"
    _, headers, _ = ask("GET", url)
    assert headers["content-disposition"] == word


@pytest.mark.fault("B07")
def test_boto3_finds_the_region_that_it_had_wrong(swarm: Swarm, s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="key", Body=DATA)
    client = other_client(swarm, "eu-west-1")
    with closing(client):
        client.download_file(BUCKET, "key", str(tmp_path / "down"))
        assert hashlib.md5((tmp_path / "down").read_bytes()).digest() == hashlib.md5(DATA).digest()
        client.upload_file(str(tmp_path / "down"), BUCKET, "again")
        assert client.head_object(Bucket=BUCKET, Key="again")["ServerSideEncryption"] == "AES256"


@pytest.mark.fault("B05")
def test_aws_cli_copies_an_object_onto_itself_with_a_storage_class(swarm: Swarm, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="key", Body=DATA, Metadata={"bee": "queen"})
    place = f"s3://{BUCKET}/key"
    swarm.aws("s3", "cp", place, place, "--storage-class", "STANDARD")
    swarm.aws("s3", "cp", place, place, "--sse", "AES256")
    answer = s3.get_object(Bucket=BUCKET, Key="key")
    assert (answer["Body"].read(), answer["Metadata"]) == (DATA, {"bee": "queen"})
