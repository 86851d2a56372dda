"""The first meeting of a cell with its coordinators: found, and joined.

Source: docs/operations.md, "Joining".
"""

from __future__ import annotations

from typing import Final

import trio

from cell.config import CellConfig
from cell.order_epoch import SeenEpoch
from common.errors import AlvearyError, BadConfig, Refused
from common.format.token import JoinToken
from common.ids import PeerId
from common.ports import Address, World
from common.reasons import ConfigFault
from common.rpc.coordinators import Coordinator, Coordinators, finder_on_lan
from common.rpc.peers import PeerPool
from common.state_files import read_whole, write_whole
from common.wire.messages.membership import CellJoin, CellJoined

JOINED_NAME: Final = "joined"
JOIN_RETRY_S: Final = 2.0
COORDINATOR_TIMEOUT_S: Final = 15.0
"""Time that one coordinator may take to answer."""


def coordinator_id_of(config: CellConfig, token: JoinToken | None) -> PeerId:
    """Return the id of the swarm's key, which names its coordinators.

    Raises:
        BadConfig: ``no_coordinator_id``.
    """
    if config.coordinator_id is not None:
        return config.coordinator_id
    if token is None:
        raise BadConfig(ConfigFault.NO_COORDINATOR_ID, key="coordinator_id")
    return token.coordinator_id


def coordinators_of(
    world: World,
    config: CellConfig,
    token: JoinToken | None,
    pool: PeerPool,
    seen_epoch: SeenEpoch,
) -> Coordinators:
    """Return the client of the coordinators, from the configuration and, where that is silent, the
    token. What those of an earlier epoch direct is not taken.

    Raises:
        BadConfig: ``no_coordinator_id``.
    """
    addresses = list(config.coordinator)
    if not addresses and token is not None:
        addresses = [Address(each.host, each.port) for each in token.coordinators]
    key_id = coordinator_id_of(config, token)
    swarm = "" if token is None else token.swarm
    known = [Coordinator(address, key_id) for address in addresses]
    find = finder_on_lan(world.discovery, swarm, key_id, world.log)
    return Coordinators(
        pool,
        known,
        world.log,
        timeout_s=COORDINATOR_TIMEOUT_S,
        is_patient=False,
        find=find,
        ask=seen_epoch.ask,
    )


async def join(
    world: World, config: CellConfig, token: JoinToken | None, coordinators: Coordinators
) -> None:
    """Have the swarm take this cell, once in its life.

    Raises:
        BadConfig: ``not_joined``: there is no token.
        Refused: the coordinator does not take the cell.
    """
    if await read_whole(world.disk, JOINED_NAME) is not None:
        return
    if token is None:
        raise BadConfig(ConfigFault.NOT_JOINED, key="token")
    request = CellJoin(token.secret, config.site, config.owner)
    told = ""
    while True:
        try:
            reply = await coordinators.call(request)
            break
        except Refused:
            raise
        except AlvearyError as error:
            if str(error) != told:
                world.log.warning("join_failed", error=str(error))
            told = str(error)
            await trio.sleep(JOIN_RETRY_S)
    assert isinstance(reply, CellJoined)
    text = f"{reply.swarm}\n{reply.swarm_id.hex()}\n"
    await write_whole(world.disk, JOINED_NAME, text.encode())
    world.log.info("joined", swarm=reply.swarm)
