"""Reading usage: sums by time and dimension, inside the caller's tenant scope.

Hours come from `UsageHour`, which the tick recomputes within seconds of a call; minutes come from the events.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from typing import Any, Literal

from django.db.models import F, QuerySet, Sum
from django.db.models.functions import TruncDay, TruncHour, TruncMinute

from billing.models import UsageEvent, UsageHour
from billing.periods import bounds, month_of
from billing.prices import ENGINES
from kit.clock import now

Width = Literal["1m", "1h", "1d"]
SPANS: dict[str, dt.timedelta] = {
    "1m": dt.timedelta(minutes=1),
    "1h": dt.timedelta(hours=1),
    "1d": dt.timedelta(days=1),
}
DIMENSIONS = ("project_id", "key_id", "model", "kind", "price_version")


@dataclasses.dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which usage; an empty collection is no condition."""

    since: dt.datetime
    until: dt.datetime
    kinds: Collection[str] = ()
    project_ids: Collection[uuid.UUID] = ()
    key_ids: Collection[uuid.UUID] = ()
    models: Collection[str] = ()
    price_versions: Collection[str] = ()
    without_key: bool = False
    """Only what came without an API key: the playground, jobs from the console, storage."""


@dataclasses.dataclass(frozen=True, slots=True)
class UsageSum:
    """Sums of one bucket and one combination of the dimensions asked for (the others are None)."""

    start: dt.datetime
    input_tokens: int
    output_tokens: int
    requests: int
    gpu_ms: int
    byte_hours: int
    cost_nano: int
    cached_tokens: int = 0
    project_id: uuid.UUID | None = None
    key_id: uuid.UUID | None = None
    model: str | None = None
    kind: str | None = None
    price_version: str | None = None

    def __add__(self, other: UsageSum) -> UsageSum:
        """Both together, under what this one is called."""
        amounts = (
            "input_tokens", "output_tokens", "cached_tokens", "requests", "gpu_ms", "byte_hours", "cost_nano"
        )  # fmt: skip
        return dataclasses.replace(self, **{name: getattr(self, name) + getattr(other, name) for name in amounts})


def usage_sums(*, wanted: UsageFilter, width: Width = "1d", by: Sequence[str] = ()) -> list[UsageSum]:
    """Sums by bucket and the given DIMENSIONS, in order of time; buckets without usage are absent."""
    unknown = set(by) - set(DIMENSIONS)
    if unknown:
        raise ValueError(f"unknown dimension {sorted(unknown)[0]}")
    rows: QuerySet[Any]
    if width == "1m":
        rows = matching(UsageEvent.objects.all(), wanted, "occurred_at").annotate(
            start=TruncMinute("occurred_at", tzinfo=dt.UTC)
        )
    else:
        trunc = TruncDay if width == "1d" else TruncHour
        rows = matching(UsageHour.objects.all(), wanted, "hour").annotate(start=trunc("hour", tzinfo=dt.UTC))
    summed = (
        rows.values("start", *by)
        .annotate(
            sum_input=Sum("input_tokens"),
            sum_output=Sum("output_tokens"),
            sum_requests=Sum("requests"),
            sum_gpu=Sum("gpu_ms"),
            sum_stored=Sum("byte_hours"),
            sum_cost=Sum("cost_nano"),
            sum_cached=Sum("cached_tokens"),
        )
        .order_by("start", *by)
    )
    return [
        UsageSum(
            start=row["start"],
            input_tokens=int(row["sum_input"]),
            output_tokens=int(row["sum_output"]),
            requests=int(row["sum_requests"]),
            gpu_ms=int(row["sum_gpu"]),
            byte_hours=int(row["sum_stored"]),
            cost_nano=int(row["sum_cost"]),
            cached_tokens=int(row["sum_cached"]),
            **{name: row[name] for name in by},
        )
        for row in summed
    ]


def matching(rows: QuerySet[Any], wanted: UsageFilter, moment: str) -> QuerySet[Any]:
    """The rows of a filter; `moment` is the field with their time."""
    rows = rows.filter(**{f"{moment}__gte": wanted.since, f"{moment}__lt": wanted.until})
    for field, values in (
        ("kind", wanted.kinds),
        ("project_id", wanted.project_ids),
        ("key_id", wanted.key_ids),
        ("model", wanted.models),
        ("price_version", wanted.price_versions),
    ):
        if values:
            rows = rows.filter(**{f"{field}__in": list(values)})
    if wanted.without_key:
        rows = rows.filter(key_id=None)
    return rows


@dataclasses.dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums over a span."""

    input_tokens: int
    output_tokens: int
    requests: int
    gpu_ms: int
    cost_nano: int


def usage_totals(*, wanted: UsageFilter) -> UsageTotals:
    """Everything in the span as one sum."""
    sums = matching(UsageHour.objects.all(), wanted, "hour").aggregate(
        **{name: Sum(name) for name in ("input_tokens", "output_tokens", "requests", "gpu_ms", "cost_nano")}
    )
    return UsageTotals(**{name: int(value or 0) for name, value in sums.items()})


def engine_time_month(name: str) -> tuple[int, int]:
    """Engine-seconds of this month's events whose name begins so, and what they cost in nano."""
    start, end = bounds(month_of(now()))
    events = UsageEvent.objects.filter(
        kind=ENGINES, occurred_at__gte=start, occurred_at__lt=end, request_id__startswith=name
    )
    sums = events.aggregate(time=Sum("gpu_ms"), cost=Sum("cost_nano"))
    return int(sums["time"] or 0) // 1000, int(sums["cost"] or 0)


def usage_of_request(request_id: str) -> UsageEvent | None:
    """What one call was metered as; None where it cost nothing, or where its event has not been shipped yet."""
    found: UsageEvent | None = UsageEvent.objects.filter(request_id=request_id).first()
    return found


def usage_events(*, wanted: UsageFilter) -> QuerySet[Any]:
    """The events themselves, newest first: what a line of a bill is made of."""
    return matching(UsageEvent.objects.all(), wanted, "occurred_at").order_by(F("occurred_at").desc(), "pk")
