"""Three sites with a coordinator each, in network namespaces, under a load: any coordinator is
killed, sleeps or is cut off, both ways or one way, and what was acknowledged is there.

What is measured: for how long no write was acknowledged and no read succeeded, how many reads
failed, and for how long they went on failing.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from e2e_sites import CoordinatedSites, why_no_sites
from e2e_swarm import QUICK, wait_until

ROUNDS = int(os.environ.get("ALVEARY_TAKEOVER_ROUNDS", "1"))
BUCKET = "kept"
KINDS = ("kill", "both", "in", "out", "stop")
RESUMED_WITHIN_S = 15.0
READS_FAIL_FOR_S = 2.0
SLACK_S = 15.0
"""Of a machine that does other work at the same time."""
ASLEEP_S = 60.0
STAYS_CUT_S = 12.0
"""After writes go on: long enough for the one that was cut off to find out."""
PAUSE_S = 0.1

pytestmark = pytest.mark.skipif(bool(why_no_sites()), reason=why_no_sites())


def body_of(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest() * 128


@dataclass(slots=True)
class Seen:
    """The requests of all clients: when each ended, and how."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    reads: list[tuple[float, str]] = field(default_factory=list)
    """When it ended, and its error: empty if it was well."""
    wrong: list[str] = field(default_factory=list)

    def no_write_s(self, since: float) -> float:
        """The longest time without an acknowledgement since then."""
        return _longest_pause(since, self.acknowledged.copy().values())

    def no_read_s(self, since: float) -> float:
        """The longest time without a read that succeeded since then."""
        return _longest_pause(since, [at for at, error in self.reads.copy() if not error])

    def failed(self, since: float) -> int:
        """The number of reads that failed since then."""
        return sum(bool(error) and at > since for at, error in self.reads.copy())

    def failing_s(self, since: float) -> float:
        """The longest time for which reads failed and none succeeded."""
        longest, began = 0.0, None
        for ended, error in sorted(self.reads.copy()):
            if ended < since:
                continue
            if error and began is None:
                began = ended
            elif not error and began is not None:
                longest, began = max(longest, ended - began), None
        return longest if began is None else max(longest, time.monotonic() - began)


def _longest_pause(since: float, moments: Iterable[float]) -> float:
    at = [since, *sorted(each for each in moments if each > since)]
    return max(b - a for a, b in zip(at, [*at[1:], time.monotonic()], strict=True))


class Clients:
    """Two that write on and on, and three that read what was acknowledged."""

    def __init__(self, sites: CoordinatedSites) -> None:
        self.seen = Seen()
        self._sites = sites
        self._stop = threading.Event()
        self._threads = [
            *(threading.Thread(target=self._write, args=(each,)) for each in range(2)),
            *(threading.Thread(target=self._read, args=(each,)) for each in range(3)),
        ]
        for each in self._threads:
            each.start()

    def _write(self, writer: int) -> None:
        with closing(self._sites.boto3()) as s3:
            number = 0
            while not self._stop.wait(PAUSE_S):
                key = f"{writer}/{number}"
                number += 1
                try:
                    s3.put_object(Bucket=BUCKET, Key=key, Body=body_of(key))
                except (ClientError, BotoCoreError):
                    continue
                self.seen.acknowledged[key] = time.monotonic()

    def _read(self, reader: int) -> None:
        chance = random.Random(reader)
        with closing(self._sites.boto3()) as s3:
            while not self._stop.wait(PAUSE_S):
                keys = list(self.seen.acknowledged)
                if not keys:
                    continue
                key = chance.choice(keys[-50:] if chance.random() < 0.5 else keys)
                error = ""
                try:
                    if s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() != body_of(key):
                        self.seen.wrong.append(key)
                except ClientError as caught:
                    error = str(caught)
                    if caught.response["Error"]["Code"] == "NoSuchKey":
                        self.seen.wrong.append(f"lost: {key}")
                except BotoCoreError as caught:
                    error = str(caught)
                self.seen.reads.append((time.monotonic(), error))

    def stop(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()


@pytest.fixture
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatedSites]:
    made = CoordinatedSites(tmp_path_factory.mktemp("sites"), 3, 1, "2/3", **QUICK)
    try:
        made.start()
        yield made
    finally:
        made.destroy()


