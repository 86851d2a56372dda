"""A standby takes over from a coordinator that is killed, or does not answer, in the middle of a
load: every acknowledged object is there, and writes go on."""

from __future__ import annotations

import json
import os
import signal
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest
from e2e_coordinators import Coordinator
from e2e_load import Load, body_of
from e2e_swarm import QUICK, Swarm, free_port, wait_until

ROUNDS = int(os.environ.get("ALVEARY_TAKEOVER_ROUNDS", "1"))
RESUMED_WITHIN_S = 15.0
SLACK_S = 15.0
"""Of a machine that does other work at the same time."""
WRITERS = 2
ASLEEP_S = 20.0


def standby_of(swarm: Swarm, root: Path) -> tuple[Coordinator, str]:
    """A directory for a standby, with a key of its own; and the port where it will take calls."""
    root.mkdir(mode=0o700)
    file = str(root / "recovery.json")
    swarm.alveary("coordinator", "add", root.name, file, f"--data={swarm.root}")
    port = free_port()
    made = Coordinator(
        root,
        "--standby",
        f"--data={root}",
        f"--listen=127.0.0.1:{port}",
        f"--http=127.0.0.1:{free_port()}",
        f"--log={root / 'log'}",
        "--swarm=local",
        "--discovery=false",
        *(f"--{name.replace('_', '-')}={value}" for name, value in QUICK.items()),
    )
    return made, str(port)


def role(swarm: Swarm, root: Path) -> str:
    """What the coordinator of a directory says that it is; nothing while it does not answer."""
    done = swarm.alveary("status", "--json", f"--operator={root / 'operator.json'}", check=False)
    try:
        return str(json.loads(done.stdout).get("role", ""))
    except ValueError:
        return ""


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    made = Swarm(tmp_path / "swarm", cells=4, redundancy="2/4")
    made.configure("coordinator", **QUICK, journal="on")
    made.start()
    try:
        yield made
    finally:
        made.destroy()


def follows(swarm: Swarm, active: Coordinator) -> bool:
    """Return whether a standby follows this one."""
    file = f"--operator={active.root / 'operator.json'}"
    done = swarm.alveary("status", "--json", file, check=False)
    standbys = json.loads(done.stdout or "{}").get("standbys", [])
    return any(each["follows"] for each in standbys)


def take_over(swarm: Swarm, load: Load, old: Coordinator, new: Coordinator, number: int) -> float:
    """Have the active one end, or sleep; return how long no write was acknowledged."""
    sleeps = number % 2 == 0
    if sleeps:
        os.kill(old.pid, signal.SIGSTOP)
    else:
        old.kill()
    began = time.monotonic()
    wait_until(lambda: load.since(began + 1.0) > 0, RESUMED_WITHIN_S + SLACK_S, "writes go on")
    resumed_s = time.monotonic() - began
    assert role(swarm, new.root) == "active"
    if sleeps:
        time.sleep(max(0.0, ASLEEP_S - resumed_s))
        os.kill(old.pid, signal.SIGCONT)
    else:
        assert old.start(swarm.home)["state"] == "standby"
    wait_until(lambda: role(swarm, old.root) == "standby", 30, "the other one stands by")
    return resumed_s


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.fault("M4", "F5")
@pytest.mark.timeout(120 + 90 * ROUNDS)
def test_a_standby_takes_over_and_nothing_that_was_acknowledged_is_lost(swarm: Swarm) -> None:
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="kept")
    directory = swarm.root / "coordinator"
    wait_until((directory / "recovery.json").exists, 60, "the journal is kept")
    first = Coordinator(
        directory, f"--config={directory / 'config.toml'}", pid=swarm.pid("coordinator")
    )
    second, port = standby_of(swarm, swarm.root.parent / "standby")
    took_s: list[float] = []
    try:
        assert second.start(swarm.home)["state"] == "standby"
        wait_until(lambda: follows(swarm, first), 60, "it follows")
        known = swarm.root / "gateway" / "coordinators.json"

        def is_known() -> bool:
            httpx.get(f"http://{gateway_http(swarm)}/readyz")  # which asks the coordinator
            return known.exists() and port in known.read_text()

        wait_until(is_known, 60, "the gateway knows it")
        load = Load(swarm, WRITERS)
        try:
            wait_until(lambda: len(load.acknowledged) >= 20, 60, "some objects are acknowledged")
            for number in range(1, ROUNDS + 1):
                took_s.append(take_over(swarm, load, first, second, number))
                first, second = second, first
                if number < ROUNDS:
                    wait_until(partial(follows, swarm, first), 60, "the other one follows")
        finally:
            load.stop()
        print(f"writes went on after {sorted(round(each, 1) for each in took_s)} s")
        assert max(took_s) <= RESUMED_WITHIN_S or ROUNDS == 1
        with closing(swarm.boto3()) as s3:
            for key in load.acknowledged:
                assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body_of(key)
    finally:
        for each in (first, second):
            each.end()


def gateway_http(swarm: Swarm) -> str:
    config = tomllib.loads((swarm.root / "gateway" / "config.toml").read_text())
    return str(config["http"])
