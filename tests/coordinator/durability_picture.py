"""The picture of docs/durability.md: yearly loss over repair time, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from coordinator.policy.durability import HOURS_PER_YEAR, lazy_repair, nines

CLASSES = ((1, 2), (2, 4), (4, 6), (6, 9), (8, 12), (10, 16))
COLOURS = ("#9b2226", "#ca6702", "#b58900", "#2a9d8f", "#1d5c9b", "#5a189a")
HOURS = (1, 3, 6, 12, 24, 72, 168)
MOST_NINES = 21
WIDTH, HEIGHT = 880, 440
TOP, BOTTOM = 60, 380
PANEL_WIDTH = 310
PANELS = ((1, 70), (4, 500))
LABEL_GAP = 13.0


def loss_nines(k: int, n: int, mttf_years: float, repair_hours: float) -> float:
    repair = lazy_repair(
        k, n, threshold=n, mttf_hours=mttf_years * HOURS_PER_YEAR, repair_hours=repair_hours
    )
    return nines(repair.annual_loss)


def x_of(left: float, hours: float) -> float:
    first, last = log10(HOURS[0]), log10(HOURS[-1])
    return left + PANEL_WIDTH * (log10(hours) - first) / (last - first)


def y_of(value: float) -> float:
    return TOP + (BOTTOM - TOP) * min(value, MOST_NINES) / MOST_NINES


def apart(wanted: Sequence[float]) -> list[float]:
    """The heights, moved down where they are too near to each other."""
    placed = list(wanted)
    last = -LABEL_GAP
    for number in sorted(range(len(wanted)), key=lambda number: wanted[number]):
        placed[number] = last = max(wanted[number], last + LABEL_GAP)
    return placed


def text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{words}</text>'


def panel(mttf_years: int, left: float) -> list[str]:
    right = left + PANEL_WIDTH
    title = f"cells live for {mttf_years} year{'s' if mttf_years > 1 else ''}"
    parts = [text(left + PANEL_WIDTH / 2, TOP - 14, title, more=' font-weight="bold"')]
    for value in range(0, MOST_NINES + 1, 3):
        y = y_of(value)
        parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="#ddd"/>')
        label = "1" if not value else f"10<tspan dy='-5' font-size='9'>-{value}</tspan>"
        parts.append(text(left - 8, y + 4, label, "end"))
    for hours in HOURS:
        x = x_of(left, hours)
        parts.append(f'<path d="M{x:.1f} {TOP}V{BOTTOM}" stroke="#eee"/>')
        parts.append(text(x, BOTTOM + 18, f"{hours} h" if hours < 168 else "1 week"))
    parts.append(text(left + PANEL_WIDTH / 2, BOTTOM + 40, "time to repair"))
    heights = apart([y_of(loss_nines(k, n, mttf_years, HOURS[-1])) + 4 for k, n in CLASSES])
    for (k, n), colour, height in zip(CLASSES, COLOURS, heights, strict=True):
        points = " ".join(
            f"{x_of(left, hours):.1f},{y_of(loss_nines(k, n, mttf_years, hours)):.1f}"
            for hours in HOURS
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(text(right + 8, height, f"{k}/{n}", "start", f' fill="{colour}"'))
    return parts


def picture() -> str:
    """The whole file."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        "<title>Yearly loss of a segment over the time to repair, by redundancy class</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(
            WIDTH / 2,
            22,
            "Yearly probability that a segment is lost (independent failures, eager repair)",
            more=' font-size="14"',
        ),
    ]
    for mttf_years, left in PANELS:
        parts += panel(mttf_years, left)
    return "\n".join([*parts, "</svg>"]) + "\n"
