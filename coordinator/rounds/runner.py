"""The runner of a coordinator's rounds."""

from __future__ import annotations

from collections.abc import Iterable

from common.errors import AlvearyError
from common.ports import Log
from common.reasons import Refusal
from common.tasks import Round, repeat_all


async def run_rounds(rounds: Iterable[Round], log: Log) -> None:
    """Repeat each round until cancelled."""

    def log_failure(name: str, error: AlvearyError) -> None:
        if error.reason != Refusal.NOT_LEADER:  # another coordinator does this work
            log.error(f"{name}_failed", error=str(error))

    await repeat_all(rounds, log=log, log_failure=log_failure)
