"""A backup that is put back: nothing that is newer is destroyed, and what it has can be read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from e2e_swarm import QUICK, Swarm, wait_until

BODY = b"honey" * 20_000
HEARD_S = 3.0
"""Cells hear within this how far their coordinator has come; they write it when they end, at the
latest."""


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    made = Swarm(tmp_path / "swarm", cells=4, redundancy="2/3")
    made.configure(
        "coordinator", **QUICK, write_lease_ttl_s=2, inherited_lease_grace_s=0, journal="off"
    )
    made.start()
    try:
        yield made
    finally:
        made.destroy()


def put(s3: Any, *keys: str) -> None:
    """Write these objects; one that is refused once more. On a busy machine a cell with these short
    timeouts may be taken for lost while it is written to."""
    for key in keys:
        asked = {"Bucket": "kept", "Key": key, "Body": key.encode() + BODY}
        try:
            s3.put_object(**asked)
        except ClientError:
            s3.put_object(**asked)


def check(s3: Any, *keys: str) -> None:
    for key in keys:
        assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == key.encode() + BODY


def restart_with(swarm: Swarm, backup: Path) -> None:
    if swarm.supervisor is not None:
        assert swarm.stop() == 0
    swarm.alveary("coordinator", "restore", f"--data={swarm.root}", "--replace", str(backup))
    # It says that it is not ready: it serves nothing until somebody decides.
    swarm.start()


@pytest.mark.e2e
@pytest.mark.fault("M1", "F5")
@pytest.mark.timeout(300)
def test_a_restored_backup_destroys_nothing_that_is_newer(swarm: Swarm, tmp_path: Path) -> None:
    older, newest = tmp_path / "older", tmp_path / "newest"
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="kept")
        put(s3, "a", "b")
        swarm.alveary("coordinator", "backup", f"--data={swarm.root}", str(older))
        put(s3, *(f"newer-{number}" for number in range(20)))
        s3.delete_object(Bucket="kept", Key="b")
    refused = swarm.alveary(
        "coordinator", "restore", f"--data={swarm.root}", "--replace", str(older), check=False
    )
    assert refused.returncode == 2, refused.stderr
    wait_until(lambda: swarm.shards() == 63, 30, "three shards of each object are reported")
    time.sleep(HEARD_S)
    assert swarm.stop() == 0  # nothing comes after this backup
    swarm.alveary("coordinator", "backup", f"--data={swarm.root}", str(newest))

    restart_with(swarm, older)
    wait_until(lambda: swarm.status()["store"]["standing"] == "behind", 30, "it knows")
    told = swarm.status()["store"]
    assert told["lacks_transactions"] >= 20
    assert not told["deletes"]
    said = swarm.alveary("status", f"--data={swarm.root}").stdout
    assert "THE STORE IS BEHIND" in said
    assert "transactions that its swarm has seen are not in it" in said
    with closing(swarm.boto3()) as s3, pytest.raises(ClientError) as refusal:
        s3.get_object(Bucket="kept", Key="a")
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503

    restart_with(swarm, newest)
    with closing(swarm.boto3()) as s3:
        check(s3, "a", *(f"newer-{number}" for number in range(20)))

    restart_with(swarm, older)
    wait_until(lambda: swarm.status()["store"]["standing"] == "behind", 30, "it knows again")
    swarm.alveary("coordinator", "accept-store", "--yes", f"--data={swarm.root}")
    assert swarm.status()["store"]["standing"] == "current"
    with closing(swarm.boto3()) as s3:
        check(s3, "a")
        listed = s3.list_objects_v2(Bucket="kept")["Contents"]
        assert [each["Key"] for each in listed] == ["a", "b"]
        put(s3, "c")
        check(s3, "c")
