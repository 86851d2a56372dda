"""A standby: a coordinator that follows the journal, and takes over when the active one is gone.

It answers nobody but operators. The active one is watched through the cells of the journal: they
promise an epoch to another coordinator only once they have not heard the one they promised the last
to for a while, so a standby cannot take over from one that most of them hear.

Source: docs/standby.md.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Final

import trio

from common.crypto.journal import JournalKey
from common.data_classes import dataclass
from common.errors import AlvearyError, BadConfig, Corrupt, Refused
from common.http.health import health_app
from common.http.server import serve_http
from common.ports import Address, Disk, World
from common.reasons import ConfigFault, Damage, Refusal
from common.rpc.peers import PeerPool
from common.state_files import read_whole, write_whole
from common.tasks import background, log_fault
from common.wire.messages.base import CharterExchange, CharterShown
from common.wire.messages.membership import StandbyHeard, StandbyPresence
from coordinator.api.app import Api
from coordinator.api.routes import ApiRoute, Json
from coordinator.journal.cells import NOWHERE
from coordinator.journal.following import JournalFollower, View
from coordinator.journal.recovery_file import (
    MISSING_RECOVERY,
    RECOVERY_NAME,
    enrol,
    unpack_recovery,
)
from coordinator.metrics import CoordinatorMetrics
from coordinator.secrets import IDENTITY_NAME, Keys
from coordinator.standbys import PRESENCE_S

MARK_NAME: Final = "standby"
"""There while this directory's coordinator is a standby."""
_COPY: Final = b"copy\n"
"""Its content where the store was never served from, so that it may be made again."""
_SERVED: Final = b"served\n"
LOOK_S: Final = 1.0
"""Interval at which the cells are asked for what they have."""
CALL_S: Final = 3.0
HESITATES_S: Final = 1.0
"""Of several standbys that see at once that the journal is free, one begins before the others."""
UNFIT: Final = frozenset({Damage.JOURNAL_FORKED, Damage.JOURNAL_DIVERGED})
"""Reasons why a store is not one that the journal makes."""
FOLLOWS_WITHIN_S: Final = 30.0
"""A standby that has not had everything for longer is not well."""


@dataclass(slots=True)
class CoordinatorRole:
    """The role of a coordinator now: ``standby`` until it has taken over, or ``active``."""

    name: str = "active"

    @property
    def is_active(self) -> bool:
        return self.name == "active"


async def is_standby(disk: Disk) -> bool:
    """Return whether this directory's coordinator is a standby."""
    return await read_whole(disk, MARK_NAME) is not None


async def become_standby(disk: Disk) -> None:
    """Note that a coordinator that was active is a standby from now on. Raises as
    :func:`common.state_files.write_whole`."""
    await write_whole(disk, MARK_NAME, _SERVED)


async def become_active(disk: Disk) -> None:
    """Note that this coordinator is a standby no more. Raises as
    :meth:`common.ports.Disk.unlink`."""
    if await is_standby(disk):
        await disk.unlink(MARK_NAME)
        await disk.sync_directory(".")


async def prepare_standby(disk: Disk) -> None:
    """Make an empty directory that of a standby, from the recovery file in it; leave any other as
    it is.

    Raises:
        BadConfig: ``bad_recovery_file``, ``no_recovery_file``, ``not_enrolled``.
        Unavailable: the directory cannot be written.
    """
    if await read_whole(disk, IDENTITY_NAME) is not None:
        return
    if await read_whole(disk, RECOVERY_NAME) is None:
        raise BadConfig(ConfigFault.NO_RECOVERY_FILE, message=MISSING_RECOVERY)
    await write_whole(disk, MARK_NAME, _COPY)
    await enrol(disk)


async def discard_copy(world: World, store_name: str, error: Corrupt) -> None:
    """Throw away a store that does not fit the journal, if it was made from it and never served.

    Raises:
        Corrupt: ``error``: it was served, and somebody has to look which one counts.
        Unavailable: it could not be deleted.
    """
    if await read_whole(world.disk, MARK_NAME) != _COPY:
        raise error
    world.log.warning("standby_begins_again", error=str(error))
    await world.stores.discard(store_name)


@dataclass(slots=True)
class Following:
    """The progress of a standby, for operators."""

    active: Address | None = None
    behind: int = 0
    """Records that are settled and not taken in."""
    close_at: float = field(default_factory=trio.current_time)
    """The time at which it last had everything that was settled."""
    epoch: int = 0
    sequence: int = 0
    error: str = ""
    coordinators: tuple[Address, ...] = ()


