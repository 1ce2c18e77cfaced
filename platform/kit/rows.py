"""Rows of many tenants into one table of PostgreSQL, through psycopg alone. No Django.

One transaction per batch. Each tenant's rows go in under that tenant's own row-level security setting, as the app role:
a bug here cannot write a row into another tenant.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import msgspec
import psycopg

_encode = msgspec.json.Encoder().encode


class TenantRow(Protocol):
    """Anything with a tenant that msgspec can write as a JSON object."""

    @property
    def tenant_id(self) -> UUID:
        """Whose row it is."""


class TenantRows:
    """Inserts through one connection of its own; reconnects on the next batch after a failure. One batch at a time.

    `insert` is a statement with one parameter, a JSON array of the rows, which the server takes apart
    (`json_to_recordset`): lists of values cost this process sixteen times as much.
    """

    def __init__(self, dsn: str, insert: str, *, name: str) -> None:
        self._dsn, self._insert, self._name = dsn, insert, name
        self._connection: psycopg.Connection | None = None
        self._lock = threading.Lock()

    def write(self, rows: Sequence[TenantRow]) -> None:
        """Insert a batch, all or nothing. Raises what psycopg raises."""
        with self._lock:
            try:
                self._write(rows)
            except psycopg.OperationalError:
                self.close()
                raise

    def _write(self, rows: Sequence[TenantRow]) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._dsn, connect_timeout=5, application_name=self._name)
        with self._connection.transaction(), self._connection.pipeline():
            for tenant, group in itertools.groupby(sorted(rows, key=_tenant), key=lambda row: row.tenant_id):
                self._connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant)])
                self._connection.execute(self._insert, [_encode(list(group)).decode()])

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _tenant(row: TenantRow) -> int:
    return row.tenant_id.int
