"""What the arms of a rollout did, counted from the request log and from feedback. Read inside the tenant's scope.

A call counts once it was answered, or failed by our fault (5xx). What the caller got wrong, was refused by a limit or
left is no version's doing, and neither is a queue that is full or an engine that is being started (`NOBODYS`).

Batches' lines count as calls like any other, but nobody times them: they wait by design. Nor are calls timed that had
the model brought into memory, or that came with their reasons, which takes many readings of the text.
"""

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any, Self

from django.db.models import Aggregate, Count, FloatField, Q, QuerySet

from billing.prices.rating import BATCH
from serving.errors import SpanTooLarge
from serving.figures import MANY
from serving.models import Feedback, RequestRecord, Rollout, ShadowCount
from serving.patience import PATIENCE_MS, bounded
from serving.splits import CANDIDATE, SHADOW, STABLE
from serving.verdict import Arm, Guards

NOBODYS = ("slow_down", "model_cold")
"""Codes of failures that say nothing of a version."""
TIMED = Q(explained=False) & ~Q(kind__startswith=BATCH) & ~Q(model_state__startswith="loaded")
"""The calls whose time is the version's own."""


class Percentile(Aggregate):
    """PostgreSQL's percentile_cont of a column."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()

    def __init__(self, column: str, fraction: float, **extra: Any) -> None:
        super().__init__(column, fraction=fraction, **extra)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one arm did. `slow` are of those that were `timed`. Milliseconds are those of the whole call; of a shadow,
    which has no caller, and of what it is compared with those of the engine."""

    calls: int = 0
    errors: int = 0
    slow: int = 0
    timed: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    judged: int = 0
    wrong: int = 0

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self:
        """Those that were kept."""
        return cls(**stored)

    @property
    def error_rate(self) -> float | None:
        """Of the calls."""
        return self.errors / self.calls if self.calls else None

    @property
    def accuracy(self) -> float | None:
        """Of the answers that somebody judged."""
        return 1 - self.wrong / self.judged if self.judged else None

    def arm(self) -> Arm:
        """As the verdict wants them."""
        return Arm(self.calls, self.errors, self.slow, self.timed, self.judged, self.wrong)

    def stored(self) -> dict[str, Any]:
        """To be kept."""
        return asdict(self)


def guards_of(rollout: Rollout) -> Guards:
    """What the candidate is held to."""
    found = rollout.guards
    return Guards(
        found["alpha"], found["error_margin"], found["quality_margin"], limits_latency=found["latency_ms"] is not None
    )


def figures_of(rollout: Rollout, *, patience_ms: int = PATIENCE_MS) -> dict[str, Figures]:
    """Both arms' figures by arm: of a rollout that ended those at its end, else those since its start. Where there are
    too many calls for their percentiles it does without; SpanTooLarge where even counting takes too long."""
    if rollout.figures:
        return {arm: Figures.read(found) for arm, found in rollout.figures.items()}
    try:
        return _both(rollout, rollout.created_at, patience_ms, times=True)
    except SpanTooLarge:
        return counts_of(rollout, since=rollout.created_at, patience_ms=patience_ms)


def counts_of(rollout: Rollout, *, since: dt.datetime, patience_ms: int = PATIENCE_MS) -> dict[str, Figures]:
    """Both arms' figures since a moment, without percentiles, which need every call's time. May raise SpanTooLarge."""
    return _both(rollout, since, patience_ms, times=False)


def shadow_of(rollout: Rollout) -> ShadowCount:
    """What became of its shadow calls."""
    return ShadowCount.objects.filter(rollout=rollout).first() or ShadowCount(rollout=rollout)


def records_of(rollout: Rollout, arm: str, since: dt.datetime) -> "QuerySet[RequestRecord]":
    """The calls of an arm that count."""
    deployment = rollout.stable if arm == STABLE else rollout.candidate
    found: QuerySet[RequestRecord] = RequestRecord.objects.filter(
        Q(status__lt=400) | Q(status__gte=500),
        project_id=rollout.project_id,
        version_id=deployment.version_id,
        model=rollout.alias,
        arm=arm,
        at__gte=since,
    ).exclude(code__in=NOBODYS)
    return found


def _both(rollout: Rollout, since: dt.datetime, patience_ms: int, *, times: bool) -> dict[str, Figures]:
    candidate = SHADOW if rollout.mode == Rollout.Mode.SHADOW else CANDIDATE
    with bounded(MANY, milliseconds=patience_ms):
        return {
            STABLE: _figures(rollout, STABLE, since, times=times),
            CANDIDATE: _figures(rollout, candidate, since, times=times),
        }


def _figures(rollout: Rollout, arm: str, since: dt.datetime, *, times: bool) -> Figures:
    limit = rollout.guards["latency_ms"]
    took = "engine_ms" if rollout.mode == Rollout.Mode.SHADOW else "duration_ms"
    percentiles = {f"p{n}_ms": Percentile(took, n / 100, filter=TIMED) for n in (50, 95)} if times else {}
    counted = records_of(rollout, arm, since).aggregate(
        calls=Count("pk"),
        errors=Count("pk", filter=Q(status__gte=500)),
        timed=Count("pk", filter=TIMED),
        slow=Count("pk", filter=TIMED & Q(duration_ms__gt=limit) if limit is not None else Q(pk=None)),
        **percentiles,
    )
    deployment = rollout.stable if arm == STABLE else rollout.candidate
    said = Feedback.objects.filter(
        project_id=rollout.project_id,
        version_id=deployment.version_id,
        model=rollout.alias,
        arm=arm,
        requested_at__gte=since,
    ).aggregate(judged=Count("pk"), wrong=Count("pk", filter=Q(correct=False)))
    return Figures(**counted, **said)
