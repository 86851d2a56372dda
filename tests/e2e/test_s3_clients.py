"""A tree of files through aws-cli, rclone and boto3, before and after n-k cells are killed."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from e2e_swarm import Swarm
from thoroughness import quick_or

MIB = 1024 * 1024
LARGEST = quick_or(100, 300) * 1_000_000
NAMES = ["plain.txt", "with space.txt", "ünï©ode-蜂.bin", "plus+percent%25&amp;.dat", "a=b;c,d.x"]


def write_random(path: Path, size: int, seed: int) -> None:
    chance = random.Random(seed)
    with path.open("wb") as file:
        while size > 0:
            size -= file.write(chance.randbytes(min(size, 4 * MIB)))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of 0 B to 100 MB (300 of them, and 300 MB) around the edges of stripes and parts."""
    root = tmp_path_factory.mktemp("tree")
    sizes = [0, 1, 15, 16, 17, 4095, 4096, 4097, 65_535, 65_536, 262_144 * 4 - 16, MIB, MIB + 1]
    sizes += [5 * MIB, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1]
    chance = random.Random(7)
    sizes += [int(2 ** chance.uniform(0, 17)) for _ in range(quick_or(90, 270))]
    for number, size in enumerate(sizes):
        directory = root / f"d{number % 7}" / f"e{number % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        write_random(directory / f"{number:04d}-{NAMES[number % len(NAMES)]}", size, number)
    write_random(root / "largest.bin", LARGEST, 4711)
    return root


def relative_files(root: Path) -> list[str]:
    return sorted(
        str((Path(directory) / name).relative_to(root))
        for directory, _, names in os.walk(root)
        for name in names
    )


def assert_same_trees(one: Path, other: Path) -> None:
    files = relative_files(one)
    assert relative_files(other) == files
    _, differing, failed = filecmp.cmpfiles(one, other, files, shallow=False)
    assert not differing
    assert not failed


@pytest.mark.timeout(300)
def test_aws_cli_syncs_a_tree_up_and_down_byte_for_byte(
    swarm: Swarm, tree: Path, tmp_path: Path
) -> None:
    swarm.aws("s3", "mb", "s3://by-aws")
    swarm.aws("s3", "sync", "--only-show-errors", str(tree), "s3://by-aws/tree")
    swarm.aws("s3", "sync", "--only-show-errors", "s3://by-aws/tree", str(tmp_path / "down"))
    assert_same_trees(tree, tmp_path / "down")
    assert swarm.aws("s3", "sync", str(tree), "s3://by-aws/tree") == "", "nothing is left to do"


@pytest.mark.timeout(300)
def test_rclone_syncs_a_tree_up_and_down_and_checks_it(
    swarm: Swarm, tree: Path, tmp_path: Path
) -> None:
    swarm.rclone("mkdir", "swarm:by-rclone")
    swarm.rclone("sync", str(tree), "swarm:by-rclone/tree")
    swarm.rclone("check", "--one-way", str(tree), "swarm:by-rclone/tree")
    swarm.rclone("sync", "swarm:by-rclone/tree", str(tmp_path / "down"))
    assert_same_trees(tree, tmp_path / "down")


def test_listing_is_complete_and_in_order(swarm: Swarm, s3: Any, tree: Path) -> None:
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="by-aws", Prefix="tree/", PaginationConfig={"PageSize": 37}
    )
    rows = [row for page in pages for row in page["Contents"]]
    names = [row["Key"] for row in rows]
    assert names == sorted(names, key=lambda name: name.encode())
    assert names == sorted(f"tree/{name}" for name in relative_files(tree))
    assert {row["Key"]: row["Size"] for row in rows} == {
        f"tree/{name}": (tree / name).stat().st_size for name in relative_files(tree)
    }


def test_a_delimiter_rolls_directories_up(swarm: Swarm, s3: Any) -> None:
    answer = s3.list_objects_v2(Bucket="by-aws", Prefix="tree/", Delimiter="/")
    assert [each["Prefix"] for each in answer["CommonPrefixes"]] == [
        f"tree/d{number}/" for number in range(7)
    ]
    assert [each["Key"] for each in answer["Contents"]] == ["tree/largest.bin"]


def test_ranges_of_the_largest_object_are_exact(s3: Any, tree: Path) -> None:
    chance = random.Random(3)
    edges = [0, 1, MIB - 17, MIB - 16, MIB, 8 * MIB - 1, 64 * MIB - 1, 64 * MIB, LARGEST - 1]
    with (tree / "largest.bin").open("rb") as file:
        for first in [*edges, *(chance.randrange(LARGEST) for _ in range(10))]:
            last = min(LARGEST - 1, first + chance.choice([0, 1, 100, 3 * MIB]))
            answer = s3.get_object(
                Bucket="by-aws", Key="tree/largest.bin", Range=f"bytes={first}-{last}"
            )
            assert answer["ContentRange"] == f"bytes {first}-{last}/{LARGEST}"
            file.seek(first)
            assert answer["Body"].read() == file.read(last - first + 1)


def test_a_copy_has_the_same_bytes_and_adds_no_shards(
    swarm: Swarm, s3: Any, tree: Path, tmp_path: Path
) -> None:
    source = {"Bucket": "by-aws", "Key": "tree/largest.bin"}
    before = swarm.status()["space"]
    s3.copy_object(Bucket="by-rclone", Key="copied.bin", CopySource=source)
    s3.download_file("by-rclone", "copied.bin", str(tmp_path / "copied"))
    assert filecmp.cmp(tree / "largest.bin", tmp_path / "copied", shallow=False)
    after = swarm.status()["space"]
    assert after.get("stored_bytes") == before.get("stored_bytes")


def test_metadata_and_content_headers_come_back(s3: Any) -> None:
    s3.put_object(
        Bucket="by-aws",
        Key="meta",
        Body=b"x",
        Metadata={"bee": "queen"},
        ContentType="text/x-bee",
        CacheControl="no-store",
    )
    answer = s3.head_object(Bucket="by-aws", Key="meta")
    assert answer["Metadata"] == {"bee": "queen"}
    assert (answer["ContentType"], answer["CacheControl"]) == ("text/x-bee", "no-store")
    assert answer["ETag"] == f'"{hashlib.md5(b"x").hexdigest()}"'


def test_a_deleted_object_is_gone(swarm: Swarm, s3: Any) -> None:
    s3.put_object(Bucket="by-aws", Key="gone", Body=b"x" * 100_000)
    s3.delete_object(Bucket="by-aws", Key="gone")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="by-aws", Key="gone")


@pytest.mark.timeout(300)
def test_everything_is_read_with_n_minus_k_cells_killed(
    swarm: Swarm, s3: Any, tree: Path, tmp_path: Path
) -> None:
    swarm.kill("cell-01", "cell-04")
    swarm.aws("s3", "sync", "--only-show-errors", "s3://by-aws/tree", str(tmp_path / "aws"))
    assert_same_trees(tree, tmp_path / "aws")
    swarm.rclone("check", "--one-way", "--download", str(tree), "swarm:by-rclone/tree")
    processes = {each["name"]: each for each in swarm.status()["processes"]}
    dead = sorted(name for name, each in processes.items() if not each["running"])
    assert dead == ["cell-01", "cell-04"]
    assert "cell-01" in swarm.stderr()
    listed = json.loads((swarm.root / "processes.json").read_text())
    assert {each["exit"] for each in listed if "exit" in each} == {"SIGKILL"}
