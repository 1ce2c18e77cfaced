"""Billing periods: calendar steps from an anchor, the 31st kept where the month has one."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta


def step(anchor: int, interval: str, count: int, times: int) -> int:
    """The moment `times` periods of `count` intervals after the anchor."""
    start = datetime.fromtimestamp(anchor, UTC)
    if interval in ("day", "week"):
        return int((start + timedelta(days=(7 if interval == "week" else 1) * count * times)).timestamp())
    months = (12 if interval == "year" else 1) * count * times
    index = start.year * 12 + start.month - 1 + months
    year, month = divmod(index, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def period_end(anchor: int, interval: str, count: int, start: int) -> int:
    """The first period boundary after `start`, counted from the anchor."""
    times = 1
    while (end := step(anchor, interval, count, times)) <= start:
        times += 1
    return end
