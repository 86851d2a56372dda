"""A whole simulated swarm whose coordinator is lost for ever, and what is restored of it."""

from __future__ import annotations

import json
from typing import Any

import trio

from common.crypto.identity import KeyPair
from common.ids import PeerId
from coordinator.journaled_store import STORE_NAME
from coordinator.secrets import SECRET_NAME, SWARM_KEY_NAME
from coordinator.store import restoring
from rescue.kit import Kit, make_kit
from rescue.restore import Progress, Restored, Wanted, restore
from sim.cluster import Cluster, Shape, SimDaemon, read_file
from sim.disk import SimDisk
from sim.world import SimNode

SHAPE = Shape(overrides={"coordinator": {"journal": "on"}})


class SimTree(SimDisk):
    """A directory with files' times, on a node's disk."""

    def __init__(self, node: SimNode, before: SimTree | None = None) -> None:
        super().__init__(node, node.platter)
        self.times: dict[int, int] = {} if before is None else before.times
        """By the object that a file is, wherever it is named."""

    async def stat(self, path: str) -> tuple[int, int] | None:
        await trio.lowlevel.checkpoint()
        inode = self.platter.inodes.get(path)
        return None if inode is None else (len(inode.content), self.times.get(id(inode), -1))

    async def set_time(self, path: str, modified_ms: int) -> None:
        await trio.lowlevel.checkpoint()
        self.times[id(self.platter.inodes[path])] = modified_ms

    async def sync_all(self) -> None:
        await trio.lowlevel.checkpoint()

    def files(self, below: str) -> dict[str, bytes]:
        """All files below a directory, by path."""
        return {
            path.removeprefix(below): bytes(inode.content)
            for path, inode in self.platter.inodes.items()
            if path.startswith(below)
        }

    def lines(self, path: str) -> list[dict[str, Any]]:
        """The lines of a file."""
        content = bytes(self.platter.inodes[path].content)
        return [json.loads(each) for each in content.splitlines()]


async def wait_kept(cluster: Cluster) -> None:
    """Wait until the journal is kept."""
    while (await cluster.operate("GET", "/v1/status"))["journal"]["state"] != "kept":  # noqa: ASYNC110  # virtual time
        await trio.sleep(0.5)  # over HTTP there is no event to wait for


async def kit_of(cluster: Cluster) -> Kit:
    """A kit of the swarm, as an operator makes it of the coordinator's files."""
    node = cluster.store_node
    secrets = [
        bytes.fromhex((await read_file(node.world.disk, name)).decode().strip())
        for name in (SWARM_KEY_NAME, SECRET_NAME)
    ]
    cells = restoring.endpoints(node.databases[STORE_NAME].connection)
    return make_kit(
        KeyPair.from_private(secrets[0]),
        secrets[1],
        cells,
        {"sim": cluster.tenant},
        node.world.entropy,
    )


async def wait_up(cells: list[SimDaemon]) -> None:
    """Wait until cells run again."""
    while not all(each.is_up for each in cells):  # noqa: ASYNC110  # virtual time
        await trio.sleep(1)  # what starts them again gives no sign


async def lose(cluster: Cluster, *cells: SimDaemon) -> None:
    """Lose the coordinator and these cells for ever, and the power of all others once: cells that
    start again have no key of orders, since nobody sends it. They run again at the end."""
    await trio.sleep(10)  # the journal's cells that were not waited for have everything, too
    cluster.coordinators[0].destroy()
    for daemon in (*cluster.gateways, *cells):
        daemon.stay_down()
        daemon.crash(power=True)
    left = [each for each in cluster.cells if each not in cells]
    for each in left:
        each.crash(power=True)
    await wait_up(left)


async def rescue(
    cluster: Cluster, kit: Kit, tree: SimTree, wanted: Wanted | None = None
) -> Restored:
    """Restore into a tree."""
    world = cluster.swarm.node("rescuer").world
    return await restore(world, tree, kit, wanted or Wanted(), Progress())


async def rescue_until_power_cut(
    cluster: Cluster, kit: Kit, tree: SimTree, after_steps: int
) -> bool:
    """Restore on a machine that loses its power; returns whether it was done before."""
    node = cluster.swarm.node("rescuer")
    node.cut_at_step = node.steps + after_steps
    died, is_done = node.died, False
    async with trio.open_nursery() as nursery:

        async def restore_all() -> None:
            nonlocal is_done
            await rescue(cluster, kit, tree)
            is_done = True
            nursery.cancel_scope.cancel()

        nursery.start_soon(restore_all)
        await died.wait()
        nursery.cancel_scope.cancel()
    node.cut_at_step = None
    return is_done


def cell_id(daemon: SimDaemon) -> PeerId:
    """The id of a cell that runs."""
    found: PeerId = daemon.serving.peer_id
    return found
