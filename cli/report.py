"""Output of the command line: results on standard output, errors with advice on standard error.

Exit codes (docs/operations.md, "Exit codes"): 0 done; 1 a bug of ours; 2 wrong usage or
configuration; 3 unavailable, try again later; 4 refused, do not repeat it as it is; 5 no such
thing; 6 corrupt data; 7 unknown outcome, look before you repeat it; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from common.errors import (
    AlvearyError,
    BadConfig,
    Corrupt,
    NotFound,
    OutcomeUnknown,
    PeerViolation,
    Refused,
    Unavailable,
)
from common.reasons import Absence, ConfigFault, Outage, Refusal

EXIT_BUG: Final = 1
EXIT_BAD_CONFIG: Final = 2
EXIT_INTERRUPTED: Final = 130
_EXIT_CODES: Final[tuple[tuple[type[AlvearyError], int], ...]] = (
    (PeerViolation, EXIT_BUG),
    (BadConfig, EXIT_BAD_CONFIG),
    (Unavailable, 3),
    (Refused, 4),
    (NotFound, 5),
    (Corrupt, 6),
    (OutcomeUnknown, 7),
)
_ADVICE: Final[Mapping[str, str]] = {
    ConfigFault.BAD_TOKEN: "Ask the operator for a new one: `alveary invite`.",
    ConfigFault.WRONG_TOKEN: (
        "`alveary invite` prints one for a cell, with --gateway one for a gateway."
    ),
    Refusal.CELL_IS_NEEDED: (
        "If it can still be reached, `alveary cell drain` moves its shards to others first; else"
        " bring other cells of its rings back. --even-if-needed removes it all the same."
    ),
    Absence.NO_SUCH_CELL: "`alveary status` shows the cells.",
    Absence.NO_SUCH_INVITE: "`alveary invite list` shows those that are still open.",
    ConfigFault.CANNOT_LISTEN: (
        "Another program has this address. Choose another one, or stop that program."
    ),
    Outage.COORDINATOR_UNREACHABLE: (
        "Is the coordinator running? See its log, and the address in operator.json."
    ),
    ConfigFault.DATA_IN_USE: "Stop the other one first, or choose another --data.",
    ConfigFault.NO_OPERATOR_FILE: (
        "Name it with --operator FILE, or the swarm's directory with --data DIR "
        "(the coordinator writes operator.json into its data directory)."
    ),
    Refusal.UNAUTHORIZED: "The token in operator.json is not this coordinator's.",
    Outage.NO_JOURNAL: (
        "Can the cells be reached from here (--cell says where one is now)? Was a journal kept? Are"
        " the coordinator's keys still those that the kit was made with?"
    ),
    Outage.DAEMON_FAILED: "The end of its log is above; the whole of it is in the file named.",
    ConfigFault.REDUNDANCY_DIFFERS: "Omit --redundancy, or make a new swarm in another --data.",
    ConfigFault.CELLS_DIFFER: "Omit --cells, or give a greater number.",
    Absence.NO_SUCH_CLASS: (
        "`alveary class list` shows the classes; `alveary class create` makes one."
    ),
    Refusal.CLASS_EXISTS: "A class is never changed: make another one under another name.",
    Refusal.CLASS_IN_USE: (
        "Give its buckets another class first (`alveary bucket list` shows them), and its names"
        " (`alveary class list`)."
    ),
    Absence.NO_SUCH_NAMED_KEY: (
        "`alveary encryption-key list` shows the keys; one that was destroyed does not come back."
    ),
    Refusal.NAMED_KEY_EXISTS: "Choose another name; that of a destroyed key is not given again.",
    Refusal.NAMED_KEY_DISABLED: "`alveary encryption-key enable` lets it be used again.",
    Absence.NO_SUCH_USER: "`alveary user list` shows the users; `alveary user create` makes one.",
    Absence.NO_SUCH_POLICY: (
        "`alveary policy list` shows the policies; `alveary policy put` makes one."
    ),
    Absence.NO_SUCH_USER_KEY: "`alveary user key list` shows the keys of users.",
    Refusal.POLICY_ATTACHED: "`alveary policy detach` takes it from a user.",
    Refusal.ROSTER_CHANGED: "Somebody else changes the users at the same time: try again.",
    Refusal.TENANT_NOT_EMPTY: "Delete its buckets first.",
    ConfigFault.TENANT_EXISTS: "Choose another name; `alveary tenant list` shows the tenants.",
    Refusal.NO_SUCH_TENANT: (
        "`alveary tenant list` shows the tenants; `alveary tenant create` makes one."
    ),
    ConfigFault.TENANT_KEY_MISSING: (
        "Put your copy of it there: without it the tenant's objects cannot be read. To go on "
        "without them, start a new swarm in another --data."
    ),
    ConfigFault.WRONG_TENANT_KEY: "Put the key there that this swarm's tenant was made with.",
    ConfigFault.NO_TENANT_KEY: (
        "Name the directory of the gateway's tenant keys with --tenants DIR."
    ),
}


def exit_code_of(error: AlvearyError) -> int:
    """The exit code for an error, by its class."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_BUG)


def explain(error: AlvearyError) -> str:
    """Return what went wrong and what to do about it, in one or two lines."""
    message = error.fields.get("message")
    facts = {name: value for name, value in error.fields.items() if name != "message"}
    text = str(message) if message else error.reason.replace("_", " ")
    if facts:
        text += " (" + ", ".join(f"{name}: {value}" for name, value in facts.items()) + ")"
    advice = _ADVICE.get(error.reason)
    return f"{text}\n{advice}" if advice else text


def print_error(text: str) -> None:
    """Print an error on standard error; if that cannot be written, it is lost."""
    with suppress(OSError):
        print(f"alveary: {text}", file=sys.stderr, flush=True)


def print_result(result: object, *, as_json: bool, text: str) -> None:
    """Print a result: one JSON document on one line, or the text for people."""
    print(json.dumps(result, sort_keys=False) if as_json else text, flush=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns padded to their widest cell; numbers to the right."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [
        max(len(heading), *(len(row[column]) for row in texts)) if texts else len(heading)
        for column, heading in enumerate(headings)
    ]
    numeric = [
        bool(rows) and all(isinstance(row[column], int | float) for row in rows)
        for column in range(len(headings))
    ]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([line(headings), *(line(row) for row in texts)])


def human_bytes(count: int) -> str:
    """A size for people, in binary units: ``1.5 GiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
