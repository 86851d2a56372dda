"""Documents about locks, read and written.

Source: Amazon S3 API Reference, PutObjectLockConfiguration, PutObjectRetention, PutObjectLegalHold.
"""

from __future__ import annotations

from common import limits
from common.wire.messages.locks import NO_RETENTION, DefaultRetention, Lock
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.locks import HOLD_NAMES, HOLDS, MODE_NAMES, MODES, parse_date
from gateway_s3.xml.read import Tree, malformed, parse_children
from gateway_s3.xml.write import iso_time


def _texts(children: tuple[Tree, ...] | list[Tree], *names: str) -> dict[str, str]:
    """The texts of elements, each of which is there once at most, and no others."""
    found = {child.name: child.text.strip() for child in children}
    if len(found) != len(children) or not found.keys() <= set(names):
        malformed()
    if any(child.children for child in children):
        malformed()
    return found


def parse_lock_configuration(data: bytes) -> DefaultRetention:
    """The default retention of an ObjectLockConfiguration; NO_RETENTION where it has no rule.

    Raises:
        S3Error: MalformedXML; InvalidArgument: a period that cannot be.
    """
    children = parse_children(data, "ObjectLockConfiguration", 2, limits.MAX_LOCK_ELEMENTS)
    rules = [child for child in children if child.name == "Rule"]
    flags = _texts([child for child in children if child.name != "Rule"], "ObjectLockEnabled")
    if flags != {"ObjectLockEnabled": "Enabled"} or len(rules) > 1:
        malformed()
    if not rules:
        return DefaultRetention()
    (rule,) = rules
    if [child.name for child in rule.children] != ["DefaultRetention"]:
        malformed()
    values = _texts(rule.children[0].children, "Mode", "Days", "Years")
    if values.get("Mode") not in MODES or ("Days" in values) == ("Years" in values):
        malformed()
    mode = MODES[values["Mode"]]
    if "Days" in values:
        return DefaultRetention(mode, days=_period(values["Days"], limits.MAX_RETENTION_DAYS))
    return DefaultRetention(mode, years=_period(values["Years"], limits.MAX_RETENTION_YEARS))


def _period(text: str, most: int) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= limits.MAX_PERIOD_DIGITS):
        malformed()
    number = int(text)
    if number <= 0:
        raise S3Error(
            errors.INVALID_ARGUMENT, "Default retention period must be a positive integer value."
        )
    if number > most:
        raise S3Error(errors.INVALID_ARGUMENT, "Default retention period too large")
    return number


def lock_configuration_tree(default: DefaultRetention) -> Tree:
    """The ObjectLockConfiguration of a bucket whose versions can be locked."""
    enabled = Tree("ObjectLockEnabled", "Enabled")
    if default.mode == NO_RETENTION:
        return Tree("ObjectLockConfiguration", "", (enabled,))
    unit, number = ("Days", default.days) if default.days else ("Years", default.years)
    retention = (Tree("Mode", MODE_NAMES[default.mode]), Tree(unit, str(number)))
    rule = Tree("Rule", "", (Tree("DefaultRetention", "", retention),))
    return Tree("ObjectLockConfiguration", "", (enabled, rule))


def parse_retention(data: bytes) -> Lock:
    """The retention of a Retention document; NO_RETENTION where it is empty.

    Raises:
        S3Error: MalformedXML.
    """
    values = _texts(parse_children(data, "Retention", 2, 1), "Mode", "RetainUntilDate")
    if not values:
        return Lock()
    if values.get("Mode") not in MODES or "RetainUntilDate" not in values:
        malformed()
    until_ms = parse_date(values["RetainUntilDate"])
    if until_ms is None:
        malformed()
    return Lock(MODES[values["Mode"]], until_ms)


def retention_tree(lock: Lock) -> Tree:
    """The Retention document of a version that has one."""
    until = Tree("RetainUntilDate", iso_time(lock.until_ms))
    return Tree("Retention", "", (Tree("Mode", MODE_NAMES[lock.mode]), until))


def parse_hold(data: bytes) -> Lock:
    """The legal hold of a LegalHold document. Raises S3Error MalformedXML."""
    values = _texts(parse_children(data, "LegalHold", 1, 1), "Status")
    if values.get("Status") not in HOLDS:
        malformed()
    return Lock(hold=HOLDS[values["Status"]])


def hold_tree(lock: Lock) -> Tree:
    """The LegalHold document of a version whose hold was set."""
    return Tree("LegalHold", "", (Tree("Status", HOLD_NAMES[lock.hold]),))
