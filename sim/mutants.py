"""``python -m sim.mutants LIST PAGE``: find every seeded bug again, from seed 1 on.

Writes the first seed that finds each into the list, and the table of the documentation's page.
"""

from __future__ import annotations

import concurrent.futures
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from sim.mutation import MOST_SEEDS, Mutant, load_mutants
from sim.seeds import default_processes

BEGIN: Final = "<!-- mutants: made by `make mutants` -->"
END: Final = "<!-- end of mutants -->"
_FOUND: Final = re.compile(r"found by seed (\d+): (.*)", re.DOTALL)


def table(mutants: Sequence[Mutant]) -> str:
    """The mutants as a table of Markdown."""
    rows = [
        f"| {mutant.name.replace('-', ' ')} | {_places(mutant)} | {mutant.scenario},"
        f" {mutant.minutes:g} min | {mutant.seed} |"
        for mutant in mutants
    ]
    head = ["| What is broken | Where | Scenario | Found by seed |", "| --- | --- | --- | ---: |"]
    return "\n".join([*head, *rows])


def _places(mutant: Mutant) -> str:
    return ", ".join(f"`{module}`" for module in mutant.modules)


def with_table(page: str, mutants: Sequence[Mutant]) -> str:
    """A page of documentation with the table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(mutants)}\n\n{END}{rest.partition(END)[2]}"


def with_seed(listing: str, mutant: Mutant) -> str:
    """The text of the list with another seed for one mutant."""
    at = listing.index(f'name = "{mutant.name}"')
    rest = re.sub(r"^seed = \d+$", f"seed = {mutant.seed}", listing[at:], count=1, flags=re.M)
    return listing[:at] + rest


def find(listing: Path, mutant: Mutant, last: int) -> tuple[Mutant, int | None, str]:
    """Run one mutant in a process of its own.

    Returns:
        The mutant, the first seed of 1..last that finds it (None: no one does), and what it says.
    """
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "sim.mutation", str(listing), mutant.name, "1", str(last)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = _FOUND.search(done.stdout)
    if found is None:
        return mutant, None, done.stdout + done.stderr[-2000:]
    return mutant, int(found.group(1)), found.group(2)


@click.command()
@click.argument("listing", type=click.Path(path_type=Path))
@click.argument("page", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, help="Look for this one (may be given again).")
@click.option("--last", default=MOST_SEEDS, show_default=True, help="The last seed to try.")
@click.option("--processes", type=int, help="Mutants at once. [default: one per core]")
def main(
    listing: Path, page: Path, only: tuple[str, ...], last: int, processes: int | None
) -> None:
    """Find every mutant of LISTING again and write its seed down, there and in PAGE."""
    chosen = [each for each in load_mutants(listing) if not only or each.name in only]
    missed = []
    with concurrent.futures.ThreadPoolExecutor(processes or default_processes()) as pool:
        for mutant, seed, words in pool.map(lambda each: find(listing, each, last), chosen):
            if seed is None:
                missed.append(mutant.name)
                click.echo(f"{mutant.name}: NOT FOUND by seeds 1..{last}: {words.strip()[-300:]}")
                continue
            click.echo(f"{mutant.name}: seed {seed}: {words.splitlines()[0][:120]}")
            text = with_seed(listing.read_text(), replace(mutant, seed=seed))
            listing.write_text(text)
            if page.exists():
                page.write_text(with_table(page.read_text(), load_mutants(listing)))
    click.echo(f"{len(chosen) - len(missed)} of {len(chosen)} mutants found")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
