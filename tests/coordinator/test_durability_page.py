"""The tables and the pictures of docs/durability.md and docs/prediction.md are made from the code:
run this file as a program to write them again."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import fleet_picture
import pytest
from durability_picture import CLASSES, apart, picture

from coordinator.policy.classes import Survived, recommended, sites_of, survived
from coordinator.policy.durability import (
    DAYS_PER_YEAR,
    HOURS_PER_YEAR,
    Repair,
    bandwidth_bits_per_s,
    lazy_repair,
    nines,
    window_loss,
)
from coordinator.policy.fallback import fallbacks
from coordinator.policy.hazard import COUNTERS
from coordinator.policy.placement import Redundancy, default_quorum
from sim.fleets import figures, prediction

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (DOCS / "durability.md", DOCS / "prediction.md")
PICTURES = {
    DOCS / "durability.svg": picture,
    DOCS / "fleets.svg": lambda: fleet_picture.picture(figures.read()),
    DOCS / "small-fleets.svg": lambda: fleet_picture.picture(figures.read(figures.SMALL_FIGURES)),
}
HOURS = (6, 12, 24, 72)
YEARS = (1, 4)
LOSS_CLASSES = ((1, 2), (1, 3), (2, 4), (3, 5), (3, 6), (4, 6), (6, 9), (8, 12), (10, 16))
CELL_TB = 4


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(value) for value in line) + " |" for line in lines)


HEADINGS = ("boxes: reads", "writes", "fallback", "sites: reads", "writes", "fallback")


def losses(of: Survived) -> str:
    boxes = (of.reads_boxes, of.writes_boxes, of.fallback_boxes)
    sites = (of.reads_sites, of.writes_sites, of.fallback_sites)
    return " | ".join(str(each or "-") for each in (*boxes, *sites))


def recommended_classes() -> str:
    headings = ["boxes", "sites", "class", "w", "kept", *HEADINGS]
    return table(
        headings,
        [
            [
                row.boxes,
                row.sites,
                f"{row.redundancy.k}/{row.redundancy.n}",
                row.redundancy.quorum,
                f"{row.stored:.2f}",
                losses(row.survives),
            ]
            for row in recommended()
        ],
    )


def default_class() -> str:
    redundancy = Redundancy(4, 6, default_quorum(4, 6))
    rows = []
    for boxes in (6, 9, 12):
        for sites in range(1, 6):
            of = survived(redundancy, sites_of(boxes, sites))
            rows.append([boxes, sites, losses(of)])
    return table(["boxes", "sites", *HEADINGS], rows)


def fallback_classes() -> str:
    rows = []
    for k, n in ((2, 3), (2, 4), (3, 5), (4, 6), (6, 9), (8, 12)):
        redundancy = Redundancy(k, n, default_quorum(k, n))
        for each in (redundancy, *fallbacks(redundancy)):
            name = "" if each != redundancy else f"{k}/{n}"
            beyond = each.quorum - each.k
            rows.append(
                [name, f"{each.n}", f"{each}", each.quorum, f"{each.n / each.k:.2f}", n - k, beyond]
            )
    headings = ["class", "cells left", "written", "w", "kept", "any lost, whole", "any lost, at w"]
    return table(headings, rows)


def repair_of(k: int, n: int, years: float, hours: float) -> Repair:
    mttf_hours = years * HOURS_PER_YEAR
    return lazy_repair(k, n, threshold=n, mttf_hours=mttf_hours, repair_hours=hours)


def probability(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)} ({nines(value):.1f})"


def yearly_loss(years: int) -> str:
    rows = []
    for k, n in LOSS_CLASSES:
        never = window_loss(k, n, failures_per_year=1 / years, replacement_days=DAYS_PER_YEAR)
        found = [probability(repair_of(k, n, years, hours).annual_loss) for hours in HOURS]
        rows.append([f"{k}/{n}", *found, f"{never:.2g}"])
    return table(["class", *(f"{hours} h" for hours in HOURS), "never repaired"], rows)


def traffic() -> str:
    rows = []
    for k, n in LOSS_CLASSES:
        row: list[object] = [f"{k}/{n}"]
        for years in YEARS:
            repair = repair_of(k, n, years, 24)
            bits = bandwidth_bits_per_s(
                kept_bytes=CELL_TB * 1e12, moved_per_kept=repair.moved_per_kept
            )
            row += [
                f"{repair.repairs_per_year:.2f}",
                f"{repair.moved_per_stored:.1f} TB",
                f"{bits / 1e6:.1f} Mbit/s",
            ]
        rows.append(row)
    each = ("repairs", "moved", "each cell")
    return table(["class", *(f"{years} y: {name}" for years in YEARS for name in each)], rows)


def fleets() -> str:
    rows = []
    for each in figures.read():
        rows.append(
            [
                each.fleet,
                f"{each.k}/{each.n}",
                probability(each.exact),
                probability(each.alone) if each.alone else "not seen",
                f"{probability(each.shocked)} ± {each.shocked_error / each.shocked:.0%}",
                f"{each.repair_h:.0f} h",
                f"{each.longest_queue_h:.0f} h",
                f"{each.moved_per_stored:.1f} TB",
                f"{each.bits_per_s_of_cell / 1e6:.1f} Mbit/s",
                f"{each.unavailability:.1e}" if each.unavailability > 0 else "0",
            ]
        )
    headings = ["fleet", "class", "independent", "alone", "correlated", "repair", "longest"]
    headings += ["moved", "each cell", "unreadable"]
    return table(headings, rows)


def small_fleets() -> str:
    rows = []
    for each in figures.read(figures.SMALL_FIGURES):
        error = each.shocked_error / each.shocked if each.shocked else 0.0
        rows.append(
            [
                each.cells,
                each.sites,
                f"{each.k}/{each.n}",
                probability(each.alone) if each.alone else "not seen",
                f"{probability(each.shocked)} ± {error:.0%}" if each.shocked else "not seen",
                f"{each.repair_h:.0f} h",
                f"{each.moved_per_stored:.1f} TB",
                f"{each.bits_per_s_of_cell / 1e6:.2f} Mbit/s",
                f"{each.unavailability:.1e}" if each.unavailability > 0 else "0",
            ]
        )
    headings = ["boxes", "sites", "class", "alone", "correlated", "repair"]
    headings += ["moved", "each cell", "unreadable"]
    return table(headings, rows)


def rates() -> str:
    rows = []
    for counter in COUNTERS:
        steps = zip(counter.at, counter.per_year, strict=True)
        told = ", ".join(f"{rate:g} from {value}" for value, rate in steps)
        rows.append([f"`{counter.name}`", told])
    return table(["count", "failures a year"], rows)


def predictions() -> str:
    rows = [
        [
            population,
            rule,
            worth.drained,
            f"{worth.precision:.2f}",
            f"{worth.recall:.2f}",
            f"{worth.saved:.2f}",
            f"{worth.needless:.2f}",
        ]
        for population, rules in prediction.read().items()
        for rule, worth in rules.items()
    ]
    headings = ["population", "rule", "drained", "precision", "recall", "saved", "needless"]
    return table(headings, rows)


TABLES: dict[str, Callable[[], str]] = {
    "recommended classes": recommended_classes,
    "default class": default_class,
    "fallbacks": fallback_classes,
    "yearly loss, 1 year": lambda: yearly_loss(1),
    "yearly loss, 4 years": lambda: yearly_loss(4),
    "traffic": traffic,
    "fleets": fleets,
    "small fleets": small_fleets,
    "rates": rates,
    "prediction": predictions,
}


def marked(name: str) -> re.Pattern[str]:
    return re.compile(f"(<!-- table: {name} -->\n)(.*?)\n?(<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_page_is_what_the_code_says(name: str) -> None:
    pages = [marked(name).search(page.read_text(encoding="utf-8")) for page in PAGES]
    found = next((each for each in pages if each is not None), None)
    assert found is not None, f"no page has a table {name!r}"
    assert found[2] == TABLES[name](), f"run {Path(__file__).name} as a program"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_what_the_code_draws(path: Path) -> None:
    drawn = path.read_text(encoding="utf-8")
    assert drawn == PICTURES[path](), f"run {Path(__file__).name} as a program"


def test_the_picture_shows_classes_of_the_table() -> None:
    assert set(CLASSES) <= set(LOSS_CLASSES)
    recommended_here = {(row.redundancy.k, row.redundancy.n) for row in recommended()}
    assert recommended_here <= set(LOSS_CLASSES)


def test_the_small_fleets_are_those_of_the_recommended_classes() -> None:
    classes = [(row.boxes, row.sites, row.redundancy.k, row.redundancy.n) for row in recommended()]
    found = figures.read(figures.SMALL_FIGURES)
    assert [(each.cells, each.sites, each.k, each.n) for each in found] == classes


def test_labels_of_the_picture_do_not_overlap() -> None:
    placed = sorted(apart([50.0, 10.0, 12.0, 11.0]))
    assert all(after - before >= 13 for before, after in pairwise(placed))


def write_pages() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name, make in TABLES.items():
            found = marked(name).search(text)
            if found is not None:
                text = text[: found.start(2)] + make() + "\n" + text[found.start(3) :]
        page.write_text(text, encoding="utf-8")
    for path, draw in PICTURES.items():
        path.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write_pages())
