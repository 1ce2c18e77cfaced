"""Reading the request log, inside the tenant's scope: filters, pages from a row on, one request.

Whoever reads goes from the newest back along the index of project and time. A filter narrows what is read there; the
span (`RequestFilter.since`) bounds it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from billing.prices.rating import batch_kind
from kit.clock import now
from kit.errors import NotFound
from kit.ids import parse_id, public_id
from kit.money import number
from serving.models import RequestRecord
from serving.patience import bounded
from serving.splits import SHADOW
from tenants.selectors import projects

CALLED = ("chat", "classify", "completions", "decisions", "embeddings", "moderations", "predict", "rerank")
"""What is called: the values of `gateway.app.KINDS`."""
KINDS = (*CALLED, *map(batch_kind, CALLED))
"""What is called as the log names it, which tells lines of batches apart."""
CLASSES = ("2xx", "4xx", "5xx")
ARMS = ("stable", "candidate", "shadow")
SPAN = dt.timedelta(days=1)
"""What is shown where nobody says since when."""


@dataclasses.dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests of a project; an empty field is no condition. `status` is a class such as 4xx, or one status."""

    project_id: UUID
    since: dt.datetime
    until: dt.datetime | None = None
    model: str = ""
    key_id: UUID | None = None
    without_key: bool = False
    kind: str = ""
    status: str = ""
    code: str = ""
    min_ms: int = 0
    arm: str = ""


def since_default() -> dt.datetime:
    """A day ago."""
    return now() - SPAN


def requests(wanted: RequestFilter) -> QuerySet[Any]:
    """The requests, newest first. Shadow calls, which nobody made, are among them only where they are asked for."""
    return _of_any_time(wanted).filter(at__gte=wanted.since)


def _of_any_time(wanted: RequestFilter) -> QuerySet[Any]:
    """The requests, from before `since` as well."""
    rows = RequestRecord.objects.filter(project_id=wanted.project_id)
    if wanted.until is not None:
        rows = rows.filter(at__lt=wanted.until)
    if wanted.arm != SHADOW:
        rows = rows.exclude(arm=SHADOW)
    if wanted.status:
        low = int(wanted.status[0]) * 100
        exact = wanted.status.isdigit()
        rows = rows.filter(status=int(wanted.status)) if exact else rows.filter(status__gte=low, status__lt=low + 100)
    if wanted.without_key:
        rows = rows.filter(key_id=None)
    if wanted.min_ms:
        rows = rows.filter(duration_ms__gte=wanted.min_ms)
    fields = {"model": wanted.model, "key_id": wanted.key_id, "kind": wanted.kind, "code": wanted.code,
              "arm": wanted.arm}  # fmt: skip
    return rows.filter(**{name: value for name, value in fields.items() if value}).order_by("-at", "-pk")


def requests_after(wanted: RequestFilter, cursor: str, *, limit: int) -> tuple[Sequence[RequestRecord], bool]:
    """The rows after the one with that id, or the first ones; and whether there are more.

    NotFound for an id that is none of them; one that has grown older than `since` while its reader went from page to
    page is still a place in the list. SpanTooLarge where looking takes too long.
    """
    rows = requests(wanted)
    if cursor:
        last = _of_any_time(wanted).filter(pk=parse_id(RequestRecord.prefix, cursor)).values_list("at", "pk").first()
        if last is None:
            raise NotFound.of(cursor)
        at, pk = last
        rows = rows.filter(Q(at__lt=at) | Q(pk__lt=pk), at__lte=at)
    found = _read(rows[: limit + 1])
    return found[:limit], len(found) > limit


def requests_newest(wanted: RequestFilter, *, limit: int) -> Sequence[RequestRecord]:
    """The newest of them. SpanTooLarge where looking takes too long."""
    return _read(requests(wanted)[:limit])


def _read(rows: QuerySet[Any]) -> list[RequestRecord]:
    """A filter that matches little makes a reader go through everything in the span."""
    with bounded("Ten seconds were not enough to look through this span. Choose a shorter one, or fewer conditions."):
        return list(rows)


def request_by_id(project_id: UUID, request_id: str) -> RequestRecord:
    """One request of a project; NotFound for anybody else's, and for one that is forgotten."""
    pk = parse_id(RequestRecord.prefix, request_id)
    found: RequestRecord | None = RequestRecord.objects.filter(project_id=project_id, pk=pk).first()
    if found is None:
        raise NotFound.of(request_id)
    return found


def requests_logged(ids: Collection[str]) -> set[str]:
    """Of these ids, those that the log still has."""
    known: dict[UUID, str] = {}
    for text in ids:
        with contextlib.suppress(NotFound):
            known[parse_id(RequestRecord.prefix, text)] = text
    return {known[pk] for pk in RequestRecord.objects.filter(pk__in=known).values_list("pk", flat=True)}


def request_of_scope(request_id: str) -> RequestRecord | None:
    """One request of any project of the tenant that is not archived."""
    try:
        pk = parse_id(RequestRecord.prefix, request_id)
    except NotFound:
        return None
    found: RequestRecord | None = RequestRecord.objects.filter(
        pk=pk, project_id__in=projects().values_list("pk", flat=True)
    ).first()
    return found


def wire(row: RequestRecord) -> dict[str, Any]:
    """The object on the wire."""
    return {
        "id": row.public_id,
        "object": "request",
        "created_at": int(row.at.timestamp()),
        "kind": row.kind,
        "model": row.model or None,
        "version_id": public_id("mv_", row.version_id) if row.version_id else None,
        "arm": row.arm or None,
        "api_key_id": public_id("key_", row.key_id) if row.key_id else None,
        "status": row.status,
        "code": row.code or None,
        "duration_ms": row.duration_ms,
        "first_token_ms": row.first_token_ms or None,
        "queue_ms": row.queue_ms,
        "engine_ms": row.engine_ms,
        "inputs": row.items,
        "batch_rows": row.batch_rows or None,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cached_tokens": row.cached_tokens,
        "cost_usd": number(row.cost_nano),
        "model_state": row.model_state or None,
        "trace_id": row.trace_id or None,
        "retries": row.retries,
    }
