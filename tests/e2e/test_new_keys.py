"""The coordinator's disk was stolen, or a cell: new keys, and the old ones open nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from e2e_swarm import QUICK, Swarm


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    made = Swarm(tmp_path / "swarm", cells=4, redundancy="2/3")
    made.configure("coordinator", **QUICK)
    made.start()
    try:
        yield made
    finally:
        made.destroy()


@pytest.mark.e2e
@pytest.mark.fault("M5")
@pytest.mark.timeout(180)
def test_data_is_there_after_new_keys_and_after_a_cell_was_removed(swarm: Swarm) -> None:
    body = b"honey" * 100_000
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="a", Body=body)
    refused = swarm.alveary("coordinator", "new-keys", f"--data={swarm.root}", check=False)
    assert (refused.returncode, "runs" in refused.stderr or "use" in refused.stderr) == (2, True)
    old = json.loads((swarm.root / "swarm.json").read_text())["coordinator_id"]
    assert swarm.stop() == 0
    made = swarm.alveary("coordinator", "new-keys", "--json", f"--data={swarm.root}")
    swarm.start()
    new = json.loads((swarm.root / "swarm.json").read_text())["coordinator_id"]
    assert new == json.loads(made.stdout)["coordinator_id"] != old
    with closing(swarm.boto3()) as s3:
        assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == body
        s3.put_object(Bucket="kept", Key="b", Body=body)
        stolen = swarm.status()["cells"][0]["cell_id"]
        swarm.alveary("cell", "remove", stolen[:16], f"--data={swarm.root}")
        assert [each["state"] for each in swarm.status()["cells"]].count("removed") == 1
        # Places that the gateway had in stock name the cell that is gone: what was written there is
        # not committed. The first refusal drops them all, and clients try again by themselves.
        with suppress(ClientError):
            s3.put_object(Bucket="kept", Key="c", Body=body)
        s3.put_object(Bucket="kept", Key="c", Body=body)
        for key in "abc":
            assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body
