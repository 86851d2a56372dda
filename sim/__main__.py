"""``python -m sim``: run simulated swarms and say what held."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from sim.picture import draw
from sim.run import Report
from sim.scenario import SCENARIOS
from sim.seeds import (
    SeedJob,
    ci_jobs,
    default_processes,
    failed_seeds,
    how_to_replay,
    run_seeds,
)

TIMELINE_EVENTS: Final = 60


def _seeds(text: str) -> range:
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if found is None:
        raise click.BadParameter("write it as A..B, for example 1..200", param_hint="--seeds")
    return range(int(found.group(1)), int(found.group(2)) + 1)


def _timeline(report: Report) -> str:
    lines = [
        f"  {event.time_s:10.3f} s  {event.node:<13} {event.event}  {event.facts}"
        for event in report.events[-TIMELINE_EVENTS:]
    ]
    return "\n".join(lines)


def _tell_failure(report: Report, pictures: Path | None) -> None:
    click.echo(f"\nseed {report.seed} of {report.scenario!r} failed:")
    for violation in report.violations:
        click.echo(f"  - {violation}")
    click.echo(f"  operations: {report.counts}\n  faults: {report.faults}")
    click.echo(f"  the last {TIMELINE_EVENTS} events:\n{_timeline(report)}")
    if pictures is not None:
        click.echo(f"  picture: {_draw(report, pictures)}")
    click.echo(f"  again: {how_to_replay(report)}")


def _draw(report: Report, pictures: Path) -> Path:
    pictures.mkdir(parents=True, exist_ok=True)
    path = pictures / f"{report.scenario}-{report.seed}.svg"
    path.write_text(draw(report.events, f"{report.scenario}, seed {report.seed}"))
    return path


@click.command()
@click.option("--seed", type=int, help="Run this one seed and show its timeline.")
@click.option("--seeds", help="Run the seeds A..B (both included).")
@click.option(
    "--scenario",
    "name",
    type=click.Choice(sorted(SCENARIOS)),
    default="everything",
    show_default=True,
)
@click.option("--minutes", type=float, help="Virtual minutes of work under faults in each run.")
@click.option("--for", "real_minutes", type=float, help="Run ever new seeds for so many minutes.")
@click.option("--replay", is_flag=True, help="Run the seeds that once failed.")
@click.option("--ci", is_flag=True, help="Run the seeds that each change must hold.")
@click.option("--processes", type=int, help="Runs at once. [default: one per core]")
@click.option(
    "--pictures",
    type=click.Path(path_type=Path),
    help="Folder for an SVG of each failed run (and of --seed).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per run.")
def main(
    seed: int | None,
    seeds: str | None,
    name: str,
    minutes: float | None,
    real_minutes: float | None,
    replay: bool,
    ci: bool,
    processes: int | None,
    pictures: Path | None,
    as_json: bool,
) -> None:
    """Run the whole swarm in one process per seed, with faults, and check what must hold.

    Exit code 0: everything held. 1: something did not. The last line says what.
    """
    scenario = SCENARIOS[name]
    if minutes is not None:
        scenario = dataclasses.replace(scenario, minutes=minutes)
    until_s = None if real_minutes is None else time.monotonic() + real_minutes * 60
    jobs: Iterable[SeedJob]
    total: int | None
    if replay:
        jobs = failed_seeds()
        total = len(jobs)
    elif ci:
        jobs = ci_jobs()
        total = len(jobs)
    elif seed is not None:
        jobs, total = [SeedJob(scenario, seed, keeps_events=pictures is not None)], 1
    elif real_minutes is not None and seeds is None:
        start = time.time_ns() // 1000 % 10**9
        jobs, total = (SeedJob(scenario, number) for number in itertools.count(start)), None
    else:
        chosen = _seeds(seeds or "1..20")
        jobs, total = [SeedJob(scenario, number) for number in chosen], len(chosen)
    count = min(processes or default_processes(), total or 10**9) or 1
    _report(run_seeds(jobs, count, until_s=until_s), total, seed is not None, pictures, as_json)


def _report(
    reports: Iterable[Report],
    total: int | None,
    is_single: bool,
    pictures: Path | None,
    as_json: bool,
) -> None:
    began = time.perf_counter()
    done, virtual_s = 0, 0.0
    failed: list[Report] = []
    is_shown = sys.stderr.isatty() and not as_json
    for report in reports:
        done += 1
        virtual_s += report.virtual_s
        if as_json:
            facts = dataclasses.asdict(report)
            facts.pop("events")
            click.echo(json.dumps(facts))
        elif not report.holds:
            _tell_failure(report, pictures)
        elif is_single:
            click.echo(f"operations: {report.counts}\nfaults: {report.faults}")
            click.echo(f"trace: {report.steps} steps, digest {report.digest}")
            if pictures is not None:
                click.echo(f"picture: {_draw(report, pictures)}")
        if not report.holds:
            failed.append(report)
        if is_shown:
            share = f"{done}/{total}" if total else f"{done}"
            speed = virtual_s / max(1e-9, time.perf_counter() - began)
            filled = "#" * (30 * done // total if total else done % 30)
            click.echo(
                f"\r[{filled:<30}] {share} seeds, {len(failed)} failed, {speed:.0f}x real time ",
                nl=False,
                err=True,
            )
    if is_shown:
        click.echo("", err=True)
    speed = virtual_s / max(1e-9, time.perf_counter() - began)
    summary = f"{virtual_s / 60:.0f} virtual minutes at {speed:.0f}x real time"
    if failed:
        names = ", ".join(str(report.seed) for report in failed[:20])
        click.echo(f"{len(failed)} of {done} seeds failed ({names}); {summary}", err=as_json)
        raise SystemExit(1)
    seeds = "seed" if done == 1 else "seeds"
    click.echo(
        f"{done} {seeds} held: durability, linearizability, listings, ownership, accounting and "
        f"bounds; {summary}",
        err=as_json,
    )


if __name__ == "__main__":
    main()
