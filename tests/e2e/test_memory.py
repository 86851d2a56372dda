"""Memory does not grow with the object: 300 MB by default, 5 GiB with `make memory-test`."""

from __future__ import annotations

import hashlib
import http.client
import os
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from e2e_swarm import Swarm

from bench.signing import EMPTY_SHA256, UNSIGNED, Signer

MIB = 1024 * 1024
OBJECT_MIB = int(os.environ.get("ALVEARY_MEMORY_TEST_MIB", "300"))
GATEWAY_LIMIT_MIB = 256
CELL_LIMIT_MIB = 128
BLOCK = os.urandom(MIB)


def blocks(count: int) -> Iterator[bytes]:
    """Content that is cheap to make and never the same MiB twice."""
    for number in range(count):
        yield number.to_bytes(8, "big") + BLOCK[8:]


def signer(swarm: Swarm) -> Signer:
    return Signer(
        f"127.0.0.1:{swarm.port}",
        swarm.credentials["region"],
        swarm.credentials["access_key"],
        swarm.credentials["secret_key"],
    )


@pytest.mark.incident(14)
@pytest.mark.timeout(3000 if OBJECT_MIB > 1000 else 240)
def test_one_put_and_get_of_a_large_object_stay_in_bounded_memory(
    make_swarm: Callable[..., Swarm],
) -> None:
    swarm = make_swarm()
    swarm.start()
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket="memory")
    sign = signer(swarm)
    sent, received = hashlib.sha256(), hashlib.sha256()
    with closing(http.client.HTTPConnection("127.0.0.1", swarm.port, timeout=300)) as connection:
        connection.connect()
        head = sign.head("PUT", "/memory/large", OBJECT_MIB * MIB, UNSIGNED)
        connection.sock.sendall(head)
        for block in blocks(OBJECT_MIB):
            sent.update(block)
            connection.sock.sendall(block)
        answer = http.client.HTTPResponse(connection.sock, method="PUT")
        answer.begin()
        assert answer.status == 200, answer.read()
        answer.read()
        connection.sock.sendall(sign.head("GET", "/memory/large", 0, EMPTY_SHA256))
        answer = http.client.HTTPResponse(connection.sock, method="GET")
        answer.begin()
        assert answer.status == 200
        while block := answer.read(MIB):
            received.update(block)
    assert received.digest() == sent.digest()
    peaks = {each["name"]: swarm.peak_mib(each["name"]) for each in swarm.processes()}
    print({name: round(peak) for name, peak in peaks.items()})
    assert peaks["gateway"] < GATEWAY_LIMIT_MIB, peaks
    assert max(peak for name, peak in peaks.items() if name.startswith("cell")) < CELL_LIMIT_MIB, (
        peaks
    )
