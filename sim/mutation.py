"""Seeded bugs: one line of the product changed at import, to prove that the simulator would see it.

The list is in ``tests/sim/mutants.toml`` with the seed that finds each. The change is made to the
source text as it is imported, in a process of its own; no file is written. Where the product holds
by two independent defences, a seeded bug takes both away: one alone changes nothing that shows.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import tomllib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from common.data_classes import dataclass

ROOT: Final = Path(__file__).parent.parent
MOST_SEEDS: Final = 500
"""A mutant that so many seeds do not find is not found."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of source text.

    Args:
        module: the dotted module whose source is changed.
        old, new: the text replaced; ``old`` occurs exactly once.
    """

    module: str
    old: str
    new: str

    def applied_to(self, text: str) -> str:
        """The source of the module, changed.

        Raises:
            ImportError: the text is not there exactly once.
        """
        count = text.count(self.old)
        if count != 1:
            raise ImportError(f"{self.module}: the text occurs {count} times: {self.old[:60]!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One seeded bug.

    Args:
        name: what is broken, in words with dashes.
        changes: what is changed.
        scenario: the scenario that finds it.
        seed: a seed that finds it (the first one found).
        minutes: virtual minutes of that run.
        finding: words of the violation that counts; empty: any. For a bug that several checkers
            would see, of which one is to be proven.
    """

    name: str
    changes: tuple[Change, ...]
    scenario: str
    seed: int
    minutes: float
    finding: str = ""

    def found_by(self, violations: Sequence[str]) -> str | None:
        """The first violation that counts, if there is one."""
        return next((each for each in violations if self.finding in each), None)

    @property
    def modules(self) -> list[str]:
        """The dotted modules that are changed, each once."""
        return list(dict.fromkeys(change.module for change in self.changes))

    def source(self, module: str) -> str:
        """The changed source of a module. Raises as :meth:`Change.applied_to`."""
        text = source_path(module).read_text()
        for change in self.changes:
            if change.module == module:
                text = change.applied_to(text)
        return text


def load_mutants(path: Path) -> list[Mutant]:
    """Read the list. An entry's further changes are its ``also``."""
    with path.open("rb") as file:
        entries = tomllib.load(file)["mutant"]
    return [
        Mutant(
            entry["name"],
            tuple(
                Change(each["module"], each["old"], each["new"])
                for each in (entry, *entry.get("also", ()))
            ),
            entry["scenario"],
            entry["seed"],
            entry["minutes"],
            entry.get("finding", ""),
        )
        for entry in entries
    ]


def source_path(module: str) -> Path:
    """The file of a module of the product."""
    return ROOT / (module.replace(".", "/") + ".py")


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, mutant: Mutant, module: str) -> None:
        super().__init__(module, str(source_path(module)))
        self._mutant = mutant
        self._module = module

    def path_stats(self, path: str) -> Any:
        raise OSError("no bytecode cache for changed source")

    def get_data(self, path: str) -> bytes:
        return self._mutant.source(self._module).encode()


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname not in self._mutant.modules:
            return None
        loader = _Loader(self._mutant, fullname)
        return importlib.machinery.ModuleSpec(fullname, loader, origin=str(source_path(fullname)))


def install(mutant: Mutant) -> None:
    """From now on this process imports the changed modules.

    Call it before anything of the product is imported.
    """
    for module in mutant.modules:
        assert module not in sys.modules, f"{module} is imported already"
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

    from sim.run import run_scenario  # noqa: PLC0415 - as above
    from sim.scenario import SCENARIOS  # noqa: PLC0415 - as above

    scenario = dataclasses.replace(SCENARIOS[mutant.scenario], minutes=mutant.minutes)
    for seed in range(int(first), int(last) + 1):
        report = run_scenario(scenario, seed)
        found = mutant.found_by(report.violations)
        if found is not None:
            sys.stdout.write(f"{name}: found by seed {seed}: {found[:300]}\n")
            return 0
    sys.stdout.write(f"{name}: not found by seeds {first}..{last}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
