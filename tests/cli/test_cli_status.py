import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.status import describe, local_processes
from common.system.disk import hold_directory

CELL = {
    "cell_id": "ab" * 32,
    "state": "alive",
    "address": "a:1",
    "owner": "h",
    "used_bytes": 1,
    "free_bytes": 2,
    "shards": 3,
}
WELL = {"swarm": "home", "writable": True, "cells": [CELL], "missing": {"shards": 0}}


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.fault("F15")
def test_a_daemon_that_was_started_again_is_running(tmp_path: Path) -> None:
    data = tmp_path / "cell-00"
    listed = {"name": "cell-00", "pid": dead_pid(), "data": str(data), "exit": "SIGKILL"}
    (tmp_path / "processes.json").write_text(json.dumps([listed]))
    assert [each["running"] for each in local_processes(tmp_path)] == [False]
    with hold_directory(data):
        (found,) = local_processes(tmp_path)
        assert (found["running"], found["pid"]) == (True, os.getpid())
        assert "exit" not in found


@pytest.mark.fault("F2", "F7")
def test_status_says_what_is_wrong() -> None:
    assert "NOT" not in describe(WELL)
    text = describe(
        {
            **WELL,
            "writable": False,
            "reason": "no_ring",
            "coordinator": {"store_writable": False, "reason": "low_space", "free_bytes": 5},
            "cells": [
                {**CELL, "lost_shards": 7, "read_only": True, "read_only_reason": "no_space"}
            ],
            "missing": {"silent_shards": 11, "suspect_shards": 12, "lost_shards": 13},
        }
    )
    for wanted in (
        "NOT WRITABLE: no_ring",
        "STORE NOT WRITABLE: low_space",
        "LOST 7 shards",
        "read-only: no_space",
        "11 shards on silent cells",
        "12 shards that readers found bad or missing",
        "13 shards in volumes that cells lost",
    ):
        assert wanted in text


@pytest.mark.fault("F15", "U1")
def test_gateways_are_in_status() -> None:
    gateway = {"gateway_id": "cd" * 32, "state": "alive", "s3": "0.0.0.0:9000", "tenants": 0}
    assert "cdcdcdcdcdcd  alive  0.0.0.0:9000        0" in describe({**WELL, "gateways": [gateway]})
