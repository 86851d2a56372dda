"""Seeded bugs: one line of the product changed at import, to prove that the simulator would see it.

The list is in ``tests/sim/mutants.toml`` with the seed that finds each. The change is made to the
source text as it is imported, in a process of its own; no file is written.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
MOST_SEEDS: Final = 500
"""A mutant that so many seeds do not find is not found."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One seeded bug.

    Args:
        name: what is broken, in words with dashes.
        module: the dotted module whose source is changed.
        old, new: the text replaced; ``old`` occurs exactly once.
        scenario: the scenario that finds it.
        seed: a seed that finds it (the first one found).
        minutes: virtual minutes of that run.
    """

    name: str
    module: str
    old: str
    new: str
    scenario: str
    seed: int
    minutes: float


def load_mutants(path: Path) -> list[Mutant]:
    """Read the list."""
    with path.open("rb") as file:
        return [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]


def source_path(module: str) -> Path:
    """The file of a module of the product."""
    return ROOT / (module.replace(".", "/") + ".py")


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module, str(source_path(mutant.module)))
        self._mutant = mutant

    def path_stats(self, path: str) -> Any:
        raise OSError("no bytecode cache for changed source")

    def get_data(self, path: str) -> bytes:
        text = super().get_data(path).decode()
        count = text.count(self._mutant.old)
        if count != 1:
            raise ImportError(f"mutant {self._mutant.name}: its text occurs {count} times")
        return text.replace(self._mutant.old, self._mutant.new).encode()


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        return importlib.machinery.ModuleSpec(
            fullname, _Loader(self._mutant), origin=str(source_path(fullname))
        )


def install(mutant: Mutant) -> None:
    """From now on this process imports the changed module.

    Call it before anything of the product is imported.
    """
    assert mutant.module not in sys.modules, f"{mutant.module} is imported already"
    sys.meta_path.insert(0, _Finder(mutant))


def main(arguments: Sequence[str]) -> int:
    """``python -m sim.mutation LIST NAME FIRST LAST``: run a mutant until a seed finds it.

    Returns:
        0 and prints the seed when found; 1 when no seed in the range finds it.
    """
    listing, name, first, last = arguments
    mutant = next(each for each in load_mutants(Path(listing)) if each.name == name)
    install(mutant)
    import dataclasses  # noqa: PLC0415 - only after the change is installed

    from sim.scenario import SCENARIOS, run_scenario  # noqa: PLC0415

    scenario = dataclasses.replace(SCENARIOS[mutant.scenario], minutes=mutant.minutes)
    for seed in range(int(first), int(last) + 1):
        report = run_scenario(scenario, seed)
        if not report.holds:
            sys.stdout.write(f"{name}: found by seed {seed}: {report.violations[0][:300]}\n")
            return 0
    sys.stdout.write(f"{name}: not found by seeds {first}..{last}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
