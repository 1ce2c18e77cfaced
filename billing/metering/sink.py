"""Usage events into Postgres, through psycopg alone: `ON CONFLICT DO NOTHING` on the event id drops doubles."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from billing.metering.events import UsageEvent
from billing.metering.shipper import PoisonEvent
from kit.rows import TenantRows

INSERT = """
    INSERT INTO billing_usageevent (
        id, request_id, tenant_id, project_id, key_id, model, kind, input_tokens, output_tokens, requests, gpu_ms,
        price_version, cost_nano, occurred_at, cached_tokens, received_at)
    SELECT event_id, request_id, tenant_id, project_id, key_id, model, kind, input_tokens, output_tokens, requests,
        gpu_ms, price_version, cost_nano, timestamptz 'epoch' + occurred_at * interval '1 millisecond',
        cached_tokens, clock_timestamp()
    FROM json_to_recordset(%s) AS event (
        event_id uuid, request_id text, tenant_id uuid, project_id uuid, key_id uuid, model text, kind text,
        input_tokens bigint, output_tokens bigint, requests bigint, gpu_ms bigint, price_version text,
        cost_nano bigint, occurred_at bigint, cached_tokens bigint)
    ON CONFLICT (id) DO NOTHING"""


class PostgresSink:
    """A sink on one connection of its own; reconnects on the next batch after a failure. Used from one thread."""

    def __init__(self, dsn: str) -> None:
        self._rows = TenantRows(dsn, INSERT, name="usage-shipper")

    def __call__(self, events: Sequence[UsageEvent]) -> None:
        """Insert a batch, all or nothing. Events go in by their ids, so that two shippers of one file wait for each
        other in one order."""
        ordered = sorted(events, key=lambda event: event.event_id.int)
        try:
            self._rows.write(ordered)
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            raise PoisonEvent(str(error)) from error

    def close(self) -> None:
        """Drop the connection."""
        self._rows.close()
