"""A swarm of real processes, as a person starts it: `alveary up` in a directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w

from cli.main import main
from cli.status import is_running

BIN = Path(sys.executable).parent
QUICK = {"heartbeat_interval_s": 1, "cell_timeout_s": 3, "delete_grace_s": 0}
"""Coordinator settings that make tests wait less. The product's defaults are for real networks."""
START_TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Processes outside are only seen by looking. The pause between two looks grows: a look is work
    for those that are waited for."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.05
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(pause_s)
        pause_s = min(0.5, 1.3 * pause_s)


def clean_environment(home: Path) -> dict[str, str]:
    """No settings of the machine's user, and no metadata service, for S3 clients."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(home / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "aws-credentials"),
        "AWS_MAX_ATTEMPTS": "1",
        "PYTHONWARNINGS": "ignore",
    }


class Swarm:
    """`alveary up`, its daemons, and S3 access to it."""

    def __init__(
        self,
        root: Path,
        *,
        cells: int = 6,
        redundancy: str = "4/6",
        tls: bool = False,
        host: str = "127.0.0.1",
        sites: int = 0,
    ) -> None:
        self.root = root
        self.tls = tls
        self.host = host
        self.sites = sites
        self.cells = cells
        self.redundancy = redundancy
        self.port = free_port()
        self.supervisor: subprocess.Popen[bytes] | None = None
        self.credentials: dict[str, str] = {}
        self.home = root.parent / f"{root.name}-home"
        self.home.mkdir(parents=True, exist_ok=True)
        self._lost: list[dict[str, Any]] = []

    # --- life ------------------------------------------------------------------------------

    def configure(self, name: str, **settings: object) -> None:
        """Settings of a daemon from before its first start; `up` keeps what it does not set."""
        directory = self.root / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.toml").write_text(tomli_w.dumps(settings))

    def command(self, *more: str) -> list[str]:
        return [
            str(BIN / "alveary"),
            "up",
            "--json",
            f"--data={self.root}",
            f"--cells={self.cells}",
            f"--redundancy={self.redundancy}",
            f"--s3={self.host}:{self.port}",
            "--tls" if self.tls else "--no-tls",
            *([f"--sites={self.sites}"] if self.sites else []),
            f"--parent-pid={os.getpid()}",  # Nothing stays, even of a test run that is killed.
            *more,
        ]

    def start(self) -> None:
        error = (self.root.parent / f"{self.root.name}.stderr").open("ab")
        with error:
            self.supervisor = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=error)
        assert self.supervisor.stdout is not None
        line = self.supervisor.stdout.readline()
        assert line, f"alveary up said:\n{self.stderr()}"
        ready = json.loads(line)
        assert ready["ready"] is True
        self.credentials = json.loads((self.root / "credentials.json").read_text())

    def stderr(self) -> str:
        return (self.root.parent / f"{self.root.name}.stderr").read_text()

    def stop(self) -> int:
        """SIGTERM, and wait until nothing of it is left."""
        assert self.supervisor is not None
        listed = self.processes() if (self.root / "processes.json").exists() else []
        self.supervisor.send_signal(signal.SIGTERM)
        code = self.supervisor.wait(90)
        assert self.supervisor.stdout is not None
        self.supervisor.stdout.close()
        self.supervisor = None
        assert not [each for each in listed if is_running(each["pid"])], "daemons are left"
        return code

    def kill_supervisor(self) -> None:
        """SIGKILL of `alveary up` itself."""
        assert self.supervisor is not None
        self.supervisor.kill()
        self.supervisor.wait(30)
        assert self.supervisor.stdout is not None
        self.supervisor.stdout.close()
        self.supervisor = None

    def destroy(self) -> None:
        """Whatever state it is in: nothing stays."""
        if self.supervisor is not None:
            self.stop()

    # --- daemons ---------------------------------------------------------------------------

    def processes(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads((self.root / "processes.json").read_text())
        return listed

    def pid(self, name: str) -> int:
        return next(int(each["pid"]) for each in self.processes() if each["name"] == name)

    def kill(self, *names: str) -> None:
        """SIGKILL to daemons; returns when they are gone."""
        pids = [self.pid(name) for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(is_running(pid) for pid in pids), 10, f"{names} gone")

    def alveary(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run another `alveary` command."""
        return subprocess.run(
            [str(BIN / "alveary"), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def status(self) -> dict[str, Any]:
        """What `alveary status --json` prints: in this process, as tests look again and again."""
        with redirect_stdout(StringIO()) as printed:
            assert main(["status", "--json", f"--data={self.root}"]) == 0
        answer: dict[str, Any] = json.loads(printed.getvalue())
        return answer

    def shards(self) -> int:
        """Shards on all cells, as they last told the coordinator."""
        return sum(int(each["shards"]) for each in self.status()["cells"])

    def peak_mib(self, name: str) -> float:
        """The most resident memory a daemon ever had."""
        for line in Path(f"/proc/{self.pid(name)}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmHWM")

    # --- clients ---------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        ca_file = self.credentials.get("ca_file")
        trusts = ("AWS_CA_BUNDLE", "RCLONE_CA_CERT", "NODE_EXTRA_CA_CERTS")
        return {
            **clean_environment(self.home),
            **(dict.fromkeys(trusts, ca_file) if ca_file else {}),
            "AWS_ACCESS_KEY_ID": self.credentials["access_key"],
            "AWS_SECRET_ACCESS_KEY": self.credentials["secret_key"],
            "AWS_DEFAULT_REGION": self.credentials["region"],
            "RCLONE_CONFIG": str(self.home / "rclone.conf"),
            "RCLONE_CONFIG_SWARM_TYPE": "s3",
            "RCLONE_CONFIG_SWARM_PROVIDER": "Other",
            "RCLONE_CONFIG_SWARM_ENDPOINT": self.credentials["endpoint"],
            "RCLONE_CONFIG_SWARM_REGION": self.credentials["region"],
            "RCLONE_CONFIG_SWARM_ACCESS_KEY_ID": self.credentials["access_key"],
            "RCLONE_CONFIG_SWARM_SECRET_ACCESS_KEY": self.credentials["secret_key"],
        }

    def run_client(
        self,
        *command: str,
        timeout_s: float = 240,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Run an S3 client's command; returns what it printed."""
        done = subprocess.run(
            # A client of the virtual environment by its name, another one by its path.
            [str(BIN / command[0]), *command[1:]],
            env={**self.environment(), **environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def aws(self, *arguments: str, **more: Any) -> str:
        """Run the AWS CLI; ``more``: as of :meth:`run_client`."""
        endpoint = self.credentials["endpoint"]
        return self.run_client("aws", "--endpoint-url", endpoint, *arguments, **more)

    def rclone(self, *arguments: str, timeout_s: float = 240) -> str:
        return self.run_client(
            "rclone", "--retries=1", "--low-level-retries=1", *arguments, timeout_s=timeout_s
        )

    def boto3(self, *, retries: int = 0, service: str = "s3", **credentials: str) -> Any:
        """A boto3 client; close it."""
        import boto3
        from botocore.config import Config

        known = {**self.credentials, **credentials}
        session = boto3.session.Session(
            aws_access_key_id=known["access_key"],
            aws_secret_access_key=known["secret_key"],
            aws_session_token=known.get("session_token"),
            region_name=known["region"],
        )
        return session.client(
            service,
            endpoint_url=known["endpoint"],
            verify=known.get("ca_file"),
            config=Config(
                retries={"total_max_attempts": 1 + retries},
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=32,
            ),
        )
