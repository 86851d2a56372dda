"""Steps that make a store of one version of a store of the version before, beside coordinators that
know the older one only.

A step **expands**, or it **contracts**. One that expands adds tables, columns with a default, and
indexes: code of the version before does not notice. One that contracts takes away what no code of
its own version uses: code of the version before would fail. So a change of tables is made in two
releases: the first expands, writes both forms and reads either; the second contracts.

Source: docs/decisions/0060-rolling-upgrades.md.
"""

from __future__ import annotations

from enum import Enum, auto

from common.data_classes import dataclass


class StepKind(Enum):
    """The effect of a step on code of the version before."""

    EXPAND = auto()
    """Nothing: it is carried out by the first coordinator that knows it."""
    CONTRACT = auto()
    """It can use the store no longer: carried out once no coordinator has it open that does not
    know this step."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step. ``statements``: carried out in one transaction, with the note that they were."""

    kind: StepKind
    statements: tuple[str, ...]


def expand(*statements: str) -> Step:
    """Return a step that adds something."""
    return Step(StepKind.EXPAND, statements)


def contract(*statements: str) -> Step:
    """Return a step that takes something away."""
    return Step(StepKind.CONTRACT, statements)
