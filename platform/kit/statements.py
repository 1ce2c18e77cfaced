"""Statements that come again and again on one connection: PostgreSQL plans them once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connections


@contextmanager
def planned_once(alias: str) -> Iterator["psycopg.Cursor[Any]"]:
    """A cursor of psycopg's own on one of Django's connections, inside its transaction; errors are Django's.

    Django writes values into its statements, so that each is a new one to PostgreSQL. This cursor sends them apart, and
    a statement's plan is kept from its fifth time on (`DATABASE_PLANS_ONCE`). Planning a large statement takes longer
    than running it.
    """
    connection = connections[alias]
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        yield cursor
