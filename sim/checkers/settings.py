"""Settings that change while clients ask, and what they may be at a moment.

A change counts from the moment at which it is asked for, and what it replaces for as long as
gateways may remember it after the change was acknowledged. A change without an answer may have been
carried out, or may be at any later time.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

import trio

from common.data_classes import dataclass

T = TypeVar("T")


@dataclass(slots=True)
class Spell(Generic[T]):
    """A value that may be in force until a virtual time. ``is_open``: it was asked for, and nobody
    knows whether it was carried out."""

    value: T
    is_open: bool = False
    until_s: float = math.inf


class Setting(Generic[T]):
    """The values that a setting may have, over time.

    Args:
        value: that it certainly has now.
        remembered_s: gateways may go by a former value for so long.
    """

    def __init__(self, value: T, remembered_s: float = 0.0) -> None:
        self._remembered_s = remembered_s
        self._spells = [Spell(value)]

    def asked(self, value: T) -> Spell[T]:
        """Take in that a change is asked for. Returns it, open."""
        spell = Spell(value, is_open=True)
        self._spells.append(spell)
        return spell

    def answered(self, spell: Spell[T]) -> None:
        """Take in that a change was acknowledged; others that are open may follow it."""
        spell.is_open = False
        self._end([each for each in self._spells if each is not spell and not each.is_open])

    def refused(self, spell: Spell[T]) -> None:
        """Take in that a change was certainly not carried out."""
        self._spells = [each for each in self._spells if each is not spell]

    def settled(self, value: T) -> None:
        """Take in what it is, and that no change that is open can follow."""
        self._end(self._spells)
        self._spells.append(Spell(value))

    def _end(self, spells: list[Spell[T]]) -> None:
        until_s = trio.current_time() + self._remembered_s
        for each in spells:
            each.until_s = min(each.until_s, until_s)

    def possible(self, since_s: float) -> set[T]:
        """Return the values that may have been in force at some time since a virtual time."""
        return {each.value for each in self._spells if each.until_s >= since_s}
