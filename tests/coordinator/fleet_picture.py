"""The pictures of docs/durability.md, "Simulated fleets": losses of each class with and without
correlated failures, and the traffic of repair, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from durability_picture import text

from sim.fleets.figures import Figure

WIDTH, TOP, ROW = 880, 70, 30
LOSS_LEFT, LOSS_RIGHT = 70, 480
TRAFFIC_LEFT, TRAFFIC_RIGHT = 580, 840
MOST_NINES = 12
MOST_MOVED = 20.0
ALONE, SHOCKED = "#1d5c9b", "#9b2226"
TITLES = {"servers": "servers: cells live for 4 years", "homes": "homes: cells live for 1 year"}


def x_of_loss(loss: float) -> float:
    nines = min(float(MOST_NINES), -log10(loss)) if loss > 0 else float(MOST_NINES)
    return LOSS_LEFT + (LOSS_RIGHT - LOSS_LEFT) * nines / MOST_NINES


def x_of_moved(moved: float) -> float:
    share = min(1.0, moved / MOST_MOVED)
    return TRAFFIC_LEFT + (TRAFFIC_RIGHT - TRAFFIC_LEFT) * share


def axes(top: float, bottom: float) -> list[str]:
    parts = []
    for nines in range(0, MOST_NINES + 1, 2):
        x = x_of_loss(10.0**-nines)
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="#ddd"/>')
        label = "1" if not nines else f"10<tspan dy='-5' font-size='9'>-{nines}</tspan>"
        parts.append(text(x, bottom + 16, label))
    for moved in range(0, int(MOST_MOVED) + 1, 5):
        x = x_of_moved(moved)
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="#ddd"/>')
        parts.append(text(x, bottom + 16, f"{moved} TB"))
    return parts


def row(each: Figure, y: float) -> list[str]:
    is_small = each.fleet not in TITLES
    # The chain has a cell for every shard that is rebuilt: a small swarm may have none.
    alone = x_of_loss(each.alone if is_small else each.exact)
    shocked = x_of_loss(each.shocked)
    moved = x_of_moved(each.moved_per_stored)
    label = f"{each.k}/{each.n} on {each.sites}" if is_small else f"{each.k}/{each.n}"
    return [
        text(LOSS_LEFT - 12, y + 4, label, "end"),
        f'<path d="M{alone:.1f} {y}H{shocked:.1f}" stroke="#999" stroke-width="2"/>',
        f'<circle cx="{alone:.1f}" cy="{y}" r="5" fill="{ALONE}"/>',
        f'<circle cx="{shocked:.1f}" cy="{y}" r="5" fill="{SHOCKED}"/>',
        f'<rect x="{TRAFFIC_LEFT}" y="{y - 8}" width="{moved - TRAFFIC_LEFT:.1f}" height="16" '
        f'fill="{ALONE}"/>',
    ]


def picture(figures: Sequence[Figure]) -> str:
    """The whole file."""
    parts: list[str] = []
    top = TOP
    for fleet in dict.fromkeys(each.fleet for each in figures):
        rows = [each for each in figures if each.fleet == fleet]
        bottom = top + ROW * len(rows)
        middle = (LOSS_LEFT + LOSS_RIGHT) / 2
        title = TITLES.get(fleet, f"{fleet}, on so many sites")
        parts.append(text(middle, top - 10, title, more=' font-weight="bold"'))
        parts += axes(top, bottom)
        for number, each in enumerate(rows):
            parts += row(each, top + ROW * number + ROW / 2)
        top = bottom + 70
    height = top - 30
    return (
        "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
                'font-family="sans-serif" font-size="12">',
                "<title>Loss of a ring in a year, with and without correlated failures, and "
                "traffic of repair, by redundancy class</title>",
                f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
                f'<circle cx="80" cy="18" r="5" fill="{ALONE}"/>',
                text(92, 22, "failures independent", "start"),
                f'<circle cx="240" cy="18" r="5" fill="{SHOCKED}"/>',
                text(252, 22, "with sites and batches that fail together", "start"),
                text((LOSS_LEFT + LOSS_RIGHT) / 2, 44, "probability that a ring is lost in a year"),
                text(
                    (TRAFFIC_LEFT + TRAFFIC_RIGHT) / 2,
                    44,
                    "moved by repair for 1 TB stored in a year",
                ),
                *parts,
                "</svg>",
            ]
        )
        + "\n"
    )
