"""Clients give keys of their own: aws-cli and boto3 against real daemons over TLS."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from e2e_swarm import Swarm

MIB = 1 << 20


@pytest.fixture(scope="module")
def swarm(make_swarm: Callable[..., Swarm]) -> Swarm:
    made = make_swarm(cells=3, redundancy="1/3", tls=True)
    made.start()
    with closing(made.boto3()) as s3:
        s3.create_bucket(Bucket="bucket")
    return made


def status(error: pytest.ExceptionInfo[ClientError]) -> int:
    found: int = error.value.response["ResponseMetadata"]["HTTPStatusCode"]
    return found


def test_boto3_stores_copies_and_reads_with_keys_of_its_own(swarm: Swarm, tmp_path: Path) -> None:
    key, other = os.urandom(32), os.urandom(32)
    mine = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
    theirs = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": other}
    body = os.urandom(20 * MIB)
    (tmp_path / "file").write_bytes(body)
    with closing(swarm.boto3()) as s3:
        parts = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
        s3.upload_file(str(tmp_path / "file"), "bucket", "large", ExtraArgs=mine, Config=parts)
        assert s3.get_object(Bucket="bucket", Key="large", **mine)["Body"].read() == body
        piece = s3.get_object(
            Bucket="bucket", Key="large", Range=f"bytes={8 * MIB - 7}-{8 * MIB + 30}", **mine
        )
        assert piece["Body"].read() == body[8 * MIB - 7 : 8 * MIB + 31]
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket="bucket", Key="large", **theirs)
        assert status(error) == 403
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket="bucket", Key="large")
        assert status(error) == 400
        source = {f"CopySource{name}": value for name, value in mine.items()}
        s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/large", **source, **theirs)
        assert s3.get_object(Bucket="bucket", Key="copy", **theirs)["Body"].read() == body


def test_aws_cli_takes_a_key_of_a_file(swarm: Swarm, tmp_path: Path) -> None:
    body = os.urandom(12 * MIB)
    (tmp_path / "key").write_bytes(os.urandom(32))
    (tmp_path / "file").write_bytes(body)
    key = ("--sse-c", "AES256", "--sse-c-key", f"fileb://{tmp_path / 'key'}")
    swarm.aws("s3", "cp", str(tmp_path / "file"), "s3://bucket/cli", *key)
    swarm.aws("s3", "cp", "s3://bucket/cli", str(tmp_path / "back"), *key)
    assert (tmp_path / "back").read_bytes() == body


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    found: str = error.value.response["Error"]["Code"]
    return found


def keys(swarm: Swarm, *arguments: str) -> None:
    """Run a command of named keys of the swarm's tenant."""
    swarm.alveary("encryption-key", *arguments, "--tenant=default", f"--data={swarm.root}")


def test_named_keys_are_used_disabled_rotated_and_destroyed(swarm: Swarm, tmp_path: Path) -> None:
    keys(swarm, "create", "archive")
    keys(swarm, "create", "short-lived")
    body = os.urandom(12 * MIB)
    (tmp_path / "file").write_bytes(body)
    kms = ("--sse", "aws:kms", "--sse-kms-key-id", "archive")
    swarm.aws("s3", "cp", str(tmp_path / "file"), "s3://bucket/kms", *kms)
    swarm.aws("s3", "cp", "s3://bucket/kms", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == body
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="secrets")
        s3.put_bucket_encryption(
            Bucket="secrets",
            ServerSideEncryptionConfiguration={
                "Rules": [
                    {
                        "ApplyServerSideEncryptionByDefault": {
                            "SSEAlgorithm": "aws:kms",
                            "KMSMasterKeyID": "short-lived",
                        },
                        "BucketKeyEnabled": True,
                    }
                ]
            },
        )
        made = s3.put_object(Bucket="secrets", Key="key", Body=body)
        assert made["ServerSideEncryption"] == "aws:kms"
        assert made["SSEKMSKeyId"].endswith(":key/short-lived")
        assert made["BucketKeyEnabled"]
        assert s3.get_object(Bucket="secrets", Key="key")["Body"].read() == body
        s3.copy_object(Bucket="bucket", Key="kept", CopySource="secrets/key")
        keys(swarm, "rotate", "short-lived")
        keys(swarm, "disable", "short-lived")
        time.sleep(1)
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket="secrets", Key="key")
        assert (status(error), code(error)) == (400, "KMS.DisabledException")
        keys(swarm, "enable", "short-lived")
        time.sleep(1)
        assert s3.get_object(Bucket="secrets", Key="key")["Body"].read() == body
        keys(swarm, "destroy", "short-lived", "--confirm=short-lived")
        time.sleep(1)
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket="secrets", Key="key")
        assert (status(error), code(error)) == (400, "KMS.NotFoundException")
        assert s3.get_object(Bucket="bucket", Key="kept")["Body"].read() == body
        assert s3.get_object(Bucket="bucket", Key="kms")["Body"].read() == body
        s3.delete_object(Bucket="secrets", Key="key")
    of_tenant = ("--tenant=default", f"--data={swarm.root}")
    refused = swarm.alveary("encryption-key", "destroy", "archive", *of_tenant, check=False)
    assert refused.returncode == 2
    assert "--confirm archive" in refused.stderr
