"""Features of S3 beyond plain objects, used by real clients: boto3 and aws-cli, and a browser's
requests by an HTTP client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from e2e_swarm import Swarm

BUCKET = "features"


@pytest.fixture(scope="module")
def swarm(make_swarm: Callable[..., Swarm]) -> Iterator[Swarm]:
    made = make_swarm(cells=3, redundancy="2/3")
    made.configure("gateway", website_domains=["web.test"], lifecycle_day_s=1)
    made.start()
    yield made
    made.stop()


RULES = [
    {
        "ID": "logs",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "logs/", "ObjectSizeGreaterThan": 1}},
        "Expiration": {"Days": 1},
    },
    {
        "ID": "versions",
        "Status": "Disabled",
        "Filter": {"Tag": {"Key": "keep", "Value": "no"}},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 2, "NewerNoncurrentVersions": 3},
    },
]
EXPIRING = "expiring"


@pytest.fixture(scope="module", autouse=True)
def expiring(swarm: Swarm) -> None:
    """Objects that expire while other tests run: a run over their bucket is some seconds away."""
    with closing(swarm.boto3()) as client:
        client.create_bucket(Bucket=EXPIRING)
        client.put_bucket_lifecycle_configuration(
            Bucket=EXPIRING, LifecycleConfiguration={"Rules": RULES}
        )
        for key in ("logs/one", "logs/two", "data/one"):
            made = client.put_object(Bucket=EXPIRING, Key=key, Body=b"content")
            assert ('rule-id="logs"' in made.get("Expiration", "")) is key.startswith("logs/")


@pytest.fixture(autouse=True)
def bucket(s3: Any) -> None:
    s3.create_bucket(Bucket=BUCKET)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_boto3_tags_a_bucket(s3: Any) -> None:
    tags = [{"Key": "team", "Value": "bees + wasps"}, {"Key": "empty", "Value": ""}]
    assert code_of(lambda: s3.get_bucket_tagging(Bucket=BUCKET)) == "NoSuchTagSet"
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=BUCKET)
    assert code_of(lambda: s3.get_bucket_tagging(Bucket=BUCKET)) == "NoSuchTagSet"


def test_boto3_and_aws_cli_tag_objects(swarm: Swarm, s3: Any, tmp_path: Path) -> None:
    def tags(key: str) -> dict[str, str]:
        rows = s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
        return {row["Key"]: row["Value"] for row in rows}

    place = {"Bucket": BUCKET, "Key": "tagged"}
    put = s3.put_object(**place, Body=b"x", Tagging="kind=a%2Bb&empty=")
    assert tags("tagged") == {"kind": "a+b", "empty": ""}
    s3.put_object_tagging(**place, Tagging={"TagSet": [{"Key": "new", "Value": "ü"}]})
    assert tags("tagged") == {"new": "ü"}
    head = s3.head_object(**place)
    assert (head["TagCount"], head["ETag"]) == (1, put["ETag"])
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=place)
    assert tags("copy") == {"new": "ü"}
    s3.delete_object_tagging(**place)
    assert tags("tagged") == {}
    large = tmp_path / "large"
    large.write_bytes(bytes(9_000_000))
    s3.upload_file(str(large), BUCKET, "large", ExtraArgs={"Tagging": "in=parts"})
    assert tags("large") == {"in": "parts"}
    asked = ("--bucket", BUCKET, "--key", "large")
    swarm.aws("s3api", "put-object-tagging", *asked, "--tagging", "TagSet=[{Key=a,Value=b c}]")
    shown = json.loads(swarm.aws("s3api", "get-object-tagging", *asked))
    assert shown["TagSet"] == [{"Key": "a", "Value": "b c"}]


@pytest.mark.parametrize("size", [5, 3_000_000])
def test_a_browser_posts_a_form_that_boto3_presigned(
    s3: Any, http: httpx.Client, size: int
) -> None:
    presigned = s3.generate_presigned_post(
        BUCKET,
        "uploads/${filename}",
        Fields={"Content-Type": "text/plain", "success_action_status": "201"},
        Conditions=[
            {"Content-Type": "text/plain"},
            {"success_action_status": "201"},
            ["content-length-range", 1, 4_000_000],
        ],
    )
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    files = {"file": ("my file.txt", content, "application/octet-stream")}
    answer = http.post(presigned["url"], data=presigned["fields"], files=files)
    assert answer.status_code == 201, answer.text
    assert "<Key>uploads/my file.txt</Key>" in answer.text
    stored = s3.get_object(Bucket=BUCKET, Key="uploads/my file.txt")
    assert stored["Body"].read() == content
    assert (stored["ContentType"], stored["ETag"]) == ("text/plain", answer.headers["etag"])
    for fields, body in (
        ({**presigned["fields"], "key": "elsewhere"}, content),
        ({**presigned["fields"], "x-amz-meta-more": "x"}, content),
        (presigned["fields"], b""),
    ):
        refused = http.post(presigned["url"], data=fields, files={"file": ("a", body)})
        assert refused.status_code in {400, 403}


def test_a_page_puts_and_gets_by_presigned_urls_where_aws_cli_allowed_its_origin(
    swarm: Swarm, s3: Any, http: httpx.Client
) -> None:
    rule = {
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://*.example.org"],
        "AllowedHeaders": ["content-type", "x-amz-*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 60,
    }
    configuration = json.dumps({"CORSRules": [rule]})
    swarm.aws("s3api", "put-bucket-cors", "--bucket", BUCKET, "--cors-configuration", configuration)
    assert s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"] == [rule]
    url = s3.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "page"})
    origin = {"origin": "https://app.example.org"}
    asked = {"access-control-request-method": "PUT", "access-control-request-headers": "x-amz-a"}
    allowed = http.options(url, headers={**origin, **asked})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example.org"
    assert allowed.headers["access-control-allow-headers"] == "x-amz-a"
    put = http.put(url, content=b"from a page", headers=origin)
    assert put.status_code == 200
    assert put.headers["access-control-expose-headers"] == "ETag"
    refused = http.options(url, headers={"origin": "https://evil.example", **asked})
    assert refused.status_code == 403
    get = http.get(
        s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "page"}), headers=origin
    )
    assert (get.content, get.headers["vary"].split(",")[0]) == (b"from a page", "Origin")
    swarm.aws("s3api", "delete-bucket-cors", "--bucket", BUCKET)
    assert http.options(url, headers={**origin, **asked}).status_code == 403


def test_a_backup_server_learns_the_space_of_the_swarm(s3: Any) -> None:
    folder = ".system-d26a9498-cb7c-4a87-a44a-8ae204f5ba6c"
    shown = s3.get_object(Bucket=BUCKET, Key=f"{folder}/capacity.xml")["Body"].read().decode()
    capacity, available, used = (
        int(shown.partition(f"<{name}>")[2].partition("<")[0])
        for name in ("Capacity", "Available", "Used")
    )
    assert 0 < available <= capacity
    assert used == capacity - available


def test_boto3_reads_attributes_and_expects_an_owner(s3: Any) -> None:
    place = {"Bucket": BUCKET, "Key": "attributes"}
    s3.put_object(**place, Body=b"hello", ChecksumAlgorithm="SHA256")
    shown = s3.get_object_attributes(
        **place, ObjectAttributes=["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    )
    assert (shown["ObjectSize"], shown["StorageClass"]) == (5, "STANDARD")
    assert shown["ETag"] == "5d41402abc4b2a76b9719d911017c592"
    assert shown["Checksum"]["ChecksumSHA256"]
    owner = s3.get_bucket_acl(Bucket=BUCKET)["Owner"]["ID"]
    s3.head_object(**place, ExpectedBucketOwner=owner)
    assert code_of(lambda: s3.get_object(**place, ExpectedBucketOwner="1" * 12)) == "AccessDenied"


def test_the_public_reads_what_a_policy_of_boto3_allows_until_public_access_is_blocked(
    swarm: Swarm, s3: Any, http: httpx.Client
) -> None:
    s3.put_object(Bucket=BUCKET, Key="site/page.html", Body=b"<p>hello", ContentType="text/html")
    s3.put_object(Bucket=BUCKET, Key="private", Body=b"secret")
    endpoint = s3.meta.endpoint_url
    page, private = (f"{endpoint}/{BUCKET}/{key}" for key in ("site/page.html", "private"))
    policy = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{BUCKET}/site/*",
        },
    }

    def set_policy() -> None:
        s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    assert http.get(page).status_code == 403
    assert code_of(set_policy) == "AccessDenied"
    swarm.aws("s3api", "delete-public-access-block", "--bucket", BUCKET)
    set_policy()
    shown = json.loads(
        json.loads(swarm.aws("s3api", "get-bucket-policy", "--bucket", BUCKET))["Policy"]
    )
    assert shown == policy
    assert s3.get_bucket_policy_status(Bucket=BUCKET)["PolicyStatus"]["IsPublic"] is True
    read = http.get(page)
    assert (read.status_code, read.content) == (200, b"<p>hello")
    assert read.headers["content-type"] == "text/html"
    assert http.head(page).status_code == 200
    for refused in (http.get(private), http.put(page, content=b""), http.delete(page)):
        assert refused.status_code == 403
    blocked = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=blocked)
    assert http.get(page).status_code == 403
    assert s3.get_object(Bucket=BUCKET, Key="site/page.html")["Body"].read() == b"<p>hello"
    s3.delete_bucket_policy(Bucket=BUCKET)
    assert code_of(lambda: s3.get_bucket_policy(Bucket=BUCKET)) == "NoSuchBucketPolicy"


def test_a_key_for_old_tools_signs_headers_with_version_2(swarm: Swarm, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="old", Body=b"tools")
    made = json.loads(
        swarm.alveary(
            "key", "create", "--tenant=default", "--signature-v2", "--json", f"--data={swarm.root}"
        ).stdout
    )
    for credentials, works in ((made, True), (swarm.credentials, False)):
        client = boto3.client(
            "s3",
            endpoint_url=swarm.credentials["endpoint"],
            aws_access_key_id=credentials["access_key"],
            aws_secret_access_key=credentials["secret_key"],
            region_name=swarm.credentials["region"],
            config=Config(signature_version="s3", s3={"addressing_style": "path"}),
        )
        with closing(client):
            if works:
                assert client.get_object(Bucket=BUCKET, Key="old")["Body"].read() == b"tools"
            else:
                old = partial(client.get_object, Bucket=BUCKET, Key="old")
                assert code_of(old) == "InvalidRequest"


def test_boto3_keeps_versions_and_brings_objects_back(s3: Any) -> None:
    s3.create_bucket(Bucket="kept")
    assert "Status" not in s3.get_bucket_versioning(Bucket="kept")
    place = {"Bucket": "kept", "Key": "notes/ä +.txt"}
    s3.put_object(**place, Body=b"before")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket="kept")["Status"] == "Enabled"
    first = s3.put_object(**place, Body=b"first")["VersionId"]
    second = s3.put_object(**place, Body=b"second")["VersionId"]
    assert s3.get_object(**place, VersionId="null")["Body"].read() == b"before"
    assert s3.get_object(**place, VersionId=first)["Body"].read() == b"first"
    assert s3.head_object(**place)["VersionId"] == second
    marker = s3.delete_object(**place)
    assert marker["DeleteMarker"]
    assert code_of(lambda: s3.get_object(**place)) == "NoSuchKey"
    assert code_of(lambda: s3.get_object(**place, VersionId=marker["VersionId"])) == (
        "MethodNotAllowed"
    )
    source = {**place, "VersionId": first}
    copied = s3.copy_object(**place, CopySource=source)
    assert copied["CopySourceVersionId"] == first
    assert s3.get_object(**place)["Body"].read() == b"first"
    pages = s3.get_paginator("list_object_versions")
    rows = [
        row["VersionId"]
        for page in pages.paginate(Bucket="kept", PaginationConfig={"PageSize": 2})
        for row in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    ]
    assert set(rows) == {copied["VersionId"], marker["VersionId"], second, first, "null"}
    assert len(rows) == 5
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Suspended"})
    assert s3.put_object(**place, Body=b"null again")["VersionId"] == "null"
    shown = s3.list_object_versions(Bucket="kept")["Versions"]
    assert [row["VersionId"] for row in shown if row["IsLatest"]] == ["null"]
    assert sum(row["VersionId"] == "null" for row in shown) == 1
    assert code_of(lambda: s3.delete_bucket(Bucket="kept")) == "BucketNotEmpty"


def test_boto3_empties_a_bucket_with_versions_page_by_page(swarm: Swarm, s3: Any) -> None:
    s3.create_bucket(Bucket="emptied")
    s3.put_bucket_versioning(Bucket="emptied", VersioningConfiguration={"Status": "Enabled"})
    for number in range(30):
        s3.put_object(Bucket="emptied", Key=f"key {number % 7}", Body=b"%d" % number)
    s3.delete_objects(
        Bucket="emptied", Delete={"Objects": [{"Key": f"key {n}"} for n in range(0, 7, 2)]}
    )
    known = swarm.credentials
    bucket = boto3.resource(
        "s3",
        endpoint_url=known["endpoint"],
        aws_access_key_id=known["access_key"],
        aws_secret_access_key=known["secret_key"],
        region_name=known["region"],
    ).Bucket("emptied")
    assert sum(1 for _ in bucket.objects.all()) == 3
    bucket.object_versions.page_size(4).delete()
    assert list(bucket.object_versions.all()) == []
    bucket.delete()


def test_boto3_locks_versions_and_deletes_what_it_may(s3: Any) -> None:
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    s3.put_object_lock_configuration(
        Bucket="locked",
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
    )
    shown = s3.get_object_lock_configuration(Bucket="locked")["ObjectLockConfiguration"]
    assert shown == {"ObjectLockEnabled": "Enabled", "Rule": rule}
    place = {"Bucket": "locked", "Key": "backup"}
    governed = {**place, "VersionId": s3.put_object(**place, Body=b"first")["VersionId"]}
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    compliant = {
        **place,
        "VersionId": s3.put_object(
            **place, Body=b"second", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
        )["VersionId"],
    }
    head = s3.head_object(**compliant)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("COMPLIANCE", until)
    for version in (governed, compliant):
        assert code_of(partial(s3.delete_object, **version)) == "AccessDenied"
    versions = [
        {"Key": each["Key"], "VersionId": each["VersionId"]} for each in (governed, compliant)
    ]
    batch = {"Bucket": "locked", "Delete": {"Objects": versions}}
    done = s3.delete_objects(**batch, BypassGovernanceRetention=True)
    assert [each["VersionId"] for each in done["Deleted"]] == [governed["VersionId"]]
    assert [each["Code"] for each in done["Errors"]] == ["AccessDenied"]
    later = {"Mode": "COMPLIANCE", "RetainUntilDate": until + timedelta(days=1)}
    s3.put_object_retention(**compliant, Retention=later)
    assert s3.get_object_retention(**compliant)["Retention"] == later
    s3.put_object_legal_hold(**compliant, LegalHold={"Status": "ON"})
    assert s3.get_object_legal_hold(**compliant)["LegalHold"] == {"Status": "ON"}
    assert s3.delete_object(**place)["DeleteMarker"]
    assert s3.get_object(**compliant)["Body"].read() == b"second"


def test_aws_cli_uploads_lists_restores_and_removes_versions(swarm: Swarm, tmp_path: Path) -> None:
    def api(*arguments: str) -> Any:
        text = swarm.aws("s3api", *arguments)
        return json.loads(text) if text.strip() else {}

    swarm.aws("s3", "mb", "s3://by-cli")
    api(
        "put-bucket-versioning",
        "--bucket",
        "by-cli",
        "--versioning-configuration",
        "Status=Enabled",
    )
    assert api("get-bucket-versioning", "--bucket", "by-cli") == {"Status": "Enabled"}
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(bytes(range(256)) * 40_000)
    small.write_bytes(b"small")
    swarm.aws("s3", "cp", "--only-show-errors", str(large), "s3://by-cli/file")
    swarm.aws("s3", "cp", "--only-show-errors", str(small), "s3://by-cli/file")
    swarm.aws("s3", "rm", "--only-show-errors", "s3://by-cli/file")
    listed = api("list-object-versions", "--bucket", "by-cli", "--prefix", "file")
    latest, oldest = listed["Versions"]
    assert (latest["Size"], oldest["Size"]) == (5, 10_240_000)
    assert [each["IsLatest"] for each in listed["DeleteMarkers"]] == [True]
    swarm.aws(
        *("s3api", "get-object", "--bucket", "by-cli", "--key", "file"),
        *("--version-id", oldest["VersionId"], str(tmp_path / "down")),
    )
    assert (tmp_path / "down").read_bytes() == large.read_bytes()
    marker = listed["DeleteMarkers"][0]["VersionId"]
    gone = api("delete-object", "--bucket", "by-cli", "--key", "file", "--version-id", marker)
    assert gone == {"DeleteMarker": True, "VersionId": marker}
    assert swarm.aws("s3", "cp", "s3://by-cli/file", "-") == "small"
    source = f"by-cli/file?versionId={oldest['VersionId']}"
    place = ("--bucket", "by-cli", "--key", "file")
    restored = api("copy-object", *place, "--copy-source", source)
    assert restored["CopySourceVersionId"] == oldest["VersionId"]
    swarm.aws("s3", "cp", "--only-show-errors", "s3://by-cli/file", str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == large.read_bytes()
    assert len(api("list-object-versions", "--bucket", "by-cli")["Versions"]) == 3


def test_a_user_of_the_command_line_reads_one_folder_until_its_policy_is_changed(
    swarm: Swarm, s3: Any
) -> None:
    for key in ("shared/a", "private"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    where = ("--tenant", "default", f"--data={swarm.root}")

    def put_policy(*actions: str) -> None:
        resource = f"arn:aws:s3:::{BUCKET}/shared/*"
        statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        path = swarm.root / "policy.json"
        path.write_text(document)
        swarm.alveary("policy", "put", "shared", str(path), *where)

    put_policy("s3:GetObject")
    swarm.alveary("user", "create", "ann", "--policy", "shared", *where)
    given = json.loads(swarm.alveary("user", "key", "add", "ann", "--json", *where).stdout)
    ann = swarm.boto3(access_key=given["access_key"], secret_key=given["secret_key"])

    def wait_until(code: str, action: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                action()
            except ClientError:
                break
            time.sleep(0.5)
        assert code_of(action) == code

    read = partial(ann.get_object, Bucket=BUCKET, Key="shared/a")
    delete = partial(ann.delete_object, Bucket=BUCKET, Key="shared/a")
    try:
        assert read()["Body"].read() == b"shared/a"
        assert code_of(lambda: ann.get_object(Bucket=BUCKET, Key="private")) == "AccessDenied"
        assert code_of(delete) == "AccessDenied"
        assert code_of(ann.list_buckets) == "AccessDenied"
        put_policy("s3:DeleteObject")
        wait_until("AccessDenied", read)
        delete()
        swarm.alveary("user", "key", "disable", given["access_key"], *where)
        wait_until("InvalidAccessKeyId", delete)
        shown = json.loads(swarm.alveary("user", "show", "ann", "--json", *where).stdout)
        assert [each["active"] for each in shown["keys"]] == [False]
        swarm.alveary("user", "remove", "ann", *where)
        swarm.alveary("policy", "remove", "shared", *where)
    finally:
        ann.close()


def test_aws_cli_makes_a_bucket_a_website_that_everybody_reads(
    swarm: Swarm, s3: Any, http: httpx.Client
) -> None:
    name = "pages"
    s3.create_bucket(Bucket=name)
    for key, content in (("index.html", b"home"), ("sub/index.html", b"sub"), ("oops", b"oops")):
        s3.put_object(Bucket=name, Key=key, Body=content, ContentType="text/html")
    swarm.aws(
        *("s3", "website", f"s3://{name}"),
        *("--index-document", "index.html", "--error-document", "oops"),
    )
    assert s3.get_bucket_website(Bucket=name)["ErrorDocument"] == {"Key": "oops"}
    host = {"host": f"{name}.web.test"}

    def browse(path: str) -> httpx.Response:
        return http.get(swarm.credentials["endpoint"] + path, headers=host)

    assert browse("/").status_code == 403, "it is not public yet"
    s3.delete_public_access_block(Bucket=name)
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket=name, Policy=policy)
    assert (browse("/").content, browse("/sub/").content) == (b"home", b"sub")
    assert (browse("/sub").status_code, browse("/sub").headers["location"]) == (302, "/sub/")
    assert (browse("/none").status_code, browse("/none").content) == (404, b"oops")


def test_objects_expire_by_rules_of_boto3_that_aws_cli_reads_and_removes(
    swarm: Swarm, s3: Any
) -> None:
    shown = s3.get_bucket_lifecycle_configuration(Bucket=EXPIRING)
    assert shown["Rules"] == RULES
    assert shown["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"

    def keys() -> list[str]:
        listed = s3.list_objects_v2(Bucket=EXPIRING).get("Contents", [])
        return [each["Key"] for each in listed]

    deadline = time.monotonic() + 60
    while len(keys()) > 1 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert keys() == ["data/one"]
    assert swarm.status()["lifecycle"]["buckets"] == 1
    told = swarm.aws("s3api", "get-bucket-lifecycle-configuration", "--bucket", EXPIRING)
    assert [each["ID"] for each in json.loads(told)["Rules"]] == ["logs", "versions"]
    swarm.aws("s3api", "delete-bucket-lifecycle", "--bucket", EXPIRING)
    asked = partial(s3.get_bucket_lifecycle_configuration, Bucket=EXPIRING)
    assert code_of(asked) == "NoSuchLifecycleConfiguration"


def test_a_quota_of_the_command_line_refuses_boto3_until_there_is_room(
    swarm: Swarm, s3: Any
) -> None:
    s3.create_bucket(Bucket="limited")
    place = f"--data={swarm.root}"
    shown = swarm.alveary("bucket", "quota", "limited", "--bytes=10kB", place).stdout
    assert shown == "bucket limited: quota 9.8 KiB; it holds 0 objects, 0 B\n"
    s3.put_object(Bucket="limited", Key="first", Body=bytes(6000))
    second = {"Bucket": "limited", "Key": "second", "Body": bytes(6000)}
    assert code_of(lambda: s3.put_object(**second)) == "QuotaExceeded"
    s3.delete_object(Bucket="limited", Key="first")
    s3.put_object(**second)
    assert "limited" in swarm.alveary("bucket", "list", place).stdout


def test_storage_classes_of_aws_cli_and_boto3_lead_where_an_operator_says(
    swarm: Swarm, s3: Any, tmp_path: Path
) -> None:
    place = f"--data={swarm.root}"
    swarm.alveary("class", "create", "COLD", "--redundancy", "1/3", place)
    deadline = time.monotonic() + 60
    while swarm.alveary("class", "name", "GLACIER_IR", "COLD", place, check=False).returncode:
        assert time.monotonic() < deadline, "its rings are not there"
        time.sleep(0.5)
    listed = json.loads(swarm.alveary("class", "list", "--json", place).stdout)
    assert {each["name"]: each["names"] for each in listed} == {
        "STANDARD": [],
        "COLD": ["GLACIER_IR"],
    }
    bucket = "classes"
    s3.create_bucket(Bucket=bucket)
    (tmp_path / "file").write_bytes(b"content")
    target = f"s3://{bucket}/by-cli"
    swarm.aws("s3", "cp", str(tmp_path / "file"), target, "--storage-class", "STANDARD_IA")
    s3.put_object(Bucket=bucket, Key="by-boto3", Body=b"content", StorageClass="GLACIER_IR")
    s3.put_object(Bucket=bucket, Key="moves", Body=b"content")
    begun = s3.create_multipart_upload(Bucket=bucket, Key="parts", StorageClass="ONEZONE_IA")
    (upload,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert (upload["UploadId"], upload["StorageClass"]) == (begun["UploadId"], "ONEZONE_IA")

    def classes() -> dict[str, str]:
        found = s3.list_objects_v2(Bucket=bucket)["Contents"]
        return {each["Key"]: each["StorageClass"] for each in found}

    assert classes() == {"by-boto3": "GLACIER_IR", "by-cli": "STANDARD_IA", "moves": "STANDARD"}
    swarm.aws("s3", "cp", target, target, "--storage-class", "REDUCED_REDUNDANCY")
    assert s3.head_object(Bucket=bucket, Key="by-cli")["StorageClass"] == "REDUCED_REDUNDANCY"
    assert "StorageClass" not in s3.head_object(Bucket=bucket, Key="moves")
    for name, code in (("GLACIER", "NotImplemented"), ("COLD", "InvalidStorageClass")):
        asked = partial(s3.put_object, Bucket=bucket, Key="no", Body=b"", StorageClass=name)
        assert code_of(asked) == code

    rule = {
        "ID": "moves",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "moves", "ObjectSizeGreaterThan": 1}},
        "Transitions": [{"Days": 0, "StorageClass": "GLACIER_IR"}],
    }
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]
    before = s3.head_object(Bucket=bucket, Key="moves")
    deadline = time.monotonic() + 90
    while classes()["moves"] != "GLACIER_IR" or swarm.status()["following"]["pages"]:
        assert time.monotonic() < deadline, "nothing was moved"
        time.sleep(0.5)
    after = s3.get_object(Bucket=bucket, Key="moves")
    assert after["Body"].read() == b"content"
    for name in ("ETag", "LastModified"):
        assert after[name] == before[name]
    s3.delete_bucket_lifecycle(Bucket=bucket)
