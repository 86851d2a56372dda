"""The document with the rules by which objects of a bucket expire or get other classes, read and
written.

Source: Amazon S3 API Reference, PutBucketLifecycleConfiguration; User Guide, "Lifecycle
configuration elements"; docs/s3-compatibility.md, "Lifecycle".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NoReturn

from common import limits
from common.format.configurations import (
    LifecycleRule,
    LifecycleRules,
    LifecycleTransition,
    Tag,
)
from gateway.class_names import ARCHIVES, TRANSITION_TARGETS
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.storage_classes import STANDARD
from gateway_s3.request.tags import object_tags
from gateway_s3.xml.read import Tree, malformed, members_of, parse_children
from gateway_s3.xml.transitions import INFREQUENT, check_transitions

_DAY_MS: Final = 86_400_000
_STATUSES: Final = {"Enabled": True, "Disabled": False}
_TRANSITIONS: Final = ("Transition", "NoncurrentVersionTransition")
_ACTIONS: Final = (
    "Expiration",
    "NoncurrentVersionExpiration",
    "AbortIncompleteMultipartUpload",
)
_OF_A_RULE: Final = frozenset({"ID", "Status", "Prefix", "Filter", *_ACTIONS})
_PREDICATES: Final = frozenset({"Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"})
_POSITIVE: Final = "'{}' for {} action must be a positive integer"


def _refused(message: str) -> NoReturn:
    raise S3Error(errors.INVALID_REQUEST, message)


def _wrong(message: str, name: str, value: str) -> NoReturn:
    raise S3Error(errors.INVALID_ARGUMENT, message, ArgumentName=name, ArgumentValue=value[:255])


def parse_lifecycle(data: bytes) -> tuple[LifecycleRule, ...]:
    """The rules of a LifecycleConfiguration document. A rule without an id has an empty one.

    Raises:
        S3Error: MalformedXML, InvalidArgument, InvalidRequest, InvalidTag: what S3 refuses, too;
            NotImplemented: a transition to a class whose objects would have to be restored.
    """
    most = limits.MAX_LIFECYCLE_RULES
    # One more than there may be, for which there is an error of its own.
    found = parse_children(data, "LifecycleConfiguration", most + 1, limits.MAX_LIFECYCLE_ELEMENTS)
    if not found:
        malformed()
    if len(found) > most:
        _refused(f"The number of lifecycle rules must not exceed the allowed limit of {most} rules")
    rules = tuple(map(_rule, found))
    ids = [rule.rule_id for rule in rules if rule.rule_id]
    if len(ids) != len(set(ids)):
        twice = next(each for each in ids if ids.count(each) > 1)
        _wrong("Rule ID must be unique. Found same ID for one or more rules", "ID", twice)
    # What S3 refuses is said of all rules before what is not done here is said of one.
    led = [each for rule in rules for each in (*rule.transitions, *rule.noncurrent_transitions)]
    for each in led:
        if each.class_name in ARCHIVES:
            raise S3Error(
                errors.NOT_IMPLEMENTED,
                "Classes whose objects have to be restored before they can be read are not "
                "implemented.",
                StorageClass=each.class_name,
            )
    return rules


def _text(members: Mapping[str, Tree], name: str) -> str | None:
    """The text of a child; None without it. Raises S3Error MalformedXML."""
    child = members.get(name)
    if child is None:
        return None
    if child.children:
        malformed()
    return child.text


def _rule(element: Tree) -> LifecycleRule:
    if element.name != "Rule":
        malformed()
    current, noncurrent = (
        tuple([_transition(child) for child in element.children if child.name == name])
        for name in _TRANSITIONS
    )
    others = tuple([child for child in element.children if child.name not in _TRANSITIONS])
    members = members_of(Tree("Rule", "", others), _OF_A_RULE)
    rule_id = _text(members, "ID") or ""
    if len(rule_id) > limits.MAX_LIFECYCLE_ID_CHARACTERS:
        _wrong(
            f"ID length should not exceed allowed limit of {limits.MAX_LIFECYCLE_ID_CHARACTERS}",
            "ID",
            rule_id,
        )
    status = (_text(members, "Status") or "").strip()
    if status not in _STATUSES or ("Prefix" in members) is ("Filter" in members):
        malformed()
    is_joined, prefix, tags, larger_than, smaller_than = _filter(members)
    days, date_ms, removes_markers = _expiration(members)
    noncurrent_days, newer = _noncurrent(members)
    abort_days = _abort(members)
    if not (current or noncurrent or members.keys() & set(_ACTIONS)):
        _refused("At least one action needs to be specified in a rule")
    if tags and removes_markers:
        _refused("ExpiredObjectDeleteMarker cannot be specified with Tags.")
    if tags and abort_days:
        _refused("AbortIncompleteMultipartUpload cannot be specified with Tags.")
    if abort_days and (larger_than is not None or smaller_than is not None):
        _refused("AbortIncompleteMultipartUpload cannot be specified with Object Size.")
    if (newer or any(each.newer for each in noncurrent)) and "Filter" not in members:
        _refused("NewerNoncurrentVersions can only be specified in a rule with a Filter.")
    rule = LifecycleRule(
        rule_id,
        _STATUSES[status],
        "Filter" in members,
        is_joined,
        prefix,
        tags,
        larger_than,
        smaller_than,
        days,
        date_ms,
        removes_markers,
        noncurrent_days,
        newer,
        abort_days,
        current,
        noncurrent,
    )
    check_transitions(rule)
    return rule


# --- what a rule is for -------------------------------------------------------------------------


def _filter(
    members: Mapping[str, Tree],
) -> tuple[bool, str | None, tuple[Tag, ...], int | None, int | None]:
    """A boolean: the conditions are joined by And; then prefix, tags, and bounds of sizes."""
    if "Prefix" in members:
        return False, _prefix(members), (), None, None
    whole = members["Filter"]
    if not whole.children and whole.text.strip():
        malformed()
    outer = members_of(whole, _PREDICATES | {"And"})
    if len(outer) > 1:
        malformed()
    is_joined = "And" in outer
    conditions = outer["And"].children if is_joined else whole.children
    tags = [_tag(each) for each in conditions if each.name == "Tag"]
    inner = members_of(
        Tree("", "", tuple([each for each in conditions if each.name != "Tag"])), _PREDICATES
    )
    if is_joined and len(inner) + len(tags) < 2:
        malformed()
    if len({key for key, _ in tags}) != len(tags):
        _refused("Duplicate Tag Keys are not allowed.")
    larger_than = _size(inner, "ObjectSizeGreaterThan")
    smaller_than = _size(inner, "ObjectSizeLessThan")
    if larger_than is not None and smaller_than is not None and smaller_than <= larger_than:
        _refused("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")
    return is_joined, _prefix(inner), object_tags(tags).tags, larger_than, smaller_than


def _prefix(members: Mapping[str, Tree]) -> str | None:
    prefix = _text(members, "Prefix")
    if prefix is not None and len(prefix.encode("utf-8")) > limits.MAX_LIFECYCLE_PREFIX_BYTES:
        _refused(f"The maximum size of a prefix is {limits.MAX_LIFECYCLE_PREFIX_BYTES}.")
    return prefix


def _tag(element: Tree) -> tuple[str, str]:
    members = members_of(element, frozenset({"Key", "Value"}))
    key, value = _text(members, "Key"), _text(members, "Value")
    if key is None or value is None:
        malformed()
    return key, value


def _size(members: Mapping[str, Tree], name: str) -> int | None:
    text = _text(members, name)
    if text is None:
        return None
    size = _number(text)
    if size is None:
        malformed()
    if not 0 <= size <= limits.MAX_OBJECT_BYTES:
        _refused(f"'{name}' should be between 0 and {limits.MAX_OBJECT_BYTES}.")
    return size


# --- what a rule does ---------------------------------------------------------------------------


def _number(text: str) -> int | None:
    """A whole number; None: it is none. A long one is as good as any that is too large."""
    text = text.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        return None
    return int(text) if len(digits) <= 18 else limits.MAX_UINT * (-1 if text[0] == "-" else 1)


def _days(members: Mapping[str, Tree], name: str, action: str) -> int:
    """A number of days; 0 without one."""
    text = _text(members, name)
    if text is None:
        return 0
    days = _number(text)
    if days is None:
        malformed()
    if not 1 <= days <= limits.MAX_LIFECYCLE_DAYS:
        _wrong(_POSITIVE.format(name, action), name, text)
    return days


def _expiration(members: Mapping[str, Tree]) -> tuple[int, int | None, bool | None]:
    """Days, or a date (unix milliseconds), or whether delete markers are removed."""
    if "Expiration" not in members:
        return 0, None, None
    inner = members_of(
        members["Expiration"], frozenset({"Days", "Date", "ExpiredObjectDeleteMarker"})
    )
    if len(inner) != 1:
        malformed()
    date = _text(inner, "Date")
    marker = _text(inner, "ExpiredObjectDeleteMarker")
    if marker is not None and marker.strip() not in {"true", "false"}:
        malformed()
    return (
        _days(inner, "Days", "Expiration"),
        None if date is None else _date(date),
        None if marker is None else marker.strip() == "true",
    )


def _date(text: str) -> int:
    """Midnight of a day, unix milliseconds."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        malformed()
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        at_ms = round(moment.timestamp() * 1000)
    except (OverflowError, ValueError):
        malformed()
    if at_ms % _DAY_MS or not 0 <= at_ms <= limits.MAX_DATE_MS:
        _wrong("'Date' must be at midnight GMT", "Date", text)
    return at_ms


