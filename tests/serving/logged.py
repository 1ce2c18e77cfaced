"""Rows of the request log, without the calls."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connection

from kit.clock import now
from serving.models import RequestRecord
from tenants.scope import tenant_scope
from tests.conftest import Person

MANY = """
    INSERT INTO serving_requestrecord (
        id, tenant_id, project_id, key_id, at, kind, model, version_id, arm, status, code, duration_ms, first_token_ms,
        queue_ms, engine_ms, items, batch_rows, input_tokens, output_tokens, cached_tokens, cost_nano, model_state,
        trace_id)
    SELECT gen_random_uuid(), %(tenant)s, %(project)s, %(key)s, now() - n * interval '6 seconds',
        CASE WHEN n %% 3 = 0 THEN 'chat' ELSE 'classify' END, 'model-' || n %% 7, NULL, '',
        CASE WHEN n %% 50 = 0 THEN 429 WHEN n %% 211 = 0 THEN 503 ELSE 200 END,
        CASE WHEN n %% 50 = 0 THEN 'rate_limit_exceeded' WHEN n %% 211 = 0 THEN 'slow_down' ELSE '' END,
        10 + n %% 100, CASE WHEN n %% 3 = 0 THEN 5 + n %% 10 ELSE 0 END, n %% 4, 5, 1,
        CASE WHEN n %% 3 = 0 THEN 0 ELSE 1 + n %% 16 END, 20, CASE WHEN n %% 3 = 0 THEN 8 ELSE 0 END,
        CASE WHEN n %% 3 = 0 THEN 10 ELSE 0 END, 400, 'hot', ''
    FROM generate_series(1, %(count)s) AS n"""


def log_request(person: Person, **fields: Any) -> RequestRecord:
    """One request; an ordinary classification unless told."""
    ordinary: dict[str, Any] = {
        "at": now() - dt.timedelta(seconds=5), "kind": "classify", "model": "ft:base:org:intents:1", "status": 200,
        "duration_ms": 12, "queue_ms": 1, "engine_ms": 6, "items": 1, "batch_rows": 4, "input_tokens": 9,
        "cost_nano": 180, "model_state": "hot", "key_id": person.key_row.pk,
    }  # fmt: skip
    with tenant_scope(person.tenant.id):
        row: RequestRecord = RequestRecord.objects.create(project_id=person.project.pk, **(ordinary | fields))
    return row


def log_many(person: Person, count: int) -> None:
    """So many requests, one every six seconds back from now: seven models, two kinds, two sorts of errors."""
    values = {"tenant": person.tenant.id, "project": person.project.pk, "key": person.key_row.pk, "count": count}
    with tenant_scope(person.tenant.id), connection.cursor() as cursor:
        cursor.execute(MANY, values)


ARMS = """
    INSERT INTO serving_requestrecord (
        id, tenant_id, project_id, at, kind, model, version_id, arm, status, code, duration_ms, first_token_ms,
        queue_ms, engine_ms, items, batch_rows, input_tokens, output_tokens, cached_tokens, cost_nano, model_state,
        trace_id)
    SELECT gen_random_uuid(), %(tenant)s, %(project)s, now(), 'classify', %(alias)s, %(version)s, %(arm)s,
        CASE WHEN n %% 100 = 0 THEN 500 ELSE 200 END, '', n %% 100, 0, 0, 5, 1, 1, 20, 0, 0, 400, 'hot', ''
    FROM generate_series(1, %(count)s) AS n"""


def log_arm(person: Person, count: int, *, alias: str, version: Any, arm: str) -> None:
    """So many calls of one side of a rollout, each hundredth failed."""
    values = {"tenant": person.tenant.id, "project": person.project.pk, "count": count}
    with tenant_scope(person.tenant.id), connection.cursor() as cursor:
        cursor.execute(ARMS, values | {"alias": alias, "version": version, "arm": arm})
