"""A whole swarm in one trio run: the real services on simulated nodes, killed and restarted."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field, replace
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import httpx
import prometheus_client
import trio

import cell.config
import cell.service
import coordinator.config
import coordinator.service
import gateway_s3.config
import gateway_s3.service
from cell.storage.recovery import INDEX_NAME
from cell.storage.volumes import DIRECTORY
from common.crypto.charter import (
    Charter,
    CharteredCoordinator,
    read_charter,
    sign_charter,
    with_added,
)
from common.crypto.identity import KeyPair
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import AlvearyError, BadConfig
from common.format.manifest import AccessKeyRecord, seal_access_key
from common.ids import TenantId
from common.ports import Disk, Network, World
from coordinator.journal.recovery_file import RECOVERY_NAME, pack_recovery, unpack_recovery
from coordinator.journaled_store import STORE_NAME
from coordinator.secrets import SWARM_KEY_NAME
from coordinator.store import dialect, journal
from sim.http import SimTransport
from sim.s3_client import S3Client, SimCredentials
from sim.webhooks import SimSender
from sim.world import SimNode, SimWorld

NATIVE_PORT: Final = 7000
HTTP_PORT: Final = 7001
S3_PORT: Final = 9000
CLIENT_TIMEOUT_S: Final = 120.0
DOWN_S: Final = (0.5, 20.0)
"""Between two lives of a daemon."""

Serve = Callable[[World, Any, "trio.TaskStatus[Any]"], Awaitable[None]]


async def read_file(disk: Disk, path: str) -> bytes:
    """All bytes of a file of a node."""
    file = await disk.open(path)
    try:
        return await file.read(0, await file.size())
    finally:
        await file.close()


async def write_file(disk: Disk, path: str, data: bytes) -> None:
    """Write a whole file durably."""
    file = await disk.open(path, create=True)
    await file.write(0, [data])
    await file.sync()
    await file.close()
    await disk.sync_directory(path.rpartition("/")[0])


class SimDaemon:
    """One service on one node, over its lives.

    Args:
        node: where it runs.
        serve: the service's entry.
        config: its parsed configuration.
    """

    def __init__(self, node: SimNode, serve: Callable[..., Awaitable[None]], config: Any) -> None:
        self.node = node
        self._serve = serve
        self.config = config
        self.is_up = False
        self.is_gone = False
        """Destroyed, with its disk: it has no further life."""
        self.is_draining = False
        """Its operator wants it to leave."""
        self.is_emptied = False
        """It has lost its shards once, and does not know it."""
        self.down_until_s = 0.0
        """It has no life before that time."""
        self.serving: Any = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run one life: until the node dies or the service ends. Starts another life when called
        again.

        Raises:
            Exception: what the service raised while its node was alive: a finding, except for
                the errors of :mod:`common.errors`, which end the life (a refused start), and
                BadConfig later (a coordinator that was revoked).
        """
        try:
            await self._run(task_status)
        except* BadConfig as group:
            self.node.note("daemon ended", {"error": repr(group)})

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        life, died = self.node.life, self.node.died
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await died.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            try:
                self.serving = await nursery.start(self._serve, self.node.world, self.config)
                self.is_up = True
                task_status.started()
                await trio.sleep_forever()
            except AlvearyError as error:
                self.node.note("daemon ended", {"error": str(error)})
            except BaseExceptionGroup as group:
                rest = group.split(AlvearyError)[1]
                if rest is not None:
                    raise
                self.node.note("daemon ended", {"error": repr(group)})
            finally:
                self.is_up = False
                if life == self.node.life:
                    nursery.cancel_scope.cancel()

    def crash(self, *, power: bool) -> None:
        """End the current life at once."""
        self.is_up = False
        self.node.crash(power=power)

    @property
    def leaves(self) -> bool:
        """Return whether it is not to stay in the swarm."""
        return self.is_gone or self.is_draining

    def destroy(self) -> None:
        """End its last life, and everything on its disk."""
        self.is_gone = True
        self.crash(power=True)
        self.node.platter.wipe()
        self.node.databases.clear()

    def lose_disk(self) -> None:
        """End its life, and everything on its disk; the next one begins with :meth:`come_back`."""
        self.stay_down()
        self.crash(power=True)
        self.node.platter.wipe()
        self.node.databases.clear()

    def stay_down(self) -> None:
        """Begin no further life before :meth:`come_back`."""
        self.down_until_s = float("inf")

    def come_back(self) -> None:
        """Begin another life soon."""
        self.down_until_s = 0.0

    def empty(self) -> None:
        """End its life, and lose its shards and its index; it is the same cell in the next."""
        self.crash(power=True)
        self.node.platter.wipe_directory(DIRECTORY)
        self.node.databases.pop(INDEX_NAME, None)
        self.is_emptied = True

    async def keep(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run life after life, each after a pause, as an operator's supervisor does."""
        pauses = self.node.swarm.random(f"{self.node.name}/restarts")
        started = False
        while True:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._one_life)
                if not started:
                    task_status.started()
                    started = True
            await trio.sleep(pauses.uniform(*DOWN_S))
            while self.is_gone or trio.current_time() < self.down_until_s:  # noqa: ASYNC110  # virtual time
                await trio.sleep(1)  # it may be called back early

    async def _one_life(self, *, task_status: trio.TaskStatus[None]) -> None:
        is_told = False

        class Told:
            def started(self, value: None = None) -> None:
                nonlocal is_told
                is_told = True
                task_status.started()

        try:
            await self.run(task_status=Told())
        finally:
            if not is_told:
                task_status.started()


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of the swarm to build."""

    cells: int = 6
    redundancy: str = "4/6"
    gateways: int = 1
    tells_events: bool = False
    """Gateways notify the receivers that their directory of webhooks names."""
    sites: int = 0
    """0: every cell is a site of its own."""
    cell_capacity_bytes: int = 2 * 1024**3
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    """More configuration by service: ``{"coordinator": {...}}``."""


def _network_of(node: SimNode) -> Network:
    """Return the network of a node's present life."""
    return node.world.network


