"""`/v1/organization/usage/{kind}` and `/v1/organization/costs`: usage in time buckets, as the wire has them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any, ClassVar
from uuid import UUID

from django.http import QueryDict
from rest_framework.request import Request
from rest_framework.response import Response

from billing import schema
from billing.prices import is_batch
from billing.schema import metered_kinds
from billing.selectors.usage import SPANS, UsageFilter, UsageSum, usage_sums
from billing.usage_query import LAST_SECOND, read_moment
from kit.clock import now
from kit.errors import BadRequest
from kit.ids import parse_id, public_id
from kit.money import currency, number
from kit.pages import read_limit
from kit.schema import describe, query
from tenants.api import TenantAPIView

NO_KIND = "none"
"""Nothing is metered as this: what has no batches has no usage of batches."""
PAGES = {"1d": (7, 31), "1h": (24, 168), "1m": (60, 1440)}
"""Buckets in a page, by default and at most."""
_GROUPS = {
    "project_id": "project_id",
    "api_key_id": "key_id",
    "model": "model",
    "user_id": None,
    "batch": "kind",
    "service_tier": None,
}
_COST_GROUPS = {"project_id": ("project_id",), "line_item": ("kind", "model"), "api_key_id": ("key_id",)}

_TIMES = [
    query("start_time", int, "Unix seconds; a week before the end by default.", example=1_795_219_200),
    query("end_time", int, "Unix seconds, not part of the span; now by default.", example=1_795_898_464),
]
_PAGE = query("page", str, "`next_page` of the page before, with the rest of the query unchanged.")
_PROJECTS = query("project_ids", str, "Only these projects.", repeated=True)
_KEYS = query("api_key_ids", str, "Only what came with these keys.", repeated=True)
_USAGE_FIELDS = [
    *_TIMES,
    query("bucket_width", str, "Length of a bucket; `1d` by default.", choices=tuple(SPANS)),
    query(
        "group_by",
        str,
        "Split each bucket's results by these. User and tier are taken and always null.",
        choices=tuple(_GROUPS),
        repeated=True,
    ),
    _PROJECTS,
    _KEYS,
    query("models", str, "Only these models.", repeated=True),
    query("batch", bool, "Only usage of batches (`true`), or only of other calls (`false`)."),
    query(
        "limit",
        int,
        "Buckets on a page: of `1d` 7 by default and 31 at most, of `1h` 24 and 168, of `1m` 60 and 1,440.",
        example=7,
    ),
    _PAGE,
]
_COST_FIELDS = [
    *_TIMES,
    query("bucket_width", str, "Costs come by day.", choices=("1d",)),
    query("group_by", str, "Split each day's results by these.", choices=tuple(_COST_GROUPS), repeated=True),
    _PROJECTS,
    _KEYS,
    query("limit", int, "Days on a page, 1 to 180; 7 by default.", example=7),
    _PAGE,
]


@dataclasses.dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets of one page, and where the next page begins."""

    starts: list[dt.datetime]
    span: dt.timedelta
    next_page: str | None

    @property
    def until(self) -> dt.datetime:
        """End of the last bucket."""
        return self.starts[-1] + self.span


def read_buckets(asked: QueryDict, *, width: str, default: int, maximum: int) -> Buckets:
    """The page a query asks for. BadRequest for times that cannot be."""
    span, moment = SPANS[width], now()
    end = read_moment(asked, "end_time") or moment
    start = read_moment(asked, "start_time") or min(moment, end) - dt.timedelta(days=7)
    if end <= start:
        raise BadRequest("'end_time' must be after 'start_time'.", param="end_time")
    limit = read_limit(asked.get("limit"), default=default, maximum=maximum)
    first = _floor(start, span)
    token = asked.get("page")
    if token:
        first = _page(token, span, first, end)
    starts: list[dt.datetime] = []
    while first < end and len(starts) < limit:
        starts.append(first)
        first += span
    return Buckets(starts, span, f"page_{int(first.timestamp()):x}" if first < end else None)


def _floor(moment: dt.datetime, span: dt.timedelta) -> dt.datetime:
    seconds = int(span.total_seconds())
    return dt.datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, dt.UTC)


def _page(token: str, span: dt.timedelta, first: dt.datetime, end: dt.datetime) -> dt.datetime:
    try:
        seconds = int(token.removeprefix("page_"), 16) if token.startswith("page_") else -1
        start = dt.datetime.fromtimestamp(seconds, dt.UTC) if 0 <= seconds <= LAST_SECOND else None
    except (ValueError, OverflowError):
        start = None
    if start is None or _floor(start, span) != start or not first <= start < end:
        raise BadRequest("'page' is not a 'next_page' of this query.", param="page")
    return start


def read_many(asked: QueryDict, name: str) -> list[str]:
    """An array parameter in both spellings: `name=a&name=b` and `name[]=a`."""
    values = [*asked.getlist(name), *asked.getlist(f"{name}[]")]
    if any("\x00" in value for value in values):
        raise BadRequest(f"'{name}' holds a character that no name has.", param=name)
    return values


def read_truth(asked: QueryDict, name: str) -> bool | None:
    """`true` or `false`; None where the field is not there."""
    raw = asked.get(name)
    if raw in (None, ""):
        return None
    if raw not in ("true", "false"):
        raise BadRequest(f"'{name}' must be true or false.", param=name)
    return raw == "true"


