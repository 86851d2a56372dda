"""How much a test run does: a part of what takes long in ``make test``, all in
``make thorough-test``."""

from __future__ import annotations

import os
from typing import Final, TypeVar

T = TypeVar("T")
IS_THOROUGH: Final = os.environ.get("ALVEARY_THOROUGH") == "1"


def quick_or(quick: T, thorough: T) -> T:
    """What this run does of the two."""
    return thorough if IS_THOROUGH else quick
