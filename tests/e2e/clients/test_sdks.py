"""Programs on SDKs do the usual job: keys that are hard to quote put, copied, read, listed page by
page and deleted, a large object in parts, presigned URLs; and what a browser does with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from e2e_clients import KEYS, LARGE, Clients, all_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
COPIED = {f"copied/{key}": f"content of {key}".encode() for key in KEYS}
"""What each program leaves behind, beside the large object."""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    made = tmp_path / "large + file"
    made.write_bytes(LARGE)
    return made


@pytest.fixture
def down(tmp_path: Path) -> Path:
    return tmp_path / "down"


def assert_done(said: str, s3: Any, bucket: str, down: Path) -> None:
    assert said.endswith("done\n")
    assert all_in(s3, bucket) == {**COPIED, "large": LARGE}
    assert down.read_bytes() == LARGE


@pytest.mark.fault("B01")
def test_the_go_sdk_does_the_usual_job(clients: Clients, s3: Any, large: Path, down: Path) -> None:
    program = clients.installed("bin/go-sdk")
    said = clients.run(program, clients.endpoint, "by-go", large, down, *KEYS).stdout
    assert_done(said, s3, "by-go", down)


@pytest.mark.fault("B01")
def test_the_java_sdk_does_the_usual_job(
    clients: Clients, s3: Any, large: Path, down: Path
) -> None:
    said = clients.java("Usual", clients.endpoint, "by-java", large, down, *KEYS)
    assert_done(said, s3, "by-java", down)


@pytest.mark.fault("B01")
def test_minio_py_does_the_usual_job(clients: Clients, s3: Any, large: Path, down: Path) -> None:
    python = clients.installed("python/bin/python")
    said = clients.python(python, "usual_minio.py", clients.endpoint, "by-py", large, down, *KEYS)
    assert_done(said, s3, "by-py", down)


@pytest.mark.fault("B01")
def test_debians_boto3_does_the_usual_job(
    clients: Clients, s3: Any, large: Path, down: Path
) -> None:
    script = "usual_boto3.py"
    said = clients.python(
        "/usr/bin/python3", script, clients.endpoint, "by-old", large, down, *KEYS
    )
    assert_done(said, s3, "by-old", down)


@pytest.mark.fault("B01")
def test_the_javascript_sdk_does_the_usual_job(
    clients: Clients, s3: Any, large: Path, down: Path
) -> None:
    said = clients.node("usual.mjs", "by-js", large, down, *KEYS)
    assert said == {"listed": 2 * len(KEYS), "deleted": len(KEYS), "missing": "NotFound"}
    assert_done("done\n", s3, "by-js", down)


def test_a_form_of_minio_js_uploads_what_its_policy_allows_and_nothing_else(
    clients: Clients, s3: Any, bucket: str
) -> None:
    said = clients.node("form.mjs", bucket)
    assert said == {"posted": 204, "elsewhere": 403, "tooLarge": 400, "otherType": 403}
    assert all_in(s3, bucket) == {"uploads/ä + b": b"from a form"}
    assert s3.head_object(Bucket=bucket, Key="uploads/ä + b")["ContentType"] == "text/plain"


def test_a_browsers_page_writes_and_reads_where_its_origin_is_allowed_and_nowhere_else(
    clients: Clients, s3: Any, bucket: str
) -> None:
    rule = {
        "AllowedMethods": ["GET", "PUT"],
        "AllowedOrigins": ["https://app.example.org"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    said = clients.node("page.mjs", bucket, json.dumps(["app.example.org", "evil.example"]))
    allowed, refused = said["app.example.org"], said["evil.example"]
    assert (allowed["put"], allowed["text"]) == (200, "from a page")
    assert allowed["etag"].startswith('"')
    assert refused == {"put": "blocked", "get": "blocked"}
    assert all_in(s3, bucket) == {"page": b"from a page"}
