"""File systems over S3: what programs do with files comes back, renamed folders too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_clients import LARGE, Clients, all_in, assert_same, files_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def mounted(clients: Clients, bucket: str) -> Iterator[Path]:
    """The bucket as a folder, by s3fs."""
    keys = clients.home / "keys"
    keys.write_text(f"{clients.access_key}:{clients.secret_key}\n")
    keys.chmod(0o600)
    place = clients.home / "mounted"
    place.mkdir()
    options = f"url={clients.endpoint},use_path_request_style,passwd_file={keys}"
    clients.run("s3fs", bucket, place, "-o", options)
    assert place.is_mount(), "s3fs says 0 also when it cannot mount"
    yield place
    clients.run("umount", place)


def test_s3fs_keeps_what_programs_do_with_files(
    clients: Clients, s3: Any, bucket: str, folder: Path, mounted: Path
) -> None:
    shutil.copytree(folder, mounted / "folder")
    assert_same(folder, mounted / "folder")
    (mounted / "folder").rename(mounted / "moved folder")
    assert_same(folder, mounted / "moved folder")
    names = [f"moved folder/{name}" for name in files_of(folder)]
    assert {key for key in all_in(s3, bucket) if not key.endswith("/")} == set(names)
    with (mounted / "moved folder" / "a").open("ab") as file:
        file.write(b" and more")
    with (mounted / "moved folder" / "large").open("r+b") as file:
        file.seek(6_000_000)
        file.write(b"in the middle")
    changed = LARGE[:6_000_000] + b"in the middle" + LARGE[6_000_013:]
    stored = all_in(s3, bucket)
    assert stored["moved folder/a"] == b"content of a and more"
    assert stored["moved folder/large"] == changed
    (mounted / "moved folder" / "a").chmod(0o640)
    (mounted / "link").symlink_to("moved folder/a")
    assert (mounted / "link").read_bytes() == b"content of a and more"
    assert (mounted / "moved folder" / "a").stat().st_mode & 0o777 == 0o640
    shutil.rmtree(mounted / "moved folder")
    assert os.listdir(mounted) == ["link"]


CORE_SITE = """<configuration>
<property><name>fs.s3a.endpoint</name><value>{endpoint}</value></property>
<property><name>fs.s3a.path.style.access</name><value>true</value></property>
</configuration>
"""


def test_hadoops_s3a_writes_lists_renames_and_removes_folders(
    clients: Clients, s3: Any, bucket: str, folder: Path
) -> None:
    (clients.home / "core-site.xml").write_text(CORE_SITE.format(endpoint=clients.endpoint))
    place = f"s3a://{bucket}"

    def fs(*arguments: str | Path) -> str:
        return clients.java("org.apache.hadoop.fs.FsShell", *arguments)

    fs("-mkdir", "-p", f"{place}/one/empty folder")
    fs("-put", folder, f"{place}/one")
    assert "sub folder" in fs("-ls", "-R", f"{place}/one")
    fs("-mv", f"{place}/one/{folder.name}", f"{place}/two")
    assert fs("-cat", f"{place}/two/a") == "content of a"
    fs("-get", f"{place}/two", clients.home / "down")
    assert_same(folder, clients.home / "down")
    kept = {key for key in all_in(s3, bucket) if not key.endswith("/")}
    assert kept == {f"two/{name}" for name in files_of(folder)}
    fs("-rm", "-r", "-skipTrash", f"{place}/two")
    assert {key for key in all_in(s3, bucket) if not key.endswith("/")} == set()
