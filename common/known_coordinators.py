"""The places of a swarm's coordinators, as these have named them, kept across a daemon's lives.

What they are is a hint, as anything that names an address: trust comes from the key. One that is
not named any more is kept, as long as there is room: a coordinator that has just become active does
not know of all standbys yet.

Source: docs/standby.md, "Finding the active one".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from common import limits
from common.errors import AlvearyError
from common.ports import Address, Disk, Log
from common.state_files import read_whole, write_whole
from common.wire.messages.membership import CoordinatorAddress

FILE_NAME: Final = "coordinators.json"


class KnownCoordinators:
    """The addresses that coordinators have named.

    Args:
        learn: called with all of them, after a start and whenever they have changed.
    """

    def __init__(self, disk: Disk, log: Log, learn: Callable[[Sequence[Address]], None]) -> None:
        self._disk = disk
        self._log = log
        self._learn = learn
        self._known: list[Address] = []
        """Those that were named last come first."""

    async def load(self) -> None:
        """Take up the addresses of an earlier life; a damaged file counts as none."""
        try:
            found = _unpack(await read_whole(self._disk, FILE_NAME) or b"[]")
        except (AlvearyError, ValueError, TypeError, KeyError) as error:
            self._log.warning("coordinators_not_loaded", error=str(error))
            return
        self._known = found
        self._learn(found)

    async def note(self, named: Sequence[CoordinatorAddress]) -> None:
        """Take in what a coordinator named; nothing, where it does not say."""
        found = [Address(each.host, each.port) for each in named if each.host and each.port]
        if not set(found) - set(self._known):
            return
        kept = [*found, *(each for each in self._known if each not in found)]
        self._known = kept[: limits.MAX_COORDINATOR_ADDRESSES]
        self._learn(self._known)
        self._log.info("coordinators_named", coordinators=" ".join(map(str, found)))
        content = json.dumps([{"host": each.host, "port": each.port} for each in self._known])
        try:
            await write_whole(self._disk, FILE_NAME, content.encode() + b"\n")
        except AlvearyError as error:  # they are named again
            self._log.warning("coordinators_not_kept", error=str(error))


def _unpack(data: bytes) -> list[Address]:
    found: list[Any] = json.loads(data)
    return [
        Address(str(each["host"]), int(each["port"]))
        for each in found[: limits.MAX_COORDINATOR_ADDRESSES]
    ]
