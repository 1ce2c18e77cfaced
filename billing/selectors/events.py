"""Single usage events, inside the caller's tenant scope: pages of them, sums, and the bill each one is on.

Events have one index of time. What a filter matches is looked up in the sums of hours first, which name the hours that
hold any; only these are read, newest first. So a rare key costs as little as a busy one, and no further index burdens
the writing of events. Hours that are not summed yet are always read.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Q, Sum

from billing.models import BillLineShare, DirtyHour, PeriodClose, RatedLine, UsageEvent, UsageHour
from billing.periods import month_of
from billing.selectors.usage import UsageFilter, matching
from kit.errors import NotFound
from kit.ids import parse_id

HOUR = dt.timedelta(hours=1)
Key = tuple[dt.date, uuid.UUID, str, str, str]


def events_after(wanted: UsageFilter, cursor: str, *, limit: int) -> tuple[Sequence[UsageEvent], bool]:
    """The events after the one with that public id, or the newest; and whether there are more. NotFound for an id that
    no event of the tenant has."""
    rows = matching(UsageEvent.objects.all(), wanted, "occurred_at")
    last = _placed(cursor) if cursor else None
    if last is not None:
        at, pk = last
        rows = rows.filter(Q(occurred_at__lt=at) | Q(pk__lt=pk), occurred_at__lte=at)
    within = Q(pk__in=[])
    for start, end in _spans(wanted, last[0] if last is not None else None, limit):
        within |= Q(occurred_at__gte=start, occurred_at__lt=end)
    found = list(rows.filter(within).order_by("-occurred_at", "-pk")[: limit + 1])
    return found[:limit], len(found) > limit


def _placed(cursor: str) -> tuple[dt.datetime, uuid.UUID]:
    pk = parse_id(UsageEvent.prefix, cursor)
    found: tuple[dt.datetime, uuid.UUID] | None = (
        UsageEvent.objects.filter(pk=pk).values_list("occurred_at", "pk").first()
    )
    if found is None:
        raise NotFound.of(cursor)
    return found


def _spans(wanted: UsageFilter, before: dt.datetime | None, limit: int) -> list[tuple[dt.datetime, dt.datetime]]:
    """Spans in which the next `limit` events and one more lie, as few as the hours' sums allow.

    Marks are read before sums: an event and its mark are one transaction, and so are new sums and the end of the mark.
    """
    until = wanted.until if before is None else min(wanted.until, before + dt.timedelta(microseconds=1))
    marks = DirtyHour.objects.filter(hour__gt=wanted.since - HOUR, hour__lt=until).values_list("hour", flat=True)
    hours = set(marks)
    first = wanted.since.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    summed = matching(UsageHour.objects.all(), dataclasses.replace(wanted, since=first, until=until), "hour")
    counted = 0
    for hour, events in (
        summed.values("hour").annotate(n=Sum("events")).order_by("-hour").values_list("hour", "n")[: limit + 2]
    ):
        hours.add(hour)
        # Of an hour that an end of the span or the reader stands in, some events do not count.
        counted += int(events) if wanted.since <= hour and hour + HOUR < until else 0
        if counted > limit:
            break
    spans: list[tuple[dt.datetime, dt.datetime]] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour:
            spans[-1] = (spans[-1][0], hour + HOUR)
        else:
            spans.append((hour, hour + HOUR))
    return spans


def events_sum(wanted: UsageFilter) -> tuple[int, int]:
    """How many events of whole hours match, and their cost in nano, as far as the hours are summed."""
    sums = matching(UsageHour.objects.all(), wanted, "hour").aggregate(n=Sum("events"), cost=Sum("cost_nano"))
    return int(sums["n"] or 0), int(sums["cost"] or 0)


def event_by_id(event_id: str) -> UsageEvent:
    """One event by its public id; NotFound for anybody else's."""
    found: UsageEvent | None = UsageEvent.objects.filter(pk=parse_id(UsageEvent.prefix, event_id)).first()
    if found is None:
        raise NotFound.of(event_id)
    return found


def rated_key(event: Any) -> Key:
    """What names the rated line that an event is summed in."""
    day = event.occurred_at.astimezone(dt.UTC).date()
    return day, event.project_id, event.model, event.kind, event.price_version


def rated_line_of(event: UsageEvent) -> RatedLine | None:
    """The day's rated line that an event is summed in; None until its hour is summed."""
    day, project_id, model, kind, version = rated_key(event)
    found: RatedLine | None = RatedLine.objects.filter(
        day=day, project_id=project_id, model=model, kind=kind, price_version=version
    ).first()
    return found


def bills_of(events: Iterable[UsageEvent]) -> dict[uuid.UUID, PeriodClose]:
    """By event, the closed month on whose bill it stands; events that no bill holds yet are absent.

    A day that stands on two bills, because some of its usage came late, is told apart by when an event arrived. What
    was billed before bills kept their parts is taken to be on the bill of its own month.
    """
    shown = list(events)
    keys = {rated_key(event) for event in shown}
    if not keys:
        return {}
    days, projects, models, kinds, versions = (set(column) for column in zip(*keys, strict=True))
    rows = RatedLine.objects.filter(day__gte=min(days), day__lte=max(days), project_id__in=projects)
    rows = rows.filter(model__in=models, kind__in=kinds, price_version__in=versions).exclude(invoiced_nano=0)
    lines = {
        (line.day, line.project_id, line.model, line.kind, line.price_version): line.pk
        for line in rows.only("day", "project_id", "model", "kind", "price_version")
    }
    shares: dict[uuid.UUID, list[BillLineShare]] = {}
    wanted = BillLineShare.objects.filter(rated_line_id__in=[lines[key] for key in keys if key in lines])
    for share in wanted.select_related("close").order_by("at", "pk"):
        shares.setdefault(share.rated_line_id, []).append(share)
    months = {close.period: close for close in PeriodClose.objects.filter(period__in={month_of(day) for day in days})}
    found: dict[uuid.UUID, PeriodClose] = {}
    for event in shown:
        line = lines.get(rated_key(event))
        if line is None:
            continue
        mine = shares.get(line)
        if mine is None:
            close = months.get(month_of(event.occurred_at))
        else:
            close = next((share.close for share in mine if share.at >= event.received_at), None)
        if close is not None:
            found[event.pk] = close
    return found
