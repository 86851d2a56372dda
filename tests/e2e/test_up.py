"""`alveary up`: starting, stopping, starting again, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from e2e_swarm import BIN, Swarm, wait_until

from cli.status import is_running


@pytest.fixture(scope="module")
def small(make_swarm: Callable[..., Swarm]) -> Swarm:
    """Three cells at 2/3, running, with one object."""
    swarm = make_swarm(cells=3, redundancy="2/3")
    swarm.start()
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="a", Body=b"a" * 3_000_000, Metadata={"x": "y"})
    return swarm


def test_the_files_say_who_runs_and_how_to_get_in(small: Swarm) -> None:
    processes = small.processes()
    assert [each["name"] for each in processes] == [
        "coordinator",
        "cell-00",
        "cell-01",
        "cell-02",
        "gateway",
    ]
    assert len({each["pid"] for each in processes}) == 5
    assert all(is_running(each["pid"]) for each in processes)
    assert all(Path(each["data"]) == small.root / each["name"] for each in processes)
    assert set(small.credentials) == {"endpoint", "region", "access_key", "secret_key"}
    for secret in ("credentials.json", "coordinator/operator.json", "gateway/tenants/default.json"):
        assert (small.root / secret).stat().st_mode & 0o077 == 0, secret


def test_a_second_one_on_the_same_directory_is_refused(small: Swarm) -> None:
    done = small.alveary("up", f"--data={small.root}", check=False)
    assert done.returncode == 2
    assert "another alveary" in done.stderr
    assert "--data" in done.stderr


def test_a_taken_address_is_refused_before_anything_is_started(
    small: Swarm, tmp_path: Path
) -> None:
    done = small.alveary("up", f"--data={tmp_path}", f"--s3=127.0.0.1:{small.port}", check=False)
    assert done.returncode == 2
    assert "--s3" in done.stderr
    assert not (tmp_path / "coordinator").exists()


def test_a_cell_that_dies_is_shown_and_not_restarted(small: Swarm) -> None:
    pid = small.pid("cell-02")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "cell-02" in small.stderr(), 10, "its death is told")
    assert "SIGKILL" in small.stderr()
    assert not is_running(pid)
    assert small.pid("cell-02") == pid


@pytest.mark.timeout(120)
def test_started_again_everything_is_there_and_cells_may_be_added(small: Swarm) -> None:
    credentials = small.credentials
    assert small.stop() == 0
    assert not (small.root / "processes.json").exists()
    small.cells = 4
    small.start()
    assert small.credentials == credentials
    assert sorted(cell["owner"] for cell in small.status()["cells"]) == [
        "cell-00",
        "cell-01",
        "cell-02",
        "cell-03",
    ]
    with closing(small.boto3()) as s3:
        answer = s3.get_object(Bucket="kept", Key="a")
        assert answer["Body"].read() == b"a" * 3_000_000
        assert answer["Metadata"] == {"x": "y"}


@pytest.mark.timeout(120)
def test_the_daemons_die_with_a_killed_supervisor_and_the_next_start_is_whole(
    small: Swarm,
) -> None:
    pids = [each["pid"] for each in small.processes()]
    small.kill_supervisor()
    wait_until(lambda: not any(is_running(pid) for pid in pids), 10, "daemons are gone")
    small.start()
    with closing(small.boto3()) as s3:
        assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"a" * 3_000_000


def test_another_redundancy_or_fewer_cells_are_refused(small: Swarm) -> None:
    small.stop()
    for flag, word in (("--redundancy=1/2", "redundancy 2/3"), ("--cells=3", "4 cells")):
        done = small.alveary("up", f"--data={small.root}", flag, check=False)
        assert done.returncode == 2
        assert word in done.stderr
    small.start()


def test_ctrl_c_stops_all(small: Swarm) -> None:
    assert small.supervisor is not None
    pids = [each["pid"] for each in small.processes()]
    small.supervisor.send_signal(signal.SIGINT)
    assert small.supervisor.wait(60) == 0
    assert not any(is_running(pid) for pid in pids)
    assert small.supervisor.stdout is not None
    small.supervisor.stdout.close()
    small.supervisor = None


@pytest.mark.fault("F15")
def test_no_new_tenant_key_is_made_in_the_place_of_a_missing_one(small: Swarm) -> None:
    key = small.root / "gateway" / "tenants" / "default.json"
    away = key.rename(small.root / "copy-of-key")
    done = subprocess.run(small.command(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"there is no {key}" in done.stderr
    assert "copy of it" in done.stderr
    assert not key.exists()
    away.rename(key)


@pytest.mark.fault("F15")
@pytest.mark.timeout(120)
def test_a_cell_started_again_by_its_configuration_is_not_dead(small: Swarm) -> None:
    small.start()
    small.kill("cell-00")
    config = small.root / "cell-00" / "config.toml"
    again = subprocess.Popen(
        [str(BIN / "alveary"), "cell", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert again.stdout is not None
        assert json.loads(again.stdout.readline())["ready"] is True
        rows = {each["name"]: each for each in small.status()["processes"]}
        assert (rows["cell-00"]["running"], rows["cell-00"]["pid"]) == (True, again.pid)
    finally:
        again.terminate()
        again.wait(30)
        assert again.stdout is not None
        again.stdout.close()
        small.stop()


@pytest.mark.fault("L")
def test_nothing_of_a_swarm_can_be_read_by_others(small: Swarm) -> None:
    by_hand = {small.root / "coordinator", small.root / "coordinator" / "config.toml"}
    for path in small.root.rglob("*"):
        if path not in by_hand:
            assert path.stat().st_mode & 0o077 == 0, path


def test_status_of_a_stopped_swarm_says_what_to_do(small: Swarm) -> None:
    done = small.alveary("status", f"--data={small.root}", check=False)
    assert done.returncode == 3
    assert "Is the coordinator running?" in done.stderr


def test_a_daemon_that_cannot_start_ends_it_with_the_reason(
    make_swarm: Callable[..., Swarm],
) -> None:
    broken = make_swarm(cells=3, redundancy="2/3")
    broken.configure("cell-01", capacity="much")
    done = subprocess.run(broken.command(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "cell-01" in done.stderr
    assert "capacity" in done.stderr
    assert str(broken.root / "cell-01" / "log") in done.stderr
    assert not (broken.root / "processes.json").exists()
    assert json.loads((broken.root / "swarm.json").read_text())["cells"] == 3
