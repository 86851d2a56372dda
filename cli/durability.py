"""``alveary durability``: how safe data is, by the class, by the table, or as the swarm is now.

Source: docs/durability.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from cli.operators import access_options, ask
from cli.report import print_result, table
from cli.swarm_directory import parse_redundancy
from common.data_classes import dataclass
from common.errors import BadConfig
from common.reasons import ConfigFault
from coordinator.policy.classes import Recommendation, recommended
from coordinator.policy.durability import (
    DAYS_PER_YEAR,
    HOURS_PER_YEAR,
    Repair,
    bandwidth_bits_per_s,
    lazy_repair,
    nines,
    window_loss,
)
from coordinator.policy.health import CellState
from coordinator.policy.losses import (
    Loss,
    LossTable,
    PlacedCell,
    PlacedRing,
)
from coordinator.policy.placement import Redundancy, default_quorum

SHOWN_LINES: Final = 20
"""Sites, and boxes, of the text; ``--json`` has all."""
ASSUMED: Final = (
    "The time to repair is an assumption. Where slots of a lost cell have no other to go to, a\n"
    "margin that is lost stays lost: without any repair a year loses {loss:.2g} of the data\n"
    "({nines:.1f} nines)."
)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Assumptions of the calculation. ``threshold``: None is n, eager repair."""

    mttf_years: float
    repair_hours: float
    threshold: int | None
    cell_tb: float


