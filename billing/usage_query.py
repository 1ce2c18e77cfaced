"""Reading times from a query."""

from __future__ import annotations

import datetime as dt

from django.http import QueryDict

from kit.errors import BadRequest

LAST_SECOND = 253_402_300_799


def read_moment(asked: QueryDict, name: str) -> dt.datetime | None:
    """A time in Unix seconds; None where the field is empty. BadRequest for what is no time."""
    raw = asked.get(name)
    if raw is None or raw == "":
        return None
    if not (raw.isascii() and raw.removeprefix("-").isdigit() and len(raw) <= 20):
        raise BadRequest(f"'{name}' must be a whole number of Unix seconds.", param=name)
    seconds = int(raw)
    # A day's room at both ends, so that no bucket leaves the calendar.
    if not 0 <= seconds <= LAST_SECOND - 86_400:
        raise BadRequest(f"'{name}' must be a time between 1970 and 9999.", param=name)
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
