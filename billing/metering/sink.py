"""Usage events into Postgres, through psycopg alone.

One transaction per batch. Each tenant's rows go in under that tenant's own row-level security setting, as the app role:
a bug here cannot write a row into another tenant. `ON CONFLICT DO NOTHING` on the event id drops doubles.
"""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections.abc import Sequence

import psycopg

from billing.metering.events import UsageEvent
from billing.metering.shipper import PoisonEvent

TABLE = "billing_usageevent"
_COLUMNS = (
    "id",
    "request_id",
    "tenant_id",
    "project_id",
    "key_id",
    "model",
    "kind",
    "input_tokens",
    "output_tokens",
    "requests",
    "gpu_ms",
    "price_version",
    "cost_nano",
    "occurred_at",
)
_TYPES = (
    "uuid[]",
    "text[]",
    "uuid[]",
    "uuid[]",
    "uuid[]",
    "text[]",
    "text[]",
    "bigint[]",
    "bigint[]",
    "bigint[]",
    "bigint[]",
    "text[]",
    "bigint[]",
    "timestamptz[]",
)
_UNNEST = ", ".join("%s::" + kind for kind in _TYPES)
INSERT = (
    f"INSERT INTO {TABLE} ({', '.join(_COLUMNS)}, received_at) "
    f"SELECT *, clock_timestamp() FROM unnest({_UNNEST}) ON CONFLICT (id) DO NOTHING"
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def moment(ms: int) -> dt.datetime:
    """Exact UTC time of ms since 1970."""
    return _EPOCH + dt.timedelta(milliseconds=ms)


def _row(event: UsageEvent) -> tuple[object, ...]:
    return (
        event.event_id,
        event.request_id,
        event.tenant_id,
        event.project_id,
        event.key_id,
        event.model,
        event.kind,
        event.input_tokens,
        event.output_tokens,
        event.requests,
        event.gpu_ms,
        event.price_version,
        event.cost_nano,
        moment(event.occurred_at),
    )


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
        ordered = sorted(events, key=lambda event: (event.tenant_id, event.event_id))
        with self._connection.transaction(), self._connection.pipeline():
            for tenant, group in itertools.groupby(ordered, key=lambda event: event.tenant_id):
                self._connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant)])
                columns = list(zip(*[_row(event) for event in group], strict=True))
                self._connection.execute(INSERT, [list(column) for column in columns])

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
