"""`/v1/billing/events`: single usage events as pages and as a file; `/v1/billing/budgets`: what fills up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.response import Response

from billing import money_schema as schema
from billing.models import PeriodClose, UsageEvent
from billing.periods import bounds, month_of
from billing.selectors.bill_parts import bill_key
from billing.selectors.decisions import SCOPES
from billing.selectors.events import bills_of, event_by_id, events_after, rated_line_of
from billing.selectors.filling import Filling, spend_limits
from billing.selectors.usage import UsageFilter
from billing.usage_query import read_moment
from kit.clock import now, unix
from kit.errors import BadRequest, NotFound
from kit.ids import parse_id, public_id
from kit.money import exact_amount, in_name, number
from kit.pages import read_limit
from kit.schema import describe, paging, query
from kit.spreadsheets import csv_line
from kit.streams import attachment
from tenants.api import TenantAPIView
from tenants.models import Member
from tenants.scope import tenant_scope

MOST_DAYS = 400
PARCEL = 2_000
"""Events read at once for a file."""
FILTERS = [
    query("start_time", int, "Unix seconds; 30 days before the end by default.", example=1_795_219_200),
    query("end_time", int, "Unix seconds, not part of the span; now by default.", example=1_795_898_464),
    query("project_id", str, "Only of this project."),
    query("api_key_id", str, "Only of calls with this key."),
    query("kind", str, "Only of this kind, as `kind` of an event has it."),
    query("model", str, "Only of this model."),
]
COLUMNS = (
    "id", "occurred_at", "project_id", "api_key_id", "kind", "model", "input_tokens", "output_tokens", "cached_tokens",
    "requests", "engine_ms", "byte_hours", "price_version", "cost_usd", "request_id", "bill",
)  # fmt: skip


def wanted(asked: QueryDict) -> UsageFilter:
    """The filter that a query asks for. BadRequest for times that cannot be."""
    until = read_moment(asked, "end_time") or now()
    since = read_moment(asked, "start_time") or until - dt.timedelta(days=30)
    if until <= since:
        raise BadRequest("'end_time' must be after 'start_time'.", param="end_time")
    if until - since > dt.timedelta(days=MOST_DAYS):
        raise BadRequest(f"At most {MOST_DAYS} days can be asked for at once.", param="start_time")
    for name in ("kind", "model"):
        if "\x00" in asked.get(name, ""):
            raise BadRequest(f"'{name}' holds a character that no name has.", param=name)
    return UsageFilter(
        since=since,
        until=until,
        kinds=[kind] if (kind := asked.get("kind")) else (),
        models=[model] if (model := asked.get("model")) else (),
        project_ids=[parse_id("proj_", asked["project_id"], param="project_id")] if asked.get("project_id") else (),
        key_ids=[parse_id("key_", asked["api_key_id"], param="api_key_id")] if asked.get("api_key_id") else (),
    )


class EventsView(TenantAPIView):
    """The events of a filter."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(
        name="billing_events_list",
        answers=schema.EVENTS,
        fields=[*paging(default=20, maximum=100, order=False), *FILTERS],
    )
    def get(self, request: Request) -> Response:
        """List usage events

        Each call, job, hour of storage and minute of an engine, newest first, with its price and the bill it stands on.
        Of the whole organisation, whichever project the key is for.
        """
        asked = request._request.GET
        limit = read_limit(asked.get("limit"), default=20, maximum=100)
        try:
            found, more = events_after(wanted(asked), asked.get("after", ""), limit=limit)
        except NotFound as error:
            cut = asked.get("after", "")[:100]
            raise BadRequest(f"'after' is not an id of this list: '{cut}'.", param="after") from error
        bills = bills_of(found)
        data = [event_object(event, bills.get(event.pk)) for event in found]
        return Response(
            {
                "object": "list",
                "data": data,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
                "has_more": more,
            }
        )


