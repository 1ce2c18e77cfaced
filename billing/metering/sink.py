"""Usage events into Postgres, through psycopg alone.

One transaction per batch. Each tenant's rows go in under that tenant's own row-level security setting, as the app role:
a bug here cannot write a row into another tenant. `ON CONFLICT DO NOTHING` on the event id drops doubles.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence

import msgspec
import psycopg

from billing.metering.events import UsageEvent
from billing.metering.shipper import PoisonEvent

INSERT = """
    INSERT INTO billing_usageevent (
        id, request_id, tenant_id, project_id, key_id, model, kind, input_tokens, output_tokens, requests, gpu_ms,
        price_version, cost_nano, occurred_at, received_at)
    SELECT event_id, request_id, tenant_id, project_id, key_id, model, kind, input_tokens, output_tokens, requests,
        gpu_ms, price_version, cost_nano, timestamptz 'epoch' + occurred_at * interval '1 millisecond',
        clock_timestamp()
    FROM json_to_recordset(%s) AS event (
        event_id uuid, request_id text, tenant_id uuid, project_id uuid, key_id uuid, model text, kind text,
        input_tokens bigint, output_tokens bigint, requests bigint, gpu_ms bigint, price_version text,
        cost_nano bigint, occurred_at bigint)
    ON CONFLICT (id) DO NOTHING"""
"""A batch is one JSON text, taken apart by the server: lists of values cost this process sixteen times as much."""

_encode = msgspec.json.Encoder().encode


class PostgresSink:
    """A sink on one connection of its own; reconnects on the next batch after a failure. Used from one thread."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.Connection | None = None
        self._lock = threading.Lock()

    def __call__(self, events: Sequence[UsageEvent]) -> None:
        """Insert a batch, all or nothing. Events of one tenant are inserted together."""
        with self._lock:
            try:
                self._insert(events)
            except psycopg.OperationalError:
                self.close()
                raise
            except (psycopg.IntegrityError, psycopg.DataError) as error:
                raise PoisonEvent(str(error)) from error

    def _insert(self, events: Sequence[UsageEvent]) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._dsn, connect_timeout=5, application_name="usage-shipper")
        ordered = sorted(events, key=lambda event: (event.tenant_id.int, event.event_id.int))
        with self._connection.transaction(), self._connection.pipeline():
            for tenant, group in itertools.groupby(ordered, key=lambda event: event.tenant_id):
                self._connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant)])
                self._connection.execute(INSERT, [_encode(list(group)).decode()])

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
