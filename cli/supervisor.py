"""Brings a whole swarm up on this machine, watches it, and stops it in order.

Source: docs/operations.md, "A swarm on one machine".
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from cli.authority import ANYWHERE, LocalTls, prepare_tls
from cli.credentials import make_access_key, make_tenant, read_tenant, seal_key, tenant_body
from cli.credentials import write_tenant as write_tenant_file
from cli.operators import OperatorApi, read_operator_file
from cli.ports import PortChooser, can_listen, parse_address
from cli.processes import DaemonProcess, Processes
from cli.report import explain, print_error
from cli.swarm_directory import S3Credentials, Settings, SwarmDirectory, parse_redundancy
from common.errors import BadConfig, OutcomeUnknown, Unavailable
from common.ports import Address
from common.reasons import ConfigFault, Outage, Uncertainty
from coordinator.policy.journal import FEWEST

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
JOURNAL_TIMEOUT_S: Final = 10.0
"""Time for the journal, once everything else is there."""
POLL_S: Final = 0.05
_PASSING: Final = frozenset(
    {
        Outage.JOURNAL_UNSETTLED,
        Outage.COORDINATOR_UNREACHABLE,
        Uncertainty.CONNECTION_LOST,
        Uncertainty.CALL_TIMEOUT,
    }
)
TOKEN_LIFETIME_S: Final = 30 * 86_400
"""A first start that was cut short is finished by the next one, perhaps days later."""
HEARD_STATES: Final = frozenset({"alive", "read_only", "full"})
T = TypeVar("T")
SWARM_NAME: Final = "local"
TENANT_NAME: Final = "default"
REGION: Final = "us-east-1"


class LocalSwarm:
    """The daemons of one directory.

    Args:
        directory: whose lock the caller holds.
        settings: what to start.
        processes: starts and watches children.
    """

    def __init__(self, directory: SwarmDirectory, settings: Settings, processes: Processes) -> None:
        self._directory = directory
        self._settings = settings
        self._processes = processes
        self._ports = PortChooser()
        self._tls: LocalTls | None = None
        self._coordinator = DaemonProcess(
            "coordinator", "coordinator", directory.daemon("coordinator")
        )
        names = [f"cell-{number:02d}" for number in range(settings.cells)]
        self._cells = [DaemonProcess(name, "cell", directory.daemon(name)) for name in names]
        self._gateway = DaemonProcess("gateway", "gateway", directory.daemon("gateway"))

    @property
    def daemons(self) -> list[DaemonProcess]:
        """All daemons, in the order in which they are started."""
        return [self._coordinator, *self._cells, self._gateway]

    async def start(self) -> S3Credentials:
        """Start everything; return when objects can be read and, if the disks allow, written.

        Raises:
            BadConfig: ``cannot_listen``: the S3 address is taken; or files of the directory do
                not belong together.
            Unavailable: ``daemon_failed``, ``not_ready``.
        """
        address = parse_address(self._settings.s3)
        if not can_listen(address):
            raise BadConfig(ConfigFault.CANNOT_LISTEN, message=f"{address} is taken", flag="--s3")
        self._directory.write_settings(self._settings)
        if self._settings.tls:
            self._tls = prepare_tls(self._directory.tls, address, time.time())
        path, listen = self._configure_coordinator()
        async with trio.open_nursery() as nursery:
            # Cells that were there before start beside the coordinator, which needs their journal.
            known = {"native": str(listen), "peer_id": self._settings.coordinator_id}
            early = [cell for cell in self._cells if known["peer_id"] and self._has_token(cell)]
            for cell in early:
                nursery.start_soon(self._start_cell, cell, known, None)
            coordinator = await self._start_coordinator(path)
            async with OperatorApi(*read_operator_file(self._directory.operator_file)) as api:
                async with trio.open_nursery() as later:
                    for cell in self._cells:
                        if cell not in early:
                            later.start_soon(self._start_cell, cell, coordinator, api)
                    credentials = await self._patiently(partial(self._prepare_tenant, api))
                    ready = await self._start_gateway(coordinator)
                await self._wait_heard(api)
        credentials = replace(
            credentials,
            endpoint=_endpoint(parse_address(ready["s3"]), secure=ready["secure"]),
            ca_file=None if self._tls is None else str(self._tls.authority),
        )
        self._directory.write_credentials(credentials)
        self.write_processes()
        return credentials

    def write_processes(self) -> None:
        """Bring ``processes.json`` up to date. It is a convenience for people and for `alveary
        status`: where it cannot be written, a warning is printed and the swarm goes on."""
        listed = [
            {
                "name": daemon.name,
                "role": daemon.role,
                "pid": daemon.pid,
                "data": str(daemon.data),
                **({} if daemon.is_running else {"exit": daemon.exit_text()}),
            }
            for daemon in self.daemons
            if daemon.process is not None
        ]
        try:
            self._directory.write_processes(listed)
        except BadConfig as error:
            print_error(f"warning: {explain(error)}")

    def forget_processes(self) -> None:
        """Remove ``processes.json``: no daemon runs (any more)."""
        try:
            self._directory.forget_processes()
        except BadConfig as error:
            print_error(f"warning: {explain(error)}")

    async def stop(self) -> list[str]:
        """Stop all: first the gateway, which takes requests; last the coordinator, which stores
        state.

        Returns:
            The names of the daemons that did not stop in time and were killed.
        """
        killed: list[str] = []
        for group in ([self._gateway], self._cells, [self._coordinator]):
            killed += await self._processes.stop(group, timeout_s=STOP_TIMEOUT_S)
        self.forget_processes()
        return killed

    def _configure_coordinator(self) -> tuple[Path, Address]:
        """Write the coordinator's configuration; return where, and where it is to listen."""
        known = self._directory.read_daemon_config("coordinator")
        listen = self._ports.choose(known.get("listen"))
        config = {
            **known,
            "data": str(self._coordinator.data),
            "log": str(self._coordinator.log_path),
            "listen": str(listen),
            "advertise": str(listen),
            "http": str(self._ports.choose(known.get("http"))),
            "swarm": SWARM_NAME,
            "redundancy": self._settings.redundancy,
            "discovery": False,  # Nobody else can reach a swarm that listens on loopback.
        }
        return self._directory.write_daemon_config("coordinator", config), listen

    async def _start_coordinator(self, path: Path) -> dict[str, Any]:
        ready = await self._run(self._coordinator, path)
        if not self._settings.coordinator_id:
            self._settings = replace(self._settings, coordinator_id=str(ready["peer_id"]))
            self._directory.write_settings(self._settings)
        elif ready["peer_id"] != self._settings.coordinator_id:
            raise BadConfig(
                ConfigFault.WRONG_COORDINATOR,
                message="the coordinator's key is not this swarm's: its data directory was "
                "replaced or emptied",
                data=str(self._coordinator.data),
            )
        return ready

    def _has_token(self, cell: DaemonProcess) -> bool:
        return "token" in self._directory.read_daemon_config(cell.name)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what may be repeated, again while the coordinator waits for its journal's cells, or
        opens its store again.

        Raises:
            AlvearyError: of the work, when that lasts.
        """
        give_up_at = trio.current_time() + START_TIMEOUT_S
        while True:
            try:
                return await work()
            except (Unavailable, OutcomeUnknown) as error:
                is_waiting = error.reason in _PASSING and self._coordinator.is_running
                if not is_waiting or trio.current_time() > give_up_at:
                    raise
            await trio.sleep(POLL_S)

    async def _start_cell(
        self, cell: DaemonProcess, coordinator: dict[str, Any], api: OperatorApi | None
    ) -> None:
        """Start a cell. ``api``: asked for a token if it has none."""
        known = self._directory.read_daemon_config(cell.name)
        listen = self._ports.choose(known.get("listen"))
        http = self._ports.choose(known.get("http"))
        if "token" not in known:
            assert api is not None
            invite = {"owner": cell.name, "uses": 1, "expires_in_s": TOKEN_LIFETIME_S}
            known["token"] = (await api.call("POST", "/v1/invites", invite))["token"]
        config = {
            **known,
            "data": str(cell.data),
            "log": str(cell.log_path),
            "listen": str(listen),
            "advertise": str(listen),
            "http": str(http),
            "coordinator": [coordinator["native"]],
            "coordinator_id": coordinator["peer_id"],
            "owner": cell.name,
        }
        await self._run(cell, self._directory.write_daemon_config(cell.name, config))

    async def _start_gateway(self, coordinator: dict[str, Any]) -> dict[str, Any]:
        known = self._directory.read_daemon_config("gateway")
        config = {
            **known,
            "data": str(self._gateway.data),
            "log": str(self._gateway.log_path),
            "s3": self._settings.s3,
            "http": str(self._ports.choose(known.get("http"))),
            "coordinator": [coordinator["native"]],
            "coordinator_id": coordinator["peer_id"],
            "tenants": str(self._directory.tenants),
            "region": REGION,
        }
        # A certificate of another origin that somebody wrote into the file stays, without --tls.
        if self._tls is not None:
            config["tls_certificate"] = str(self._tls.certificate)
            config["tls_key"] = str(self._tls.key)
        elif str(known.get("tls_certificate", "")).startswith(str(self._directory.tls)):
            del config["tls_certificate"], config["tls_key"]
        path = self._directory.write_daemon_config("gateway", config)
        return await self._run(self._gateway, path)

    async def _run(self, daemon: DaemonProcess, config: Path) -> dict[str, Any]:
        return await self._processes.start(daemon, config, timeout_s=START_TIMEOUT_S)

    async def _prepare_tenant(self, api: OperatorApi) -> S3Credentials:
        """Make the tenant and its access key, or what of them a start that was cut short did not
        get to. Each secret is on disk here before the coordinator hears of it."""
        path = self._directory.tenants / f"{TENANT_NAME}.json"
        tenants = (await api.call("GET", "/v1/tenants"))["tenants"]
        known = {each["name"]: each["tenant_id"] for each in tenants}
        if not path.exists():
            if TENANT_NAME in known:
                # A new key would open nothing, and stand where the right one has to go.
                raise BadConfig(
                    ConfigFault.TENANT_KEY_MISSING,
                    message=f"the key of tenant {TENANT_NAME} is gone: there is no {path}",
                )
            write_tenant_file(self._directory.tenants, TENANT_NAME, make_tenant())
        tenant = read_tenant(path)
        if TENANT_NAME not in known:
            await api.call("POST", "/v1/tenants", tenant_body(TENANT_NAME, tenant))
        elif known[TENANT_NAME] != tenant.tenant_id.hex():
            raise BadConfig(ConfigFault.WRONG_TENANT_KEY, file=str(path))
        credentials = self._directory.read_credentials()
        if credentials is None:
            endpoint = f"http://{self._settings.s3}"
            credentials = S3Credentials(endpoint, REGION, *make_access_key())
            self._directory.write_credentials(credentials)
        keys = (await api.call("GET", f"/v1/tenants/{TENANT_NAME}/keys"))["keys"]
        if credentials.access_key not in [each["access_key_id"] for each in keys]:
            body = seal_key(
                tenant,
                credentials.access_key,
                credentials.secret_key,
                created_ms=int(time.time() * 1000),
            )
            await api.call("POST", f"/v1/tenants/{TENANT_NAME}/keys", body)
        return credentials

    async def _wait_heard(self, api: OperatorApi) -> None:
        """Wait until the coordinator has heard all cells and places on them. Cells that cannot be
        written are named and keep nobody waiting: what they hold can be read."""
        _, slots = parse_redundancy(self._settings.redundancy)
        status: dict[str, Any] = {}
        until = math.inf
        with trio.move_on_after(START_TIMEOUT_S):
            while True:
                status = await self._patiently(partial(api.call, "GET", "/v1/status"))
                if not _serves(status):
                    return
                heard = [cell for cell in status["cells"] if cell["state"] in HEARD_STATES]
                if (
                    len(heard) >= max(slots, len(self._cells))
                    and status["rings"]
                    and (status["writable"] or _cannot_be_written(status))
                ):
                    until = min(until, trio.current_time() + JOURNAL_TIMEOUT_S)
                    if _journal_comes(status, heard) and trio.current_time() < until:
                        await trio.sleep(POLL_S)
                        continue
                    _warn_of_unwritable(heard)
                    if not status["coordinator"]["store_writable"]:
                        reason = status["coordinator"]["reason"]
                        print_error(f"warning: the coordinator cannot write: {reason}")
                    _warn_of_journal(status["journal"])
                    return
                await trio.sleep(POLL_S)
        raise Unavailable(
            Outage.NOT_READY,
            message="the cells run, but the coordinator does not place on them",
            cells=len(status.get("cells", [])),
            rings=len(status.get("rings", [])),
            log=str(self._coordinator.log_path),
        )


def _serves(status: dict[str, Any]) -> bool:
    """Return whether the coordinator serves at all; where not, say what its operator can do: the
    daemons must run for that."""
    store = status["store"]
    if store["standing"] != "behind":
        return True
    print_error(f"warning: nothing is served: {store['what_to_do']}")
    return False


def _journal_comes(status: dict[str, Any], heard: list[dict[str, Any]]) -> bool:
    """Return whether the journal will soon be kept: its cells were heard just now."""
    is_late = status["journal"]["state"] not in ("kept", "off")
    return is_late and sum(cell["state"] == "alive" for cell in heard) >= FEWEST


def _warn_of_journal(journal: dict[str, Any]) -> None:
    if journal["state"] != "kept":
        print_error(f"warning: journal {journal['state']}: {journal['why']}")


def _cannot_be_written(status: dict[str, Any]) -> bool:
    """Return whether waiting is useless because a disk is why nothing can be written."""
    cells_that_refuse = [cell for cell in status["cells"] if cell["state"] != "alive"]
    return bool(cells_that_refuse) or not status["coordinator"]["store_writable"]


def _warn_of_unwritable(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        if cell["state"] != "alive":
            reason = cell["read_only_reason"] or cell["state"]
            print_error(f"warning: {cell['owner']} cannot be written: {reason}")


def _endpoint(listens: Address, *, secure: bool) -> str:
    """The URL for clients on this machine. No certificate is for the address of all interfaces."""
    if not secure:
        return f"http://{listens}"
    host = "localhost" if listens.host in ANYWHERE else listens.host
    return f"https://{Address(host, listens.port)}"
