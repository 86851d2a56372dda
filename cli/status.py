"""``alveary status``: the coordinator's view, and the local processes of ``alveary up``."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cli.durability import if_a_site_fails
from cli.operators import DEFAULT_DATA, access_options, ask
from cli.report import (
    exit_code_of,
    explain,
    human_bytes,
    print_error,
    print_result,
    table,
)
from common import limits
from common.errors import AlvearyError
from common.system.disk import LOCK_NAME
from common.words import counted, human_duration

SHOWN_OWNERS = 5
SHOWN_SITES = 3
SHOWN_BUCKETS = 10
BEHIND_S = 30.0
"""A standby that has not had everything for longer does not keep up."""
STATUS_TIMEOUT_S = 5.0
"""A coordinator that takes longer is not well, and that is what the operator asks for."""


def is_running(pid: int) -> bool:
    """Return whether a process of this id lives (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] not in ("Z", "X")


def local_processes(data: Path) -> list[dict[str, Any]]:
    """The daemons that ``alveary up`` started in ``data``, each with ``running``. One that died and
    was started again by its configuration runs, under the process id that its lock names."""
    try:
        listed = json.loads((data / "processes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = []
    for each in listed:
        holder = _holder(Path(each["data"]))
        if is_running(int(each["pid"])):
            found.append({**each, "running": True})
        elif holder is not None and is_running(holder):
            kept = {name: value for name, value in each.items() if name != "exit"}
            found.append({**kept, "pid": holder, "running": True})
        else:
            found.append({**each, "running": False})
    return found


def _holder(directory: Path) -> int | None:
    """The process id in a data directory's lock."""
    try:
        return int((directory / LOCK_NAME).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def describe_store(store: dict[str, Any]) -> list[str]:
    """Return what is wrong with the coordinator's store, for people; nothing when nothing is."""
    if "what_to_do" not in store:
        return []
    lacks = int(store.get("lacks_transactions", 0))
    missing = (
        f" At least {lacks:,} transactions that its swarm has seen are not in it." if lacks else ""
    )
    return [f"THE STORE IS {str(store['standing']).upper()}: {store['what_to_do']}.{missing}"]


def describe_journal(journal: dict[str, Any]) -> list[str]:
    """Return how the journal on cells is kept, for people; in red where it is not."""
    if not journal:
        return []
    why = f": {journal['why']}" if journal["why"] else ""
    if journal["state"] != "kept":
        return [click.style(f"JOURNAL {str(journal['state']).upper()}{why}", fg="red", bold=True)]
    lagging = [each for each in journal["cells"] if each["behind"] is None or each["error"]]
    behind = f", {len(lagging)} of them lag" if lagging else ""
    return [f"journal  on {len(journal['cells'])} cells{behind}{why}"]


def describe_standbys(answer: dict[str, Any]) -> list[str]:
    """Return which coordinator is active and who follows it, for people; in red where nobody does
    any more."""
    lines = []
    if answer.get("coordinators"):
        lines.append(f"active   coordinator at {answer['coordinators'][0]}")
    standbys = answer.get("standbys", [])
    for each in standbys:
        where = each["address"] or "at an address that it does not say"
        if each["follows"]:
            lines.append(f"standby  {where}, {each['behind']} records behind")
        else:
            silent = human_duration(each["heard_s"])
            lines.append(click.style(f"STANDBY {where} SILENT for {silent}", fg="red", bold=True))
    wanted = answer.get("journal", {}).get("lease", {}).get("enforced")
    if wanted and not any(each["follows"] for each in standbys):
        text = "NO STANDBY FOLLOWS: if this coordinator's machine fails, nobody takes over"
        lines.append(click.style(text, fg="red", bold=True))
    return lines


def describe_standby(answer: dict[str, Any]) -> str:
    """The status of a standby, for people."""
    active = answer["active"] or "an active coordinator that does not say where it is"
    lines = [
        f"swarm {answer['swarm']}",
        f"standby of {active}, {answer['behind']} records behind (epoch {answer['epoch']}, record"
        f" {answer['sequence']})",
    ]
    if answer["behind_s"] > BEHIND_S:
        behind = human_duration(answer["behind_s"])
        text = f"DOES NOT KEEP UP: it had everything {behind} ago"
        lines.append(click.style(text, fg="red", bold=True))
    if answer["error"]:
        lines.append(click.style(f"FOLLOWS NOT: {answer['error']}", fg="red", bold=True))
    return "\n".join(lines)


def _cells(cells: list[dict[str, Any]]) -> str:
    rows = [
        [
            str(each.get("cell_id", ""))[:12],
            each.get("state", ""),
            each.get("address", ""),
            each.get("site", ""),
            each.get("owner", ""),
            human_bytes(int(each.get("used_bytes", 0))),
            human_bytes(int(each.get("free_bytes", 0))),
            each.get("shards", 0),
            _percent(each.get("availability", {})),
            _remark(each),
        ]
        for each in cells
    ]
    headings = ["CELL", "STATE", "ADDRESS", "SITE", "OWNER", "USED", "FREE", "SHARDS", "HEARD", ""]
    return table(headings, rows)


def _percent(availability: dict[str, Any]) -> str:
    """The part of the time in which a cell was heard, rounded down: 99.95 is not below it."""
    if not availability.get("watched_s"):
        return ""
    return f"{math.floor(float(availability['ratio']) * 100_000) / 1000:.3f} %"


def _owners(answer: dict[str, Any]) -> list[str]:
    below = [each for each in answer.get("owners", []) if each["below_target"]]
    if not below:
        return []
    target = f"{100 * float(answer['availability_target']):g} %"
    named = ", ".join(f"{each['owner']} {_percent(each)}" for each in below[:SHOWN_OWNERS])
    more = f" and {len(below) - SHOWN_OWNERS} more" if len(below) > SHOWN_OWNERS else ""
    return [f"owners   heard for less than {target} of 30 days: {named}{more}"]


def describe_leaving(cell: dict[str, Any]) -> str:
    """Return how far a cell is that leaves, for people."""
    left = cell.get("leaving")
    if not left:
        return "leaving"
    if left["is_empty"]:
        return "empty: it can be removed"
    text = f"leaving: {left['shards']} shards to move"
    if left.get("left_s") is not None:
        text += f", about {human_duration(left['left_s'])} to go"
    if left["slots_without_place"]:
        text += f", {left['slots_without_place']} SLOTS HAVE NO PLACE: more cells are needed"
    return text


def describe_hazard(cell: dict[str, Any]) -> str:
    """Return in words how likely a cell's disk is to fail, why, and what to do about it."""
    hazard = cell["hazard"]
    reasons = ", ".join(hazard["reasons"])
    if hazard["advice"] == "none":
        return f"disk: {reasons}"
    percent = f"{100 * float(hazard['loss']):.0f} % within {hazard['loss_within_days']} days"
    text = f"DISK LIKELY TO FAIL ({percent}): {reasons}"
    if hazard["advice"] == "drain" and not cell.get("draining"):
        text += f"; alveary cell drain {cell['cell_id'][:12]}"
    return text


def _remark(cell: dict[str, Any]) -> str:
    remarks = []
    silent_s = float(cell.get("last_seen_s", 0))
    if cell.get("state") in ("offline", "lost"):
        remarks.append(f"silent for {human_duration(silent_s)}")
    if cell.get("draining"):
        remarks.append(describe_leaving(cell))
    if cell.get("hazard"):
        remarks.append(describe_hazard(cell))
    if cell.get("suspended"):
        remarks.append(f"suspended: {cell['suspended']}")
    elif cell.get("trust") == "warned":
        remarks.append(f"warned: {cell.get('trust_reason')}")
    if cell.get("maintenance_left_s"):
        remarks.append(f"maintenance for {human_duration(cell['maintenance_left_s'])} more")
    if cell.get("lost_shards"):
        remarks.append(f"LOST {cell['lost_shards']} shards")
    if cell.get("read_only"):
        remarks.append(f"read-only: {cell.get('read_only_reason')}")
    ahead_s = float(cell.get("clock_ahead_s", 0))
    if abs(ahead_s) > limits.CLOCK_OFF_S:
        remarks.append(f"clock {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}")
    return ", ".join(remarks)


def _missing(missing: dict[str, Any]) -> str:
    line = (
        f"missing  {missing.get('shards', 0)} shards; "
        f"{missing.get('segments_at_risk', 0)} segments at risk, "
        f"{missing.get('segments_lost', 0)} lost"
    )
    for name, text in (
        ("silent_shards", "shards on silent cells"),
        ("lost_shards", "shards in volumes that cells lost"),
        ("suspect_shards", "shards that readers found bad or missing"),
    ):
        if missing.get(name):
            line += f"\n         {missing[name]} {text}"
    return line


def _lifecycle(counts: dict[str, Any] | None) -> list[str]:
    """Return what lifecycle rules did, for people, where there are any."""
    if not counts or not counts["buckets"]:
        return []
    line = (
        f"expiry   {counted(counts['buckets'], 'bucket')} with lifecycle rules;"
        f" {counts['deleted']} deletions by the last runs"
    )
    if counts["oldest_ms"]:
        begun = datetime.fromtimestamp(counts["oldest_ms"] / 1000, UTC)
        line += f", of which the first began {begun:%Y-%m-%d %H:%M} UTC"
    if counts["running"]:
        line += f"; {counted(counts['running'], 'run')} not ended yet"
    if counts["kept"]:
        line += f"\n         {counts['kept']} versions are due and could not be deleted (locked)"
    return [line]


def _notifications(counts: dict[str, Any] | None) -> list[str]:
    """Return which notifications of events wait or are lost, for people, where there are any."""
    if not counts or not any(counts.values()):
        return []
    line = f"events   {counted(counts['waiting'], 'notification')} waiting to be delivered"
    if counts["oldest_ms"]:
        since = datetime.fromtimestamp(counts["oldest_ms"] / 1000, UTC)
        line += f", the oldest since {since:%Y-%m-%d %H:%M} UTC"
    if counts["full"]:
        line += f"\n         {counted(counts['full'], 'tenant')} may have no more of them waiting"
    lost = counts["dropped"] + counts["given_up"]
    if lost:
        line += (
            f"\n         {counted(lost, 'event')} of which nobody was told:"
            f" {counts['dropped']} while too many waited,"
            f" {counts['given_up']} not delivered in time"
        )
    return [line]


def _class(answer: dict[str, Any]) -> list[str]:
    """Return what is written in another class than the configured one, for people."""
    configured, written = answer.get("redundancy"), answer.get("written_as")
    lines = []
    if written and written != configured:
        lines.append(
            f"TOO FEW CELLS FOR CLASS {configured}: new objects take class {written}, which"
            " tolerates as many losses and needs more space"
        )
    own = {each["name"]: each["redundancy"] for each in answer.get("classes", [])}
    lines += [
        f"{each['segments']} segments are in class {each['redundancy']}, not"
        f" {own.get(each.get('storage_class'), configured)}"
        for each in answer.get("fallback_segments", [])
    ]
    return lines


def _classes(classes: list[dict[str, Any]]) -> list[str]:
    """Return the storage classes for people, where there is more than one."""
    if len(classes) < 2:
        return []
    rows = [
        [
            each["name"],
            each["redundancy"],
            ", ".join(each["sites"]) or "all",
            each["buckets"],
            f"{each['cells']} of {each['cells_needed']}",
            _class_remark(each),
        ]
        for each in classes
    ]
    return [table(["CLASS", "REDUNDANCY", "SITES", "BUCKETS", "CELLS", ""], rows), ""]


def describe_buckets(buckets: list[dict[str, Any]] | None) -> list[str]:
    """Return in words what each bucket would have left if its worst site failed now, the worst off
    first."""
    lines = [_describe_bucket(each) for each in (buckets or [])[:SHOWN_BUCKETS]]
    more = sum(each["buckets"] for each in (buckets or [])[SHOWN_BUCKETS:])
    if more:
        lines.append(f"({more} more buckets, none of them worse)")
    return lines


def _describe_bucket(each: dict[str, Any]) -> str:
    name = f"bucket {each['bucket']}" if each["buckets"] == 1 else f"{each['buckets']} buckets"
    now = f"{name}: "
    if each["unreadable"]:
        now += f"{each['unreadable']} SEGMENTS MAY NOT BE READABLE NOW; "
    site = f"site {each['site']}" if each["site"] else "a site"
    if each["after"] >= 0:
        return f"{now}if {site} fails now: nothing lost, margin {each['after']}"
    return (
        f"{now}if {site} fails now: {each['unreadable_after']} of {each['segments']} segments"
        " CANNOT BE READ without it"
    )


def _class_remark(each: dict[str, Any]) -> str:
    if not each["writable"]:
        return "NOT WRITABLE: too few cells on its sites"
    written = each["written_as"]
    return "" if written == each["redundancy"] else f"written as {written}"


def describe_outlook(outlook: dict[str, Any] | None) -> list[str]:
    """Return what is wrong, what is done about it and when it is done, for people: one line, and
    one for each concern."""
    if outlook is None:
        return []
    lines = [outlook["headline"]]
    for each in outlook["concerns"]:
        text = " ".join(filter(None, (each["what"], each["doing"], each["when"])))
        lines.append(f"  {each['gravity']:<8}  {text}")
    return [*lines, ""]


def describe(answer: dict[str, Any]) -> str:
    """The coordinator's status for people; what is wrong stands out."""
    rings = [
        [each.get("ring"), f"{each.get('k')}/{each.get('n')}", each.get("quorum"), each["state"]]
        for each in answer.get("rings", [])
    ]
    gateways = [
        [each["gateway_id"][:12], each["state"], each["s3"], each["tenants"]]
        for each in answer.get("gateways", [])
    ]
    parts = describe_outlook(answer.get("outlook"))
    parts += [f"swarm {answer.get('swarm', '')}", *describe_store(answer.get("store", {}))]
    parts += describe_journal(answer.get("journal", {}))
    parts += describe_standbys(answer)
    if not answer.get("writable", True):
        parts.append(f"NOT WRITABLE: {answer.get('reason')}")
    if answer.get("most_cells_offline"):
        parts.append(
            "MOST CELLS ARE OFFLINE: none of them is taken for lost, since it is probably this"
            " coordinator that is cut off. Look at its network; `alveary cell remove` those that"
            " are really gone."
        )
    parts += _class(answer)
    coordinator = answer.get("coordinator", {})
    if not coordinator.get("store_writable", True):
        parts.append(
            f"COORDINATOR'S STORE NOT WRITABLE: {coordinator.get('reason')}, "
            f"{human_bytes(int(coordinator.get('free_bytes', 0)))} free"
        )
    parts += ["", _cells(answer.get("cells", [])), ""]
    parts += _classes(answer.get("classes", []))
    parts += [table(["RING", "CLASS", "QUORUM", "STATE"], rings), ""]
    parts += [table(["GATEWAY", "STATE", "S3", "TENANTS"], gateways), ""]
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
    clocks = answer.get("clocks", {})
    if clocks.get("cells_off"):
        parts.append(
            f"clocks   {clocks['cells_off']} cells differ from the coordinator's by more than"
            f" {limits.CLOCK_OFF_S} s; where all do, its own is wrong"
        )
    parts += _owners(answer)
    parts.append(f"objects  {answer.get('objects', 0)}")
    parts += _lifecycle(answer.get("lifecycle"))
    parts += _notifications(answer.get("notifications"))
    parts.append(_missing(answer.get("missing", {})))
    parts += answer.get("if_a_site_fails", [])
    parts += describe_buckets(answer.get("buckets"))
    return "\n".join(parts)


def describe_processes(processes: list[dict[str, Any]], answer: dict[str, Any]) -> str:
    """The local daemons for people, by site where there are some; the dead ones stand out.

    Args:
        answer: of a coordinator; empty: none answers.
    """
    if not any(each.get("site") for each in processes):
        rows = [[each["name"], each["pid"], _life(each)] for each in processes]
        return table(["DAEMON", "PID", ""], rows)
    by_site = sorted(processes, key=lambda each: each.get("site", ""))
    return table(
        ["SITE", "DAEMON", "PID", "", ""],
        [
            [each.get("site", ""), each["name"], each["pid"], _life(each), _duty(each, answer)]
            for each in by_site
        ],
    )


def _life(process: dict[str, Any]) -> str:
    return "running" if process["running"] else "DEAD"


def _duty(process: dict[str, Any], answer: dict[str, Any]) -> str:
    """Return whether a coordinator is active or a standby, as the active one says; empty for other
    daemons."""
    listen = process.get("listen")
    if listen is None or not process["running"]:
        return ""
    if listen in answer.get("coordinators", [])[:1]:
        return "active"
    standbys = {each["address"]: each["follows"] for each in answer.get("standbys", [])}
    if listen not in standbys:
        return "not heard"
    return "standby" if standbys[listen] else "SILENT"


@click.command()
@access_options
def status(operator: Path | None, data: Path | None, as_json: bool) -> int:
    """Show cells, rings, space, and what is missing."""
    processes = local_processes(DEFAULT_DATA if data is None else data) if not operator else []
    try:
        answer = ask(operator, data, "GET", "/v1/status", timeout_s=STATUS_TIMEOUT_S)
    except AlvearyError as error:
        if not processes:
            raise
        # The daemons' state is what the operator needs most when the coordinator is the dead one.
        print_result(
            {"error": error.reason, "processes": processes},
            as_json=as_json,
            text=describe_processes(processes, {}),
        )
        print_error(explain(error))
        return exit_code_of(error)
    sites = if_a_site_fails(answer, SHOWN_SITES) if answer.get("rings") else []
    result = {**answer, "if_a_site_fails": sites}
    if processes:
        result["processes"] = processes
    text = describe_standby(result) if result.get("role") == "standby" else describe(result)
    if processes:
        text += "\n\n" + describe_processes(processes, answer)
    print_result(result, as_json=as_json, text=text)
    return 0
