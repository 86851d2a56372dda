"""`alveary up --sites 3`: any one site may go, with its coordinator and its cells."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from e2e_swarm import Swarm, wait_until

from cli.status import is_running

GOES_ON_WITHIN_S = 15.0
SLACK_S = 15.0
"""Of a machine that does other work at the same time."""


@pytest.fixture
def swarm(make_swarm: Callable[..., Swarm]) -> Iterator[Swarm]:
    made = make_swarm(cells=6, redundancy="2/6", sites=3)
    made.start()
    yield made
    made.destroy()


def site_of_active(swarm: Swarm) -> str:
    active = swarm.status()["coordinators"][0]
    return next(str(each["site"]) for each in swarm.processes() if each.get("listen") == active)


def kill_site(swarm: Swarm, site: str) -> None:
    pids = [each["pid"] for each in swarm.processes() if each.get("site") == site]
    assert len(pids) == 3
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in pids), 10, "the site is gone")


def shut_out_standby_of(swarm: Swarm, site: str) -> None:
    """Revoke the key of a site's coordinator: it ends by itself, and cannot be started again."""
    found = next(
        each for each in swarm.processes() if each.get("site") == site and each.get("listen")
    )
    name, data = str(found["name"]), f"--data={swarm.root}"
    listed = json.loads(swarm.alveary("coordinator", "list", "--json", data).stdout)
    assert len({each["key_id"] for each in listed["coordinators"]}) == 3
    swarm.alveary("coordinator", "revoke", name, "--yes", data)
    wait_until(lambda: not is_running(found["pid"]), 30, "the revoked coordinator ends")
    config = swarm.root / name / "config.toml"
    done = swarm.alveary("coordinator", f"--config={config}", check=False)
    assert (done.returncode, "does not name" in done.stderr) == (2, True)
    listed = json.loads(swarm.alveary("coordinator", "list", "--json", data).stdout)
    assert {each["name"]: each["state"] for each in listed["coordinators"]}[name] == "revoked"


def does(work: Callable[[], Any]) -> bool:
    with suppress(ClientError, BotoCoreError):
        work()
        return True
    return False


@pytest.mark.e2e
@pytest.mark.fault("M4", "F5", "M6")
@pytest.mark.timeout(360)
def test_a_whole_site_with_the_active_coordinator_may_go(swarm: Swarm) -> None:
    told = swarm.status()
    assert sorted(each["site"] for each in told["cells"]) == [
        f"site-{number}" for number in (1, 1, 2, 2, 3, 3)
    ]
    assert [each["follows"] for each in told["standbys"]] == [True, True]
    kept = {f"{number}": os.urandom(200_000) for number in range(10)}
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="kept")
        for key, body in kept.items():
            s3.put_object(Bucket="kept", Key=key, Body=body)
        lost = site_of_active(swarm)
        kill_site(swarm, lost)
        lost_at = time.monotonic()
        wait_until(
            lambda: does(lambda: s3.put_object(Bucket="kept", Key="after", Body=b"after")),
            GOES_ON_WITHIN_S + SLACK_S,
            "writes go on",
        )
        wrote_s = time.monotonic() - lost_at
        for key, body in kept.items():
            assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body
        print(f"read and written {wrote_s:.1f} s after the loss of {lost}")
        assert site_of_active(swarm) != lost
        shown = swarm.alveary("status", f"--data={swarm.root}").stdout
        assert "active" in shown
        assert shown.count("DEAD") == 3
    # All of it again, the lost site too, with whoever was active last.
    assert swarm.stop() in (0, 1)
    swarm.start()
    assert [each["follows"] for each in swarm.status()["standbys"]] == [True, True]
    assert site_of_active(swarm) != lost
    with closing(swarm.boto3()) as s3:
        assert s3.get_object(Bucket="kept", Key="after")["Body"].read() == b"after"
        shut_out_standby_of(swarm, lost)
        assert s3.get_object(Bucket="kept", Key="after")["Body"].read() == b"after"
    swarm.stop()
    done = swarm.alveary("up", f"--data={swarm.root}", "--sites=4", check=False)
    assert done.returncode == 2
    assert "3 sites" in done.stderr
