"""The request log: what the gateway answered, written behind the answers. Texts are not in it.

A note costs an append to a list and nothing waits for it. A killed process loses the notes of half a second; usage and
money have their own file (`billing.metering`) and lose nothing.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from typing import Protocol
from uuid import UUID

import msgspec
import psycopg
from django.conf import settings

from kit.clock import now
from kit.metrics import Counter
from kit.rows import TenantRows
from serving import rounds
from serving.models import RequestRecord, Rollout
from tenants.scope import ops_scope

logger = logging.getLogger(__name__)

EVERY_SECONDS = 0.5
MOST = 20_000
"""Notes that wait while the database is away; more are dropped."""
MOST_REFUSED = 200
"""Refused calls of one tenant kept of each half second: who hammers against a limit fills no table."""
PARCEL = 5_000
"""Rows one statement writes or deletes."""
CLOSE_SECONDS = 5.0

DROPPED = Counter("serving_requests_dropped_total", "Requests that the log does not hold", ("why",))

INSERT = """
    INSERT INTO serving_requestrecord (
        id, tenant_id, project_id, key_id, at, kind, model, version_id, arm, status, code, duration_ms,
        first_token_ms, queue_ms, engine_ms, items, batch_rows, input_tokens, output_tokens, cached_tokens, cost_nano,
        explained, model_state, trace_id, retries)
    SELECT DISTINCT ON (id) id, tenant_id, project_id, key_id,
        timestamptz 'epoch' + at_ms * interval '1 millisecond', kind, model, version_id, arm, status, code, duration_ms,
        first_token_ms, queue_ms, engine_ms, items, batch_rows, input_tokens, output_tokens, cached_tokens, cost_nano,
        explained, model_state, trace_id, retries
    FROM json_to_recordset(%s) AS note (
        id uuid, tenant_id uuid, project_id uuid, key_id uuid, at_ms bigint, kind text, model text, version_id uuid,
        arm text, status int, code text, duration_ms int, first_token_ms int, queue_ms int, engine_ms int, items int,
        batch_rows int, input_tokens int, output_tokens int, cached_tokens int, cost_nano bigint, explained boolean,
        model_state text, trace_id text, retries int)
    ORDER BY id, (status < 400) DESC, at_ms DESC
    ON CONFLICT (id) DO UPDATE SET (
        at, version_id, arm, status, code, duration_ms, first_token_ms, queue_ms, engine_ms, items, batch_rows,
        input_tokens, output_tokens, cached_tokens, cost_nano, explained, model_state, trace_id, retries,
        written
    ) = (
        excluded.at, excluded.version_id, excluded.arm, excluded.status, excluded.code, excluded.duration_ms,
        excluded.first_token_ms, excluded.queue_ms, excluded.engine_ms, excluded.items, excluded.batch_rows,
        excluded.input_tokens, excluded.output_tokens, excluded.cached_tokens, excluded.cost_nano,
        excluded.explained, excluded.model_state, excluded.trace_id, excluded.retries, excluded.written
    ) WHERE serving_requestrecord.status >= 400 AND serving_requestrecord.kind LIKE 'batch%%'"""
"""A batch's line keeps its id when it is asked again: what it came to in the end is its row."""


class RequestNote(msgspec.Struct, kw_only=True, gc=False):
    """One request while it is answered, and afterwards. `RequestRecord` says what the fields mean."""

    id: UUID
    tenant_id: UUID
    project_id: UUID
    key_id: UUID | None
    at_ms: int
    kind: str
    model: str = ""
    version_id: UUID | None = None
    arm: str = ""
    status: int = 200
    code: str = ""
    duration_ms: int = 0
    first_token_ms: int = 0
    queue_ms: int = 0
    engine_ms: int = 0
    items: int = 0
    batch_rows: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_nano: int = 0
    explained: bool = False
    model_state: str = ""
    trace_id: str = ""
    retries: int = 0


class Note(Protocol):
    """What can be written behind an answer: of a tenant, with the answer's status."""

    status: int

    @property
    def tenant_id(self) -> UUID:
        """Whose it is."""


class RequestLog:
    """Notes of one process, and the thread that writes them. `note` may be called from an event loop."""

    def __init__(self, dsn: str, insert: str = INSERT, *, most: int = MOST) -> None:
        self._rows, self._most = TenantRows(dsn, insert, name="request-log"), most
        self._notes: list[Note] = []
        self._refused: dict[UUID, int] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, note: Note) -> None:
        """Keep one."""
        if len(self._notes) >= self._most:
            DROPPED.labels("full").inc()
            return
        if note.status in (402, 429):
            refused = self._refused[note.tenant_id] = self._refused.get(note.tenant_id, 0) + 1
            if refused > MOST_REFUSED:
                DROPPED.labels("refused").inc()
                return
        self._notes.append(note)

    def start(self) -> None:
        """Write in the background until `stop`."""
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is left once more and end. Blocks for a moment."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=CLOSE_SECONDS)
        self.flush()
        self._rows.close()

    def flush(self) -> int:
        """Write what has gathered; how many. What a database that is away does not take waits for the next time."""
        notes, self._notes, self._refused = self._notes, [], {}
        for start in range(0, len(notes), PARCEL):
            try:
                self._write(notes[start : start + PARCEL])
            except psycopg.OperationalError as error:
                logger.info("%d requests wait to be logged: %s", len(notes) - start, error)
                self._notes = notes[start:] + self._notes
                return start
        return len(notes)

    def _write(self, notes: list[Note]) -> None:
        """Write some. Those the database can never take (their tenant is gone, say) are dropped, and only those."""
        try:
            self._rows.write(notes)
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            if len(notes) == 1:
                DROPPED.labels("impossible").inc()
                logger.warning("a request of tenant %s is not logged: %s", notes[0].tenant_id, error)
                return
            half = len(notes) // 2
            self._write(notes[:half])
            self._write(notes[half:])

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            try:
                self.flush()
            except Exception:  # the thread outlives whatever is wrong with the database
                logger.warning("requests could not be logged", exc_info=True)


def wall_ms() -> int:
    """Ms since 1970, for `at_ms`."""
    return time.time_ns() // 1_000_000


def requests_prune() -> int:
    """Delete what is older than `REQUEST_LOG_DAYS`; how many rows. What a rollout counts from its rows is kept: a batch
    is open for a day at most, and a row is not deleted before, so its failed lines are as they ended."""
    deleted, until = 0, now() - dt.timedelta(days=settings.REQUEST_LOG_DAYS)
    with ops_scope("forget old requests"):
        counted = list(Rollout.ops.filter(figures={}, created_at__lt=until).values_list("tenant_id", "pk"))
        for tenant_id, pk in counted:
            try:
                while gone := rounds.forget(tenant_id=tenant_id, rollout_id=pk, before=until):
                    deleted += gone
            except Exception:  # one rollout's figures are no reason to keep everybody's log longer than was promised
                logger.exception("what rollout %s counts of old requests could not be kept", pk)
        while True:
            old = RequestRecord.ops.filter(at__lt=until).values("pk")[:PARCEL]
            gone, _ = RequestRecord.ops.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
            deleted += gone
            if gone < PARCEL:
                return deleted