def _noncurrent(members: Mapping[str, Tree]) -> tuple[int, int]:
    """Days, and the number of versions that stay."""
    action = "NoncurrentVersionExpiration"
    if action not in members:
        return 0, 0
    inner = members_of(members[action], frozenset({"NoncurrentDays", "NewerNoncurrentVersions"}))
    if "NoncurrentDays" not in inner:
        malformed()
    return _days(inner, "NoncurrentDays", action), _newer(inner, action)


def _abort(members: Mapping[str, Tree]) -> int:
    action = "AbortIncompleteMultipartUpload"
    if action not in members:
        return 0
    inner = members_of(members[action], frozenset({"DaysAfterInitiation"}))
    if not inner:
        malformed()
    return _days(inner, "DaysAfterInitiation", action)


def _newer(members: Mapping[str, Tree], action: str) -> int:
    """A number of noncurrent versions; 0 without one."""
    text = _text(members, "NewerNoncurrentVersions")
    if text is None:
        return 0
    number = _number(text)
    if number is None:
        malformed()
    if not 1 <= number <= limits.MAX_NEWER_NONCURRENT:
        _wrong(
            f"'NewerNoncurrentVersions' for {action} action must be between 1 and "
            f"{limits.MAX_NEWER_NONCURRENT}",
            "NewerNoncurrentVersions",
            text,
        )
    return number


