"""Storage classes and how they are written, as JSON and for the outlook.

Source: docs/operations.md, "Storage classes".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from coordinator.placement import Placement
from coordinator.policy.outlook import Look, SeenClass
from coordinator.policy.storage_classes import STANDARD


def tell_classes(placement: Placement, buckets: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return the storage classes, JSON-like, the configured one first.

    Args:
        buckets: by the number of a class, how many have it.
    """
    return [
        {
            "name": each.storage_class.name,
            "redundancy": str(each.redundancy),
            "sites": sorted(each.storage_class.fence),
            "buckets": buckets.get(each.storage_class.number, 0),
            "written_as": str(each.written),
            "writable": each.can_be_written,
            "cells": each.have,
            "cells_needed": each.redundancy.n,
        }
        for each in placement.classes
    ]


def seen_classes(placement: Placement, in_use: Collection[int]) -> list[SeenClass]:
    """Return the classes beside the configured one that are in use.

    Args:
        in_use: by their numbers.
    """
    return [
        SeenClass(
            each.storage_class.name,
            str(each.redundancy),
            str(each.written),
            each.have,
            each.redundancy.n,
            sorted(each.storage_class.fence),
            each.can_be_written,
        )
        for each in placement.classes
        if each.storage_class.number != STANDARD and each.storage_class.number in in_use
    ]


def tell_following(pages: int, scans: int, look: Look | None) -> dict[str, Any]:
    """Return how far data is that follows the class of its bucket, JSON-like.

    Args:
        pages: that may not be in it yet.
        scans: buckets that are still looked through.
        look: the last one.
    """
    left_s = None if look is None else look.following.left_s
    return {
        "pages": pages,
        "buckets_to_look_through": scans,
        "left_s": None if left_s is None or scans else round(left_s),
    }
