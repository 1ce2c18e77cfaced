"""Reading the request log in bounded time: a statement that takes too long is broken off, with a word about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from serving.errors import SpanTooLarge

PATIENCE_MS = 10_000
CANCELLED = "57014"
"""PostgreSQL's code for a statement that ran out of time."""


@contextlib.contextmanager
def bounded(too_long: str, *, milliseconds: int | None = None) -> Iterator[CursorWrapper]:
    """Statements inside have so long each, `PATIENCE_MS` if nothing is said. SpanTooLarge with these words for one that
    takes longer."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = %s", [PATIENCE_MS if milliseconds is None else milliseconds])
            yield cursor
            cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != CANCELLED:
            raise
        raise SpanTooLarge(too_long) from error
