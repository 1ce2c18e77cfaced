"""A job's news as server-sent events: points, state and log lines, replayed from `Last-Event-ID`.

The rows in PostgreSQL are the truth; they are looked at once a second. A stream ends after five minutes, so that a
member who left stops seeing it; the browser comes back by itself and is checked again.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from console import job_page
from console.paging import whole
from kit import threads
from kit.errors import NotFound, PermissionDenied
from tenants import selectors as tenants
from tenants.scope import tenant_scope
from tenants.visiting import seat_of
from training import selectors

LOOK_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
LONGEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Place:
    """The job that may be watched: resolved and checked at the door."""

    tenant_id: UUID
    project_id: UUID
    job_id: UUID
    page: str


def job_stream(request: HttpRequest, org: str, project: str, job: str) -> HttpResponseBase:
    """Open the stream. Strangers get the 404 of an unknown job."""
    if request.method not in ("GET", "HEAD"):
        raise Http404
    place = _door(request, org, project, job)
    return StreamingHttpResponse(
        messages(place, after=last_seen(request), badge=request.GET.get("badge", "")),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def last_seen(request: HttpRequest) -> int:
    """The number of the last event the browser has; what makes no sense is 0."""
    text = request.headers.get("Last-Event-ID") or request.GET.get("after", "")
    return whole(text) or 0


def _door(request: HttpRequest, org: str, project: str, job: str) -> Place:
    if not request.user.is_authenticated:
        raise Http404
    try:
        seat = seat_of(request, org)
        if seat is None or "jobs.read" not in seat.scopes or seat.tenant_status == "closed":
            raise Http404
        with tenant_scope(seat.tenant_id):
            place = tenants.project_by_slug(project)
            found = selectors.job_by_public_id(place.pk, job)
    except (NotFound, PermissionDenied) as error:
        raise Http404 from error
    page = reverse("console:job", args=[org, project, found.public_id])
    return Place(seat.tenant_id, place.pk, found.pk, page)


async def messages(place: Place, *, after: int, badge: str = "") -> AsyncIterator[str]:
    """Everything since `after`, then what comes, until the job ends or is no longer in the state the page shows
    (`badge`; without one, the state of the first look)."""
    yield "retry: 3000\n\n"
    began = spoke = time.monotonic()
    shown: dict[str, Any] = {}
    first = badge
    while time.monotonic() - began < LONGEST_SECONDS:
        news = await threads.look_up(_look, place, after)
        first = first or news["badge"]
        for message in packed(news, shown):
            spoke = time.monotonic()
            yield message
        shown, after = news["state"], news["last"]
        if news["final"] or news["badge"] != first:
            yield message_of("done", {"href": place.page})
            return
        if time.monotonic() - spoke > KEEP_ALIVE_SECONDS:
            spoke = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_SECONDS)


def _look(place: Place, after: int) -> dict[str, Any]:
    """The job as it is now and its events after a number."""
    with tenant_scope(place.tenant_id):
        job = selectors.job_by_id(place.project_id, place.job_id)
        events = selectors.events_after(job, after)
        return {
            "badge": job_page.badge(job.state),
            "final": job.is_final and len(events) == 0,
            "state": {**job_page.live_state(job), "waiting": job_page.waiting_text(selectors.waiting(job))},
            "events": events,
            "last": events[-1].seq if events else after,
        }


def packed(news: dict[str, Any], shown: dict[str, Any]) -> list[str]:
    """The news as messages: all points in one, each log line in one, the state when it changed."""
    out, points = [], []
    for event in news["events"]:
        if event.type == "metrics":
            points += [point.as_json() for point in job_page.points_of(event.data)]
        else:
            out.append(message_of("log", job_page.log_line(event), event.seq))
    if points:
        out.append(message_of("point", points, news["last"]))
    if news["state"] != shown:
        out.append(message_of("state", news["state"]))
    return out


def message_of(event: str, data: Any, seq: int | None = None) -> str:
    """One server-sent event. JSON holds no raw line break, so one data line is enough."""
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
