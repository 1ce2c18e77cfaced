"""What members answered, for staff, in the ops scope."""

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass

from django.db.models import QuerySet

from customers.models import Answer
from customers.surveys import Satisfaction, counted
from kit.clock import now

MONTHS = 12


@dataclass(frozen=True, slots=True)
class Results:
    """Counts of the last year."""

    whole: Satisfaction
    by_month: list[tuple[dt.date, Satisfaction]]
    """Every month, the latest first, those without an answer too."""
    by_plan: list[tuple[str, Satisfaction]]


def results() -> Results:
    """Satisfaction of the last twelve calendar months (UTC), this one included."""
    first = _months(now().astimezone(dt.UTC).date())
    since = dt.datetime.combine(first[-1], dt.time(), dt.UTC)
    months: dict[dt.date, list[int]] = defaultdict(list)
    plans: dict[str, list[int]] = defaultdict(list)
    for score, plan, at in Answer.ops.filter(created_at__gte=since).values_list("score", "plan", "created_at"):
        months[at.astimezone(dt.UTC).date().replace(day=1)].append(score)
        plans[plan].append(score)
    return Results(
        counted(score for scores in months.values() for score in scores),
        [(month, counted(months[month])) for month in first],
        [(plan, counted(scores)) for plan, scores in sorted(plans.items())],
    )


def _months(today: dt.date) -> list[dt.date]:
    """The first days of the last months, the latest first."""
    found = [today.replace(day=1)]
    while len(found) < MONTHS:
        found.append((found[-1] - dt.timedelta(days=1)).replace(day=1))
    return found


def comments() -> "QuerySet[Answer]":
    """Answers with words, the latest first."""
    rows = Answer.ops.exclude(comment="").select_related("tenant", "user")
    found: QuerySet[Answer] = rows.order_by("-created_at")
    return found
