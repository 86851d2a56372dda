"""What lifecycle rules say of versions: a table of cases, and any rules against the definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import limits
from common.format.configurations import (
    CONFIGURATION_VERSION,
    LifecycleRule,
    LifecycleRules,
    LifecycleTransition,
    Tag,
)
from common.format.objects import BucketSettings
from common.ids import VersionId
from gateway.lifecycle import (
    LIFECYCLE,
    NOTHING,
    Expiry,
    Judgement,
    Lifecycle,
    NameJudge,
    SeenVersion,
    end_of_days,
    lifecycle_of,
)

DAY = 86_400_000
NOW = 20_000 * DAY
BARE = LifecycleRule("r", True, True, False, None, (), None, None, 0, None, None, 0, 0, 0)


def rule(**fields: Any) -> LifecycleRule:
    return replace(BARE, **fields)


def seen(number: int, modified_ms: int, **fields: Any) -> SeenVersion:
    given: dict[str, Any] = {"key": b"logs/one", "size": 100, **fields}
    return SeenVersion(version_id=VersionId(bytes([number]) * 16), modified_ms=modified_ms, **given)


def judgements(
    rules: Sequence[LifecycleRule], versions: Sequence[SeenVersion], now_ms: int = NOW
) -> list[Judgement | None]:
    judge = NameJudge(Lifecycle(tuple(rules)), now_ms, DAY)
    return [judge.judge(version, is_last=version is versions[-1]) for version in versions]


def said(rules: Sequence[LifecycleRule], *versions: SeenVersion) -> str:
    """One letter for each version: what is done to it, or ``.``."""
    return "".join(
        "." if judgement is None else judgement.expiry.value[0]
        for judgement in judgements(rules, versions)
    )


HOUR = DAY // 24


@pytest.mark.parametrize(
    ("made", "days", "end"),
    [
        # The example of the User Guide: 15 January 10:30 and 3 days are 19 January 0:00.
        (15 * DAY + 10 * HOUR + HOUR // 2, 3, 19 * DAY),
        (15 * DAY + 1, 1, 17 * DAY),
        (16 * DAY - 1, 1, 17 * DAY),
        (15 * DAY, 1, 17 * DAY),
    ],
)
def test_days_end_at_the_next_midnight(made: int, days: int, end: int) -> None:
    assert end_of_days(made, days, DAY) == end


def aged(days: int, **fields: Any) -> SeenVersion:
    """A version that was made at the noon so many days before today."""
    return seen(1, NOW - days * DAY + 12 * HOUR, **fields)


TAGS = (Tag("a", "1"), Tag("b", ""))
CURRENT = [
    ("days are over", rule(expire_days=3), aged(4), True),
    ("days are not over", rule(expire_days=3), aged(3), False),
    ("a date that has come", rule(expire_ms=NOW), aged(0), True),
    ("a date that has not", rule(expire_ms=NOW + DAY), aged(99), False),
    ("prefix", rule(expire_days=1, prefix="logs/"), aged(9), True),
    ("another prefix", rule(expire_days=1, prefix="log/"), aged(9), False),
    ("the whole key", rule(expire_days=1, prefix="logs/one"), aged(9), True),
    ("a longer prefix", rule(expire_days=1, prefix="logs/one/"), aged(9), False),
    ("larger", rule(expire_days=1, larger_than=99), aged(9), True),
    ("as large", rule(expire_days=1, larger_than=100), aged(9), False),
    ("smaller", rule(expire_days=1, smaller_than=101), aged(9), True),
    ("as small", rule(expire_days=1, smaller_than=100), aged(9), False),
    ("empty", rule(expire_days=1, larger_than=0), aged(9, size=0), False),
    ("tags", rule(expire_days=1, tags=TAGS), aged(9, tags={"a": "1", "b": "", "c": "2"}), True),
    ("a tag is missing", rule(expire_days=1, tags=TAGS), aged(9, tags={"a": "1"}), False),
    ("a tag differs", rule(expire_days=1, tags=TAGS), aged(9, tags={"a": "2", "b": ""}), False),
    ("no tags", rule(expire_days=1, tags=TAGS), aged(9), False),
    ("for markers only", rule(removes_markers=True), aged(9), False),
    ("for other versions only", rule(noncurrent_days=1), aged(9), False),
    ("for uploads only", rule(abort_days=1), aged(9), False),
    ("accents", rule(expire_days=1, prefix="é"), aged(9, key="été".encode()), True),
]


@pytest.mark.parametrize(
    ("it", "by", "version", "is_due"), CURRENT, ids=lambda each: str(each)[:30]
)
def test_a_current_version_expires(
    it: str, by: LifecycleRule, version: SeenVersion, is_due: bool
) -> None:
    assert said([by], version) == ("c" if is_due else "."), it
    end = Lifecycle((by,)).end_of(version.key, version.size, version.tags, version.modified_ms, DAY)
    assert (end is not None and end[0] <= NOW) is is_due
    assert said([], version) == "."


def name(*ages: int | str) -> list[SeenVersion]:
    """Versions of one key, the latest first: their ages in days, with a dash for a marker."""
    return [
        seen(
            number,
            NOW - abs(int(age)) * DAY + 12 * HOUR,
            is_marker=isinstance(age, str),
            size=0 if isinstance(age, str) else 100,
        )
        for number, age in enumerate(ages)
    ]


M = "-{}".format
NAMES = [
    # (rules, ages of versions, what is done)
    ([rule(noncurrent_days=2)], (0, 2, 3, 9), "...n"),
    ([rule(noncurrent_days=2)], (3, 9), ".n"),
    ([rule(noncurrent_days=2)], (M(3), 9), ".n"),
    ([rule(noncurrent_days=2)], (9, M(9), 9), ".nn"),
    ([rule(noncurrent_days=2, newer_noncurrent=2)], (5, 6, 7, 8, 9), "...nn"),
    ([rule(noncurrent_days=2, newer_noncurrent=1)], (5, M(6), M(7), 8, 9), "....n"),
    ([rule(noncurrent_days=2, newer_noncurrent=1)], (5, 6, M(7), 8), "..nn"),
    ([rule(noncurrent_days=7, newer_noncurrent=1)], (5, 6, 7, 8, 9), "....n"),
    ([rule(noncurrent_days=1, larger_than=100)], (5, 6), ".."),
    ([rule(noncurrent_days=1, larger_than=0)], (5, M(6), 7), "..n"),
    # What another rule deletes is not among the versions that stay.
    (
        [rule(noncurrent_days=2, newer_noncurrent=1), rule(noncurrent_days=2, smaller_than=101)],
        (5, 6, 7),
        ".nn",
    ),
    ([rule(expire_days=1)], (5, 6, 7), "c.."),
    ([rule(expire_days=1)], (M(5), 6), ".."),
    ([rule(expire_days=1)], (M(5),), "m"),
    ([rule(expire_days=9)], (M(5),), "."),
    ([rule(expire_ms=NOW)], (M(0),), "m"),
    ([rule(removes_markers=True)], (M(0),), "m"),
    ([rule(removes_markers=True)], (M(0), M(1)), ".."),
    ([rule(removes_markers=True)], (M(0), 1), ".."),
    ([rule(removes_markers=True, prefix="other")], (M(0),), "."),
    ([rule(removes_markers=False)], (M(9),), "."),
    ([rule(expire_days=1, tags=TAGS)], (M(5),), "."),
    ([rule(expire_days=1, smaller_than=9)], (M(5),), "."),
    ([rule(removes_markers=True), rule(noncurrent_days=1)], (M(5), 6), ".n"),
    ([rule(expire_days=1), rule(noncurrent_days=1)], (9, 9, 9), "cnn"),
]


@pytest.mark.parametrize(("rules", "ages", "done"), NAMES)
def test_versions_of_a_key_expire(
    rules: list[LifecycleRule], ages: tuple[int | str, ...], done: str
) -> None:
    assert said(rules, *name(*ages)) == done


def test_a_version_that_cannot_be_judged_stays_and_so_does_the_one_behind_it() -> None:
    judge = NameJudge(Lifecycle((rule(noncurrent_days=1),)), NOW, DAY)
    assert judge.judge(seen(1, NOW - 9 * DAY), is_last=False) is None
    judge.pass_over()
    assert judge.judge(seen(2, NOW - 19 * DAY), is_last=False) is None
    judgement = judge.judge(seen(3, NOW - 29 * DAY), is_last=True)
    assert judgement is not None


def test_a_version_that_cannot_be_judged_is_none_of_the_newer_ones_that_stay() -> None:
    rules = Lifecycle((rule(noncurrent_days=1, newer_noncurrent=2),))
    judge = NameJudge(rules, NOW, DAY)
    assert judge.judge(seen(1, NOW - 9 * DAY), is_last=False) is None
    judge.pass_over()
    for number in (2, 3):
        version = seen(number, NOW - (9 + number) * DAY)
        assert judge.judge(version, is_last=False) is None, number
    assert judge.judge(seen(4, NOW - 29 * DAY), is_last=True) is not None


def test_a_verdict_says_whether_it_hangs_on_tags() -> None:
    version = aged(9, tags={"a": "1", "b": ""})
    by_tags, plain = rule(rule_id="t", expire_days=1, tags=TAGS), rule(rule_id="p", expire_days=1)
    assert judgements([by_tags], [version]) == [Judgement(Expiry.CURRENT, "t", True)]
    assert judgements([by_tags, plain], [version]) == [Judgement(Expiry.CURRENT, "t", False)]
    assert Lifecycle((plain, by_tags)).asks_tags
    assert not Lifecycle((plain,)).asks_tags


def test_the_first_end_of_all_rules_counts() -> None:
    rules = Lifecycle(
        (
            rule(rule_id="late", expire_days=9),
            rule(rule_id="soon", expire_days=2, prefix="logs/"),
            rule(rule_id="never", noncurrent_days=1),
        )
    )
    made = NOW + HOUR
    assert rules.end_of(b"logs/x", 1, {}, made, DAY) == (NOW + 3 * DAY, "soon")
    assert rules.end_of(b"x", 1, {}, made, DAY) == (NOW + 10 * DAY, "late")
    assert rules.abort_of(b"x", made, DAY) is None


def test_uploads_are_aborted_days_after_they_were_begun() -> None:
    rules = Lifecycle((rule(rule_id="a", abort_days=2, prefix="up/"), rule(expire_days=1)))
    assert rules.aborts_uploads
    assert rules.abort_of(b"up/x", NOW + HOUR, DAY) == (NOW + 3 * DAY, "a")
    assert rules.abort_of(b"other", NOW, DAY) is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((), ()),
        (("",), (b"",)),
        (("b", "a", "ab", "b/c"), (b"a", b"b")),
        (("a", "", "b"), (b"",)),
        (("a/", "a", "a0"), (b"a",)),
    ],
)
def test_no_prefix_of_those_looked_through_begins_with_another(
    given: tuple[str, ...], found: tuple[bytes, ...]
) -> None:
    rules = [rule(expire_days=1, prefix=prefix) for prefix in given]
    uploads = rule(abort_days=1, prefix="zzz")
    assert Lifecycle((*rules, uploads)).prefixes() == found


def test_rules_are_read_from_settings_without_those_that_are_disabled() -> None:
    rules = (rule(expire_days=1), rule(is_enabled=False, abort_days=1))
    body = LifecycleRules(CONFIGURATION_VERSION, "x", rules).pack()
    settings = BucketSettings(1, 0)
    assert lifecycle_of(settings) is None
    assert lifecycle_of(settings.with_document(LIFECYCLE, body)) == Lifecycle(rules[:1])
    assert lifecycle_of(settings.with_document(LIFECYCLE, b"\x93\x02")) == NOTHING


# --- transitions ----------------------------------------------------------------------------------

BIG = limits.LEAST_TRANSITION_BYTES


def to(class_name: str, days: int | None = 1, **fields: Any) -> LifecycleTransition:
    return LifecycleTransition(days, fields.get("at_ms"), class_name, fields.get("newer", 0))


def led(rules: Sequence[LifecycleRule], *versions: SeenVersion) -> list[str]:
    """The class that each version gets; a dot where it stays in its own, a dash where it goes."""
    return ["." if each is None else each.class_name or "-" for each in judgements(rules, versions)]


def one(*transitions: LifecycleTransition, **fields: Any) -> LifecycleRule:
    return rule(transitions=transitions, **fields)


TRANSITIONS = [
    ("days are over", [one(to("STANDARD_IA", 3))], aged(4, size=BIG), "STANDARD_IA"),
    ("days are not over", [one(to("STANDARD_IA", 3))], aged(3, size=BIG), "."),
    ("no days", [one(to("GLACIER_IR", 0))], aged(1, size=BIG), "GLACIER_IR"),
    ("no days, today", [one(to("GLACIER_IR", 0))], aged(0, size=BIG), "."),
    ("a date", [one(to("STANDARD_IA", None, at_ms=NOW))], aged(0, size=BIG), "STANDARD_IA"),
    ("a later date", [one(to("STANDARD_IA", None, at_ms=NOW + 1))], aged(0, size=BIG), "."),
    ("another prefix", [one(to("STANDARD_IA"), prefix="x")], aged(9, size=BIG), "."),
    ("small", [one(to("STANDARD_IA"))], aged(9, size=BIG - 1), "."),
    (
        "small, and said so",
        [one(to("STANDARD_IA"), larger_than=9)],
        aged(9, size=10),
        "STANDARD_IA",
    ),
    ("smaller than said", [one(to("STANDARD_IA"), larger_than=9)], aged(9, size=9), "."),
    ("small ones only", [one(to("STANDARD_IA"), smaller_than=9)], aged(9, size=0), "STANDARD_IA"),
    ("tags", [one(to("STANDARD_IA"), tags=TAGS)], aged(9, size=BIG), "."),
    (
        "of several the last one",
        [one(to("STANDARD_IA", 1), to("GLACIER_IR", 5))],
        aged(9, size=BIG),
        "GLACIER_IR",
    ),
    (
        "of several rules the last class",
        [one(to("ONEZONE_IA")), one(to("STANDARD_IA"))],
        aged(9, size=BIG),
        "ONEZONE_IA",
    ),
    (
        "the one that has come",
        [one(to("STANDARD_IA", 1), to("GLACIER_IR", 50))],
        aged(9, size=BIG),
        "STANDARD_IA",
    ),
    ("expiry wins", [one(to("STANDARD_IA"), expire_days=5)], aged(9, size=BIG), "-"),
    ("expiry of another rule wins", [one(to("STANDARD_IA")), rule(expire_days=1)], aged(9), "-"),
    (
        "before it expires",
        [one(to("STANDARD_IA"), expire_days=50)],
        aged(9, size=BIG),
        "STANDARD_IA",
    ),
    ("for other versions only", [rule(noncurrent_transitions=(to("X"),))], aged(9, size=BIG), "."),
]


@pytest.mark.parametrize(
    ("it", "rules", "version", "wanted"), TRANSITIONS, ids=[each[0] for each in TRANSITIONS]
)
def test_a_current_version_gets_another_class(
    it: str, rules: list[LifecycleRule], version: SeenVersion, wanted: str
) -> None:
    assert led(rules, version) == [wanted], it


LADDER = ("STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR")


@pytest.mark.parametrize("target", LADDER)
@pytest.mark.parametrize("own", ["", "REDUCED_REDUNDANCY", *LADDER])
def test_no_rule_leads_back_or_to_where_an_object_is(own: str, target: str) -> None:
    from_ends = {"ONEZONE_IA", "GLACIER_IR"}
    is_led = own not in from_ends and (
        own not in LADDER or LADDER.index(own) < LADDER.index(target)
    )
    version = aged(9, size=BIG, class_name=own)
    assert led([one(to(target))], version) == [target if is_led else "."]


@pytest.mark.parametrize(
    ("rules", "ages", "wanted"),
    [
        ([rule(noncurrent_transitions=(to("STANDARD_IA", 2),))], (0, 2, 3, 9), "...S"),
        ([rule(noncurrent_transitions=(to("STANDARD_IA", 2),))], (M(9), 9), ".S"),
        ([rule(noncurrent_transitions=(to("STANDARD_IA", 1, newer=2),))], (5, 6, 7, 8, 9), "...SS"),
        ([rule(noncurrent_transitions=(to("STANDARD_IA", 0),))], (5, M(6), 7), "..S"),
        (
            [rule(noncurrent_transitions=(to("STANDARD_IA", 1),), noncurrent_days=6)],
            (5, 6, 7, 8),
            ".SS-",
        ),
        # What gets another class is among the versions that stay.
        (
            [
                rule(noncurrent_transitions=(to("STANDARD_IA", 1),)),
                rule(noncurrent_days=1, newer_noncurrent=1),
            ],
            (5, 6, 7),
            ".S-",
        ),
    ],
)
def test_noncurrent_versions_get_another_class(
    rules: list[LifecycleRule], ages: tuple[int | str, ...], wanted: str
) -> None:
    versions = [each if each.is_marker else replace(each, size=BIG) for each in name(*ages)]
    assert "".join(each[0] for each in led(rules, *versions)) == wanted


def test_a_transition_by_tags_says_so() -> None:
    version = aged(9, size=BIG, tags={"a": "1", "b": ""})
    plain, tagged = one(to("STANDARD_IA")), one(to("GLACIER_IR"), tags=TAGS)
    (judgement,) = judgements([plain, tagged], [version])
    assert judgement == Judgement(Expiry.TRANSITION, "r", True, "GLACIER_IR")
    (judgement,) = judgements([plain, one(to("STANDARD_IA"), tags=TAGS)], [version])
    assert judgement == Judgement(Expiry.TRANSITION, "r", False, "STANDARD_IA")


def test_rules_with_transitions_look_through_their_prefixes() -> None:
    rules = (one(to("GLACIER_IR"), prefix="a"), rule(noncurrent_transitions=(to("GLACIER_IR"),)))
    assert Lifecycle(rules).prefixes() == (b"",)
    assert Lifecycle(rules[:1]).prefixes() == (b"a",)


transitions_of_any_form = st.lists(
    st.builds(
        LifecycleTransition,
        st.none() | st.integers(0, 6),
        st.sampled_from([NOW - DAY, NOW, NOW + DAY]),
        st.sampled_from(LADDER),
        st.integers(0, 2),
    ),
    max_size=3,
).map(tuple)


@given(
    st.lists(st.tuples(transitions_of_any_form, transitions_of_any_form), max_size=3),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["", *LADDER])), min_size=1, max_size=5),
)
def test_just_the_class_to_which_rules_lead_is_given(
    given_rules: list[tuple[tuple[LifecycleTransition, ...], ...]], made: list[tuple[int, str]]
) -> None:
    rules = [rule(transitions=a, noncurrent_transitions=b) for a, b in given_rules]
    versions, at = [], NOW
    for number, (hours, own) in enumerate(made):
        at -= hours * HOUR
        versions.append(seen(number, at, size=BIG, class_name=own))
    for number, judgement in enumerate(judgements(rules, versions)):
        since = versions[number - 1].modified_ms if number else versions[0].modified_ms
        own = versions[number].class_name
        open_to = {
            each.class_name
            for current, noncurrent in given_rules
            for each in (noncurrent if number else current)
            if max(number - 1, 0) >= each.newer
            and (each.at_ms or 0 if each.days is None else midnight_after(since, each.days)) <= NOW
        } & set(
            ()
            if own in {"ONEZONE_IA", "GLACIER_IR"}
            else LADDER[LADDER.index(own) + 1 :]
            if own
            else LADDER
        )
        wanted = max(open_to, key=LADDER.index, default=None)
        assert (None if judgement is None else judgement.class_name) == wanted


# --- any rules, against the definition ----------------------------------------------------------

days = st.integers(0, 6)
rules_of_any_form = st.builds(
    LifecycleRule,
    st.just("r"),
    st.just(True),
    st.just(True),
    st.booleans(),
    st.sampled_from([None, "", "k", "kk", "x"]),
    st.sampled_from([(), (), TAGS[:1]]),
    st.none() | st.sampled_from([0, 10]),
    st.none() | st.sampled_from([10, 20]),
    days,
    st.none() | st.sampled_from([NOW - DAY, NOW, NOW + DAY]),
    st.sampled_from([None, False, True]),
    days,
    st.integers(0, 3),
    st.just(0),
)


@dataclass(frozen=True)
class Made:
    """A version of the model."""

    hours: int
    size: int
    is_marker: bool
    is_tagged: bool


made = st.builds(
    Made, st.integers(0, 40), st.sampled_from([0, 5, 10, 15, 30]), st.booleans(), st.booleans()
)


def midnight_after(moment: int, count: int) -> int:
    at = moment + count * DAY
    return at - at % DAY + DAY


@given(st.lists(rules_of_any_form, max_size=4), st.lists(made, min_size=1, max_size=8))
def test_just_what_a_rule_names_is_due(rules: list[LifecycleRule], made: list[Made]) -> None:
    moments, at = [], NOW
    for each in made:
        at -= each.hours * HOUR
        moments.append(at)
    versions = [
        SeenVersion(
            b"kk",
            VersionId(bytes([number]) * 16),
            moment,
            0 if each.is_marker else each.size,
            each.is_marker,
            {"a": "1"} if each.is_tagged and not each.is_marker else {},
        )
        for number, (each, moment) in enumerate(zip(made, moments, strict=True))
    ]

    def is_for(each: LifecycleRule, version: SeenVersion) -> bool:
        if (each.prefix or "") not in ("", "k", "kk"):
            return False
        if version.is_marker and (
            each.tags or (each.larger_than, each.smaller_than) != (None,) * 2
        ):
            return False
        return (
            (not each.tags or "a" in version.tags)
            and (version.is_marker or each.larger_than is None or version.size > each.larger_than)
            and (version.is_marker or each.smaller_than is None or version.size < each.smaller_than)
        )

    stay = 0
    for number, (version, judgement) in enumerate(
        zip(versions, judgements(rules, versions), strict=True)
    ):
        mine = [each for each in rules if is_for(each, version)]
        over = [
            each
            for each in mine
            if (each.expire_days and midnight_after(version.modified_ms, each.expire_days) <= NOW)
            or (not each.expire_days and each.expire_ms is not None and each.expire_ms <= NOW)
        ]
        if number:
            replaced = versions[number - 1].modified_ms
            due = any(
                each.noncurrent_days
                and midnight_after(replaced, each.noncurrent_days) <= NOW
                and stay >= each.newer_noncurrent
                for each in mine
            )
            stay += not due and not version.is_marker
            wanted = Expiry.NONCURRENT
        elif version.is_marker:
            due = len(versions) == 1 and bool(over or [e for e in mine if e.removes_markers])
            wanted = Expiry.MARKER
        else:
            due, wanted = bool(over), Expiry.CURRENT
        assert (None if judgement is None else judgement.expiry) is (wanted if due else None)
