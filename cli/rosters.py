"""The roster of a tenant, read and changed where its key file is.

The newest roster that was seen here is kept beside the key file: a coordinator that was restored
from a backup, or hides a change, does not make an older one the base of the next change.

Source: docs/decisions/0053-rosters-and-sessions.md.
"""

from __future__ import annotations

import base64
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from cli.credentials import read_tenant
from cli.files import read_json, write_private
from cli.operators import access_options, ask
from cli.report import print_error
from cli.roster_changes import Change
from cli.tenants import tenant_directory, tenants_option
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import Corrupt, Refused
from common.format.roster import EMPTY_ROSTER, Roster, open_roster, seal_roster
from common.reasons import Refusal
from common.system.clock import system_entropy

_TRIES: Final = 5
KEPT: Final = "rosters"
"""The directory of the rosters that were seen, beside the key files."""
WHEN: Final = "at every gateway within 5 seconds"


@dataclass(frozen=True, slots=True)
class RosterAccess:
    """A tenant's roster, and where it is. ``tenants``: the directory of key files."""

    name: str
    tenants: Path
    operator: Path | None
    data: Path | None

    def tenant(self) -> TenantKey:
        """Return the tenant's key. Raises BadConfig ``no_tenant_key``, ``bad_tenant_key``."""
        return read_tenant(self.tenants / f"{self.name}.json")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask a coordinator about the tenant. Raises AlvearyError, as :func:`ask`."""
        return ask(self.operator, self.data, method, f"/v1/tenants/{self.name}/{path}", body)

    def read(self) -> Roster:
        """Return the newest roster. Raises AlvearyError, as :meth:`call`; Corrupt."""
        return self._read(self.tenant())[2]

    def change(self, change: Change) -> Roster:
        """Change the roster, as it is in the moment of the change.

        Args:
            change: is called again where somebody else's change came between.

        Raises:
            AlvearyError: as :meth:`read`; what ``change`` raises; ``record_too_large``.
        """
        tenant = self.tenant()
        for left in reversed(range(_TRIES)):
            previous, newest, roster = self._read(tenant)
            changed = change(roster)
            if changed == roster and previous == newest:
                return changed
            revision = next_revision(newest)
            sealed = seal_roster(tenant, revision, changed, system_entropy)
            body = {"previous": previous, "revision": revision, "sealed": _base64(sealed)}
            try:
                self.call("PUT", "roster", body)
            except Refused as error:
                if error.reason != Refusal.ROSTER_CHANGED or not left:
                    raise
            else:
                self._keep(revision, sealed)
                break
        return changed

    def _read(self, tenant: TenantKey) -> tuple[int, int, Roster]:
        """The revision at the coordinator, that of the newest roster, and that roster."""
        answer = self.call("GET", "roster")
        revision, sealed = int(answer["revision"]), base64.b64decode(answer["sealed"])
        kept = self._kept(tenant)
        if kept is not None and kept[0] > revision:
            print_error(
                f"the coordinator has an older roster of {self.name} than was seen here: its store"
                " was restored from a backup, or it hides a change. The newer one is shown, and"
                " the next change of a user or policy writes it back."
            )
            return revision, *kept
        if not revision:
            return 0, 0, EMPTY_ROSTER
        roster = open_roster(tenant, revision, sealed)
        self._keep(revision, sealed)
        return revision, revision, roster

    @property
    def _file(self) -> Path:
        return self.tenants / KEPT / f"{self.name}.json"

    def _keep(self, revision: int, sealed: bytes) -> None:
        content = {"revision": revision, "sealed": _base64(sealed)}
        write_private(self._file, json.dumps(content) + "\n")

    def _kept(self, tenant: TenantKey) -> tuple[int, Roster] | None:
        """The newest roster that was seen here; None: none of this tenant."""
        content = read_json(self._file)
        try:
            if content is None:
                return None
            revision = int(content["revision"])
            return revision, open_roster(tenant, revision, base64.b64decode(content["sealed"]))
        except (Corrupt, KeyError, TypeError, ValueError):
            return None  # Of another tenant of that name, or damaged: it is only a copy.


def next_revision(previous: int) -> int:
    """Return the revision of the next roster: the time, in milliseconds. So it is greater than that
    of any before, even where those were lost with the store."""
    return max(previous + 1, int(time.time() * 1000))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def roster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of commands about a roster, of which the command gets ``access``, ``as_json``."""

    @click.option("--tenant", "tenant_name", required=True, help="Whose users and policies.")
    @tenants_option
    @access_options
    @functools.wraps(command)
    def run(
        *arguments: Any,
        tenant_name: str,
        tenants: Path | None,
        operator: Path | None,
        data: Path | None,
        **more: Any,
    ) -> Any:
        access = RosterAccess(tenant_name, tenant_directory(tenants, data), operator, data)
        return command(*arguments, access=access, **more)

    return run
