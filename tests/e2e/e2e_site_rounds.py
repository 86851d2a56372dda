"""Rounds in which something happens to one of three sites' coordinators, in network namespaces,
under a load: what clients see of it, and what is left of what was acknowledged.

What is measured: for how long no write was acknowledged and no read succeeded, how many reads
failed, and for how long they went on failing.
"""

from __future__ import annotations

import hashlib
import random
import signal
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from botocore.exceptions import BotoCoreError, ClientError
from e2e_sites import CoordinatedSites
from e2e_swarm import wait_until

BUCKET = "kept"
KINDS = ("kill", "both", "in", "out", "stop")
SLACK_S = 15.0
"""Of a machine that does other work at the same time."""
PAUSE_S = 0.1
RETRIES = 5
"""Of the last look at each object."""


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


def _strike(sites: CoordinatedSites, kind: str, number: int) -> None:
    if kind == "kill":
        sites.kill(sites.coordinators[number])
    elif kind == "stop":
        sites.running[sites.coordinators[number]].send_signal(signal.SIGSTOP)
    else:
        sites.cut_coordinator(number, kind)


def _heal(sites: CoordinatedSites, kind: str, number: int) -> None:
    if kind == "kill":
        sites.start_coordinator(number)
    elif kind == "stop":
        sites.running[sites.coordinators[number]].send_signal(signal.SIGCONT)
    else:
        sites.mend_coordinator(number, kind)


@dataclass(frozen=True, slots=True)
class Round:
    """What was done in a round, and what clients saw."""

    kind: str
    whom: str
    no_write_s: float
    no_read_s: float
    failed_reads: int
    reads_failed_s: float

    def __str__(self) -> str:
        return (
            f"{self.kind} of {self.whom}: no write for {self.no_write_s:.1f} s, no read for"
            f" {self.no_read_s:.1f} s, {self.failed_reads} reads failed, within"
            f" {self.reads_failed_s:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class Rounds:
    """Rounds on running sites.

    Attributes:
        within_s: writes go on in this time.
        asleep_s: for how long a coordinator is stopped.
        stays_cut_s: after writes go on: long enough for the one that was cut off to find out.
        is_whole: whether all coordinators do again what they are for.
    """

    sites: CoordinatedSites
    seen: Seen
    within_s: float
    asleep_s: float
    stays_cut_s: float
    is_whole: Callable[[], bool]

    def play(self, kind: str, number: int, whom: str) -> Round:
        """Have something happen to a coordinator, and take it back."""
        began = time.monotonic()
        _strike(self.sites, kind, number)
        wait_until(
            lambda: any(at > began + 1.0 for at in list(self.seen.acknowledged.values())),
            self.within_s + SLACK_S,
            f"writes go on after {kind} of {whom}",
        )
        resumed_s = time.monotonic() - began
        stays_s = {"kill": 0.0, "stop": self.asleep_s - resumed_s}.get(kind, self.stays_cut_s)
        time.sleep(max(0.0, stays_s))
        _heal(self.sites, kind, number)
        wait_until(self.is_whole, 60, "the others are there")
        return Round(
            kind,
            whom,
            self.seen.no_write_s(began),
            self.seen.no_read_s(began),
            self.seen.failed(began),
            self.seen.failing_s(began),
        )


@contextmanager
def clients_on(sites: CoordinatedSites) -> Iterator[Seen]:
    """Write and read meanwhile; afterwards all that was acknowledged is there, once, as it was."""
    clients = Clients(sites)
    seen = clients.seen
    try:
        wait_until(lambda: len(seen.acknowledged) >= 20, 60, "some objects are acknowledged")
        yield seen
    finally:
        clients.stop()
    assert not seen.wrong
    with closing(sites.boto3(retries=RETRIES)) as s3:  # a machine under other load is slow, no more
        for key in seen.acknowledged:
            assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body_of(key), key
        listed = [
            each["Key"]
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
            for each in page.get("Contents", ())
        ]
    assert len(listed) == len(set(listed))
    assert seen.acknowledged.keys() <= set(listed)
    print(f"{len(seen.acknowledged)} objects, {len(seen.reads)} reads")


def print_summary(rounds: Sequence[Round]) -> None:
    """Print medians and the worst, of each kind and of all."""
    by_kind: dict[str, list[Round]] = defaultdict(list)
    for each in rounds:
        by_kind[each.kind].append(each)
    for kind, found in [*by_kind.items(), ("all", list(rounds))]:
        figures = [
            f"{what} {statistics.median(values):.1f} s, worst {max(values):.1f}"
            for what, values in (
                ("no write for", [each.no_write_s for each in found]),
                ("no read for", [each.no_read_s for each in found]),
                ("reads failed for", [each.reads_failed_s for each in found]),
            )
        ]
        print(f"{kind}, {len(found)} rounds: {'; '.join(figures)}", flush=True)
