"""`alveary rescue kit` makes private files of a coordinator's directory, and says what is amiss."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import pytest

from cli.credentials import make_tenant, write_tenant
from cli.main import main
from cli.rescue import _bar, _customer_key, _restore_text
from common.errors import Unavailable
from common.format.envelope import WrappingKey
from common.ids import PeerId
from common.wire.messages.base import Endpoint
from coordinator.store import tenants
from coordinator.store.schema import migrate
from rescue.journal_reading import said, shown
from rescue.kit import unpack_kit
from rescue.restore import Progress


@pytest.fixture
def swarm(tmp_path: Path) -> Path:
    """The directory of a coordinator that has two tenants, and the key files of both."""
    made = tmp_path / "swarm"
    (made / "coordinator").mkdir(parents=True)
    for name in ("swarm.key", "swarm.secret"):
        (made / "coordinator" / name).write_text("11" * 32 + "\n")
    with closing(sqlite3.connect(made / "coordinator" / "coordinator.sqlite")) as sql, sql:
        migrate(sql)
        for name in ("ours", "theirs"):
            key = make_tenant()
            write_tenant(made / "gateway" / "tenants", name, key)
            tenants.create(sql, name, key.tenant_id, key.proof_key(), 0)
    write_tenant(made / "gateway" / "tenants", "removed", make_tenant())
    return made


def test_a_kit_of_one_tenant_has_its_key_alone_and_says_what_it_shows_of_others(
    swarm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = tmp_path / "kits" / "ours.kit"
    assert main(["rescue", "kit", str(kit), f"--data={swarm}", "--tenant=ours"]) == 0
    assert kit.stat().st_mode & 0o777 == 0o600
    assert list(unpack_kit(kit.read_bytes()).tenants) == ["ours"]
    said = capsys.readouterr()
    assert "1 other tenants" in said.out
    assert "keeps no journal" in said.err


def test_a_kit_of_the_operator_has_all_keys_that_the_swarm_knows(
    swarm: Path, tmp_path: Path
) -> None:
    kit = tmp_path / "all.kit"
    directory = swarm / "coordinator"
    tenant_files = swarm / "gateway" / "tenants"
    command = ["rescue", "kit", str(kit), f"--data={directory}", f"--tenants={tenant_files}"]
    assert main([*command, "--operator"]) == 0
    assert list(unpack_kit(kit.read_bytes()).tenants) == ["ours", "theirs"]
    assert main([*command, "--tenant=removed"]) == 2
    assert main(command) == 2


def test_a_kit_without_keys_wants_one_at_the_time(
    swarm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = tmp_path / "bare.kit"
    empty = tmp_path / "none"
    assert (
        main(["rescue", "kit", str(kit), f"--data={swarm}", f"--tenants={empty}", "--operator"])
        == 0
    )
    assert json.loads(kit.read_text())["tenants"] == []
    target = tmp_path / "restored"
    assert main(["rescue", "restore", str(kit), f"--to={target}"]) == 2
    assert "--tenant-key" in capsys.readouterr().err
    key = swarm / "gateway" / "tenants" / "ours.json"
    # It names no cell either, so it gets no further.
    assert main(["rescue", "restore", str(kit), f"--to={target}", f"--tenant-key={key}"]) == 3
    assert "no journal" in capsys.readouterr().err


def test_a_sealed_kit_wants_its_passphrase(swarm: Path, tmp_path: Path) -> None:
    kit, secret = tmp_path / "sealed.kit", tmp_path / "secret"
    secret.write_text("correct horse\n")
    sealed = f"--passphrase-file={secret}"
    assert main(["rescue", "kit", str(kit), f"--data={swarm}", "--tenant=ours", sealed]) == 0
    assert "rescue_key" not in kit.read_text()
    assert main(["rescue", "check", str(kit), sealed]) == 3  # it is read, and names no cell
    secret.write_text("battery\n")
    assert main(["rescue", "check", str(kit), sealed]) == 2


REPORT = {
    "restored": 1200,
    "kept": 3,
    "missing": 2,
    "without_key": 1,
    "notes": ["settings of bucket odd: record_not_authentic"],
    "bad_shards": [{"cell": "00ff cell-1:7000", "why": "leaf_mismatch", "count": 4}],
    "journal": {
        "sequence": 1234,
        "epoch": 5,
        "answered": 1,
        "members": 3,
        "may_lack_newest": True,
        "unusable": {"aa" * 32: "journal_not_authentic"},
    },
    "cells": 6,
    "silent_cells": {"11ee cell-2:7000": "connect_failed"},
}


def test_a_report_for_people_names_what_is_missing_and_whom_to_ask() -> None:
    text = _restore_text(REPORT, Path("/to"))
    for part in (
        "1,200 objects restored, 3 were there already, 2 missing",
        "1 of them are under a key that is not at hand",
        "/to/missing.jsonl",
        "settings of bucket odd",
        "4 of cell 00ff cell-1:7000: leaf_mismatch",
        "record 1,234 of epoch 5; 1 of the 3 cells",
        "the newest objects may be known to the others only",
        "cell aaaaaaaaaaaaaaaa: journal_not_authentic",
        "6 known, 1 silent",
        "11ee cell-2:7000: connect_failed",
    ):
        assert part in text


def test_a_bar_shows_objects_and_bytes() -> None:
    progress = Progress(total=4, total_bytes=4096, done=2, done_bytes=2048, missing=1)
    assert _bar(progress) == (
        "[###############...............]  50%  2 of 4 objects, 2.0 KiB of 4.0 KiB, 1 missing"
    )
    assert "0%" in _bar(Progress())


def test_what_a_cell_says_is_one_line_without_signs_of_control() -> None:
    error = Unavailable.received("no\x1b[31m\nluck" + "x" * 1000)
    assert said(error).startswith("no?[31m?luck")
    assert len(said(error)) == 300
    cell = Endpoint(PeerId(bytes(32)), "h\x1b[2J\n", 7)
    assert shown(cell) == "0000000000000000 h?[2J?:7"


@pytest.mark.parametrize(
    ("content", "is_key"),
    [
        (bytes(range(32)), True),
        (base64.b64encode(bytes(range(32))) + b"\n", True),
        (b"x" * 31, False),
        (b"", False),
        (bytes(64), False),
        (b"\xff" * 33, False),
    ],
)
def test_a_customers_key_is_read_as_its_bytes_or_as_headers_have_it(
    tmp_path: Path, content: bytes, is_key: bool
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    if is_key:
        assert _customer_key(file) == WrappingKey(bytes(range(32)))
    else:
        with pytest.raises(click.UsageError):
            _customer_key(file)
