"""Command lines of every kind do their usual job: folders up and down, copies and moves of keys
that are hard to quote, large objects in parts, presigned URLs; and what each of them has beyond."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2e_clients import LARGE, Clients, all_in, assert_same, files_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BOTH = pytest.mark.parametrize("version", ["new", "debian"])


@pytest.mark.fault("B01", "B36")
def test_aws_cli_2_syncs_copies_moves_and_presigns(
    clients: Clients, s3: Any, bucket: str, folder: Path, http: httpx.Client
) -> None:
    aws = clients.aws_2
    assert aws("--version").startswith("aws-cli/2.")
    aws("s3", "sync", "--only-show-errors", str(folder), f"s3://{bucket}/one")
    assert aws("s3", "sync", str(folder), f"s3://{bucket}/one") == "", "nothing is left to do"
    aws("s3", "cp", "--only-show-errors", "--recursive", f"s3://{bucket}/one", f"s3://{bucket}/two")
    aws("s3", "mv", "--only-show-errors", "--recursive", f"s3://{bucket}/two", f"s3://{bucket}/3")
    aws("s3", "rm", "--only-show-errors", "--recursive", f"s3://{bucket}/one")
    assert sorted(all_in(s3, bucket)) == [f"3/{name}" for name in files_of(folder)]
    aws("s3", "sync", "--only-show-errors", f"s3://{bucket}/3", str(clients.home / "down"))
    assert_same(folder, clients.home / "down")
    url = aws("s3", "presign", f"s3://{bucket}/3/sub folder/b + c=ü%20.txt").strip()
    assert http.get(url).content == b"content of b"
    aws("s3", "rb", "--force", f"s3://{bucket}")


def test_aws_cli_2_lists_reads_and_restores_versions_and_sets_a_lifecycle(
    clients: Clients, bucket: str
) -> None:
    def api(*arguments: str) -> Any:
        said = clients.aws_2("s3api", *arguments, "--bucket", bucket)
        return json.loads(said) if said.strip() else {}

    api("put-bucket-versioning", "--versioning-configuration", "Status=Enabled")
    for content in ("first", "second"):
        (clients.home / content).write_text(content)
        clients.aws_2("s3", "cp", str(clients.home / content), f"s3://{bucket}/file")
    clients.aws_2("s3", "rm", f"s3://{bucket}/file")
    listed = api("list-object-versions")
    assert [each["IsLatest"] for each in listed["Versions"]] == [False, False]
    assert listed["DeleteMarkers"][0]["IsLatest"]
    oldest = listed["Versions"][1]["VersionId"]
    api("get-object", "--key", "file", "--version-id", oldest, str(clients.home / "old"))
    assert (clients.home / "old").read_text() == "first"
    api("copy-object", "--key", "file", "--copy-source", f"{bucket}/file?versionId={oldest}")
    assert clients.aws_2("s3", "cp", f"s3://{bucket}/file", "-") == "first"
    rule = {
        "ID": "old",
        "Status": "Enabled",
        "Filter": {"Prefix": "logs/"},
        "Expiration": {"Days": 30},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 7},
    }
    configuration = json.dumps({"Rules": [rule]})
    api("put-bucket-lifecycle-configuration", "--lifecycle-configuration", configuration)
    assert api("get-bucket-lifecycle-configuration")["Rules"] == [rule]


@pytest.mark.fault("B01")
def test_debians_rclone_syncs_checks_copies_and_moves(
    clients: Clients, s3: Any, bucket: str, folder: Path
) -> None:
    rclone = clients.rclone_of_debian
    rclone("sync", str(folder), f"swarm:{bucket}/one")
    rclone("check", "--download", str(folder), f"swarm:{bucket}/one")
    rclone("copy", f"swarm:{bucket}/one", f"swarm:{bucket}/two")
    rclone("move", f"swarm:{bucket}/two", f"swarm:{bucket}/3")
    rclone("purge", f"swarm:{bucket}/one")
    assert sorted(all_in(s3, bucket)) == [f"3/{name}" for name in files_of(folder)]
    rclone("sync", f"swarm:{bucket}/3", str(clients.home / "down"))
    assert_same(folder, clients.home / "down")


@BOTH
@pytest.mark.fault("B01", "B02")
def test_s3cmd_syncs_copies_moves_and_signs_urls(
    clients: Clients, s3: Any, bucket: str, folder: Path, http: httpx.Client, version: str
) -> None:
    def s3cmd(*arguments: str | Path) -> str:
        return clients.s3cmd(version, *arguments)

    s3cmd("sync", "--multipart-chunk-size-mb=5", f"{folder}/", f"s3://{bucket}/one/")
    down = clients.home / "down"
    s3cmd("sync", f"s3://{bucket}/one/", f"{down}/")
    assert_same(folder, down)
    s3cmd("cp", "--recursive", f"s3://{bucket}/one/", f"s3://{bucket}/two/")
    s3cmd("mv", f"s3://{bucket}/two/large", f"s3://{bucket}/moved + large")
    s3cmd("del", "--recursive", f"s3://{bucket}/one/")
    kept = [f"two/{name}" for name in files_of(folder) if name != "large"]
    assert sorted(all_in(s3, bucket)) == sorted(["moved + large", *kept])
    assert all_in(s3, bucket)["moved + large"] == LARGE
    assert "FULL_CONTROL" in s3cmd("info", f"s3://{bucket}")
    assert f"s3://{bucket}/two/a" in s3cmd("ls", "--recursive", f"s3://{bucket}")
    url = s3cmd("signurl", f"s3://{bucket}/two/a", "+600").strip()
    assert http.get(url).content == b"content of a"
    s3cmd("rb", "--recursive", "--force", f"s3://{bucket}")


@BOTH
def test_s3cmd_sets_a_policy_by_which_everybody_reads_and_removes_it(
    clients: Clients, s3: Any, bucket: str, http: httpx.Client, version: str
) -> None:
    s3.put_object(Bucket=bucket, Key="public/page", Body=b"hello")
    s3.put_object(Bucket=bucket, Key="private", Body=b"secret")
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/public/*"],
    }
    policy = clients.home / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    # What every client must do on AWS too, since 2023; s3cmd itself has no command for it.
    s3.delete_public_access_block(Bucket=bucket)
    clients.s3cmd(version, "setpolicy", policy, f"s3://{bucket}")
    page = f"{clients.endpoint}/{bucket}/public/page"
    assert http.get(page).content == b"hello"
    assert http.get(f"{clients.endpoint}/{bucket}/private").status_code == 403
    assert "s3:GetObject" in clients.s3cmd(version, "info", f"s3://{bucket}")
    clients.s3cmd(version, "delpolicy", f"s3://{bucket}")
    assert http.get(page).status_code == 403


def test_s5cmd_syncs_both_ways(clients: Clients, bucket: str, folder: Path) -> None:
    clients.s5cmd("sync", "--part-size", "5", f"{folder}/", f"s3://{bucket}/one/")
    assert clients.s5cmd("sync", f"{folder}/", f"s3://{bucket}/one/") == "", "nothing to do"
    clients.s5cmd("sync", f"s3://{bucket}/one/*", f"{clients.home / 'down'}/")
    assert_same(folder, clients.home / "down")


@pytest.mark.fault("B01")
def test_mc_mirrors_compares_copies_moves_tags_and_shares(
    clients: Clients, s3: Any, bucket: str, folder: Path, http: httpx.Client
) -> None:
    mc, place = clients.mc, f"swarm/{bucket}"
    mc("mirror", folder, f"{place}/one")
    assert mc("diff", folder, f"{place}/one") == []
    mc("cp", "--recursive", f"{place}/one/", f"{place}/two/")
    mc("mv", "--recursive", f"{place}/two/", f"{place}/3/")
    mc("rm", "--recursive", "--force", f"{place}/one/")
    assert sorted(all_in(s3, bucket)) == [f"3/{name}" for name in files_of(folder)]
    mc("mirror", f"{place}/3", clients.home / "down")
    assert_same(folder, clients.home / "down")
    mc("tag", "set", f"{place}/3/a", "kind=a b&more=x%2By")
    assert mc("tag", "list", f"{place}/3/a")[0]["tagset"] == {"kind": "a b", "more": "x+y"}
    shared = mc("share", "download", f"{place}/3/sub folder/b + c=ü%20.txt")[0]["share"]
    assert http.get(shared).content == b"content of b"
    mc("rb", "--force", place)


def test_mc_locks_holds_and_cannot_remove_what_is_locked(
    clients: Clients, s3: Any, bucket: str, folder: Path
) -> None:
    mc, locked = clients.mc, f"{bucket[:50]}-kept"
    mc("mb", "--with-lock", f"swarm/{locked}")
    mc("retention", "set", "--default", "COMPLIANCE", "1d", f"swarm/{locked}")
    shown = s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"]
    assert shown["Rule"]["DefaultRetention"] == {"Mode": "COMPLIANCE", "Days": 1}
    mc("retention", "clear", "--default", f"swarm/{locked}")
    mc("cp", folder / "a", f"swarm/{locked}/governed")
    mc("cp", folder / "a", f"swarm/{locked}/held")
    mc("retention", "set", "GOVERNANCE", "1d", f"swarm/{locked}/governed")
    until = s3.get_object_retention(Bucket=locked, Key="governed")["Retention"]
    assert until["Mode"] == "GOVERNANCE"
    assert until["RetainUntilDate"] > datetime.now(UTC) + timedelta(hours=23)
    mc("legalhold", "set", f"swarm/{locked}/held")
    assert mc("legalhold", "info", f"swarm/{locked}/held")[0]["legalhold"] == "ON"
    for key in ("governed", "held"):
        refused = mc("rm", "--versions", "--force", f"swarm/{locked}/{key}", check=False)
        assert "error" in [each["status"] for each in refused], refused
    mc("legalhold", "clear", f"swarm/{locked}/held")
    mc("rm", "--versions", "--force", f"swarm/{locked}/held")
    mc("rm", "--versions", "--force", "--bypass", f"swarm/{locked}/governed")
    assert all_in(s3, locked) == {}
    mc("rb", f"swarm/{locked}")


def test_mc_keeps_versions_brings_one_back_and_sets_a_lifecycle(
    clients: Clients, s3: Any, bucket: str, folder: Path
) -> None:
    mc, place = clients.mc, f"swarm/{bucket}"
    mc("version", "enable", place)
    assert mc("version", "info", place)[0]["versioning"]["status"] == "Enabled"
    mc("cp", folder / "a", f"{place}/file")
    mc("cp", folder / "empty", f"{place}/file")
    assert len(mc("ls", "--versions", f"{place}/file")) == 2
    mc("undo", "--force", f"{place}/file")
    assert all_in(s3, bucket) == {"file": b"content of a"}
    mc("ilm", "rule", "add", "--expire-days", "3", "--prefix", "logs/", place)
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert (rule["Expiration"], rule["Filter"]) == ({"Days": 3}, {"Prefix": "logs/"})
    mc("ilm", "rule", "remove", "--all", "--force", place)
    assert mc("ilm", "rule", "ls", place, check=False)[0]["status"] == "error"
