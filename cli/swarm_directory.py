"""The directory of ``alveary up``: what lies where, and what is remembered between starts.

``swarm.json`` what the swarm is; ``credentials.json`` for S3 clients; ``processes.json`` while it
runs; ``tls/`` the local authority; ``coordinator/``, ``cell-00/``..., ``gateway/`` each with
``config.toml``, ``log`` and data; with sites ``coordinator-2/``... too.

Source: docs/operations.md, "The directory of alveary up".
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, Self

import tomli_w

from cli.daemons import CONFIG_NAME, read_config
from cli.files import read_json, write_private
from common import limits
from common.data_classes import dataclass
from common.errors import BadConfig
from common.reasons import ConfigFault

VERSION: Final = 1
DEFAULT_CELLS: Final = 6
DEFAULT_REDUNDANCY: Final = "4/6"
DEFAULT_REDUNDANCY_OF_SITES: Final = "2/6"
"""With three sites, of which any may go: its write quorum is what the other two have."""
FEWEST_SITES: Final = 3
"""Of two, one would have most cells of the journal: without it nobody takes over."""
DEFAULT_S3: Final = "127.0.0.1:9000"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a local swarm, from its first start on."""

    cells: int
    redundancy: str
    s3: str
    tls: bool = False
    coordinator_id: str = ""
    """64 hex digits; empty until the coordinator has been started once."""
    sites: int = 0
    """Each has cells and a coordinator; 0: there is one coordinator, and nobody says where."""

    @classmethod
    def resolve(
        cls,
        remembered: Self | None,
        *,
        cells: int | None,
        redundancy: str | None,
        s3: str | None,
        tls: bool | None = None,
        sites: int | None = None,
    ) -> Self:
        """Return the settings to start with: the remembered ones, changed by the flags that may
        change them.

        Args:
            remembered: None on the first start.
            cells: may grow.
            redundancy: ``k/n``; never changes.
            s3: ``host:port``; may change.
            tls: whether S3 is spoken over TLS; may change.
            sites: never changes: a cell's site is where it joined.

        Raises:
            BadConfig: ``redundancy_differs``, ``cells_differ``, ``sites_differ``,
                ``bad_redundancy`` or ``too_few_cells``.
        """
        if remembered is None:
            wanted = cls(
                cells=max(DEFAULT_CELLS, sites or 0) if cells is None else cells,
                redundancy=redundancy
                or (DEFAULT_REDUNDANCY_OF_SITES if sites else DEFAULT_REDUNDANCY),
                s3=s3 or DEFAULT_S3,
                tls=bool(tls),
                sites=sites or 0,
            )
        else:
            if redundancy is not None and redundancy != remembered.redundancy:
                raise BadConfig(
                    ConfigFault.REDUNDANCY_DIFFERS,
                    message=f"this swarm was made with redundancy {remembered.redundancy}, "
                    f"not {redundancy}",
                )
            if cells is not None and cells < remembered.cells:
                raise BadConfig(
                    ConfigFault.CELLS_DIFFER,
                    message=f"this swarm has {remembered.cells} cells, which hold data; "
                    f"{cells} would leave some out",
                )
            if sites is not None and sites != remembered.sites:
                raise BadConfig(
                    ConfigFault.SITES_DIFFER,
                    message=f"this swarm was made with {remembered.sites or 'no'} sites, "
                    f"not {sites}",
                )
            wanted = replace(
                remembered,
                cells=cells or remembered.cells,
                s3=s3 or remembered.s3,
                tls=remembered.tls if tls is None else tls,
            )
        _, slots = parse_redundancy(wanted.redundancy)
        if wanted.cells < slots:
            raise BadConfig(
                ConfigFault.TOO_FEW_CELLS,
                message=f"redundancy {wanted.redundancy} needs at least {slots} cells, "
                f"not {wanted.cells}",
            )
        if wanted.cells < wanted.sites:
            raise BadConfig(
                ConfigFault.TOO_FEW_CELLS,
                message=f"{wanted.sites} sites need at least a cell each, not {wanted.cells}",
            )
        return wanted

    @property
    def coordinators(self) -> list[str]:
        """The names of the coordinators: one for each site."""
        return ["coordinator", *(f"coordinator-{site}" for site in range(2, self.sites + 1))]

    def site_of(self, number: int) -> str:
        """The site of the coordinator or cell of a number, from 0 on; empty without sites."""
        return f"site-{number % self.sites + 1}" if self.sites else ""


