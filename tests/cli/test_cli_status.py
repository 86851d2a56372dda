import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.status import (
    describe,
    describe_hazard,
    describe_processes,
    describe_standby,
    describe_standbys,
    local_processes,
)
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
LEAVING = {"shards": 12, "slots_without_place": 2, "is_empty": False}
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


def test_status_says_how_long_a_cell_is_away_and_what_was_decided_of_it() -> None:
    availability = {"watched_s": 86400, "silent_s": 52, "ratio": 0.999398, "below_target": True}
    cells = [
        {**CELL, "state": "offline", "last_seen_s": 3725.0, "draining": True},
        {**CELL, "state": "draining", "draining": True, "leaving": LEAVING},
        {**CELL, "draining": True, "leaving": {**LEAVING, "slots_without_place": 0}},
        {**CELL, "draining": True, "leaving": {**LEAVING, "left_s": 7500}},
        {**CELL, "draining": True, "leaving": {**LEAVING, "is_empty": True}},
        {**CELL, "state": "suspended", "suspended": "1 of 40 audits failed"},
        {**CELL, "state": "maintenance", "maintenance_left_s": 4800},
        {**CELL, "state": "alive", "availability": availability},
    ]
    lines = [line for line in describe({**WELL, "cells": cells}).splitlines() if "abab" in line]
    for line, wanted in zip(
        lines,
        (
            "silent for 1 h 2 min, leaving",
            "leaving: 12 shards to move, 2 SLOTS HAVE NO PLACE",
            "leaving: 12 shards to move\n",
            "12 shards to move, about 2 h 5 min to go, 2 SLOTS HAVE NO PLACE",
            "empty: it can be removed",
            "suspended: 1 of 40 audits failed",
            "maintenance for 1 h 20 min more",
            "99.939 %",
        ),
        strict=True,
    ):
        assert wanted in f"{line}\n"


def test_status_names_the_owners_below_the_target_and_says_when_most_cells_are_offline() -> None:
    assert "owners" not in describe(WELL)
    owner = {"owner": "anna", "watched_s": 100, "ratio": 0.99949999, "below_target": True}
    well = {**owner, "owner": "zoe", "below_target": False}
    many = [{**owner, "owner": f"anna-{number}"} for number in range(7)]
    answer = {**WELL, "most_cells_offline": True, "availability_target": 0.9995}
    text = describe({**answer, "owners": [owner, well]})
    assert "heard for less than 99.95 % of 30 days: anna 99.949 %\n" in text
    assert "MOST CELLS ARE OFFLINE" in text
    assert describe({**answer, "owners": many}).count("anna") == 5
    assert "and 2 more" in describe({**answer, "owners": many})


@pytest.mark.fault("F15", "U1")
def test_gateways_are_in_status() -> None:
    gateway = {"gateway_id": "cd" * 32, "state": "alive", "s3": "0.0.0.0:9000", "tenants": 0}
    assert "cdcdcdcdcdcd  alive  0.0.0.0:9000        0" in describe({**WELL, "gateways": [gateway]})


def test_a_disk_that_is_likely_to_fail_is_explained_with_what_to_do() -> None:
    hazard = {
        "loss": 0.0793,
        "loss_within_days": 30,
        "advice": "drain",
        "reasons": ["reallocated sectors rose from 2 to 31 in a week", "8 pending"],
    }
    cell = {**CELL, "hazard": hazard}
    assert describe_hazard(cell) == (
        "DISK LIKELY TO FAIL (8 % within 30 days): reallocated sectors rose from 2 to 31 in a week,"
        " 8 pending; alveary cell drain abababababab"
    )
    assert "DISK LIKELY TO FAIL (8 % within 30 days)" in describe({**WELL, "cells": [cell]})
    assert "drain" not in describe_hazard({**cell, "draining": True})
    assert "drain" not in describe_hazard({**cell, "hazard": {**hazard, "advice": "fewer"}})
    mild = {**hazard, "advice": "none", "reasons": ["65 degrees Celsius"]}
    assert describe_hazard({**cell, "hazard": mild}) == "disk: 65 degrees Celsius"
    assert "DISK" not in describe({**WELL, "cells": [{**CELL, "hazard": None}]})


