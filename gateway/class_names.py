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

_FOLLOWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR"),
    "REDUCED_REDUNDANCY": ("STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR"),
    "STANDARD_IA": ("INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR"),
    "INTELLIGENT_TIERING": ("ONEZONE_IA", "GLACIER_IR"),
    "ONEZONE_IA": (),
    "GLACIER_IR": (),
}
CLASS_NAMES: Final = frozenset(_FOLLOWERS) - {""}
"""Those that can be asked for, beside the empty one."""
TRANSITION_TARGETS: Final = _FOLLOWERS[""]
"""Those to which rules lead, the ones that keep data for less money behind the others."""


def may_follow(name: str, target: str) -> bool:
    """Return whether rules lead an object of one class to another. No rule leads back."""
    return target in _FOLLOWERS.get(name, ())
