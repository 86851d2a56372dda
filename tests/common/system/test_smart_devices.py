"""The disk under a directory, as Linux shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.system.smart import device_of


@pytest.fixture
def number(tmp_path: Path) -> str:
    device = tmp_path.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def block(sysfs: Path, path: str) -> Path:
    entry = sysfs / "devices" / path
    (entry / "slaves").mkdir(parents=True)
    return entry


def shows(sysfs: Path, number: str, entry: Path) -> None:
    (sysfs / "dev/block").mkdir(parents=True)
    (sysfs / "dev/block" / number).symlink_to(entry)


def test_a_partition_lies_on_its_disk(tmp_path: Path, number: str) -> None:
    partition = block(tmp_path, "pci/sda/sda1")
    (partition / "partition").write_text("1\n")
    (tmp_path / "devices/pci/sda/slaves").mkdir()
    shows(tmp_path, number, partition)
    assert device_of(tmp_path, tmp_path) == "/dev/sda"


def test_an_encrypted_volume_lies_on_the_disk_of_its_partition(tmp_path: Path, number: str) -> None:
    partition = block(tmp_path, "pci/nvme0n1/nvme0n1p2")
    (partition / "partition").write_text("2\n")
    volume = block(tmp_path, "virtual/dm-0")
    (volume / "slaves/nvme0n1p2").symlink_to(partition)
    shows(tmp_path, number, volume)
    assert device_of(tmp_path, tmp_path) == "/dev/nvme0n1"


def test_several_disks_are_none(tmp_path: Path, number: str) -> None:
    volume = block(tmp_path, "virtual/md0")
    for name in ("sda", "sdb"):
        (volume / "slaves" / name).symlink_to(block(tmp_path, f"pci/{name}"))
    shows(tmp_path, number, volume)
    assert device_of(tmp_path, tmp_path) is None


def test_devices_on_each_other_without_end_are_none(tmp_path: Path, number: str) -> None:
    volume = block(tmp_path, "virtual/dm-0")
    (volume / "slaves/dm-0").symlink_to(volume)
    shows(tmp_path, number, volume)
    assert device_of(tmp_path, tmp_path) is None


def test_a_file_system_without_a_disk_has_none(tmp_path: Path) -> None:
    assert device_of(tmp_path, tmp_path) is None
    assert device_of(tmp_path / "missing") is None