def _is_active(daemon: SimDaemon) -> bool:
    return daemon.is_up and bool(daemon.serving.role.is_active)


def _place_in_journal(node: SimNode) -> tuple[int, int]:
    """The epoch and the number of the last record that a node's store has; nothing: -1."""
    database = node.databases.get(STORE_NAME)
    if database is None or not dialect.version(database.connection):
        return (-1, -1)
    end = journal.load(database.connection).end
    return (end.epoch, end.sequence)


class Cluster(AbstractAsyncContextManager["Cluster"]):
    """A running swarm: ``async with Cluster(swarm, shape) as cluster``."""

    def __init__(self, swarm: SimWorld, shape: Shape) -> None:
        # The time at which a counter was made is the machine's, not the world's.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped
        self.swarm = swarm
        self.shape = shape
        self.coordinators: list[SimDaemon] = []
        """Each has a key of its own. One is active; the others are standbys."""
        self.cells: list[SimDaemon] = []
        self.gateways: list[SimDaemon] = []
        self.credentials: SimCredentials
        self.tenant: TenantKey
        self.swarm_key: KeyPair
        """The key that signs charters, as its operator keeps it."""
        self._operator_token = ""
        self._nursery_manager = trio.open_nursery()
        self._nursery: trio.Nursery

    async def __aenter__(self) -> Self:
        self._nursery = await self._nursery_manager.__aenter__()
        try:
            await self._build()
        except BaseException as error:
            self._nursery.cancel_scope.cancel()
            if await self._nursery_manager.__aexit__(type(error), error, error.__traceback__):
                raise AssertionError("a nursery swallowed an error") from error
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._nursery.cancel_scope.cancel()
        return await self._nursery_manager.__aexit__(kind, error, traceback)

    async def wait_all_up(self) -> None:
        """Wait until every daemon serves that is not gone for good."""
        while not all(daemon.is_up or daemon.is_gone for daemon in self.daemons):  # noqa: ASYNC110  # virtual time
            await trio.sleep(1)  # lives begin and end; a poll in virtual time costs nothing

    def start_soon(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run something beside the swarm until it stops."""
        self._nursery.start_soon(work)

    @property
    def daemons(self) -> Sequence[SimDaemon]:
        """All of them: the coordinators, the cells, the gateways."""
        return [*self.coordinators, *self.cells, *self.gateways]

    @property
    def store_node(self) -> SimNode:
        """The node with the store that counts: the one that is furthest in the journal."""
        if len(self.coordinators) == 1:
            return self.coordinators[0].node
        # Of those that are equally far, the one that is active: the API of the others only looks.
        return max(
            (each.node for each in sorted(self.coordinators, key=_is_active, reverse=True)),
            key=_place_in_journal,
        )

    @property
    def active(self) -> SimDaemon | None:
        """The coordinator whose store counts, while it is up and active."""
        furthest = _place_in_journal(self.store_node)
        for each in self.coordinators:
            is_furthest = _place_in_journal(each.node) == furthest
            if is_furthest and _is_active(each):
                return each
        return None

    async def add_standby(self, number: int) -> None:
        """Start one more coordinator, which follows; the charter names it."""
        name = f"standby-{number}"
        disk = self.store_node.world.disk
        kept = unpack_recovery(await read_file(disk, RECOVERY_NAME))
        identity = KeyPair.from_private(self.swarm.random(f"key of {name}").randbytes(32))
        charter = await self.change_charter(
            lambda present: with_added(present, name, identity.public_key)
        )
        made = replace(kept, identity=identity, charter=charter, swarm_key=None, is_enrolment=True)
        await write_file(self.swarm.node(name).world.disk, RECOVERY_NAME, pack_recovery(made))
        await self._add_coordinator(name, standby=True)

    async def change_charter(
        self, change: Callable[[Charter], list[CharteredCoordinator]]
    ) -> Charter:
        """Sign a later charter, and have the coordinators take it."""
        swarm_key = self.swarm_key
        shown = bytes.fromhex((await self.operate("GET", "/v1/coordinators"))["charter"])
        present = read_charter(shown, swarm_key.peer_id)
        charter = sign_charter(swarm_key, present.revision + 1, change(present))
        await self.operate("POST", "/v1/coordinators", {"charter": charter.data.hex()})
        return charter

    def _configured(self, service: str, config: dict[str, Any]) -> dict[str, Any]:
        return {**config, **self.shape.overrides.get(service, {})}

    async def _build(self) -> None:
        node = await self._add_coordinator("coordinator")
        await self.learn_operator_token()
        swarm_key = await read_file(node.world.disk, SWARM_KEY_NAME)
        self.swarm_key = KeyPair.from_private(bytes.fromhex(swarm_key.decode().strip()))
        for number in range(self.shape.cells):
            await self.add_cell(number)
        await self._make_tenant(self.swarm_key.peer_id.hex())
        await self._wait_rings()

    async def learn_operator_token(self) -> None:
        """Read the file that the coordinator wrote for its operator."""
        operator = json.loads(await read_file(self.store_node.world.disk, "operator.json"))
        self._operator_token = operator["token"]

    async def _add_coordinator(self, name: str, *, standby: bool = False) -> SimNode:
        node = self.swarm.node(name)
        config = coordinator.config.CoordinatorConfig.parse(
            self._configured(
                "coordinator",
                {
                    "data": ".",
                    "listen": f"{name}:{NATIVE_PORT}",
                    "http": f"{name}:{HTTP_PORT}",
                    "advertise": f"{name}:{NATIVE_PORT}",
                    "swarm": "sim",
                    "redundancy": self.shape.redundancy,
                    "discovery": False,
                    "journal": "off",
                    "standby": standby,
                },
            )
        )
        daemon = SimDaemon(node, coordinator.service.serve, config)
        self.coordinators.append(daemon)
        await self._nursery.start(daemon.keep)
        return node

    async def add_cell(self, number: int) -> None:
        """Invite and start one more cell."""
        site = number % self.shape.sites if self.shape.sites else number
        token = (await self.operate("POST", "/v1/invites", {}))["token"]
        node = self.swarm.node(f"cell-{number:02}", capacity_bytes=self.shape.cell_capacity_bytes)
        config = cell.config.CellConfig.parse(
            self._configured(
                "cell",
                {
                    "data": ".",
                    "listen": f"{node.name}:{NATIVE_PORT}",
                    "http": f"{node.name}:{HTTP_PORT}",
                    "advertise": f"{node.name}:{NATIVE_PORT}",
                    "token": token,
                    "site": f"site-{site}",
                    "owner": f"owner-{number}",
                },
            )
        )
        daemon = SimDaemon(node, cell.service.serve, config)
        self.cells.append(daemon)
        await self._nursery.start(daemon.keep)

    async def make_tenant(self, name: str, tenant_id: TenantId, proof_key: bytes) -> None:
        """Register a tenant with the coordinators."""
        await self.operate(
            "POST",
            "/v1/tenants",
            {
                "name": name,
                "tenant_id": tenant_id.hex(),
                "proof_key": proof_key.hex(),
            },
        )

    async def add_tenant(self, name: str, purpose: str) -> tuple[TenantKey, SimCredentials]:
        """Register a tenant with keys of its own, and have every gateway serve it.

        Args:
            purpose: of the random generator that draws the keys.
        """
        chance = self.swarm.random(purpose)
        tenant = TenantKey(TenantId(chance.randbytes(16)), chance.randbytes(32))
        await self.make_tenant(name, tenant.tenant_id, tenant.proof_key())
        credentials = SimCredentials(f"AK{name.upper()}", chance.randbytes(20).hex())
        record = AccessKeyRecord(secret=credentials.secret_key, created_ms=0)
        sealed = seal_access_key(tenant, credentials.access_key, record, chance.randbytes)
        await self.operate(
            "POST",
            f"/v1/tenants/{name}/keys",
            {
                "access_key_id": credentials.access_key,
                "sealed": base64.b64encode(sealed).decode(),
            },
        )
        content = {"name": name, "tenant_id": tenant.tenant_id.hex(), "key": tenant.key.hex()}
        for number in range(self.shape.gateways):
            disk = self.swarm.node(f"gateway-{number}").world.disk
            await write_file(disk, f"tenants/{name}.json", json.dumps(content).encode())
        return tenant, credentials

    async def _make_tenant(self, coordinator_id: str) -> None:
        self.tenant, self.credentials = await self.add_tenant("sim", "tenant")
        for number in range(self.shape.gateways):
            node = self.swarm.node(f"gateway-{number}")
            config = gateway_s3.config.GatewayConfig.parse(
                self._configured(
                    "gateway",
                    {
                        "data": ".",
                        "s3": f"{node.name}:{S3_PORT}",
                        "http": f"{node.name}:{HTTP_PORT}",
                        "coordinator": [
                            f"{each.node.name}:{NATIVE_PORT}" for each in self.coordinators
                        ],
                        "coordinator_id": coordinator_id,
                        "tenants": "tenants",
                    },
                )
            )
            sender = None
            if self.shape.tells_events:
                sender = SimSender(partial(_network_of, node))
            daemon = SimDaemon(node, partial(gateway_s3.service.serve, sender=sender), config)
            self.gateways.append(daemon)
            await self._nursery.start(daemon.keep)

    async def operate(self, method: str, path: str, body: Any = None) -> Any:
        """Call the operators' HTTP API of a coordinator."""
        network = self.swarm.node("operator").world.network
        if len(self.coordinators) > 1:
            await self.learn_operator_token()
        async with httpx.AsyncClient(transport=SimTransport(network), timeout=60) as http:
            answer = await http.request(
                method,
                f"http://{self.store_node.name}:{HTTP_PORT}{path}",
                headers={"authorization": f"Bearer {self._operator_token}"},
                json=body,
            )
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def metrics(self, daemon: SimDaemon) -> str:
        """Return the text of a daemon's metrics page."""
        network = self.swarm.node("operator").world.network
        async with httpx.AsyncClient(transport=SimTransport(network), timeout=60) as http:
            return (await http.get(f"http://{daemon.node.name}:{HTTP_PORT}/metrics")).text

    async def _wait_rings(self) -> None:
        while not (await self.operate("GET", "/v1/status"))["rings"]:  # noqa: ASYNC110  # virtual time
            await trio.sleep(1)  # over HTTP there is no event to wait for

    def client(
        self,
        name: str = "client-0",
        gateway: int = 0,
        credentials: SimCredentials | None = None,
        *,
        is_anonymous: bool = False,
    ) -> S3Client:
        """An S3 client on a node of its own. One per task: its connections are its own."""
        node = self.swarm.node(name)
        http = httpx.AsyncClient(
            transport=SimTransport(node.world.network), timeout=CLIENT_TIMEOUT_S
        )
        signer = None if is_anonymous else credentials or self.credentials
        return S3Client(http, f"gateway-{gateway}:{S3_PORT}", signer, node.world.clock)
