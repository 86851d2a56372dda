"""The report: medians over the rounds, as Markdown that reads well in a terminal too."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.floor import OBJECT_BYTES, Floor
from bench.rebuild import FLOOR_BYTES, Rebuild
from common.limits import GIB, MIB

BEGIN: Final = "<!-- make bench: begin -->"
END: Final = "<!-- make bench: end -->"


@dataclass(frozen=True, slots=True)
class Large:
    """One measurement of 64 MiB objects. CPU of all daemons, and of the client beside it."""

    kind: str
    connections: int
    signed: bool
    mib_per_s: float
    cpu_s_per_gib: float
    client_cpu_s_per_gib: float

    @property
    def key(self) -> tuple[str, int, bool]:
        """Return the key of the measurement: kind, connections, signed."""
        return self.kind, self.connections, self.signed


@dataclass(frozen=True, slots=True)
class Small:
    """One measurement of 4 KiB objects."""

    kind: str
    connections: int
    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms_each: float
    client_cpu_ms_each: float

    @property
    def key(self) -> tuple[str, int]:
        """Return the key of the measurement: kind and connections."""
        return self.kind, self.connections


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]

    def line(values: Sequence[str]) -> str:
        first, *rest = zip(values, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(value.rjust(width) for value, width in rest)]
        return "| " + " | ".join(cells) + " |"

    marks = [f"{'-' * (widths[0] + 1)}-", *(f"{'-' * (width + 1)}:" for width in widths[1:])]
    return [line(headings), "|" + "|".join(marks) + "|", *(line(row) for row in rows)]


def _large_rows(samples: Sequence[Large], floor: Floor) -> list[list[str]]:
    rows = []
    for key in dict.fromkeys(each.key for each in samples):
        same = [each for each in samples if each.key == key]
        kind, connections, signed = key
        speed = statistics.median(each.mib_per_s for each in same)
        seconds = floor.put_s if kind == "put" else floor.get_s
        ratio = speed / (OBJECT_BYTES / MIB / seconds)
        rows.append(
            [
                f"{kind.upper()}, {connections} conn.{', signed body' if signed else ''}",
                f"{speed:.0f}",
                f"{statistics.median(each.cpu_s_per_gib for each in same):.1f}",
                f"{statistics.median(each.client_cpu_s_per_gib for each in same):.1f}",
                f"{ratio:.2f}",
            ]
        )
    return rows


def _small_rows(samples: Sequence[Small]) -> list[list[str]]:
    rows = []
    for key in dict.fromkeys(each.key for each in samples):
        same = [each for each in samples if each.key == key]
        kind, connections = key
        rows.append(
            [
                f"{kind.upper()}, {connections} conn.",
                f"{statistics.median(each.per_s for each in same):.0f}",
                f"{statistics.median(each.p50_ms for each in same):.1f}",
                f"{statistics.median(each.p99_ms for each in same):.1f}",
                f"{statistics.median(each.cpu_ms_each for each in same):.2f}",
                f"{statistics.median(each.client_cpu_ms_each for each in same):.2f}",
            ]
        )
    return rows


def _floor_rows(steps: Mapping[str, float]) -> list[list[str]]:
    total = sum(steps.values())
    rows = [[name, f"{seconds * 1000:.0f}"] for name, seconds in steps.items()]
    speed = OBJECT_BYTES / MIB / total
    return [*rows, [f"sum ({speed:.0f} MiB/s)", f"{total * 1000:.0f}"]]


def _rebuild_lines(rebuild: Rebuild) -> list[str]:
    per_gib = GIB / FLOOR_BYTES
    rows = [[name, f"{seconds * per_gib:.2f}"] for name, seconds in rebuild.floor.items()]
    rows.append(["sum", f"{rebuild.floor_s_per_gib:.2f}"])
    size = rebuild.shard_bytes / MIB
    return [
        f"Rebuild of a lost cell's shards ({size:.0f} MiB at {size / rebuild.elapsed_s:.0f} MiB/s):"
        f" {rebuild.cpu_s_per_gib:.1f} CPU-s per GiB, all daemons together. Floor, CPU-s per GiB:",
        "",
        *_table(["", "CPU-s/GiB"], rows),
    ]


def render(
    *,
    where: str,
    redundancy: str,
    cells: int,
    rounds: int,
    floor: Floor,
    large: Sequence[Large],
    small: Sequence[Small],
    idle: Mapping[str, tuple[float, float]],
    loaded: Mapping[str, tuple[float, float]],
    rebuild: Rebuild,
) -> str:
    """The whole report as Markdown; every figure is the median of the rounds."""
    memory = [
        [role, f"{idle[role][0]:.0f}", f"{loaded[role][0]:.0f}", f"{loaded[role][1]:.0f}"]
        for role in idle
    ]
    lines = [
        f"Machine: {where}. Redundancy {redundancy}, {cells} cells, all daemons and the client on "
        f"it. Medians of {rounds} rounds.",
        "",
        "64 MiB objects (CPU seconds per GiB: all daemons together; ratio: to the floor below):",
        "",
        *_table(["", "MiB/s", "CPU-s/GiB", "client CPU-s/GiB", "ratio"], _large_rows(large, floor)),
        "",
        "4 KiB objects:",
        "",
        *_table(
            ["", "per s", "p50 ms", "p99 ms", "CPU ms each", "client CPU ms each"],
            _small_rows(small),
        ),
        "",
        "Resident memory, MiB (the largest process of each role):",
        "",
        *_table(["", "idle", "after the load", "peak"], memory),
        "",
        "Floor of a 64 MiB PUT, ms, from primitives on one core:",
        "",
        *_table(["", "ms"], _floor_rows(floor.put)),
        "",
        "Floor of a 64 MiB GET, ms:",
        "",
        *_table(["", "ms"], _floor_rows(floor.get)),
        "",
        *_rebuild_lines(rebuild),
    ]
    return "\n".join(lines)


def write_page(path: Path, report: str) -> None:
    """Put the report between the marks of a page, and leave the rest of the page as it is."""
    text = (
        path.read_text(encoding="utf-8") if path.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    )
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has lost its marks {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{report}\n{END}{after}", encoding="utf-8")
