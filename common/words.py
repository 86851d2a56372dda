"""Numbers and times in words, for people."""

from __future__ import annotations


def human_duration(seconds: float) -> str:
    """A time for people, by its two greatest units: ``3 h 20 min``."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, size_s in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size_s)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part) or "0 s"


def human_rate(per_s: float) -> str:
    """A pace for people, in the unit in which it is at least one: ``12 a second``."""
    for unit, size_s in (("a second", 1), ("a minute", 60), ("an hour", 3600)):
        if per_s * size_s >= 1:
            return f"{per_s * size_s:,.0f} {unit}"
    return f"{per_s * 86400:,.1f} a day"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 shard``, ``1,204 shards``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