def _transition(element: Tree) -> LifecycleTransition:
    """Read a Transition or a NoncurrentVersionTransition."""
    action, is_current = element.name, element.name == "Transition"
    named = "Days" if is_current else "NoncurrentDays"
    more = "Date" if is_current else "NewerNoncurrentVersions"
    inner = members_of(element, frozenset({named, more, "StorageClass"}))
    is_timed = (named in inner) is not (is_current and "Date" in inner)
    class_name = (_text(inner, "StorageClass") or "").strip()
    if class_name in {STANDARD, "REDUCED_REDUNDANCY"}:
        _wrong(f"Invalid target Storage class for {action} action", "StorageClass", class_name)
    if not is_timed or class_name not in TRANSITION_TARGETS:
        malformed()
    text = _text(inner, named)
    if text is None:
        return LifecycleTransition(None, _date(_text(inner, "Date") or ""), class_name)
    days = _number(text)
    if days is None or days > limits.MAX_LIFECYCLE_DAYS:
        malformed()
    if days < 0:
        _wrong(f"'{named}' in {action} action must be nonnegative", named, text)
    if class_name in INFREQUENT and days < limits.LEAST_INFREQUENT_DAYS:
        _wrong(
            f"'{named}' in {action} action must be greater than or equal to "
            f"{limits.LEAST_INFREQUENT_DAYS} for storageClass '{class_name}'",
            named,
            text,
        )
    newer = 0 if is_current else _newer(inner, action)
    return LifecycleTransition(days, None, class_name, newer)


