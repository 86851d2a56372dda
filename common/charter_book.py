"""The latest charter that a daemon has seen, durably: who the swarm's coordinators are.

Every daemon shows it in its handshakes, so that a peer with an earlier one learns of it from any
cell, gateway or coordinator; a revoked coordinator cannot keep it secret. It is compared by its
revision and by nothing else: no clock has a part in it.

Source: docs/charter-format.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from common import limits
from common.crypto.charter import Charter, read_charter
from common.errors import AlvearyError, Corrupt, PeerViolation
from common.ids import PeerId
from common.ports import Disk, Log
from common.reasons import Violation
from common.state_files import read_whole, write_whole

FILE_NAME: Final = "coordinators.charter"


class CharterBook:
    """Keeps the latest charter. Made by :meth:`load`.

    Args:
        swarm_key_id: the id of the swarm's key, which signs charters.
    """

    def __init__(
        self, disk: Disk, log: Log, swarm_key_id: PeerId, charter: Charter | None = None
    ) -> None:
        self.swarm_key_id = swarm_key_id
        self.charter = charter
        """None: none was seen."""
        self._disk = disk
        self._log = log
        self._written = charter
        self._writing = trio.Lock()
        self._watchers: list[Callable[[], None]] = []

    @classmethod
    async def load(cls, disk: Disk, log: Log, swarm_key_id: PeerId) -> CharterBook:
        """Read what an earlier life has written. A damaged file counts as none: the next peer
        shows it again."""
        try:
            data = await read_whole(disk, FILE_NAME, max_bytes=limits.MAX_CHARTER_BYTES + 1)
            charter = None if data is None else read_charter(data, swarm_key_id)
        except (Corrupt, PeerViolation) as error:
            log.error("charter_damaged", error=str(error))
            charter = None
        return cls(disk, log, swarm_key_id, charter)

    @property
    def shown(self) -> bytes:
        """The charter as it is shown to peers; empty: none is known."""
        return b"" if self.charter is None else self.charter.data

    @property
    def revision(self) -> int:
        """The revision of the charter; 0: none is known."""
        return 0 if self.charter is None else self.charter.revision

    def newer_than(self, revision: int) -> bytes:
        """Return the charter for a peer that has one of a revision; empty: it has this one."""
        return self.shown if self.revision > revision else b""

    def names(self, peer_id: PeerId) -> bool:
        """Return whether a peer is a coordinator of the swarm. As long as no charter is known, the
        holder of the swarm's key is: it could sign one."""
        if self.charter is None:
            return peer_id == self.swarm_key_id
        return self.charter.names(peer_id)

    def check(self, peer_id: PeerId) -> None:
        """Check that a peer is a coordinator of the swarm.

        Raises:
            PeerViolation: ``wrong_server_key``.
        """
        if not self.names(peer_id):
            raise PeerViolation(Violation.WRONG_SERVER_KEY, revision=self.revision)

    def watch(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called whenever a later charter has come."""
        self._watchers.append(changed)

    async def take(self, data: bytes) -> None:
        """Take in a charter that somebody shows; an earlier one changes nothing.

        It counts from now on, and is made durable before this returns. Where that fails the daemon
        goes on, and tries again with the next one that is shown.

        Raises:
            PeerViolation: ``bad_charter``.
        """
        if data and data != self.shown:
            charter = read_charter(data, self.swarm_key_id)
            if charter.is_later_than(self.charter):
                self._log.info(
                    "charter_seen",
                    revision=charter.revision,
                    coordinators=" ".join(each.name for each in charter.living),
                )
                self.charter = charter
                for changed in self._watchers:
                    changed()
        if self._written is not self.charter:
            async with self._writing:
                await self._write()

    async def _write(self) -> None:
        charter = self.charter
        if charter is None or self._written is charter:
            return
        try:
            await write_whole(self._disk, FILE_NAME, charter.data)
        except AlvearyError as error:
            self._log.error("charter_not_written", error=str(error))
            return
        self._written = charter
