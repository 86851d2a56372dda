"""Backup programs do a backup's whole life: first and next backups, check, restore byte for byte,
forgetting of old ones; and locks and tags by those that use them."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from e2e_clients import Clients, assert_same

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BOTH = pytest.mark.parametrize("version", ["new", "debian"])


def change(folder: Path) -> None:
    (folder / "a").write_bytes(b"another content of a")
    (folder / "more").write_bytes(os.urandom(100_000))
    (folder / "empty").unlink()


@BOTH
def test_restic_backs_up_forgets_prunes_checks_and_restores(
    clients: Clients, bucket: str, folder: Path, version: str
) -> None:
    def restic(*arguments: str | Path) -> str:
        return clients.restic(version, f"{bucket}/repository", *arguments)

    restic("init")
    restic("backup", folder)
    before = clients.home / "before"
    shutil.copytree(folder, before)
    change(folder)
    restic("backup", folder)
    restic("restore", "latest", "--target", clients.home / "new")
    assert_same(folder, clients.home / "new" / folder.relative_to("/"))
    restic("forget", "--keep-last", "1", "--prune")
    assert "1 snapshots" in restic("snapshots")
    restic("check", "--read-data")
    shutil.rmtree(clients.home / "new")
    restic("restore", "latest", "--target", clients.home / "new")
    assert_same(folder, clients.home / "new" / folder.relative_to("/"))


def test_restic_prunes_in_a_bucket_whose_default_retention_keeps_all_that_it_prunes(
    clients: Clients, s3: Any, bucket: str, folder: Path
) -> None:
    locked = f"{bucket[:50]}-kept"
    s3.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    s3.put_object_lock_configuration(
        Bucket=locked, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )

    def restic(*arguments: str | Path) -> str:
        return clients.restic("new", locked, *arguments)

    restic("init")
    restic("backup", folder)
    change(folder)
    (folder / "large").unlink()
    restic("backup", folder)
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data")
    listed = s3.list_object_versions(Bucket=locked)
    hidden = {each["Key"] for each in listed["DeleteMarkers"]}
    packs = [
        row for row in listed["Versions"] if row["Key"] in hidden and row["Key"].startswith("data/")
    ]
    assert packs, "what was pruned is still there, under markers"
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=locked, Key=packs[0]["Key"], VersionId=packs[0]["VersionId"])


def test_kopia_snapshots_verifies_and_restores_under_locks_that_it_sets(
    clients: Clients, s3: Any, bucket: str, folder: Path
) -> None:
    locked = f"{bucket[:50]}-kept"
    s3.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    secure = ["--root-ca-pem-path", str(clients.ca_file)] if clients.ca_file else ["--disable-tls"]
    clients.kopia(
        *("repository", "create", "s3", f"--bucket={locked}", f"--endpoint={clients.host}"),
        *(f"--access-key={clients.access_key}", f"--secret-access-key={clients.secret_key}"),
        *("--retention-mode=COMPLIANCE", "--retention-period=48h", *secure),
    )
    clients.kopia("snapshot", "create", folder)
    change(folder)
    clients.kopia("snapshot", "create", folder)
    clients.kopia("snapshot", "verify", "--verify-files-percent=100")
    clients.kopia("snapshot", "restore", folder, clients.home / "new")
    assert_same(folder, clients.home / "new")
    clients.kopia("maintenance", "run", "--full", "--safety=none")
    clients.kopia("repository", "disconnect")
    rows = s3.list_object_versions(Bucket=locked)["Versions"]
    packs = [row for row in rows if row["Key"].startswith("p")]
    kept = s3.get_object_retention(
        Bucket=locked, Key=packs[0]["Key"], VersionId=packs[0]["VersionId"]
    )["Retention"]
    assert kept["Mode"] == "COMPLIANCE"
    assert kept["RetainUntilDate"] > datetime.now(UTC) + timedelta(hours=47)


@BOTH
def test_duplicity_backs_up_in_steps_verifies_restores_and_removes_old_ones(
    clients: Clients, bucket: str, folder: Path, version: str
) -> None:
    scheme = "s3" if version == "new" else "boto3+s3"
    place = f"{scheme}://{bucket}/backups"

    def duplicity(action: str, *arguments: str | Path) -> str:
        return clients.duplicity(version, action, *arguments)

    duplicity("full", folder, place)
    change(folder)
    duplicity("incremental", folder, place)
    duplicity("verify", "--compare-data", place, folder)
    duplicity("restore", place, clients.home / "new")
    assert_same(folder, clients.home / "new")
    shown = duplicity("collection-status", place)
    assert ("Full" in shown, "Incremental" in shown) == (True, True)
    duplicity("full", folder, place)
    duplicity("remove-all-but-n-full", "1", "--force", place)
    assert "Incremental" not in duplicity("collection-status", place)
    shutil.rmtree(clients.home / "new")
    duplicity("restore", place, clients.home / "new")
    assert_same(folder, clients.home / "new")


def test_barman_cloud_archives_wal_segments_with_tags_and_restores_them(
    clients: Clients, s3: Any, bucket: str
) -> None:
    segment = clients.home / "000000010000000000000007"
    segment.write_bytes(os.urandom(1_000_000) + bytes(15_777_216))
    tags = ("--tags", "purpose,wal", "with space,a b")
    clients.barman("wal-archive", "--gzip", *tags, "--", f"s3://{bucket}", "server", segment)
    (row,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    kept = s3.get_object_tagging(Bucket=bucket, Key=row["Key"])["TagSet"]
    assert {each["Key"]: each["Value"] for each in kept} == {"purpose": "wal", "with space": "a b"}
    back = clients.home / "back"
    clients.barman("wal-restore", f"s3://{bucket}", "server", segment.name, back)
    assert back.read_bytes() == segment.read_bytes()
