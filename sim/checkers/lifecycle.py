"""The rules of a lifecycle once more, beside the product: versions that may be gone by now, and
those that must be.

Before its time nothing goes; after it, it goes. Between the two lies what nobody outside can know:
which clock a gateway had when it stamped a version, and when a lifecycle ran.

Source: docs/s3-compatibility.md, "Lifecycle".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.data_classes import dataclass

DAY_S: Final = 20
"""The length of a lifecycle day in runs whose clients set rules."""
_DAY_MS: Final = DAY_S * 1000
LONG_AGO: Final = "2001-01-01T00:00:00Z"
FAR_AHEAD: Final = "2095-01-01T00:00:00Z"
TAG: Final = "drop"
"""The tag, with the value yes, that rules ask for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for keys that begin with a prefix. ``newer``: noncurrent versions that stay."""

    prefix: str
    days: int = 0
    date: str = ""
    is_tagged: bool = False
    larger_than: int | None = None
    noncurrent_days: int = 0
    newer: int = 0
    removes_markers: bool = False
    abort_days: int = 0
    is_enabled: bool = True

    def document(self) -> str:
        """The rule in XML."""
        parts = [f"<Prefix>{self.prefix}</Prefix>"]
        if self.is_tagged:
            parts.append(f"<Tag><Key>{TAG}</Key><Value>yes</Value></Tag>")
        if self.larger_than is not None:
            parts.append(f"<ObjectSizeGreaterThan>{self.larger_than}</ObjectSizeGreaterThan>")
        chosen = "".join(parts)
        text = f"<Filter>{chosen if len(parts) == 1 else f'<And>{chosen}</And>'}</Filter>"
        text += f"<Status>{'Enabled' if self.is_enabled else 'Disabled'}</Status>"
        if self.days:
            text += f"<Expiration><Days>{self.days}</Days></Expiration>"
        elif self.date:
            text += f"<Expiration><Date>{self.date}</Date></Expiration>"
        elif self.removes_markers:
            text += (
                "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>"
                "</Expiration>"
            )
        if self.noncurrent_days:
            newer = f"<NewerNoncurrentVersions>{self.newer}</NewerNoncurrentVersions>"
            text += (
                "<NoncurrentVersionExpiration>"
                f"<NoncurrentDays>{self.noncurrent_days}</NoncurrentDays>"
                f"{newer if self.newer else ''}</NoncurrentVersionExpiration>"
            )
        if self.abort_days:
            text += (
                "<AbortIncompleteMultipartUpload>"
                f"<DaysAfterInitiation>{self.abort_days}</DaysAfterInitiation>"
                "</AbortIncompleteMultipartUpload>"
            )
        return f"<Rule>{text}</Rule>"

    def expires_ms(self, modified_ms: int, size: int) -> float:
        """Return when a current version expires, unix milliseconds; infinite: never."""
        if not self.is_enabled or (self.larger_than is not None and size <= self.larger_than):
            return float("inf")
        if self.date:
            return 0.0 if self.date == LONG_AGO else float("inf")
        return end_ms(modified_ms, self.days) if self.days else float("inf")


def document_of(rules: Sequence[Rule]) -> str:
    """The document that sets these rules."""
    rows = "".join(rule.document() for rule in rules)
    return f"<LifecycleConfiguration>{rows}</LifecycleConfiguration>"


def rule_of(rules: Sequence[Rule], key: str) -> Rule:
    """Return the rule for a key, one that does nothing where there is none."""
    return next((rule for rule in rules if key.startswith(rule.prefix)), Rule("", is_enabled=False))


def end_ms(from_ms: int, days: int) -> int:
    """Return the first midnight after so many days, unix milliseconds."""
    midnight = from_ms - from_ms % _DAY_MS
    return midnight + (days + 1) * _DAY_MS


@dataclass(slots=True)
class AgedVersion:
    """A version that was acknowledged. ``earliest_ms``: its time is not before that. ``size``: None
    of a delete marker. ``may_be_gone``: its client may have deleted it."""

    version: str
    earliest_ms: int
    size: int | None
    is_locked: bool = False
    may_be_gone: bool = False


@dataclass(slots=True)
class Aged:
    """The versions of a key by what is known of them, the latest first. ``loose_ms``: a write
    without an answer may stand above them, not from before that time."""

    versions: list[AgedVersion]
    loose_ms: int | None = None


def may_be_gone(rule: Rule, key: Aged, number: int, judged_ms: int, swing_ms: int) -> bool:
    """Return whether a version may have been deleted for good by a rule of its bucket, which keeps
    versions.

    Args:
        number: of the version among those of its key.
        judged_ms: the latest time by which rules may have been judged.
        swing_ms: as of :meth:`sim.checkers.clocks.ClockBook.swing_ms`.
    """
    version = key.versions[number]
    if version.may_be_gone:
        return True
    if version.is_locked:
        return False
    newer = key.versions[:number]
    if version.size is None and rule.is_enabled:
        is_last = all(
            may_be_gone(rule, key, each, judged_ms, swing_ms)
            for each in range(number + 1, len(key.versions))
        )
        is_over = rule.expires_ms(version.earliest_ms, 0) <= judged_ms
        if is_last and (rule.removes_markers or is_over):
            return True
    if not rule.is_enabled or not rule.noncurrent_days:
        return False
    since = [newer[-1].earliest_ms] if newer else []
    if not newer and key.loose_ms is not None:
        since.append(key.loose_ms)
    if version.size is not None:
        # Under a marker that nobody saw, also where something was written above it later.
        expires = rule.expires_ms(version.earliest_ms, version.size)
        if expires <= judged_ms:
            since.append(int(expires) - swing_ms)
    if not since or end_ms(min(since), rule.noncurrent_days) > judged_ms:
        return False
    return _may_be_newer(rule, key, newer, judged_ms) >= rule.newer


def _may_be_newer(rule: Rule, key: Aged, newer: Sequence[AgedVersion], judged_ms: int) -> int:
    """Return how many noncurrent versions with data there may be above one."""
    count = sum(each.size is not None for each in newer)
    if key.loose_ms is not None:
        return count + (rule.days > 0)
    if not newer or newer[0].size is None:
        return count
    has_expired = rule.expires_ms(newer[0].earliest_ms, newer[0].size) <= judged_ms
    return count if has_expired else count - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a listing of versions. ``size``: None of a delete marker."""

    key: str
    version: str
    modified_ms: int
    size: int | None


def due_rows(
    rules: Sequence[Rule], rows: Sequence[Row], locked: set[str], now_ms: int
) -> list[str]:
    """Return the rows that rules should have taken away by now, readable.

    Args:
        rows: all of a bucket that keeps versions, those of a key the latest first.
        locked: ids of versions that stay.
        now_ms: unix milliseconds.
    """
    due = []
    for key in dict.fromkeys(row.key for row in rows):
        rule = rule_of(rules, key)
        replaced_ms: int | None = None
        stay = 0
        own = [row for row in rows if row.key == key]
        for row in own:
            if replaced_ms is None:
                is_due = rule.expires_ms(row.modified_ms, row.size or 0) <= now_ms
                if row.size is None:
                    is_due = len(own) == 1 and (is_due or rule.removes_markers)
            else:
                is_outdated = (
                    rule.is_enabled
                    and rule.noncurrent_days > 0
                    and end_ms(replaced_ms, rule.noncurrent_days) <= now_ms
                )
                is_due = is_outdated and stay >= rule.newer and row.version not in locked
                stay += row.size is not None and not is_due
            replaced_ms = row.modified_ms
            if is_due:
                due.append(f"{key!r} {row.version} of {row.modified_ms}")
    return due
