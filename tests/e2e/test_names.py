"""A client that renames, or copies, moves no data: boto3 and real cells."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import pytest
from botocore.exceptions import ClientError
from e2e_swarm import Swarm, free_port

SIZE = 64 << 20
PORTS = [free_port() for _ in range(3)]
ASKED = {
    f"alveary_cell_{each}"
    for each in (
        "writes_total",
        "written_bytes_total",
        "reads_total",
        "read_bytes_total",
        "live_bytes",
    )
}


@pytest.fixture
def swarm(make_swarm: Callable[..., Swarm]) -> Iterator[Swarm]:
    made = make_swarm(cells=3, redundancy="1/3")
    for number, port in enumerate(PORTS):
        made.configure(f"cell-{number:02d}", http=f"127.0.0.1:{port}")
    made.start()
    yield made
    made.stop()


def asked_of_cells() -> dict[str, float]:
    """How often clients asked something of all cells, for how many bytes, and what they hold."""
    found: dict[str, float] = {}
    for port in PORTS:
        for line in httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines():
            name, _, value = line.partition(" ")
            if name in ASKED:
                found[name] = found.get(name, 0.0) + float(value)
    assert found.keys() == ASKED
    return found


@pytest.mark.timeout(200)
def test_a_copy_and_a_rename_ask_nothing_of_cells(swarm: Swarm) -> None:
    with closing(swarm.boto3()) as client:
        client.create_bucket(Bucket="names")
        body = os.urandom(SIZE)
        client.put_object(Bucket="names", Key="old", Body=body)
        asked = asked_of_cells()
        assert asked["alveary_cell_written_bytes_total"] >= SIZE
        client.copy_object(Bucket="names", Key="copy", CopySource="names/old")
        client.rename_object(
            Bucket="names", Key="new", RenameSource="names/old", ClientToken="once"
        )
        client.rename_object(
            Bucket="names", Key="new", RenameSource="names/old", ClientToken="once"
        )
        assert asked_of_cells() == asked, "no call, and no byte"
        with pytest.raises(ClientError, match="404"):
            client.head_object(Bucket="names", Key="old")
        for key in ("copy", "new"):
            assert client.get_object(Bucket="names", Key=key)["Body"].read() == body