def follow(sites: CoordinatedSites, count: int) -> bool:
    """Return whether so many standbys follow the active one."""
    active = sites.active()
    told: dict[str, Any] = {} if active is None else sites.answer_of(active)
    return sum(each["follows"] for each in told.get("standbys", [])) == count


def strike(sites: CoordinatedSites, kind: str, number: int) -> None:
    if kind == "kill":
        sites.kill(sites.coordinators[number])
    elif kind == "stop":
        sites.running[sites.coordinators[number]].send_signal(signal.SIGSTOP)
    else:
        sites.cut_coordinator(number, kind)


def heal(sites: CoordinatedSites, kind: str, number: int) -> None:
    if kind == "kill":
        assert sites.start_coordinator(number)["state"] == "standby"
    elif kind == "stop":
        sites.running[sites.coordinators[number]].send_signal(signal.SIGCONT)
    else:
        sites.mend_coordinator(number, kind)


@dataclass(frozen=True, slots=True)
class Round:
    """What was done in a round, and what clients saw."""

    what: str
    no_write_s: float
    no_read_s: float
    failed_reads: int
    reads_failed_s: float

    def __str__(self) -> str:
        return (
            f"{self.what}: no write for {self.no_write_s:.1f} s, no read for {self.no_read_s:.1f}"
            f" s, {self.failed_reads} reads failed, within {self.reads_failed_s:.1f} s"
        )


def one_round(sites: CoordinatedSites, seen: Seen, number: int, chance: random.Random) -> Round:
    """Strike one coordinator, the active one three times of four."""
    kind = KINDS[number % len(KINDS)]
    active = sites.active()
    assert active is not None
    others = [each for each in range(len(sites.coordinators)) if each != active]
    is_active = number % 4 != 3
    struck = active if is_active else chance.choice(others)
    began = time.monotonic()
    strike(sites, kind, struck)
    wait_until(
        lambda: any(at > began + 1.0 for at in list(seen.acknowledged.values())),
        RESUMED_WITHIN_S + SLACK_S,
        f"writes go on after {kind}",
    )
    resumed = time.monotonic()
    stays_s = {"kill": 0.0, "stop": ASLEEP_S - (resumed - began)}.get(kind, STAYS_CUT_S)
    time.sleep(max(0.0, stays_s))
    heal(sites, kind, struck)
    wait_until(lambda: follow(sites, len(others)), 60, "the others follow")
    what = f"{kind} of {'the active one' if is_active else 'a standby'}"
    return Round(
        what,
        seen.no_write_s(began),
        seen.no_read_s(began),
        seen.failed(began),
        seen.failing_s(began),
    )


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.fault("M4", "F5", "F14")
@pytest.mark.timeout(240 + 150 * ROUNDS)
def test_any_sites_coordinator_may_go_and_nothing_that_was_acknowledged_is_lost(
    sites: CoordinatedSites,
) -> None:
    with closing(sites.boto3()) as s3:
        s3.create_bucket(Bucket=BUCKET)
    wait_until((sites.root / "coordinator" / "recovery.json").exists, 60, "the journal is kept")
    sites.start_standbys()
    wait_until(lambda: follow(sites, 2), 60, "both follow")
    known = sites.root / "gateway" / "coordinators.json"
    wait_until(lambda: known.exists() and known.read_text().count("7400") == 3, 60, "all are known")
    clients = Clients(sites)
    seen, chance, rounds = clients.seen, random.Random(ROUNDS), []
    try:
        wait_until(lambda: len(seen.acknowledged) >= 20, 60, "some objects are acknowledged")
        for number in range(ROUNDS):
            rounds.append(one_round(sites, seen, number, chance))
            print(f"round {number + 1}, {rounds[-1]}", flush=True)
    finally:
        clients.stop()
    assert not seen.wrong
    with closing(sites.boto3()) as s3:
        for key in seen.acknowledged:
            assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body_of(key), key
    print(f"{len(rounds)} rounds, {len(seen.acknowledged)} objects, {len(seen.reads)} reads")
    assert max(each.no_write_s for each in rounds) <= RESUMED_WITHIN_S or ROUNDS == 1
    assert max(each.reads_failed_s for each in rounds) <= READS_FAIL_FOR_S or ROUNDS == 1