class EventView(TenantAPIView):
    """One event."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="billing_events_retrieve", answers=schema.EVENT_WHOLE)
    def get(self, request: Request, event: str) -> Response:
        """Retrieve a usage event

        One event, and the line of a bill that it is summed in.
        """
        found = event_by_id(event)
        bill, line = bills_of([found]).get(found.pk), rated_line_of(found)
        key = bill_key(line, bill.period if bill is not None else month_of(line.day)) if line is not None else None
        return Response({**event_object(found, bill), "bill_line": key})


class EventsCsvView(TenantAPIView):
    """The same events as a file."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="billing_events_csv", answers={(200, "text/csv"): bytes}, fields=FILTERS)
    def get(self, request: Request) -> Any:
        """Download usage events

        All events of a filter as CSV, newest first, however many they are. Costs are exact decimals.
        """
        head = [in_name(name) for name in COLUMNS]
        pieces = _lines(self.caller.tenant_id, wanted(request._request.GET), head)
        return attachment(
            request._request, pieces, filename="usage-events.csv", content_type="text/csv", from_database=True
        )


def _lines(tenant_id: UUID, asked: UsageFilter, head: list[str]) -> Iterator[bytes]:
    """In parcels. Each is read in a transaction of its own: a slow client holds none open."""
    yield csv_line(head).encode()
    cursor, more = "", True
    while more:
        with tenant_scope(tenant_id):
            events, more = events_after(asked, cursor, limit=PARCEL)
            bills = bills_of(events)
        if events:
            yield "".join(csv_line(_cells(event, bills.get(event.pk))) for event in events).encode()
            cursor = events[-1].public_id


def _cells(event: UsageEvent, bill: PeriodClose | None) -> list[Any]:
    found = event_object(event, bill)
    at = event.occurred_at.astimezone(dt.UTC).isoformat()
    found |= {"occurred_at": at, "cost_usd": exact_amount(event.cost_nano)}
    return ["" if found[name] is None else found[name] for name in COLUMNS]


def event_object(event: UsageEvent, bill: PeriodClose | None) -> dict[str, Any]:
    """An event on the wire."""
    return {
        "id": event.public_id,
        "object": "billing.event",
        "occurred_at": unix(event.occurred_at),
        "project_id": public_id("proj_", event.project_id),
        "api_key_id": public_id("key_", event.key_id) if event.key_id else None,
        "kind": event.kind,
        "model": event.model,
        "input_tokens": event.input_tokens,
        "output_tokens": event.output_tokens,
        "cached_tokens": event.cached_tokens,
        "requests": event.requests,
        "engine_ms": event.gpu_ms,
        "byte_hours": event.byte_hours,
        "price_version": event.price_version,
        "cost_usd": number(event.cost_nano),
        "x_cost_nano": event.cost_nano,
        "request_id": event.request_id,
        "bill": f"{bill.period:%Y-%m}" if bill is not None else None,
    }


class BudgetsView(TenantAPIView):
    """Every spend limit of the month."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="billing_budgets", answers=schema.BUDGETS)
    def get(self, request: Request) -> Response:
        """List budgets

        Every spend limit of the running month and what is spent under it: the organisation's first, then those of
        projects, members, keys and models. `GET /v1/limits` has those that a key's own calls must pass.
        """
        month = month_of(now())
        members = dict(Member.objects.values_list("user_id", "pk"))
        data = [_budget(one, month, members) for one in spend_limits(month)]
        return Response({"object": "list", "data": data})


def _budget(one: Filling, month: dt.date, members: dict[UUID, UUID]) -> dict[str, Any]:
    return {
        "object": "billing.budget",
        "scope": SCOPES[one.scope],
        "project_id": public_id("proj_", one.project_id) if one.project_id else None,
        "member_id": public_id(Member.prefix, members[one.scope_id]) if one.scope_id in members else None,
        "api_key_id": public_id("key_", one.scope_id) if one.scope == "key" else None,
        "model": one.label if one.scope == "model" else None,
        "limit_usd": number(one.state.cap_nano),
        "x_limit_nano": one.state.cap_nano,
        "used_usd": number(one.state.spent_nano),
        "x_used_nano": one.state.spent_nano,
        "renews_at": unix(bounds(month)[1]),
    }
