"""A PostgreSQL server of a test's own: in a temporary folder, as an unprivileged user, on loopback.

It is Debian's ``postgresql`` (or whatever is in the PATH), with its own settings but for memory.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg

START_LOOKS: Final = 600
LOOK_S: Final = 0.1
_NUMBERS: Final = itertools.count(1)
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "logging_collector": "off",
    "log_min_messages": "fatal",
}


def programs() -> Path | None:
    """Return the folder with initdb and postgres; None where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    if path is not None and shutil.which("postgres") is not None:
        return Path(path).resolve().parent
    return None


def why_not() -> str:
    """Return why no server can be run here; empty if one can."""
    if programs() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    return ""


def _user() -> dict[str, Any]:
    """Root may not run a server: somebody else does."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise AssertionError("no unprivileged user")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class PostgresServer:
    """One cluster. ``folder`` belongs to the user that runs it. ``admits``: a network from which
    clients may come, beside this machine."""

    def __init__(self, folder: Path, *, admits: str = "", **settings: str) -> None:
        found = programs()
        assert found is not None, why_not()
        self._programs = found
        self._folder = folder
        self._data = folder / "data"
        self._settings = {**SETTINGS, **settings}
        self._admits = admits
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Return where a database is."""
        return f"postgresql://alveary@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        """Make the cluster."""
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "-U",
            "alveary",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        )
        if self._admits:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all alveary {self._admits} trust\n")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self._folder,
            capture_output=True,
            check=False,
            **_user(),
        )
        assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()

    @property
    def pid(self) -> int:
        """The server's first process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        looks = 0
        flags = [
            flag for name, value in self._settings.items() for flag in ("-c", f"{name}={value}")
        ]
        while True:
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        str(self._programs / "postgres"),
                        *("-D", str(self._data), "-k", str(self._folder), "-p", str(self.port)),
                        *flags,
                    ],
                    cwd=self._folder,
                    stdout=log,
                    stderr=log,
                    **_user(),
                )
            while self._process.poll() is None:
                with suppress(psycopg.OperationalError):
                    psycopg.connect(self.url(), connect_timeout=2).close()
                    return
                assert looks < START_LOOKS, self.log()
                looks += 1
                time.sleep(LOOK_S)
            # Processes of one that was killed may not have gone yet.
            assert looks < START_LOOKS, self.log()
            looks += 1
            time.sleep(LOOK_S)

    def log(self) -> str:
        """Return what the server wrote."""
        return (self._folder / "log").read_text(errors="replace")[-4000:]

    def kill(self) -> None:
        """End it without any warning."""
        self._end(signal.SIGKILL)

    def crash(self) -> None:
        """End it at once, all its processes too, without a checkpoint."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """Stop it."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def new_database(self) -> str:
        """Make a database, and return its URL."""
        name = f"d{next(_NUMBERS)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def cut_connections(self, database: str = "%") -> int:
        """End the server's side of all connections of Alveary."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'alveary' AND datname LIKE %s",
                (database,),
            ).fetchone()
            assert row is not None
            return int(row[0])


@contextmanager
def running_server(*, admits: str = "", **settings: str) -> Iterator[PostgresServer]:
    """Run a server of one's own, which is gone afterwards. Arguments: of its class."""
    # In memory where it can be: what tests wait for is PostgreSQL, not this disk.
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="alveary-pg-", dir=where))
    user = _user()
    if user:
        os.chown(folder, user["user"], user["group"])
    server = PostgresServer(folder, admits=admits, **settings)
    try:
        server.make()
        server.start()
        yield server
    finally:
        try:
            server.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
