"""The time by which orders expire: it runs evenly and never goes back, whatever clocks do.

Order time is counted in seconds. A store's first coordinator begins it at its wall clock; from then
on it runs with the monotonic clock. The store holds a number that order time has not reached yet,
and a coordinator that starts goes on from there, or from its wall clock where that is later. Cells
hear order time with each heartbeat and go on by their own monotonic clocks. So an order lives for
ORDER_LIFETIME_S although the wall clocks of coordinator and cells differ by hours, or step; and
one that has expired is never good again.

Source: docs/protocol.md, "Order time".
"""

from __future__ import annotations

from common import limits
from common.ports import Sql
from coordinator.store.dialect import clock_s
from coordinator.store.schema import counter_value


def start(sql: Sql, wall_s: float) -> int:
    """Return where order time goes on, in seconds.

    Args:
        sql: a store in which :func:`keep` is called next, unless it can only be read.
        wall_s: unix seconds of the wall clock.
    """
    return max(int(clock_s(sql, wall_s)), counter_value(sql, "order_time"))


def issued_elsewhere(sql: Sql) -> int:
    """Return an order time by which some coordinator on the store has issued orders."""
    return counter_value(sql, "order_time") - limits.ORDER_TIME_AHEAD_S


def keep(sql: Sql, order_time_s: int) -> None:
    """Keep a number that order time will not reach before this is called again."""
    sql.execute(
        "UPDATE counters SET value = ? WHERE name = 'order_time' AND value < ?",
        (order_time_s + limits.ORDER_TIME_AHEAD_S, order_time_s + limits.ORDER_TIME_AHEAD_S),
    )


class OrderTime:
    """Order time of one life of a coordinator.

    Args:
        start_s: where it goes on (:func:`start`).
        now: monotonic seconds, then.
    """

    def __init__(self, start_s: int, now: float) -> None:
        self._start_s = start_s
        self._began = now
        self._kept_s = start_s
        self._issued_s = start_s

    def at(self, now: float) -> int:
        """Order time in seconds.

        Args:
            now: monotonic seconds.
        """
        return int(self._start_s + now - self._began)

    def expiry(self, now: float, lifetime_s: int) -> int:
        """Return when an order that is issued now expires."""
        self._issued_s = self.at(now)
        return self._issued_s + lifetime_s

    def catch_up(self, order_time_s: int, now: float) -> None:
        """Go on from an order time that another coordinator has reached, if that is later."""
        self._start_s += max(0, order_time_s - self.at(now))

    @property
    def to_keep(self) -> int | None:
        """Return what to keep in the store; None while no order was issued since it was last kept:
        only orders need that order time does not go back."""
        return self._issued_s if self._issued_s > self._kept_s else None

    def kept(self, order_time_s: int) -> None:
        """Note that the store has it."""
        self._kept_s = order_time_s
