"""`/v1/requests`: what became of a project's calls, one by one and in figures."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar
from uuid import UUID

from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.response import Response

from billing.usage_query import read_moment
from kit.clock import now
from kit.errors import BadRequest, NotFound
from kit.ids import parse_id, public_id
from kit.money import number
from kit.pages import read_limit
from kit.schema import describe, paging, query
from serving import requests_read, requests_schema
from serving.figures import MOST_DAYS, PARTS, Figures, figures
from serving.requests_read import RequestFilter
from serving.texts import text_of
from tenants.api import TenantAPIView

TEXTS = "datasets.read"
"""Who may read the texts that a project keeps: who may read what it was trained on."""
GROUPS = tuple(part for part in PARTS if part != "minute")
"""Minutes are for the drawing of an hour; of a longer span they would be too many."""
_FILTERS = [
    query("start_time", int, "Only from this moment on, Unix seconds; a day ago by default.", example=1_795_812_064),
    query("end_time", int, "Only before this moment, Unix seconds.", example=1_795_898_464),
    query("model", str, "Only calls that named this model."),
    query("api_key_id", str, "Only calls with this key; `none` for those without one: of the console."),
    query("kind", str, "Only calls of this kind.", choices=requests_read.KINDS),
    query("status", str, "Only answers of this class, or with this very status.", example="5xx"),
    query("code", str, "Only answers with this error code.", example="rate_limit_exceeded"),
    query("min_duration_ms", int, "Only calls that took so long or longer.", example=500),
    query("arm", str, "Only calls of this side of a rollout; shadows only if asked for.", choices=requests_read.ARMS),
]
_LIST_FIELDS = [*paging(default=20, maximum=100, order=False), *_FILTERS]
_FIGURE_FIELDS = [*_FILTERS, query("group_by", str, "Split by this as well.", choices=GROUPS)]


class RequestsView(TenantAPIView):
    """The project's requests."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="requests_list", answers=requests_schema.REQUESTS, fields=_LIST_FIELDS)
    def get(self, request: Request) -> Response:
        """List requests

        Every call of the key's project that a key opened, newest first, whatever became of it. Texts are not in it.
        Requests are kept 30 days, unless the operator says otherwise.
        """
        limit = read_limit(request.query_params.get("limit"), default=20, maximum=100)
        after = request.query_params.get("after", "")
        wanted = read_filter(request.query_params, self.caller.project_id)
        try:
            found, more = requests_read.requests_after(wanted, after, limit=limit)
        except NotFound as error:
            raise BadRequest(f"'after' is not an id of this list: '{after[:100]}'.", param="after") from error
        data = [requests_read.wire(row) for row in found]
        return Response(
            {
                "object": "list",
                "data": data,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
                "has_more": more,
            }
        )


class RequestView(TenantAPIView):
    """One request."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="requests_retrieve", answers=requests_schema.REQUEST_WHOLE)
    def get(self, request: Request, request_id: str) -> Response:
        """Retrieve a request

        By the id that its answer had as `x-request-id`. It is written half a second behind the answer. Texts are there
        only where the project's owners have asked for it, and for keys that may read datasets.
        """
        found = requests_read.request_by_id(self.caller.project_id, request_id)
        kept = text_of(found) if TEXTS in self.caller.scopes else None
        texts = {"input": kept.input if kept else None, "output": kept.output if kept else None}
        return Response(requests_read.wire(found) | texts)


class RequestFiguresView(TenantAPIView):
    """Figures over the project's requests."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="requests_figures", answers=requests_schema.FIGURES, fields=_FIGURE_FIELDS)
    def get(self, request: Request) -> Response:
        """Figures of requests

        Times, errors, tokens and cost of a span of at most 31 days, all together and, with `group_by`, for each part,
        the busiest 200. Times are those of calls that were answered. Days and hours are UTC.
        """
        by = request.query_params.get("group_by", "")
        if by and by not in GROUPS:
            raise BadRequest(f"'group_by' must be one of {', '.join(GROUPS)}.", param="group_by")
        wanted = read_filter(request.query_params, self.caller.project_id)
        if (wanted.until or now()) - wanted.since > dt.timedelta(days=MOST_DAYS):
            raise BadRequest(f"The span may have {MOST_DAYS} days at most. Move 'start_time'.", param="start_time")
        whole, parts = figures(wanted, by=by)
        return Response(
            {
                "object": "request_figures",
                "start_time": int(wanted.since.timestamp()),
                "end_time": int((wanted.until or now()).timestamp()),
                "group_by": by or None,
                "total": _wire(whole, None),
                "data": [_wire(one, part_name(one.part, by)) for one in parts],
            }
        )


def read_filter(raw: QueryDict, project_id: UUID) -> RequestFilter:
    """From a query; BadRequest says which field is wrong."""
    since, until = read_moment(raw, "start_time") or requests_read.since_default(), read_moment(raw, "end_time")
    if until is not None and until <= since:
        raise BadRequest("'end_time' must be after 'start_time'.", param="end_time")
    status, key = raw.get("status", ""), raw.get("api_key_id", "")
    if (
        status
        and status not in requests_read.CLASSES
        and not (status.isascii() and status.isdigit() and len(status) == 3)
    ):
        raise BadRequest("'status' must be 2xx, 4xx, 5xx or one status, such as 429.", param="status")
    for name in ("model", "code"):
        if "\x00" in raw.get(name, ""):
            raise BadRequest(f"'{name}' holds a character that no name has.", param=name)
    for name, known in (("kind", requests_read.KINDS), ("arm", requests_read.ARMS)):
        if raw.get(name) and raw.get(name) not in known:
            raise BadRequest(f"'{name}' must be one of {', '.join(known)}.", param=name)
    return RequestFilter(
        project_id=project_id,
        since=since,
        until=until,
        model=raw.get("model", "")[:200],
        key_id=_key(key) if key and key != "none" else None,
        without_key=key == "none",
        kind=raw.get("kind", ""),
        status=status,
        code=raw.get("code", "")[:64],
        min_ms=read_limit(raw.get("min_duration_ms"), default=0, maximum=10**9, param="min_duration_ms"),
        arm=raw.get("arm", ""),
    )


def _key(text: str) -> UUID:
    try:
        return parse_id("key_", text)
    except NotFound as error:
        raise BadRequest(f"'api_key_id' is not an id of a key: '{text[:100]}'.", param="api_key_id") from error


def part_name(part: Any, by: str) -> str | None:
    """A part on the wire."""
    if part is None or part == "":
        return None
    if by == "api_key":
        return public_id("key_", part)
    if by == "version":
        return public_id("mv_", part)
    return part.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(part, dt.datetime) else str(part)


def _wire(one: Figures, part: str | None) -> dict[str, Any]:
    rounded = {
        name: None if value is None else round(value, 1)
        for name, value in (
            ("p50_ms", one.p50), ("p95_ms", one.p95), ("p99_ms", one.p99),
            ("first_token_p50_ms", one.first_token_p50), ("first_token_p95_ms", one.first_token_p95),
            ("queue_p95_ms", one.queue_p95), ("batch_rows_mean", one.batch_rows),
        )
    }  # fmt: skip
    return {
        "group": part,
        "requests": one.requests,
        "errors": one.errors,
        "faults": one.faults,
        "refused": one.refused,
        "inputs": one.inputs,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "cached_tokens": one.cached_tokens,
        "cost_usd": number(one.cost_nano),
        **rounded,
    }
