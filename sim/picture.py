"""A picture of a run for a person: events per node over time, as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from sim.trace import TraceEvent

ROW_HEIGHT: Final = 26
LEFT: Final = 130
WIDTH: Final = 1100
TOP: Final = 50
MAX_MARKS: Final = 6000


def _colour(event: TraceEvent) -> tuple[str, str]:
    """Fill and the word of the legend."""
    if event.event in ("power cut", "killed"):
        return "#c1121f", "crash"
    if event.event.startswith("fault"):
        return "#e07a1f", "fault"
    if event.event.startswith("error"):
        return "#7b2cbf", "error"
    if event.event.startswith("warning"):
        return "#c9a227", "warning"
    return "#2a6f97", "event"


def draw(events: Iterable[TraceEvent], title: str) -> str:
    """An SVG document: a row per node, a mark per event, its words on hovering.

    Args:
        events: in time order; beyond MAX_MARKS the earliest are left out.
        title: the headline.
    """
    shown = list(events)[-MAX_MARKS:]
    nodes = sorted({event.node for event in shown})
    end_s = max((event.time_s for event in shown), default=1.0)
    start_s = min((event.time_s for event in shown), default=0.0)
    scale = (WIDTH - LEFT - 20) / max(1e-9, end_s - start_s)
    height = TOP + ROW_HEIGHT * len(nodes) + 50
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="22" font-size="16">{escape(title)}</text>',
    ]
    rows = {node: TOP + ROW_HEIGHT * number for number, node in enumerate(nodes)}
    for node, y in rows.items():
        out.append(f'<text x="10" y="{y + 15}">{escape(node)}</text>')
        out.append(
            f'<line x1="{LEFT}" y1="{y + 11}" x2="{WIDTH - 20}" y2="{y + 11}" stroke="#ddd"/>'
        )
    legend: dict[str, str] = {}
    for event in shown:
        colour, word = _colour(event)
        legend[word] = colour
        x = LEFT + (event.time_s - start_s) * scale
        words = escape(f"{event.time_s:.3f} {event.event} {event.facts}")
        out.append(
            f'<rect x="{x:.1f}" y="{rows[event.node] + 3}" width="2.5" height="16" '
            f'fill="{colour}"><title>{words}</title></rect>'
        )
    bottom = TOP + ROW_HEIGHT * len(nodes) + 18
    for step in range(6):
        moment = start_s + (end_s - start_s) * step / 5
        x = LEFT + (moment - start_s) * scale
        out.append(f'<text x="{x:.0f}" y="{bottom}" fill="#555">{moment:.0f} s</text>')
    for number, (word, colour) in enumerate(sorted(legend.items())):
        x = LEFT + number * 110
        out.append(f'<rect x="{x}" y="{bottom + 10}" width="10" height="10" fill="{colour}"/>')
        out.append(f'<text x="{x + 15}" y="{bottom + 20}">{word}</text>')
    out.append("</svg>")
    return "\n".join(out)