def read_ids(asked: QueryDict, name: str, prefix: str) -> list[UUID]:
    """An array of public ids."""
    return [parse_id(prefix, text, param=name) for text in read_many(asked, name)]


def bucket_page(buckets: Buckets, results: dict[dt.datetime, list[dict[str, Any]]]) -> dict[str, Any]:
    """The wire's page object; buckets without usage are there, empty."""
    data = [
        {
            "object": "bucket",
            "start_time": int(start.timestamp()),
            "end_time": int((start + buckets.span).timestamp()),
            "results": results.get(start, []),
        }
        for start in buckets.starts
    ]
    return {
        "object": "page",
        "data": data,
        "has_more": buckets.next_page is not None,
        "next_page": buckets.next_page,
    }


class UsageView(TenantAPIView):
    """Usage of one kind."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="organization_usage", answers=schema.USAGE, fields=_USAGE_FIELDS)
    def get(self, request: Request, kind: str) -> Response:
        """Read usage

        Tokens, requests and their cost by time, and by project, key or model where asked. A call shows within ten
        seconds. Of the whole organisation, whichever project the key is for.
        """
        asked = request._request.GET
        width = asked.get("bucket_width") or "1d"
        if width not in PAGES:
            raise BadRequest("'bucket_width' must be one of 1m, 1h, 1d.", param="bucket_width")
        default, maximum = PAGES[width]
        buckets = read_buckets(asked, width=width, default=default, maximum=maximum)
        groups = read_many(asked, "group_by")
        for group in groups:
            if group not in _GROUPS:
                raise BadRequest(f"'group_by' knows {', '.join(sorted(_GROUPS))}.", param="group_by")
        wanted = UsageFilter(
            since=buckets.starts[0],
            until=buckets.until,
            kinds=metered_kinds(kind, batch=read_truth(asked, "batch")) or (NO_KIND,),
            project_ids=read_ids(asked, "project_ids", "proj_"),
            key_ids=read_ids(asked, "api_key_ids", "key_"),
            models=read_many(asked, "models"),
        )
        by = list(dict.fromkeys(field for group in groups if (field := _GROUPS[group])))
        results: dict[dt.datetime, list[dict[str, Any]]] = {}
        sums = usage_sums(wanted=wanted, width=width, by=by)  # type: ignore[arg-type]
        for one in _by_batch(sums) if "batch" in groups else sums:
            results.setdefault(one.start, []).append(_usage_result(kind, one))
        return Response(bucket_page(buckets, results))


def _by_batch(sums: list[UsageSum]) -> list[UsageSum]:
    """Sums by kind as sums by whether the kind is one of batches; their `kind` is one of each sort."""
    merged: dict[tuple[Any, ...], UsageSum] = {}
    for one in sums:
        key = (one.start, one.project_id, one.key_id, one.model, is_batch(one.kind or ""))
        found = merged.get(key)
        merged[key] = one if found is None else found + one
    return list(merged.values())


def _usage_result(kind: str, one: UsageSum) -> dict[str, Any]:
    own = {"storage": {"x_byte_hours": one.byte_hours}, "dedicated": {"x_engine_seconds": one.gpu_ms // 1000}}
    return {
        **own.get(kind, {}),
        "object": f"organization.usage.{kind}.result",
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "num_model_requests": one.requests,
        "input_cached_tokens": one.cached_tokens,
        "project_id": public_id("proj_", one.project_id) if one.project_id else None,
        "user_id": None,
        "api_key_id": public_id("key_", one.key_id) if one.key_id else None,
        "model": one.model,
        "batch": is_batch(one.kind) if one.kind else None,
        "service_tier": None,
        "x_cost_usd": number(one.cost_nano),
    }


class CostsView(TenantAPIView):
    """What usage cost, by day."""

    required_scopes: ClassVar[dict[str, str]] = {"GET": "usage.read"}

    @describe(name="organization_costs", answers=schema.COSTS, fields=_COST_FIELDS)
    def get(self, request: Request) -> Response:
        """Read costs

        Money by day, and by project, key or line item where asked. Of the whole organisation.
        """
        asked = request._request.GET
        if (asked.get("bucket_width") or "1d") != "1d":
            raise BadRequest("Costs come by day: 'bucket_width' must be 1d.", param="bucket_width")
        buckets = read_buckets(asked, width="1d", default=7, maximum=180)
        groups = read_many(asked, "group_by")
        by: list[str] = []
        for group in groups:
            if group not in _COST_GROUPS:
                raise BadRequest(f"'group_by' knows {', '.join(sorted(_COST_GROUPS))}.", param="group_by")
            by += _COST_GROUPS[group]
        wanted = UsageFilter(
            since=buckets.starts[0],
            until=buckets.until,
            project_ids=read_ids(asked, "project_ids", "proj_"),
            key_ids=read_ids(asked, "api_key_ids", "key_"),
        )
        results: dict[dt.datetime, list[dict[str, Any]]] = {}
        for one in usage_sums(wanted=wanted, width="1d", by=list(dict.fromkeys(by))):
            results.setdefault(one.start, []).append(_cost_result(one))
        return Response(bucket_page(buckets, results))


def _cost_result(one: UsageSum) -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": number(one.cost_nano), "currency": currency()},
        "line_item": f"{one.kind}, {one.model}" if one.kind else None,
        "project_id": public_id("proj_", one.project_id) if one.project_id else None,
        "api_key_id": public_id("key_", one.key_id) if one.key_id else None,
        "x_amount_nano": one.cost_nano,
    }
