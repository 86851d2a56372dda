"""SIGKILL of the gateway and of the coordinator in the middle of uploads."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from e2e_swarm import Swarm, wait_until
from thoroughness import quick_or

BUCKET = "crash"
SIZES = [0, 1000, 40_000, 1_100_000, 5_000_000, quick_or(11_000_000, 20_000_000)]
ENOUGH = quick_or(15, 25)
WRITERS = 4


class Writers:
    """Threads that put objects until told to stop or until the swarm fails them.

    Every name is written by one thread only. ``acknowledged``: the digest of the last put that
    was answered. ``attempted``: of the put that was not.
    """

    def __init__(self, swarm: Swarm, prefix: str) -> None:
        self._swarm = swarm
        self._prefix = prefix
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: dict[str, str] = {}
        self.attempted: dict[str, str] = {}
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, number: int) -> None:
        chance = random.Random(f"{self._prefix}-{number}")
        with closing(self._swarm.boto3()) as s3:
            for count in range(10_000):
                if self._stop.is_set():
                    return
                # A few names are written again and again, the others once.
                name = count % 3 if chance.random() < 0.4 else count
                key = f"{self._prefix}/{number}/{name}"
                body = chance.randbytes(chance.choice(SIZES))
                digest = hashlib.sha256(body).hexdigest()
                with self._lock:
                    self.attempted[key] = digest
                try:
                    self._put(s3, key, body)
                except Exception:  # Whatever the client calls it: it was not acknowledged.
                    return
                with self._lock:
                    self.acknowledged[key] = digest
                    del self.attempted[key]

    def _put(self, s3: Any, key: str, body: bytes) -> None:
        if len(body) < 10_000_000:
            s3.put_object(Bucket=BUCKET, Key=key, Body=body)
            return
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        half = len(body) // 2
        parts = []
        for part, data in ((1, body[:half]), (2, body[half:])):
            answer = s3.upload_part(
                Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=part, Body=data
            )
            parts.append({"PartNumber": part, "ETag": answer["ETag"]})
        s3.complete_multipart_upload(
            Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    def count(self) -> int:
        with self._lock:
            return len(self.acknowledged)

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()


def assert_whole_or_absent(swarm: Swarm, writers: Writers, prefix: str) -> None:
    with closing(swarm.boto3(retries=3)) as s3:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        listed = {row["Key"]: row["Size"] for page in pages for row in page.get("Contents", [])}
        missing = set(writers.acknowledged) - set(listed)
        assert not missing, f"acknowledged, but not there: {missing}"
        for key, size in listed.items():
            body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            assert len(body) == size
            allowed = {writers.acknowledged.get(key), writers.attempted.get(key)}
            assert hashlib.sha256(body).hexdigest() in allowed, key


@pytest.fixture(scope="module")
def crashing(make_swarm: Callable[..., Swarm]) -> Swarm:
    swarm = make_swarm(cells=3, redundancy="2/3")
    swarm.start()
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket=BUCKET)
    return swarm


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", ["gateway", "coordinator"])
def test_after_a_kill_every_acknowledged_object_is_there_and_every_other_whole_or_absent(
    crashing: Swarm, victim: str
) -> None:
    writers = Writers(crashing, victim)
    try:
        wait_until(lambda: writers.count() >= ENOUGH, 60, "enough objects are written")
        crashing.kill(victim)
    finally:
        writers.finish()
    assert writers.attempted, "the kill came in the middle of uploads"
    wait_until(lambda: f"{victim} (process" in crashing.stderr(), 10, "its death is told")
    crashing.stop()
    crashing.start()
    assert_whole_or_absent(crashing, writers, victim)
    with closing(crashing.boto3()) as s3:
        s3.put_object(Bucket=BUCKET, Key=f"after-{victim}", Body=b"x" * 2_000_000)
        body = s3.get_object(Bucket=BUCKET, Key=f"after-{victim}")["Body"].read()
        assert body == b"x" * 2_000_000


@pytest.mark.timeout(240)
def test_a_power_cut_of_everything_at_once_loses_nothing_acknowledged(crashing: Swarm) -> None:
    writers = Writers(crashing, "all")
    try:
        wait_until(lambda: writers.count() >= ENOUGH, 60, "enough objects are written")
        crashing.kill_supervisor()  # The kernel kills every daemon with it.
    finally:
        writers.finish()
    crashing.start()
    assert_whole_or_absent(crashing, writers, "all")
