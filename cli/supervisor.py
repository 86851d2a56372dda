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
from cli.coordinators import enrol, find_swarm_key
from cli.credentials import make_access_key, make_tenant, read_tenant, seal_key, tenant_body
from cli.credentials import write_tenant as write_tenant_file
from cli.operators import ROLE_TIMEOUT_S, OperatorApi, read_operator_file
from cli.ports import PortChooser, can_listen, parse_address
from cli.processes import DaemonProcess, Processes
from cli.report import explain, print_error
from cli.swarm_directory import S3Credentials, Settings, SwarmDirectory, parse_redundancy
from common.errors import BadConfig, OutcomeUnknown, Refused, Unavailable
from common.ports import Address
from common.reasons import ConfigFault, Outage, Uncertainty
from coordinator.journal.recovery_file import RECOVERY_NAME
from coordinator.policy.journal import FEWEST
from coordinator.secrets import OPERATOR_NAME
from coordinator.standby import MARK_NAME

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
FOLLOWED_TIMEOUT_S: Final = 30.0
"""Time for the standbys to follow, once they are started."""
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
        self._listen: dict[str, str] = {}
        """The addresses of the coordinators by name."""
        self._tls: LocalTls | None = None
        self._coordinators = [
            DaemonProcess(name, "coordinator", directory.daemon(name), settings.site_of(number))
            for number, name in enumerate(settings.coordinators)
        ]
        self._coordinator = self._coordinators[0]
        names = [f"cell-{number:02d}" for number in range(settings.cells)]
        self._cells = [
            DaemonProcess(name, "cell", directory.daemon(name), settings.site_of(number))
            for number, name in enumerate(names)
        ]
        self._gateway = DaemonProcess("gateway", "gateway", directory.daemon("gateway"))

    @property
    def daemons(self) -> list[DaemonProcess]:
        """All daemons, in the order in which they are started."""
        return [*self._coordinators, *self._cells, self._gateway]

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
        paths = [self._configure_coordinator(each) for each in self._coordinators]
        # A standby has the swarm's secrets from the active one, once the journal is kept.
        there = [each for each in self._coordinators if each is self._coordinator or _is_made(each)]
        async with trio.open_nursery() as nursery:
            # Cells that were there before start beside the coordinator, which needs their journal.
            is_known = bool(self._settings.coordinator_id)
            early = [cell for cell in self._cells if is_known and self._has_token(cell)]
            for cell in early:
                nursery.start_soon(self._start_cell, cell, None)
            for each, path in zip(self._coordinators[1:], paths[1:], strict=True):
                if each in there:
                    nursery.start_soon(self._start_coordinator, each, path)
            await self._start_coordinator(self._coordinator, paths[0])
            active = await self._find_active(there)
            async with OperatorApi(*read_operator_file(operator_file(active))) as api:
                async with trio.open_nursery() as later:
                    for cell in self._cells:
                        if cell not in early:
                            later.start_soon(self._start_cell, cell, api)
                    credentials = await self._patiently(partial(self._prepare_tenant, api))
                    ready = await self._start_gateway()
                await self._wait_heard(api)
                for each, path in zip(self._coordinators, paths, strict=True):
                    if each not in there:
                        await self._make_standby(api, active, each)
                        await self._start_coordinator(each, path)
                await self._wait_followed(api)
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
                **({"site": daemon.site} if daemon.site else {}),
                **({"listen": self._listen[daemon.name]} if daemon.name in self._listen else {}),
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
        standbys = [each for each in self._coordinators if _is_standby(each)]
        rest = [each for each in self._coordinators if each not in standbys]
        # Standbys before the cells and the active one: nobody is to take over on the way.
        for group in ([self._gateway], standbys, self._cells, rest):
            killed += await self._processes.stop(group, timeout_s=STOP_TIMEOUT_S)
        self.forget_processes()
        return killed

    def _configure_coordinator(self, coordinator: DaemonProcess) -> Path:
        """Write a coordinator's configuration; return where."""
        known = self._directory.read_daemon_config(coordinator.name)
        listen = self._ports.choose(known.get("listen"))
        self._listen[coordinator.name] = str(listen)
        config = {
            **known,
            "data": str(coordinator.data),
            "log": str(coordinator.log_path),
            "listen": str(listen),
            "advertise": str(listen),
            "http": str(self._ports.choose(known.get("http"))),
            "swarm": SWARM_NAME,
            "redundancy": self._settings.redundancy,
            "discovery": False,  # Nobody else can reach a swarm that listens on loopback.
        }
        if coordinator is not self._coordinator:
            config["standby"] = True
        return self._directory.write_daemon_config(coordinator.name, config)

    async def _start_coordinator(self, coordinator: DaemonProcess, path: Path) -> None:
        ready = await self._run(coordinator, path)
        if not self._settings.coordinator_id:
            self._settings = replace(self._settings, coordinator_id=str(ready["coordinator_id"]))
            self._directory.write_settings(self._settings)
        elif ready["coordinator_id"] != self._settings.coordinator_id:
            raise BadConfig(
                ConfigFault.WRONG_COORDINATOR,
                message="the coordinator is not one of this swarm: its data directory was "
                "replaced or emptied",
                data=str(coordinator.data),
            )

    async def _find_active(self, coordinators: list[DaemonProcess]) -> DaemonProcess:
        """Return the coordinator that is active, of those that were started.

        Raises:
            Unavailable: ``not_ready``: none is.
        """
        if len(coordinators) == 1:
            return coordinators[0]
        with trio.move_on_after(START_TIMEOUT_S):
            while True:
                for each in coordinators:
                    if each.ready is not None and await _role(each) == "active":
                        return each
                await trio.sleep(POLL_S)
        raise Unavailable(
            Outage.NOT_READY,
            message="no coordinator is active: each follows, or waits for the journal's cells",
            log=str(self._coordinator.log_path),
        )

    async def _make_standby(
        self, api: OperatorApi, active: DaemonProcess, standby: DaemonProcess
    ) -> None:
        """Give a coordinator a key of its own and the swarm's secret, as soon as there is a journal
        to follow.

        Raises:
            BadConfig: ``no_swarm_key``: the swarm's private key was taken away.
            Unavailable: ``no_journal``: there is none.
        """
        give_up_at = trio.current_time() + START_TIMEOUT_S
        while not (is_kept := _is_made(active)):
            if trio.current_time() > give_up_at:
                break
            await trio.sleep(POLL_S)
        if not is_kept:
            raise Unavailable(
                Outage.NO_JOURNAL,
                message="sites need the journal on cells, which is not kept: look at `alveary"
                " status`",
                log=str(active.log_path),
            )
        swarm_key = find_swarm_key(None, active.data, self._coordinator.data)
        answer = await api.call("GET", "/v1/coordinators")
        # Of a start that was cut short: its key is named, and nobody has it.
        is_named = any(
            each["name"] == standby.name and each["state"] == "trusted"
            for each in answer["coordinators"]
        )
        file = standby.data / RECOVERY_NAME
        await enrol(api, swarm_key, active.data, standby.name, file, replaces=is_named)

    async def _wait_followed(self, api: OperatorApi) -> None:
        """Wait until the active coordinator knows all others, and the gateway and the cells can
        hear of them; say which ones do not follow."""
        wanted = len(self._coordinators) - 1
        told: list[dict[str, Any]] = []
        with trio.move_on_after(FOLLOWED_TIMEOUT_S):
            while wanted:
                told = (await self._patiently(partial(api.call, "GET", "/v1/status")))["standbys"]
                if sum(each["follows"] for each in told) >= wanted:
                    return
                await trio.sleep(POLL_S)
        if wanted:
            follow = sum(each["follows"] for each in told)
            print_error(f"warning: {follow} of {wanted} standbys follow")

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
                runs = any(each.is_running for each in self._coordinators)
                is_waiting = error.reason in _PASSING and runs
                if not is_waiting or trio.current_time() > give_up_at:
                    raise
            await trio.sleep(POLL_S)

    async def _start_cell(self, cell: DaemonProcess, api: OperatorApi | None) -> None:
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
            "coordinator": list(self._listen.values()),
            "coordinator_id": self._settings.coordinator_id,
            "owner": cell.name,
            **({"site": cell.site} if cell.site else {}),
        }
        await self._run(cell, self._directory.write_daemon_config(cell.name, config))

    async def _start_gateway(self) -> dict[str, Any]:
        known = self._directory.read_daemon_config("gateway")
        config = {
            **known,
            "data": str(self._gateway.data),
            "log": str(self._gateway.log_path),
            "s3": self._settings.s3,
            "http": str(self._ports.choose(known.get("http"))),
            "coordinator": list(self._listen.values()),
            "coordinator_id": self._settings.coordinator_id,
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


def operator_file(coordinator: DaemonProcess) -> Path:
    """Return where a coordinator says how to reach it, and shows its token."""
    return coordinator.data / OPERATOR_NAME


def _is_made(coordinator: DaemonProcess) -> bool:
    """Return whether a coordinator has its keys, and a journal to follow."""
    return (coordinator.data / RECOVERY_NAME).exists()


def _is_standby(coordinator: DaemonProcess) -> bool:
    """Return whether a coordinator's directory says that it is a standby."""
    return (coordinator.data / MARK_NAME).exists()


async def _role(coordinator: DaemonProcess) -> str:
    try:
        url, token = read_operator_file(operator_file(coordinator))
        async with OperatorApi(url, token, timeout_s=ROLE_TIMEOUT_S) as api:
            return str((await api.call("GET", "/v1/status")).get("role", ""))
    except (Unavailable, BadConfig, Refused):
        return ""


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
