"""The report of a rescue.

Source: docs/rescue.md, "The report".
"""

from __future__ import annotations

from typing import Any

from rescue.journal_reading import ReadJournal


def journal_report(journal: ReadJournal) -> dict[str, Any]:
    """Return what is to be known of a journal that was read, for JSON."""
    members = journal.members
    return {
        "sequence": journal.end.sequence,
        "epoch": journal.end.epoch,
        "read_from": None if journal.source is None else journal.source.hex(),
        "members": 0 if members is None else len(members.members),
        "answered": journal.answered,
        "may_lack_newest": journal.may_lack_newest,
        "unusable": {cell.hex(): why for cell, why in journal.unusable.items()},
    }
