"""The classes that clients may ask for, by their names, and which of them lifecycle rules lead to.
Pure.

The empty name stands for the class that objects have of which nothing was asked: its protocol's
name is STANDARD. What each means for the data is up to the operators, who let names lead to storage
classes of the swarm. Classes whose objects have to be restored before they can be read are none of
these: nothing here is ever away.

Source: Amazon S3 User Guide, "Transitioning objects using Amazon S3 Lifecycle", "Supported
lifecycle transitions"; docs/decisions/0057-class-names.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TRANSITION_TARGETS: Final = (
    "STANDARD_IA",
    "INTELLIGENT_TIERING",
    "ONEZONE_IA",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
)
"""Those to which rules lead, the ones that keep data for less money behind the others."""
_FOLLOWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "": TRANSITION_TARGETS,
    "REDUCED_REDUNDANCY": TRANSITION_TARGETS,
    "STANDARD_IA": TRANSITION_TARGETS[1:],
    "INTELLIGENT_TIERING": TRANSITION_TARGETS[2:],
    "ONEZONE_IA": TRANSITION_TARGETS[4:],
    "GLACIER_IR": TRANSITION_TARGETS[4:],
    "GLACIER": TRANSITION_TARGETS[5:],
    "DEEP_ARCHIVE": (),
}
ARCHIVES: Final = frozenset({"DEEP_ARCHIVE", "GLACIER"})
CLASS_NAMES: Final = frozenset(_FOLLOWERS) - ARCHIVES - {""}
"""Those that can be asked for, beside the empty one."""


def may_follow(name: str, target: str) -> bool:
    """Return whether rules lead an object of one class to another. No rule leads back."""
    return target in _FOLLOWERS.get(name, ())


def rank(target: str) -> int:
    """Return the place of a class to which rules lead among all of them: of several, an object gets
    the last one."""
    return TRANSITION_TARGETS.index(target) if target in TRANSITION_TARGETS else -1
