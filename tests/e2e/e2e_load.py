"""Clients that write while something happens to a swarm."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import closing

from botocore.exceptions import BotoCoreError, ClientError
from e2e_swarm import Swarm

PAUSE_S = 0.1
"""After a refused write, before the next one."""


def body_of(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest() * 700


class Load:
    """Clients that write on and on, and remember what was acknowledged, and when.

    Args:
        swarm: running, with a bucket called ``kept``.
        writers: how many.
        rest_s: between two writes of one of them.
        prefix: of the keys.
    """

    def __init__(
        self, swarm: Swarm, writers: int, *, rest_s: float = 0.0, prefix: str = ""
    ) -> None:
        self.acknowledged: dict[str, float] = {}
        self._swarm = swarm
        self._rest_s = rest_s
        self._prefix = prefix
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(writers)
        ]
        for each in self._threads:
            each.start()

    def _write(self, writer: int) -> None:
        with closing(self._swarm.boto3()) as s3:
            number = 0
            while not self._stop.wait(self._rest_s):
                key = f"{self._prefix}{writer}/{number}"
                number += 1
                try:
                    s3.put_object(Bucket="kept", Key=key, Body=body_of(key))
                except (ClientError, BotoCoreError):
                    time.sleep(PAUSE_S)
                    continue
                self.acknowledged[key] = time.monotonic()

    def since(self, moment: float) -> int:
        """The number of objects that were acknowledged since."""
        return sum(at > moment for at in list(self.acknowledged.values()))

    def stop(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()