@dataclass(frozen=True, slots=True)
class Calculated:
    """Loss and repair traffic of a class under assumptions."""

    repair: Repair
    assumptions: Assumptions
    unrepaired_loss: float

    def as_json(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        repair = self.repair
        return {
            "class": f"{repair.k}/{repair.n}",
            "threshold": repair.threshold,
            "mttf_years": self.assumptions.mttf_years,
            "repair_hours": self.assumptions.repair_hours,
            "cell_tb": self.assumptions.cell_tb,
            "annual_loss": repair.annual_loss,
            "annual_loss_nines": nines(repair.annual_loss) if repair.annual_loss else None,
            "annual_loss_without_repair": self.unrepaired_loss,
            "repairs_per_year": repair.repairs_per_year,
            "moved_tb_per_stored_tb_year": repair.moved_per_stored,
            "bandwidth_per_cell_bits_per_s": self.bandwidth_bits_per_s,
        }

    @property
    def bandwidth_bits_per_s(self) -> float:
        """Of a cell that keeps what was assumed, in and out together."""
        return bandwidth_bits_per_s(
            kept_bytes=self.assumptions.cell_tb * 1e12, moved_per_kept=self.repair.moved_per_kept
        )

    def describe(self) -> str:
        """Return it for people."""
        repair, assumed = self.repair, self.assumptions
        when = (
            "as soon as a shard is declared lost"
            if repair.threshold == repair.n
            else f"below {repair.threshold} live shards"
        )
        return "\n".join(
            [
                f"class {repair.k}/{repair.n}: any {repair.n - repair.k} of a ring's {repair.n} "
                f"cells may be lost; {repair.n / repair.k:.2f} bytes kept for each byte stored",
                f"assumed    a cell lives {assumed.mttf_years:g} years, repair begins {when}",
                f"           and takes {assumed.repair_hours:g} hours; failures are independent",
                f"loss       {repair.annual_loss:.2g} a year for each ring, so for each segment: "
                f"{nines(repair.annual_loss):.1f} nines",
                f"repairs    {repair.repairs_per_year:.2g} a year for each ring",
                f"moved      {repair.moved_per_stored:.2g} TB a year for each TB stored",
                f"bandwidth  {self.bandwidth_bits_per_s / 1e6:.2g} Mbit/s, in and out, for a cell "
                f"that keeps {assumed.cell_tb:g} TB",
                "",
                ASSUMED.format(loss=self.unrepaired_loss, nines=nines(self.unrepaired_loss)),
            ]
        )


def calculate(k: int, n: int, assumed: Assumptions) -> Calculated:
    """Return what a class gives.

    Raises:
        BadConfig: ``bad_flags``: the threshold is not of this class.
    """
    threshold = n if assumed.threshold is None else assumed.threshold
    if not k < threshold <= n:
        raise BadConfig(
            ConfigFault.BAD_FLAGS, message=f"--threshold of class {k}/{n} is {k + 1} to {n}"
        )
    return Calculated(
        lazy_repair(
            k,
            n,
            threshold=threshold,
            mttf_hours=assumed.mttf_years * HOURS_PER_YEAR,
            repair_hours=assumed.repair_hours,
        ),
        assumed,
        window_loss(k, n, failures_per_year=1 / assumed.mttf_years, replacement_days=DAYS_PER_YEAR),
    )


def _as_json(each: Recommendation) -> dict[str, Any]:
    redundancy = each.redundancy
    return {
        "boxes": each.boxes,
        "sites": each.sites,
        "class": f"{redundancy.k}/{redundancy.n}",
        "write_quorum": redundancy.quorum,
        "stored": each.stored,
        **asdict(each.survives),
    }


def describe_table(rows: Sequence[Recommendation]) -> str:
    """Return the recommended classes for people."""
    headings = ["BOXES", "SITES", "CLASS", "QUORUM", "STORED"]
    headings += ["READS SURVIVE", "WRITES SURVIVE", "WITH A FALLBACK"]
    return table(
        headings,
        [
            [
                each.boxes,
                each.sites,
                f"{each.redundancy.k}/{each.redundancy.n}",
                each.redundancy.quorum,
                f"x{each.stored:.2f}",
                survives_text(each.survives.reads_boxes, each.survives.reads_sites),
                survives_text(each.survives.writes_boxes, each.survives.writes_sites),
                survives_text(each.survives.fallback_boxes, each.survives.fallback_sites),
            ]
            for each in rows
        ],
    )


def survives_text(boxes: int, sites: int) -> str:
    """``any 2 boxes, any 1 site``."""
    parts = [
        f"any {count} {noun}{'s' if count > 1 and noun == 'site' else ''}"
        for count, noun in ((boxes, "box" if boxes == 1 else "boxes"), (sites, "site"))
        if count
    ]
    return ", ".join(parts) or "none"


def _snapshot(status: dict[str, Any]) -> tuple[dict[str, PlacedCell], list[PlacedRing]]:
    cells = {
        each["cell_id"]: PlacedCell(each["site"], each["owner"], CellState(each["state"]))
        for each in status["cells"]
    }
    rings = [
        PlacedRing(
            each["k"],
            each["quorum"],
            tuple(each["cells"]),
            not str(each["state"]).startswith("closed"),
            frozenset(each.get("missing_slots", ())),
        )
        for each in status["rings"]
    ]
    return cells, rings


def describe_loss(loss: Loss, *, of: str) -> str:
    """``if site Bologna fails now: nothing lost, margin 2``, and what becomes of writes."""
    if loss.unreadable:
        rings = "1 ring" if loss.unreadable == 1 else f"{loss.unreadable} rings"
        reads = (
            f"{rings} CANNOT BE READ without it, and what lies there is lost if it never returns"
        )
    else:
        reads = f"nothing lost, margin {loss.margin}"
    writes = "writes go on" if loss.writable else "WRITES STOP"
    if loss.fallback:
        writes += f" in class {loss.fallback}"
    return f"if {of} fails now: {reads}; {writes}"


def _shown(losses: Sequence[Loss], kind: str) -> list[str]:
    lines = [describe_loss(each, of=_name(kind, each.name)) for each in losses[:SHOWN_LINES]]
    if len(losses) > SHOWN_LINES:
        lines.append(f"({len(losses) - SHOWN_LINES} more, none of them worse; --json has all)")
    return lines


def _name(kind: str, name: str) -> str:
    is_cell_id = kind == "box" and len(name) == 64
    return f"{kind} {name[:12] if is_cell_id else name}" if name else f"the {kind} without a name"


def _class_of(status: dict[str, Any], rings: Sequence[PlacedRing]) -> Redundancy:
    """The class of new segments; with the quorum of its rings, where there are some."""
    k, n = (int(part) for part in str(status["redundancy"]).split("/"))
    quorum = next((each.quorum for each in rings if (each.k, len(each.cells)) == (k, n)), None)
    return Redundancy(k, n, default_quorum(k, n) if quorum is None else quorum)


def if_a_site_fails(status: dict[str, Any], most: int) -> list[str]:
    """Return in words what the loss of each site would do now, the worst first.

    Args:
        status: the answer of ``/v1/status``.
        most: sites to name.

    Returns:
        Nothing where there is no ring, or no second site.
    """
    cells, rings = _snapshot(status)
    losses = LossTable(cells, rings, _class_of(status, rings))
    sites = losses.of_sites() if rings else []
    if len(sites) < 2:
        return []
    lines = [describe_loss(each, of=_name("site", each.name)) for each in sites[:most]]
    if len(sites) > most:
        lines.append(f"({len(sites) - most} more sites, none of them worse)")
    return lines


def swarm_now(status: dict[str, Any], assumed: Assumptions) -> tuple[dict[str, Any], str]:
    """Return how safe the data of a swarm is now, as JSON and for people.

    Args:
        status: the answer of ``/v1/status``.
        assumed: for the class of new segments.

    Raises:
        BadConfig: ``bad_redundancy``, or ``bad_flags``.
    """
    cells, rings = _snapshot(status)
    redundancy = _class_of(status, rings)
    k, n = redundancy.k, redundancy.n
    losses = LossTable(cells, rings, redundancy)
    now, sites, boxes = losses.of_nothing(), losses.of_sites(), losses.of_boxes()
    missing = status.get("missing", {})
    at_risk = int(missing.get("segments_at_risk", 0))
    parts = [f"swarm {status.get('swarm', '')}, class {k}/{n}, {len(rings)} rings"]
    if rings:
        parts.append(
            f"now: {now.unreadable} rings CANNOT BE READ"
            if now.unreadable
            else f"now: everything can be read, least margin {now.margin}"
        )
        parts += ["", *_shown(sites, "site"), "", *_shown(boxes, "box")]
    else:
        parts.append(f"no ring yet: it takes {n} cells")
    total = int(status.get("rings_total", len(rings)))
    if total > len(rings):
        parts += ["", f"Only {len(rings)} of {total} rings were looked at."]
    if at_risk:
        parts += ["", f"{at_risk} segments lack shards already: that is counted in."]
    result: dict[str, Any] = {
        "swarm": status.get("swarm", ""),
        "rings": len(rings),
        "rings_total": total,
        "segments_at_risk": at_risk,
        "now": asdict(now),
        "sites": [asdict(each) for each in sites],
        "boxes": [asdict(each) for each in boxes],
    }
    if k < n:
        calculated = calculate(k, n, assumed)
        result["class"] = calculated.as_json()
        parts += ["", calculated.describe()]
    return result, "\n".join(parts)


@click.command()
@click.option("--class", "redundancy", metavar="K/N", help="Calculate this class; no swarm needed.")
@click.option("--table", "as_table", is_flag=True, help="Print the recommended classes.")
@click.option(
    "--mttf-years",
    type=click.FloatRange(0, 1000, min_open=True),
    default=4.0,
    show_default=True,
    help="Mean time to failure of a cell.",
)
@click.option(
    "--repair-hours",
    type=click.FloatRange(0, 100_000, min_open=True),
    default=24.0,
    show_default=True,
    help="Mean time from a failure to its repair, detection included.",
)
@click.option(
    "--threshold", type=int, metavar="M", help="Repair begins with less than M live shards (N)."
)
@click.option(
    "--cell-tb",
    type=click.FloatRange(0, min_open=True),
    default=4.0,
    show_default=True,
    help="TB that a cell keeps, for its bandwidth.",
)
@access_options
def durability(
    redundancy: str | None,
    as_table: bool,
    mttf_years: float,
    repair_hours: float,
    threshold: int | None,
    cell_tb: float,
    operator: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Show how safe data is.

    Without --class or --table: what would survive which loss in the running swarm.
    """
    assumed = Assumptions(mttf_years, repair_hours, threshold, cell_tb)
    if as_table:
        rows = recommended()
        print_result([_as_json(each) for each in rows], as_json=as_json, text=describe_table(rows))
        return
    if redundancy is not None:
        calculated = calculate(*parse_redundancy(redundancy), assumed)
        print_result(calculated.as_json(), as_json=as_json, text=calculated.describe())
        return
    result, text = swarm_now(ask(operator, data, "GET", "/v1/status"), assumed)
    print_result(result, as_json=as_json, text=text)
