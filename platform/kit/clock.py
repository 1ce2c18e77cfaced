"""The one place that reads the wall clock. Durations use `time.monotonic()`; leases use the database's clock."""

import datetime as dt


def now() -> dt.datetime:
    """The current instant, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def unix(moment: dt.datetime | None) -> int | None:
    """Whole seconds since 1970 for the wire, or None."""
    return None if moment is None else int(moment.timestamp())