def test_what_a_site_would_take_is_shown_as_it_was_worked_out() -> None:
    line = "if site Bologna fails now: nothing lost, margin 2; writes go on"
    assert line in describe({**WELL, "if_a_site_fails": [line]}).splitlines()
    assert "fails now" not in describe(WELL)


def test_status_says_what_lifecycle_rules_deleted_where_there_are_any() -> None:
    counts = {"buckets": 2, "running": 0, "deleted": 40, "kept": 0, "oldest_ms": 1_800_000_000_000}
    assert "lifecycle" not in describe({**WELL, "lifecycle": {**counts, "buckets": 0}})
    text = describe({**WELL, "lifecycle": counts})
    line = "2 buckets with lifecycle rules; 40 deletions by the last runs"
    assert f"{line}, of which the first began 2027-01-15 08:00 UTC" in text
    assert f"{line}\n" in describe({**WELL, "lifecycle": {**counts, "oldest_ms": 0}})
    assert "locked" not in text
    text = describe({**WELL, "lifecycle": {**counts, "running": 1, "kept": 3}})
    assert "1 run not ended yet" in text
    assert "3 versions are due and could not be deleted (locked)" in text


@pytest.mark.fault("M4")
def test_status_names_the_active_coordinator_and_how_far_its_standbys_are_behind() -> None:
    standbys = [
        {"address": "b:7400", "behind": 3, "heard_s": 1.0, "follows": True},
        {"address": "c:7400", "behind": 9, "heard_s": 120.0, "follows": False},
    ]
    answer = {
        "coordinators": ["a:7400", "b:7400", "c:7400"],
        "standbys": standbys,
        "journal": {"lease": {"enforced": True}},
    }
    shown = "\n".join(describe_standbys(answer))
    assert "active   coordinator at a:7400" in shown
    assert "standby  b:7400, 3 records behind" in shown
    assert "STANDBY c:7400 SILENT for 2 min" in shown
    assert "NO STANDBY" not in shown
    shown = "\n".join(describe_standbys({**answer, "standbys": standbys[1:]}))
    assert "NO STANDBY FOLLOWS" in shown
    assert describe_standbys({"standbys": [], "journal": {"lease": {"enforced": False}}}) == []


@pytest.mark.fault("M4")
def test_a_standby_says_what_it_follows_and_whether_it_keeps_up() -> None:
    told = {
        "swarm": "sim",
        "role": "standby",
        "active": "a:7400",
        "epoch": 4,
        "sequence": 71,
        "behind": 2,
        "behind_s": 0.4,
        "error": "",
    }
    shown = describe_standby(told)
    assert "standby of a:7400, 2 records behind (epoch 4, record 71)" in shown
    assert "KEEP UP" not in shown
    shown = describe_standby({**told, "active": "", "behind_s": 90.0, "error": "no_space"})
    assert "DOES NOT KEEP UP" in shown
    assert "FOLLOWS NOT: no_space" in shown


def test_the_processes_of_sites_are_shown_by_site_with_who_is_active() -> None:
    processes = [
        {"name": "coordinator", "pid": 1, "running": False, "site": "site-1", "listen": "h:1"},
        {"name": "coordinator-2", "pid": 2, "running": True, "site": "site-2", "listen": "h:2"},
        {"name": "coordinator-3", "pid": 3, "running": True, "site": "site-3", "listen": "h:3"},
        {"name": "cell-00", "pid": 4, "running": True, "site": "site-2"},
    ]
    answer = {
        "coordinators": ["h:2", "h:3"],
        "standbys": [{"address": "h:3", "follows": True}],
    }
    lines = [line.split() for line in describe_processes(processes, answer).splitlines()[1:]]
    assert lines == [
        ["site-1", "coordinator", "1", "DEAD"],
        ["site-2", "coordinator-2", "2", "running", "active"],
        ["site-2", "cell-00", "4", "running"],
        ["site-3", "coordinator-3", "3", "running", "standby"],
    ]
    answer["standbys"] = [{"address": "h:3", "follows": False}]
    assert "SILENT" in describe_processes(processes, answer)
    assert "not heard" in describe_processes(processes, {})
