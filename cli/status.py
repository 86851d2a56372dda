"""``alveary status``: the coordinator's view, and the local processes of ``alveary up``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import trio

from cli.operators import DEFAULT_DATA, access_options, connect
from cli.report import exit_code_of, explain, human_bytes, print_error, print_result, table
from common.errors import AlvearyError


def is_running(pid: int) -> bool:
    """Whether a process of this id lives (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] not in ("Z", "X")


def local_processes(data: Path) -> list[dict[str, Any]]:
    """The daemons that ``alveary up`` started in ``data``, each with ``running``."""
    try:
        listed = json.loads((data / "processes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [{**each, "running": is_running(int(each["pid"]))} for each in listed]


def describe_store(store: dict[str, Any]) -> list[str]:
    """What is wrong with the coordinator's store, for people; nothing when nothing is."""
    if "what_to_do" not in store:
        return []
    return [f"THE STORE IS {str(store['standing']).upper()}: {store['what_to_do']}"]


def describe(answer: dict[str, Any]) -> str:
    """The coordinator's status for people."""
    cells = answer.get("cells", [])
    rows = [
        [
            str(each.get("cell_id", ""))[:12],
            each.get("state", ""),
            each.get("address", ""),
            each.get("site", ""),
            each.get("host", ""),
            human_bytes(int(each.get("used_bytes", 0))),
            human_bytes(int(each.get("free_bytes", 0))),
            each.get("shards", 0),
            "read-only" if each.get("read_only") else "",
        ]
        for each in cells
    ]
    headings = ["CELL", "STATE", "ADDRESS", "SITE", "HOST", "USED", "FREE", "SHARDS", ""]
    rings = [
        [each.get("ring"), f"{each.get('k')}/{each.get('n')}", each.get("quorum"), each["state"]]
        for each in answer.get("rings", [])
    ]
    missing = answer.get("missing", {})
    parts = [f"swarm {answer.get('swarm', '')}", *describe_store(answer.get("store", {})), ""]
    parts += [table(headings, rows), ""]
    parts += [table(["RING", "CLASS", "QUORUM", "STATE"], rings), ""]
    space = answer.get("space", {})
    if space:
        parts.append(
            "space    "
            + ", ".join(
                f"{name.removesuffix('_bytes').replace('_', ' ')} {human_bytes(int(value))}"
                for name, value in space.items()
                if name.endswith("_bytes") and isinstance(value, int)
            )
        )
    parts.append(f"objects  {answer.get('objects', 0)}")
    parts.append(
        f"missing  {missing.get('shards', 0)} shards; "
        f"{missing.get('segments_at_risk', 0)} segments at risk"
    )
    return "\n".join(parts)


def describe_processes(processes: list[dict[str, Any]]) -> str:
    """The local daemons for people; the dead ones stand out."""
    rows = [
        [each["name"], each["pid"], "running" if each["running"] else "DEAD"] for each in processes
    ]
    return table(["DAEMON", "PID", ""], rows)


@click.command()
@access_options
def status(operator: Path | None, data: Path | None, as_json: bool) -> int:
    """Show cells, rings, space, and what is missing."""
    processes = local_processes(DEFAULT_DATA if data is None else data) if not operator else []

    async def ask() -> dict[str, Any]:
        async with connect(operator, data) as api:
            return await api.call("GET", "/v1/status")

    try:
        answer = trio.run(ask)
    except AlvearyError as error:
        if not processes:
            raise
        # The daemons' state is what the operator needs most when the coordinator is the dead one.
        print_result(
            {"error": error.reason, "processes": processes},
            as_json=as_json,
            text=describe_processes(processes),
        )
        print_error(explain(error))
        return exit_code_of(error)
    result = {**answer, "processes": processes} if processes else answer
    text = describe(answer)
    if processes:
        text += "\n\n" + describe_processes(processes)
    print_result(result, as_json=as_json, text=text)
    return 0
