"""A job's events as server-sent events, replayed from a number: the rows are the truth and are looked at every second.

A stream ends after five minutes or with the job; a client comes back with `Last-Event-ID`, and its key is checked
again.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from kit import threads
from kit.amounts import called, places_of
from kit.errors import RateLimited
from kit.money import currency
from tenants.scope import tenant_scope
from training import schema, selectors, wire

LOOK_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
LONGEST_SECONDS = 300.0
MOST_OPEN = 50
"""Streams of one tenant in one process."""

_open: Counter[UUID] = Counter()


def stream(tenant_id: UUID, project_id: UUID, job_id: UUID, *, after: int) -> AsyncIterator[str]:
    """Messages `event` (id: the event's number) and `job` (the job when its state, phase or progress has changed), and
    `done` when the job has ended. RateLimited with too many open streams."""
    if _open[tenant_id] >= MOST_OPEN:
        words = f"Your organization has {MOST_OPEN} streams open. Close one, or read …/events with a cursor."
        raise RateLimited(words, headers={"Retry-After": "30"})
    return _messages(tenant_id, project_id, job_id, after)


async def _messages(tenant_id: UUID, project_id: UUID, job_id: UUID, after: int) -> AsyncIterator[str]:
    _open[tenant_id] += 1
    try:
        yield "retry: 3000\n\n"
        began = spoke = time.monotonic()
        shown: tuple[Any, ...] = ()
        while time.monotonic() - began < LONGEST_SECONDS:
            job, events, final = await threads.look_up(_look, tenant_id, project_id, job_id, after)
            for event in events:
                after, spoke = event["x_seq"], time.monotonic()
                yield message("event", event, after)
            state = (job["x_state"], job["x_phase"], job["x_progress"], job["x_queue"])
            if state != shown:
                shown, spoke = state, time.monotonic()
                yield message("job", job)
            if final:
                yield message("done", {"id": job["id"], "status": job["status"]})
                return
            if time.monotonic() - spoke > KEEP_ALIVE_SECONDS:
                spoke = time.monotonic()
                yield ": still here\n\n"
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        _open[tenant_id] -= 1


def _look(
    tenant_id: UUID, project_id: UUID, job_id: UUID, after: int
) -> tuple[dict[str, Any], list[dict[str, Any]], bool]:
    with tenant_scope(tenant_id):
        job = selectors.job_by_id(project_id, job_id)
        events = [wire.event_object(event) for event in selectors.events_after(job, after)]
        answer = called(wire.job_object(job), places_of(schema.JOB), currency())
        return answer, events, job.is_final and not events


def message(event: str, data: Any, number: int | None = None) -> str:
    """One server-sent event. JSON holds no raw line break, so one data line is enough."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
