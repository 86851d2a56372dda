"""A swarm whose sites are network namespaces: real processes, and links that can be cut.

A namespace lives as long as the processes in it, and these are killed when the test's process ends,
however that comes about: nothing stays.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
from e2e_coordinators import most_asked
from e2e_swarm import BIN, Swarm, clean_environment

SUBNET = f"198.18.{os.getpid() % 250}"
"""Of the range that is set aside for tests of networks (RFC 2544)."""
OUTSIDE = f"{SUBNET}.254"
"""The machine that runs the tests, as sites see it."""
COORDINATOR_PORT = 7400
HTTP_PORT = 7480
CELL_PORT = 7420
S3_PORT = 9000
TOOLS = ("ip", "nsenter", "unshare", "setpriv")
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")


def why_no_sites() -> str:
    """The reason why namespaces cannot be made here; empty if they can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"network namespaces need {', '.join(missing)}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(
        ["unshare", "-n", "ip", "link", "add", "bridge0", "type", "bridge"],
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        return f"no network namespace with a bridge: {tried.stderr.decode().strip()}"
    return ""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


class Namespace:
    """A network namespace, kept by a process that does nothing."""

    def __init__(self) -> None:
        self._keeper = subprocess.Popen(
            [*DIES_WITH_PARENT, "unshare", "-n", "sh", "-c", "echo; exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        self._keeper.stdout.readline()
        self.pid = self._keeper.pid
        self.ip("link", "set", "lo", "up")

    def enter(self) -> tuple[str, ...]:
        """What stands before a command that is to run in it."""
        return ("nsenter", "-t", str(self.pid), "-n", "--")

    def ip(self, *arguments: str) -> None:
        _run(*self.enter(), "ip", *arguments)

    def close(self) -> None:
        self._keeper.kill()
        self._keeper.wait()
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()


class Sites:
    """A coordinator, a gateway and the test's clients in the middle, and sites around them.

    Args:
        root: an empty directory.
        sites: how many.
        cells_each: cells of a site.
        redundancy: k/n.
        coordinator: more of the coordinator's configuration.
    """

    def __init__(
        self,
        root: Path,
        sites: int,
        cells_each: int,
        redundancy: str,
        **coordinator: object,
    ) -> None:
        self.root = root
        self.home = root / "home"
        self.home.mkdir()
        self.cells = {
            site: [f"cell-{site * cells_each + each}" for each in range(cells_each)]
            for site in range(sites)
        }
        self.ids: dict[str, str] = {}
        """The ids of cells, by name."""
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.credentials: dict[str, str] = {}
        self._settings = {"redundancy": redundancy, **coordinator}
        self._spaces: list[Namespace] = []
        self._outside = ""

    # --- the network -----------------------------------------------------------------------

    def _lay_cables(self) -> None:
        self._spaces.append(Namespace())
        core = self._spaces[0]
        core.ip("link", "add", "bridge0", "type", "bridge")
        core.ip("addr", "add", f"{SUBNET}.1/24", "dev", "bridge0")
        core.ip("link", "set", "bridge0", "up")
        self._outside = outside = f"alveary{os.getpid()}"
        core_pid = str(core.pid)
        _run("ip", "link", "add", outside, "type", "veth", "peer", "name", "out", "netns", core_pid)
        _run("ip", "addr", "add", f"{OUTSIDE}/24", "dev", outside)
        _run("ip", "link", "set", outside, "up")
        core.ip("link", "set", "out", "master", "bridge0", "up")
        for site in self.cells:
            space = Namespace()
            self._spaces.append(space)
            cable = f"site{site}"
            peer = ("peer", "name", "eth0", "netns", str(space.pid))
            core.ip("link", "add", cable, "type", "veth", *peer)
            core.ip("link", "set", cable, "master", "bridge0", "up")
            space.ip("addr", "add", f"{self.address(site)}/24", "dev", "eth0")
            space.ip("link", "set", "eth0", "up")

    def address(self, site: int) -> str:
        return f"{SUBNET}.{10 + site}"

    def cut(self, site: int) -> None:
        """Cut a site off: nothing goes in or out, and nobody is told."""
        self._spaces[0].ip("link", "set", f"site{site}", "down")

    def mend(self, site: int) -> None:
        self._spaces[0].ip("link", "set", f"site{site}", "up")

    # --- daemons ---------------------------------------------------------------------------

    def start(self) -> None:
        self._lay_cables()
        self._start_coordinator()
        for site, names in self.cells.items():
            for number, name in enumerate(names):
                self.add_cell(name, site, CELL_PORT + number)
        tenants = self.root / "gateway" / "tenants"
        self.operator("tenant", "create", "keeper", "--tenants", str(tenants))
        self.run(
            "gateway",
            0,
            *("gateway", "join", self.operator("invite", "--gateway")["token"]),
            *("--data", str(self.root / "gateway"), "--tenants", str(tenants)),
            *("--s3", f"{SUBNET}.1:{S3_PORT}"),
        )
        made = self.operator("key", "create", "--tenant", "keeper", "--tenants", str(tenants))
        self.credentials = {
            "endpoint": f"http://{SUBNET}.1:{S3_PORT}",
            "region": "us-east-1",
            "access_key": made["access_key"],
            "secret_key": made["secret_key"],
        }

    def _start_coordinator(self) -> None:
        self._configure_coordinator("coordinator", f"{SUBNET}.1")
        self.run("coordinator", 0, "coordinator", "--data", str(self.root / "coordinator"))

    def _configure_coordinator(self, name: str, host: str, **more: object) -> None:
        data = self.root / name
        data.mkdir(mode=0o700)
        settings = {
            **self._settings,
            "data": str(data),
            "listen": f"{host}:{COORDINATOR_PORT}",
            "http": f"{host}:{HTTP_PORT}",
            "discovery": False,
            **more,
        }
        (data / "config.toml").write_text(tomli_w.dumps(settings))

    def add_cell(self, name: str, site: int, port: int) -> None:
        """Start a new cell; the directory of its name does not exist yet."""
        token = self.operator("invite", "--owner", f"owner-{name}")["token"]
        ready = self.run(
            name,
            1 + site,
            *("cell", "join", token, "--data", str(self.root / name)),
            *("--listen", f"{self.address(site)}:{port}"),
            *("--site", f"site-{site}"),
        )
        self.ids[name] = ready["peer_id"]

    def run(self, name: str, space: int, *arguments: str) -> dict[str, Any]:
        """Start a daemon in a namespace (0: the middle); returns what it says when it is ready."""
        with (self.root / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *DIES_WITH_PARENT,
                    *self._spaces[space].enter(),
                    str(BIN / "alveary"),
                    *arguments,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=clean_environment(self.home),
            )
        self.running[name] = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (self.root / f"{name}.log").read_text()[-3000:]
        ready: dict[str, Any] = json.loads(line)
        return ready

    def kill(self, *names: str) -> None:
        """SIGKILL to daemons; they are gone on return."""
        for name in names:
            self.running[name].send_signal(signal.SIGKILL)
        for name in names:
            process = self.running.pop(name)
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()

    def operator(self, *arguments: str) -> Any:
        """An operator's command; its JSON."""
        done = subprocess.run(
            [
                *self._spaces[0].enter(),
                *(str(BIN / "alveary"), *arguments, "--json"),
                *("--operator", str(self.root / "coordinator" / "operator.json")),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def boto3(self, *, retries: int = 0) -> Any:
        """A client; close it."""
        return Swarm(self.root / "unused").boto3(retries=retries, **self.credentials)

    def destroy(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self.running.clear()
        if self._outside:  # It would go with its namespace, a little later.
            subprocess.run(
                ["ip", "link", "del", self._outside], capture_output=True, timeout=30, check=False
            )
        for space in self._spaces:
            space.close()


class CoordinatedSites(Sites):
    """Sites with a coordinator each, on a machine of its own that can be cut off alone; the first
    one is active at first. The gateway and the clients are in the middle."""

    @property
    def coordinators(self) -> list[str]:
        """Their names."""
        return ["coordinator", *(f"coordinator-{site}" for site in self.cells if site)]

    def _space_of(self, number: int) -> int:
        return 1 + len(self.cells) + number

    def _lay_cables(self) -> None:
        super()._lay_cables()
        core = self._spaces[0]
        for number, _ in enumerate(self.coordinators):
            space = Namespace()
            self._spaces.append(space)
            peer = ("peer", "name", "eth0", "netns", str(space.pid))
            core.ip("link", "add", f"coord{number}", "type", "veth", *peer)
            core.ip("link", "set", f"coord{number}", "master", "bridge0", "up")
            space.ip("addr", "add", f"{SUBNET}.{100 + number}/24", "dev", "eth0")
            space.ip("link", "set", "eth0", "up")

    def _start_coordinator(self) -> None:
        self._configure(0)
        self.start_coordinator(0)

    def _configure(self, number: int) -> None:
        host = f"{SUBNET}.{100 + number}"
        self._configure_coordinator(
            self.coordinators[number],
            host,
            advertise=f"{host}:{COORDINATOR_PORT}",
            **self._role(number),
        )

    def _role(self, number: int) -> dict[str, object]:
        return {"standby": number > 0}

    def start_coordinator(self, number: int) -> dict[str, Any]:
        """Start a coordinator, again; what it says when it is ready."""
        name = self.coordinators[number]
        config = str(self.root / name / "config.toml")
        return self.run(name, self._space_of(number), "coordinator", "--config", config)

    def start_others(self) -> None:
        """Start the other coordinators: standbys once the journal is kept."""
        for number, name in enumerate(self.coordinators[1:], start=1):
            self._configure(number)
            self.operator("coordinator", "add", name, str(self.root / name / "recovery.json"))
            self.start_coordinator(number)

    def known_to_gateway(self) -> int:
        """The number of coordinators that the gateway has written down."""
        known = self.root / "gateway" / "coordinators.json"
        return known.read_text().count(str(COORDINATOR_PORT)) if known.exists() else 0

    def _drop_all(self, space: int, device: str, *, drop: bool) -> None:
        """Have nothing leave through a device, and nobody told; or everything again."""
        what = ("replace", "dev", device, "root", "bfifo", "limit", "1")
        undone = ("del", "dev", device, "root")
        _run(*self._spaces[space].enter(), "tc", "qdisc", *(what if drop else undone))

    def cut_coordinator(self, number: int, way: str) -> None:
        """Cut a coordinator's machine off: ``both`` ways, or all that goes ``in``, or ``out``."""
        if way in ("both", "in"):
            self._drop_all(0, f"coord{number}", drop=True)
        if way in ("both", "out"):
            self._drop_all(self._space_of(number), "eth0", drop=True)

    def mend_coordinator(self, number: int, way: str) -> None:
        """Undo :meth:`cut_coordinator`."""
        if way in ("both", "in"):
            self._drop_all(0, f"coord{number}", drop=False)
        if way in ("both", "out"):
            self._drop_all(self._space_of(number), "eth0", drop=False)

    def answer_of(self, number: int) -> dict[str, Any]:
        """What a coordinator says of itself, to its operator; empty while it does not answer."""
        access = json.loads((self.root / self.coordinators[number] / "operator.json").read_text())
        request = urllib.request.Request(access["url"] + "/v1/status")
        request.add_header("authorization", f"Bearer {access['token']}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
        except OSError:
            return {}
        return found

    def active(self) -> int | None:
        """The coordinator that says it is active; None: none does."""
        for number, _ in enumerate(self.coordinators):
            if self.answer_of(number).get("role") == "active":
                return number
        return None


class SharingSites(CoordinatedSites):
    """Sites whose coordinators all serve, on one store (``store`` in their configuration)."""

    def _role(self, number: int) -> dict[str, object]:
        return {}

    def live(self) -> int:
        """The number of coordinators that live, as each of them sees it: the least."""
        return min(
            sum(each["state"] == "active" for each in self.answer_of(number).get("active", ()))
            for number, _ in enumerate(self.coordinators)
        )

    def most_asked(self) -> int:
        """The coordinator of which the gateway now asks the most."""
        return most_asked([self.root / name for name in self.coordinators])


def names_of(sites: Sequence[int], of: Sites) -> list[str]:
    """The cells of some sites."""
    return [name for site in sites for name in of.cells[site]]
