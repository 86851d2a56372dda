"""Users, roles and temporary credentials, with the AWS CLI and boto3."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from e2e_swarm import Swarm, wait_until

pytestmark = pytest.mark.e2e
READ = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "*"}
BUCKET = "shared"
LARGE = 9_000_000


@pytest.fixture(scope="module")
def swarm(make_swarm: Callable[..., Swarm]) -> Iterator[Swarm]:
    made = make_swarm(cells=3, redundancy="2/3")
    made.start()
    yield made
    made.stop()


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    code: str = caught.value.response["Error"]["Code"]
    return code


@pytest.fixture(scope="module")
def ann(swarm: Swarm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The key of a user who may read and write, and assume the role of a reader."""
    where = ("--tenant", "default", f"--data={swarm.root}")
    path: Path = tmp_path_factory.mktemp("policies") / "policy.json"
    assume = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Resource": "arn:aws:iam::*:role/read*",
    }
    for name, flag, statements in (
        ("work", "--no-role", [READ, assume]),
        ("reader", "--role", [{**READ, "Action": "s3:GetObject"}]),
    ):
        path.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
        swarm.alveary("policy", "put", name, str(path), flag, *where)
    swarm.alveary("user", "create", "ann", "--policy", "work", *where)
    made = json.loads(swarm.alveary("user", "key", "add", "ann", "--json", *where).stdout)
    swarm.aws("s3api", "create-bucket", "--bucket", BUCKET)
    return {"access_key": made["access_key"], "secret_key": made["secret_key"]}


def credentials_of(answer: dict[str, Any]) -> dict[str, str]:
    found = answer["Credentials"]
    return {
        "access_key": found["AccessKeyId"],
        "secret_key": found["SecretAccessKey"],
        "session_token": found["SessionToken"],
    }


def environment_of(credentials: dict[str, str]) -> dict[str, str]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return dict(zip(names, credentials.values(), strict=False))


def test_the_aws_cli_gets_a_session_and_works_with_it(
    swarm: Swarm, ann: dict[str, str], tmp_path: Path
) -> None:
    as_ann = environment_of(ann)
    told = json.loads(swarm.aws("sts", "get-session-token", environment=as_ann))
    session = environment_of(credentials_of(told))
    who = json.loads(swarm.aws("sts", "get-caller-identity", environment=session))
    assert who["Arn"] == f"arn:aws:iam::{who['Account']}:user/ann"
    (tmp_path / "large").write_bytes(bytes(LARGE))
    place = f"s3://{BUCKET}/large"
    swarm.aws("s3", "cp", str(tmp_path / "large"), place, environment=session)
    url = swarm.aws("s3", "presign", place, environment=session).strip()
    with httpx.Client() as http:
        assert http.get(url).content == bytes(LARGE)
        wrong = re.sub("(?i)security-token=", r"\g<0>A", url)
        assert http.get(wrong).status_code == 400
    arn = f"arn:aws:iam::{who['Account']}:role/reader"
    assume = ("sts", "assume-role", "--role-arn", arn, "--role-session-name", "nightly")
    role = json.loads(swarm.aws(*assume, environment=as_ann))
    assert role["AssumedRoleUser"]["Arn"].endswith(":assumed-role/reader/nightly")
    reader = environment_of(credentials_of(role))
    swarm.aws("s3", "cp", place, str(tmp_path / "back"), environment=reader)
    assert (tmp_path / "back").read_bytes() == bytes(LARGE)
    with pytest.raises(AssertionError, match="AccessDenied"):
        swarm.aws("s3", "cp", str(tmp_path / "back"), place, environment=reader)


def test_boto3_works_with_temporary_credentials_in_every_way(
    swarm: Swarm, ann: dict[str, str]
) -> None:
    with closing(swarm.boto3(service="sts", **ann)) as sts:
        account = sts.get_caller_identity()["Account"]
        policy = json.dumps({"Version": "2012-10-17", "Statement": READ})
        whole = credentials_of(sts.get_session_token(DurationSeconds=900))
        role = {"RoleArn": f"arn:aws:iam::{account}:role/reader", "RoleSessionName": "job"}
        less = credentials_of(sts.assume_role(**role, Policy=policy))
        for wrong, code in (
            ({**role, "RoleArn": f"{role['RoleArn']}s"}, "AccessDenied"),
            ({**role, "DurationSeconds": 100_000}, "ValidationError"),
            ({**role, "Policy": "{}"}, "MalformedPolicyDocument"),
        ):
            assert code_of(lambda wrong=wrong: sts.assume_role(**wrong)) == code
    with closing(swarm.boto3(**whole)) as s3, httpx.Client() as http:
        s3.put_object(Bucket=BUCKET, Key="one", Body=b"one")
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
        place = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload}
        part = s3.upload_part(**place, PartNumber=1, Body=b"part")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        s3.complete_multipart_upload(**place, MultipartUpload=parts)
        url = s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "parts"})
        assert http.get(url).content == b"part"
        form = s3.generate_presigned_post(BUCKET, "form")
        files = {"file": ("name", b"from a form")}
        assert http.post(form["url"], data=form["fields"], files=files).status_code == 204
        assert s3.get_object(Bucket=BUCKET, Key="form")["Body"].read() == b"from a form"
        assert code_of(s3.list_buckets) == "AccessDenied"
    with closing(swarm.boto3(**less)) as reader:
        assert reader.get_object(Bucket=BUCKET, Key="one")["Body"].read() == b"one"
        write = {"Bucket": BUCKET, "Key": "one", "Body": b""}
        assert code_of(lambda: reader.put_object(**write)) == "AccessDenied"
    for wrong, code in (
        ({**whole, "session_token": less["session_token"]}, "InvalidToken"),
        ({**whole, "session_token": ""}, "InvalidAccessKeyId"),
        ({**whole, "secret_key": less["secret_key"]}, "SignatureDoesNotMatch"),
    ):
        with closing(swarm.boto3(**wrong)) as nobody:
            get = {"Bucket": BUCKET, "Key": "one"}
            assert code_of(lambda nobody=nobody, get=get: nobody.get_object(**get)) == code


def test_a_session_ends_with_the_key_that_it_was_given_to(
    swarm: Swarm, ann: dict[str, str]
) -> None:
    where = ("--tenant", "default", f"--data={swarm.root}")
    key = json.loads(swarm.alveary("user", "key", "add", "ann", "--json", *where).stdout)
    given = {"access_key": key["access_key"], "secret_key": key["secret_key"]}
    with closing(swarm.boto3(service="sts", **given)) as sts:
        session = credentials_of(sts.get_session_token())
    with closing(swarm.boto3(**session)) as s3:
        s3.put_object(Bucket=BUCKET, Key="last", Body=b"")
        swarm.alveary("user", "key", "remove", key["access_key"], *where)

        def is_refused() -> bool:
            try:
                s3.get_object(Bucket=BUCKET, Key="last")
            except ClientError as error:
                return bool(error.response["Error"]["Code"] == "InvalidAccessKeyId")
            return False

        wait_until(is_refused, 30, "the session ended")