def parse_redundancy(text: str) -> tuple[int, int]:
    """``k/n`` as numbers.

    Raises:
        BadConfig: ``bad_redundancy``.
    """
    match = re.fullmatch(r"([1-9][0-9]?)/([1-9][0-9]?)", text)
    if match is None or not int(match[1]) < int(match[2]) <= limits.MAX_SLOTS:
        raise BadConfig(
            ConfigFault.BAD_REDUNDANCY,
            message=f"{text!r}: write K/N with 1 <= K < N <= {limits.MAX_SLOTS}, as 4/6",
        )
    return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """The credentials and the endpoint of an S3 client."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str
    ca_file: str | None = None
    """Of the authority that the endpoint's certificate is from; None without TLS."""

    def as_json(self) -> dict[str, str]:
        """Return them as they are shown and kept: without absent values."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class SwarmDirectory:
    """Paths and small files of one local swarm.

    Args:
        root: absolute; made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def operator_file(self) -> Path:
        """Written by the coordinator on its first start."""
        return self.root / "coordinator" / "operator.json"

    @property
    def tenants(self) -> Path:
        """The gateway's tenant key files."""
        return self.root / "gateway" / "tenants"

    @property
    def tls(self) -> Path:
        """The local authority and the gateway's certificate."""
        return self.root / "tls"

    def daemon(self, name: str) -> Path:
        """The data directory of a daemon."""
        return self.root / name

    def read_settings(self) -> Settings | None:
        """Return the remembered settings; None before the first start.

        Raises:
            BadConfig: ``bad_swarm_file``: from another version, or damaged.
        """
        content = read_json(self.root / "swarm.json")
        if content is None:
            return None
        version = content.pop("version", None)
        try:
            settings = Settings(**content)
        except TypeError as error:
            raise BadConfig(
                ConfigFault.BAD_SWARM_FILE, file=str(self.root / "swarm.json")
            ) from error
        if version != VERSION:
            raise BadConfig(ConfigFault.BAD_SWARM_FILE, version=version, wanted=VERSION)
        return settings

    def write_settings(self, settings: Settings) -> None:
        """Remember them."""
        content = {"version": VERSION, **asdict(settings)}
        write_private(self.root / "swarm.json", json.dumps(content) + "\n")

    def read_credentials(self) -> S3Credentials | None:
        """The credentials made at the first start; None before.

        Raises:
            BadConfig: ``bad_credentials_file``.
        """
        content = read_json(self.root / "credentials.json")
        if content is None:
            return None
        try:
            return S3Credentials(**content)
        except TypeError as error:
            raise BadConfig(
                ConfigFault.BAD_CREDENTIALS_FILE, file=str(self.root / "credentials.json")
            ) from error

    def write_credentials(self, credentials: S3Credentials) -> None:
        """Keep them, readable by the owner only."""
        write_private(self.root / "credentials.json", json.dumps(credentials.as_json()) + "\n")

    def write_processes(self, processes: list[dict[str, Any]]) -> None:
        """List the running daemons.

        Raises:
            BadConfig: ``cannot_write``.
        """
        write_private(self.root / "processes.json", json.dumps(processes, indent=1) + "\n")

    def forget_processes(self) -> None:
        """Remove ``processes.json``: a list of dead process ids would mislead.

        Raises:
            BadConfig: ``cannot_write``.
        """
        path = self.root / "processes.json"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise BadConfig(
                ConfigFault.CANNOT_WRITE, file=str(path), error=error.strerror
            ) from error

    def read_daemon_config(self, name: str) -> dict[str, Any]:
        """A daemon's configuration as it was last written; empty before."""
        path = self.daemon(name) / CONFIG_NAME
        return read_config(path) if path.exists() else {}

    def write_daemon_config(self, name: str, table: dict[str, Any]) -> Path:
        """Write a daemon's configuration and return its path."""
        path = self.daemon(name) / CONFIG_NAME
        write_private(path, tomli_w.dumps(table))
        return path
