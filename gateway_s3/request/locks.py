"""Headers about locks: of objects that a request makes, of versions that it deletes, of answers.

Source: Amazon S3 API Reference, PutObject, DeleteObject, PutObjectRetention; Amazon S3 User Guide,
"Object Lock considerations".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from common import limits
from common.http.records import Headers, HttpRequest
from common.wire.messages.locks import (
    COMPLIANCE,
    GOVERNANCE,
    HOLD_NEVER_SET,
    HOLD_OFF,
    HOLD_ON,
    NO_RETENTION,
    Lock,
)
from gateway_s3 import errors
from gateway_s3.errors import S3Error

MODE: Final = b"x-amz-object-lock-mode"
UNTIL: Final = b"x-amz-object-lock-retain-until-date"
HOLD: Final = b"x-amz-object-lock-legal-hold"
BYPASS: Final = b"x-amz-bypass-governance-retention"
OF_BUCKET: Final = b"x-amz-bucket-object-lock-enabled"
MODES: Final[Mapping[str, int]] = {"GOVERNANCE": GOVERNANCE, "COMPLIANCE": COMPLIANCE}
HOLDS: Final[Mapping[str, int]] = {"ON": HOLD_ON, "OFF": HOLD_OFF}
MODE_NAMES: Final = {mode: name for name, mode in MODES.items()}
HOLD_NAMES: Final = {hold: name for name, hold in HOLDS.items()}


def lock_of_request(request: HttpRequest, now_ms: int) -> Lock:
    """Return the lock that a request's headers give to the object that it makes.

    Args:
        now_ms: unix milliseconds, which the end of a retention must be after.

    Raises:
        S3Error: InvalidArgument.
    """
    mode, until, hold = (_text(request, name) for name in (MODE, UNTIL, HOLD))
    if (mode is None) != (until is None):
        raise _invalid(
            MODE if mode is None else UNTIL,
            "",
            f"{UNTIL.decode()} and {MODE.decode()} must both be supplied",
        )
    if hold is not None and hold not in HOLDS:
        raise _invalid(HOLD, hold, "Legal Hold must be either of 'ON' or 'OFF'")
    held = HOLD_NEVER_SET if hold is None else HOLDS[hold]
    if mode is None or until is None:
        return Lock(hold=held)
    if mode not in MODES:
        raise _invalid(MODE, mode, "Unknown wormMode directive.")
    until_ms = parse_date(until)
    if until_ms is None:
        raise _invalid(UNTIL, until, "The retain until date must be provided in ISO 8601 format")
    check_date(until_ms, now_ms)
    return Lock(MODES[mode], until_ms, held)


def check_date(until_ms: int, now_ms: int) -> None:
    """Refuse a retention that would be over before it begins. Raises S3Error InvalidArgument."""
    if until_ms <= now_ms:
        raise S3Error(errors.INVALID_ARGUMENT, "The retain until date must be in the future!")


def parse_date(text: str) -> int | None:
    """Return unix milliseconds of a date with its time in ISO 8601; None where it is none, or
    nothing that can be kept."""
    if "T" not in text or not text.isascii() or len(text) > limits.MAX_DATE_CHARACTERS:
        return None
    try:
        moment = datetime.fromisoformat(text)
        milliseconds = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return milliseconds if 0 < milliseconds <= limits.MAX_DATE_MS else None


def asks_bypass(request: HttpRequest) -> bool:
    """Return whether a request asks that GOVERNANCE does not count."""
    return (request.header(BYPASS) or b"").lower() == b"true"


def asks_locks(request: HttpRequest) -> bool:
    """Return whether a request asks for a bucket whose versions can be locked."""
    return (request.header(OF_BUCKET) or b"").lower() == b"true"


def retention_headers(lock: Lock, shown_until: str) -> Headers:
    """The headers that show the retention of a version; none where none was set.

    Args:
        shown_until: its end as S3 writes it.
    """
    if lock.mode == NO_RETENTION:
        return []
    return [(MODE, MODE_NAMES[lock.mode].encode()), (UNTIL, shown_until.encode())]


def hold_headers(lock: Lock) -> Headers:
    """The header that shows the legal hold of a version; none where it was never set."""
    return [] if lock.hold == HOLD_NEVER_SET else [(HOLD, HOLD_NAMES[lock.hold].encode())]


def _text(request: HttpRequest, name: bytes) -> str | None:
    value = request.header(name)
    return None if value is None else value.decode("latin-1")


def _invalid(name: bytes, value: str, message: str) -> S3Error:
    return S3Error(
        errors.INVALID_ARGUMENT,
        message,
        ArgumentName=name.decode("ascii"),
        ArgumentValue=value[: limits.MAX_DATE_CHARACTERS],
    )
