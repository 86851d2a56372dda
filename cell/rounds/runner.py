"""The runner of a cell's rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from common.errors import AlvearyError
from common.ports import Chance, Log
from common.tasks import Round, repeat_all


async def run_rounds(rounds: Iterable[Round], chance: Chance, log: Log) -> None:
    """Repeat each round until cancelled, never in step with other cells."""

    def log_failure(name: str, error: AlvearyError) -> None:
        log.warning(f"{name}_failed", error=str(error))

    def varied(pause_s: Callable[[], float]) -> float:
        return pause_s() * chance.uniform(0.9, 1.1)

    uneven = [replace(each, pause_s=partial(varied, each.pause_s)) for each in rounds]
    await repeat_all(uneven, log=log, log_failure=log_failure)