# --- written ------------------------------------------------------------------------------------


def lifecycle_tree(rules: LifecycleRules) -> Tree:
    """The LifecycleConfiguration document of rules."""
    return Tree("LifecycleConfiguration", "", tuple(map(_rule_tree, rules.rules)))


def _rule_tree(rule: LifecycleRule) -> Tree:
    children = [Tree("ID", rule.rule_id)]
    if rule.is_filter:
        children.append(Tree("Filter", "", _filter_tree(rule)))
    else:
        children.append(Tree("Prefix", rule.prefix or ""))
    children.append(Tree("Status", "Enabled" if rule.is_enabled else "Disabled"))
    children += [_transition_tree("Transition", each) for each in rule.transitions]
    expiration = _expiration_tree(rule)
    if expiration:
        children.append(Tree("Expiration", "", expiration))
    children += [
        _transition_tree("NoncurrentVersionTransition", each)
        for each in rule.noncurrent_transitions
    ]
    if rule.noncurrent_days:
        inner = [Tree("NoncurrentDays", str(rule.noncurrent_days))]
        if rule.newer_noncurrent:
            inner.append(Tree("NewerNoncurrentVersions", str(rule.newer_noncurrent)))
        children.append(Tree("NoncurrentVersionExpiration", "", tuple(inner)))
    if rule.abort_days:
        days = Tree("DaysAfterInitiation", str(rule.abort_days))
        children.append(Tree("AbortIncompleteMultipartUpload", "", (days,)))
    return Tree("Rule", "", tuple(children))


def _filter_tree(rule: LifecycleRule) -> tuple[Tree, ...]:
    conditions = [] if rule.prefix is None else [Tree("Prefix", rule.prefix)]
    conditions += [
        Tree("Tag", "", (Tree("Key", tag.key), Tree("Value", tag.value))) for tag in rule.tags
    ]
    for name, size in (
        ("ObjectSizeGreaterThan", rule.larger_than),
        ("ObjectSizeLessThan", rule.smaller_than),
    ):
        if size is not None:
            conditions.append(Tree(name, str(size)))
    return (Tree("And", "", tuple(conditions)),) if rule.is_joined else tuple(conditions)


def _expiration_tree(rule: LifecycleRule) -> tuple[Tree, ...]:
    if rule.expire_days:
        return (Tree("Days", str(rule.expire_days)),)
    if rule.expire_ms is not None:
        return (_date_tree(rule.expire_ms),)
    if rule.removes_markers is None:
        return ()
    return (Tree("ExpiredObjectDeleteMarker", "true" if rule.removes_markers else "false"),)


def _date_tree(at_ms: int) -> Tree:
    date = datetime.fromtimestamp(at_ms / 1000, UTC)
    return Tree("Date", date.strftime("%Y-%m-%dT%H:%M:%S.000Z"))


def _transition_tree(action: str, each: LifecycleTransition) -> Tree:
    named = "Days" if action == "Transition" else "NoncurrentDays"
    inner = [] if each.days is None else [Tree(named, str(each.days))]
    if each.at_ms is not None:
        inner.append(_date_tree(each.at_ms))
    if each.newer:
        inner.append(Tree("NewerNoncurrentVersions", str(each.newer)))
    return Tree(action, "", (*inner, Tree("StorageClass", each.class_name)))
