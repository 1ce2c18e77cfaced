"""Billing months: calendar months, UTC. Pure."""

from __future__ import annotations

import datetime as dt


def month_of(moment: dt.datetime | dt.date) -> dt.date:
    """First day of the month."""
    return dt.date(moment.year, moment.month, 1)


def next_month(period: dt.date) -> dt.date:
    """First day of the following month."""
    return dt.date(period.year + period.month // 12, period.month % 12 + 1, 1)


def start_of(day: dt.date) -> dt.datetime:
    """Midnight, UTC."""
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def bounds(period: dt.date) -> tuple[dt.datetime, dt.datetime]:
    """First instant of the month, and of the next one."""
    return start_of(period), start_of(next_month(period))


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS = dt.timedelta(milliseconds=1)


def to_ms(moment: dt.datetime) -> int:
    """Ms since 1970, rounded down; exact for any year."""
    return (moment - _EPOCH) // _MS


def from_ms(ms: int) -> dt.datetime:
    """UTC time of ms since 1970, exact."""
    return _EPOCH + ms * _MS