class Standby:
    """One time as a standby.

    Args:
        place: where this coordinator takes calls once it is active; None: it is not known.
    """

    def __init__(
        self,
        world: World,
        pool: PeerPool,
        keys: Keys,
        metrics: CoordinatorMetrics,
        swarm: str,
        store_name: str,
        place: Address | None,
    ) -> None:
        self._world = world
        self._pool = pool
        self._keys = keys
        self._metrics = metrics
        self._swarm = swarm
        self._store_name = store_name
        self._place = place
        self._following = Following()
        self._follower: JournalFollower

    async def run(self) -> None:
        """Follow the journal; return when it is free for another coordinator.

        Raises:
            BadConfig: ``no_recovery_file``, ``bad_recovery_file``.
            Corrupt: ``journal_forked``, ``journal_diverged``: the store is not of this journal.
        """
        self._follower = await self._open()
        try:
            async with background() as nursery:
                nursery.start_soon(self._keep_presence)
                await self._follow()
        finally:
            await self._follower.close()

    async def _open(self) -> JournalFollower:
        content = await read_whole(self._world.disk, RECOVERY_NAME)
        if content is None:
            raise BadConfig(ConfigFault.NO_RECOVERY_FILE, message=MISSING_RECOVERY)
        members = unpack_recovery(content).members
        follower = JournalFollower(
            self._world,
            self._pool,
            self._store_name,
            JournalKey(self._keys.swarm_secret),
            self._keys.swarm_id,
            members,
        )
        await follower.open()
        return follower

    async def _follow(self) -> None:
        while True:
            view = await self._follower.look()
            try:
                await self._follower.follow(view)
                self._note(view, "")
            except AlvearyError as error:
                self._note(view, str(error))
                if isinstance(error, Corrupt) and error.reason in UNFIT:
                    await self._begin_again(error)
            if view.is_free and self._may_take_over():
                await trio.sleep(self._world.chance.uniform(0, HESITATES_S))
                if (await self._follower.look()).is_free:
                    return
            await trio.sleep(LOOK_S)

    async def _begin_again(self, error: Corrupt) -> None:
        """Throw away a copy that does not fit, to make it again from a snapshot."""
        await self._follower.close()
        await discard_copy(self._world, self._store_name, error)
        await self._follower.open()

    def _may_take_over(self) -> bool:
        """Return whether this store may be served. Without one of its own a standby could not see
        that a cell withholds records; and as long as the store does not say that leases are
        enforced, the active one may answer without its own."""
        return self._follower.has_store and self._follower.is_leased

    def _note(self, view: View, error: str) -> None:
        now = trio.current_time()
        following = self._following
        if error and error != following.error:
            self._world.log.warning("standby_follows_not", error=error)
        following.error = error
        at = self._follower.at
        following.sequence = at.sequence
        if view.settled is not None:
            following.epoch = view.settled.epoch
            following.behind = max(0, view.settled.sequence - at.sequence)
            following.active = view.active or following.active
        if not following.behind and self._follower.has_store and view.settled is not None:
            following.close_at = now
        self._metrics.standby_behind.set(following.behind)
        self._metrics.standby_behind_s.set(now - following.close_at)

    # --- presence -------------------------------------------------------------------------------

    async def _keep_presence(self) -> None:
        """Announce this standby to the active coordinator, which names it to cells and gateways."""
        while True:
            active = self._following.active
            if active is not None and active != self._place:
                try:
                    await self._announce(active)
                except AlvearyError as error:
                    self._world.log.info("active_not_told", error=str(error), active=str(active))
                except Exception as error:
                    log_fault(self._world.log, "presence_broke", error)
            await trio.sleep(PRESENCE_S)

    async def _announce(self, active: Address) -> None:
        place = self._place or NOWHERE
        charters = self._keys.charters
        request = StandbyPresence(
            place.host, place.port, self._follower.at.sequence, charters.revision
        )
        try:
            reply, _ = await self._pool.call(
                active, charters.swarm_key_id, request, timeout_s=CALL_S
            )
        except Refused as error:
            if error.reason == Refusal.NOT_A_COORDINATOR:
                await self._hear_charter(active)
            raise
        if isinstance(reply, StandbyHeard):
            await charters.take(reply.charter)
            self._following.coordinators = tuple(
                Address(each.host, each.port) for each in reply.coordinators
            )

    async def _hear_charter(self, active: Address) -> None:
        """Hear why the active one refuses this standby: on a connection that stays, nobody shows a
        charter by himself."""
        charters = self._keys.charters
        request = CharterExchange(charters.shown)
        reply, _ = await self._pool.call(active, charters.swarm_key_id, request, timeout_s=CALL_S)
        if isinstance(reply, CharterShown):
            await charters.take(reply.charter)

    # --- shown ----------------------------------------------------------------------------------

    def tell(self) -> dict[str, Any]:
        """For operators, JSON-like."""
        following = self._following
        return {
            "swarm": self._swarm,
            "role": "standby",
            "active": "" if following.active is None else str(following.active),
            "coordinators": [str(each) for each in following.coordinators],
            "epoch": following.epoch,
            "sequence": following.sequence,
            "behind": following.behind,
            "behind_s": round(trio.current_time() - following.close_at, 1),
            "error": following.error,
        }

    async def health(self) -> dict[str, Any]:
        """A standby is well while it follows."""
        told = self.tell()
        return {"ok": told["behind_s"] < FOLLOWS_WITHIN_S and not told["error"], **told}

    async def _status(self, _: Any, body: Json) -> Json:
        return self.tell()

    async def serve_http(self, listener: Any, max_connections: int) -> None:
        """Answer operators until cancelled."""
        route = ApiRoute(
            "GET", "/v1/status", "What this standby follows, and how far.", self._status, {}
        )
        api = Api((route,), None, self._keys.operator_token, self._world.log)
        app = health_app(self._metrics.registry, self.health, otherwise=api)
        await serve_http(
            listener,
            app,
            log=self._world.log,
            clock=self._world.clock,
            max_connections=max_connections,
        )
