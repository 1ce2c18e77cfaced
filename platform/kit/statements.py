"""Statements that come again and again on one connection: prepared once, and run with other values."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections


@contextmanager
def prepared(alias: str) -> Iterator["psycopg.Cursor[Any]"]:
    """A cursor of psycopg's own on one of Django's connections, inside its transaction where there is one; errors are
    Django's.

    Django writes values into its statements, so that each is a new one to PostgreSQL. What runs on this cursor is
    prepared with its first run on a connection and then sent by name; PostgreSQL plans the first five runs and keeps
    the plan from then on, if that is no worse for any values. Planning a large statement takes longer than running it.
    `DATABASE_PREPARES` switches that off.
    """
    connection = connections[alias]
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    raw = connection.connection
    raw.prepare_threshold = 0 if settings.DATABASE_PREPARES else None
    try:
        with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
            yield cursor
    finally:
        raw.prepare_threshold = None  # Django's own statements are never the same twice
