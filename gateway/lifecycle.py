"""The rules of a bucket by which objects expire or get other classes, and what they say of each
version. Pure.

A day is as long as a gateway is configured to take it, and begins at multiples of it: at midnight
UTC. What is to happen days after something happens at the first midnight after that.

Source: Amazon S3 User Guide, "Managing the lifecycle of objects", "Lifecycle configuration
elements", "Transitioning objects using Amazon S3 Lifecycle"; docs/s3-compatibility.md, "Lifecycle";
docs/decisions/0044-lifecycle.md, 0057-class-names.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.configurations import LifecycleRule, LifecycleTransition, unpack_lifecycle
from common.format.objects import BucketSettings
from common.ids import VersionId
from gateway.class_names import may_follow, rank

LIFECYCLE: Final = "lifecycle"
"""The kind of the document with a bucket's rules."""
NO_TAGS: Final[Mapping[str, str]] = {}


class Expiry(Enum):
    """The fate of a version that is due."""

    CURRENT = "current"
    """The object expires: it is deleted, and kept under a delete marker where versions are."""
    NONCURRENT = "noncurrent"
    """The version is deleted for good."""
    MARKER = "marker"
    """The delete marker, under which nothing is left, is removed."""
    TRANSITION = "transition"
    """The version gets another class, and stays."""


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """A version of a key, or a delete marker, as a listing shows it. ``version_id``: that of a null
    version, too. ``tags``: empty for none. ``class_name``: empty: it is STANDARD."""

    key: bytes
    version_id: VersionId
    modified_ms: int
    size: int
    is_marker: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    class_name: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The decision about a version that is due. ``rule_id``: of a rule that says so. ``by_tags``:
    none would say so if the version had other tags. ``class_name``: that it gets."""

    expiry: Expiry
    rule_id: str
    by_tags: bool
    class_name: str = ""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The rules of a bucket that are enabled."""

    rules: tuple[LifecycleRule, ...]
    _by_prefix: tuple[tuple[bytes, LifecycleRule], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pairs = tuple([((rule.prefix or "").encode("utf-8"), rule) for rule in self.rules])
        object.__setattr__(self, "_by_prefix", pairs)

    def of_key(self, key: bytes) -> list[LifecycleRule]:
        """Return the rules that are for keys like this one."""
        return [rule for prefix, rule in self._by_prefix if key.startswith(prefix)]

    @property
    def asks_tags(self) -> bool:
        """Return whether a rule is for some tags only."""
        return any(rule.tags for rule in self.rules)

    @property
    def aborts_uploads(self) -> bool:
        """Return whether a rule is about uploads in parts."""
        return any(rule.abort_days for rule in self.rules)

    def prefixes(self) -> tuple[bytes, ...]:
        """Return prefixes of all keys that rules about versions are for, in order; none begins with
        another."""
        prefixes = sorted(prefix for prefix, rule in self._by_prefix if _is_about_versions(rule))
        found: list[bytes] = []
        for prefix in prefixes:
            if not found or not prefix.startswith(found[-1]):
                found.append(prefix)
        return tuple(found)

    def end_of(
        self, key: bytes, size: int, tags: Mapping[str, str], modified_ms: int, day_ms: int
    ) -> tuple[int, str] | None:
        """Return when the current version of a key expires, unix milliseconds, and the id of the
        first rule that says so; None: no rule does."""
        version = SeenVersion(key, VersionId(bytes(16)), modified_ms, size, False, tags)
        ends = [
            (end, rule.rule_id)
            for rule in self.of_key(key)
            if _is_for(rule, version) and (end := _end(rule, modified_ms, day_ms)) is not None
        ]
        return min(ends, key=lambda each: each[0], default=None)

    def abort_of(self, key: bytes, begun_ms: int, day_ms: int) -> tuple[int, str] | None:
        """Return when an upload in parts is aborted, unix milliseconds, and the id of the first
        rule that says so; None: no rule does."""
        ends = [
            (end_of_days(begun_ms, rule.abort_days, day_ms), rule.rule_id)
            for rule in self.of_key(key)
            if rule.abort_days
        ]
        return min(ends, key=lambda each: each[0], default=None)


NOTHING: Final = Lifecycle(())


def lifecycle_of(settings: BucketSettings) -> Lifecycle | None:
    """Return the rules that a bucket's settings have; None where there are none. Of a version that
    this gateway cannot read they say nothing."""
    if not settings.documents:
        return None
    body = settings.document(LIFECYCLE)
    if body is None:
        return None
    try:
        return Lifecycle(tuple(rule for rule in unpack_lifecycle(body).rules if rule.is_enabled))
    except Corrupt:
        return NOTHING


def end_of_days(from_ms: int, days: int, day_ms: int) -> int:
    """Return the first midnight after so many days from a moment, all in milliseconds."""
    return (from_ms // day_ms + days + 1) * day_ms


def _is_about_versions(rule: LifecycleRule) -> bool:
    return bool(
        rule.expire_days
        or rule.expire_ms is not None
        or rule.removes_markers
        or rule.noncurrent_days
        or rule.transitions
        or rule.noncurrent_transitions
    )


def _end(rule: LifecycleRule, modified_ms: int, day_ms: int) -> int | None:
    """The time at which a current version of this age expires."""
    if rule.expire_days:
        return end_of_days(modified_ms, rule.expire_days, day_ms)
    return rule.expire_ms


def _is_for(rule: LifecycleRule, version: SeenVersion) -> bool:
    """Return whether a rule of its key is for a version. A delete marker has neither size nor tags,
    so rules that ask for some are not for it."""
    if version.is_marker:
        return not rule.tags and rule.larger_than is None and rule.smaller_than is None
    if rule.larger_than is not None and version.size <= rule.larger_than:
        return False
    if rule.smaller_than is not None and version.size >= rule.smaller_than:
        return False
    return all(version.tags.get(tag.key) == tag.value for tag in rule.tags)


def _is_large_enough(rule: LifecycleRule, version: SeenVersion) -> bool:
    """Return whether a version is none of the small ones that stay in their class. A rule that is
    about sizes says itself which do."""
    is_about_sizes = rule.larger_than is not None or rule.smaller_than is not None
    return is_about_sizes or version.size >= limits.LEAST_TRANSITION_BYTES


class NameJudge:
    """Judges the versions of one key, the latest first.

    Args:
        now_ms: the time, unix milliseconds.
        day_ms: the length of a day.
    """

    def __init__(self, lifecycle: Lifecycle, now_ms: int, day_ms: int) -> None:
        self._lifecycle = lifecycle
        self._rules: list[LifecycleRule] | None = None
        """Those of the key, once it is known."""
        self._now_ms = now_ms
        self._day_ms = day_ms
        self._replaced_ms: int | None = None
        """The time at which the next version became noncurrent; None: it is the latest."""
        self._stay = 0
        """Noncurrent versions so far that stay."""

    def judge(self, version: SeenVersion, *, is_last: bool) -> Judgement | None:
        """Return what is to be done to the next version; None: it stays.

        Args:
            is_last: it is the oldest one of its key.
        """
        replaced_ms, self._replaced_ms = self._replaced_ms, version.modified_ms

        def is_over(rule: LifecycleRule) -> bool:
            end = _end(rule, version.modified_ms, self._day_ms)
            return end is not None and end <= self._now_ms

        if replaced_ms is not None:
            since_ms = replaced_ms
            judgement = self._judgement(
                Expiry.NONCURRENT, version, lambda rule: self._is_outdated(rule, since_ms)
            )
            if judgement is None and not version.is_marker:
                judgement = self._transition(version, since_ms, is_current=False)
                self._stay += 1
            return judgement
        if not version.is_marker:
            # What expires is not moved before.
            return self._judgement(Expiry.CURRENT, version, is_over) or self._transition(
                version, version.modified_ms, is_current=True
            )
        if not is_last:
            return None
        return self._judgement(
            Expiry.MARKER, version, lambda rule: bool(rule.removes_markers) or is_over(rule)
        )

    def _is_outdated(self, rule: LifecycleRule, since_ms: int) -> bool:
        return (
            rule.noncurrent_days > 0
            and self._stay >= rule.newer_noncurrent
            and end_of_days(since_ms, rule.noncurrent_days, self._day_ms) <= self._now_ms
        )

    def _transition(
        self, version: SeenVersion, since_ms: int, *, is_current: bool
    ) -> Judgement | None:
        """The last class to which rules lead a version by now; None: it has its class.

        Args:
            since_ms: when it was made or, of a noncurrent one, when another took its place.
        """

        def leads(rule: LifecycleRule) -> list[str]:
            transitions = rule.transitions if is_current else rule.noncurrent_transitions
            return [
                each.class_name
                for each in transitions
                if may_follow(version.class_name, each.class_name)
                and self._stay >= each.newer
                and self._has_come(each, since_ms)
            ]

        def is_for(rule: LifecycleRule) -> bool:
            return _is_large_enough(rule, version) and _is_for(rule, version)

        found = [(rule, name) for rule in self._of_key(version) for name in leads(rule)]
        found = [(rule, name) for rule, name in found if is_for(rule)]
        if not found:
            return None
        target = max((name for _, name in found), key=rank)
        rules = [rule for rule, name in found if name == target]
        by_tags = all(rule.tags for rule in rules)
        return Judgement(Expiry.TRANSITION, rules[0].rule_id, by_tags, target)

    def _has_come(self, transition: LifecycleTransition, since_ms: int) -> bool:
        end = transition.at_ms
        if transition.days is not None:
            end = end_of_days(since_ms, transition.days, self._day_ms)
        return end is not None and end <= self._now_ms

    def _of_key(self, version: SeenVersion) -> list[LifecycleRule]:
        """The rules of the key, which all versions have."""
        if self._rules is None:
            self._rules = self._lifecycle.of_key(version.key)
        return self._rules

    def _judgement(
        self, expiry: Expiry, version: SeenVersion, says: Callable[[LifecycleRule], bool]
    ) -> Judgement | None:
        found = [rule for rule in self._of_key(version) if says(rule) and _is_for(rule, version)]
        if not found:
            return None
        return Judgement(expiry, found[0].rule_id, all(rule.tags for rule in found))

    def pass_over(self) -> None:
        """Take in that the next version cannot be judged: it stays, and so does the one behind it.
        It is none of the newer ones that a rule asks for: it may be a delete marker."""
        self._replaced_ms = self._now_ms
