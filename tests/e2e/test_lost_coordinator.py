"""The only coordinator's disk is lost in the middle of a load, and two cells with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from e2e_load import Load, body_of
from e2e_swarm import QUICK, Swarm, wait_until

WRITERS = 3


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    made = Swarm(tmp_path / "swarm", cells=6)
    made.configure("coordinator", **QUICK)
    made.start()
    try:
        yield made
    finally:
        made.destroy()


@pytest.mark.e2e
@pytest.mark.fault("F5")
@pytest.mark.timeout(300)
def test_every_acknowledged_object_is_there_after_the_coordinators_disk_is_lost(
    swarm: Swarm, tmp_path: Path
) -> None:
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="kept")
    wait_until(lambda: swarm.status()["journal"]["state"] == "kept", 60, "the journal is kept")
    kept = tmp_path / "recovery.json"
    directory = swarm.root / "coordinator"
    shutil.copy2(directory / "recovery.json", kept)
    assert kept.stat().st_mode & 0o77 == 0
    load = Load(swarm, WRITERS)
    wait_until(lambda: len(load.acknowledged) >= 60, 60, "some objects are acknowledged")
    swarm.kill("coordinator", "cell-00", "cell-01")  # one of them at least keeps the journal
    shutil.rmtree(directory)
    load.stop()

    command = ("coordinator", "recover", f"--data={directory}")
    made = swarm.alveary(*command, "--json", "--with-most", str(kept))
    found = json.loads(made.stdout)
    assert found["cells"] == 5
    assert found["objects"] >= len(load.acknowledged)
    again = swarm.alveary(*command, str(kept), check=False)
    assert (again.returncode, "already" in again.stderr) == (2, True)

    swarm.stop()
    swarm.configure("coordinator", **QUICK)
    swarm.start()
    assert swarm.status()["store"]["standing"] == "current"
    with closing(swarm.boto3()) as s3:
        for key in load.acknowledged:
            assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body_of(key)
        wait_until(lambda: swarm.status()["journal"]["state"] == "kept", 60, "it is kept again")
        s3.put_object(Bucket="kept", Key="after", Body=b"after")
        assert s3.get_object(Bucket="kept", Key="after")["Body"].read() == b"after"
