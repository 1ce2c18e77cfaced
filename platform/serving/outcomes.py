"""What the arms of a rollout did, counted from the request log and from feedback. Read inside the tenant's scope.

A call counts once it was answered, or failed by our fault (5xx). What the caller got wrong, was refused by a limit or
left is no version's doing.
"""

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any, Self

from django.db.models import Aggregate, Count, FloatField, Q, QuerySet

from serving.models import Feedback, RequestRecord, Rollout, ShadowCount
from serving.splits import CANDIDATE, SHADOW, STABLE
from serving.verdict import Arm, Guards


class Percentile(Aggregate):
    """PostgreSQL's percentile_cont of a column."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()

    def __init__(self, column: str, fraction: float, **extra: Any) -> None:
        super().__init__(column, fraction=fraction, **extra)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one arm did. Milliseconds are those of the whole call; of a shadow, which has no caller, and of what it is
    compared with those of the engine."""

    calls: int = 0
    errors: int = 0
    slow: int = 0
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
        return Arm(self.calls, self.errors, self.slow, self.judged, self.wrong)

    def stored(self) -> dict[str, Any]:
        """To be kept."""
        return asdict(self)


def guards_of(rollout: Rollout) -> Guards:
    """What the candidate is held to."""
    found = rollout.guards
    return Guards(
        found["alpha"], found["error_margin"], found["quality_margin"], limits_latency=found["latency_ms"] is not None
    )


def figures_of(rollout: Rollout, *, since: dt.datetime | None = None) -> dict[str, Figures]:
    """Both arms' figures by arm: of a rollout that ended those at its end, else those since a moment or its start."""
    if rollout.figures and since is None:
        return {arm: Figures.read(found) for arm, found in rollout.figures.items()}
    since = since or rollout.created_at
    candidate = SHADOW if rollout.mode == Rollout.Mode.SHADOW else CANDIDATE
    return {STABLE: _figures(rollout, STABLE, since), CANDIDATE: _figures(rollout, candidate, since)}


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
    )
    return found


def _figures(rollout: Rollout, arm: str, since: dt.datetime) -> Figures:
    limit = rollout.guards["latency_ms"]
    took = "engine_ms" if rollout.mode == Rollout.Mode.SHADOW else "duration_ms"
    counted = records_of(rollout, arm, since).aggregate(
        calls=Count("pk"),
        errors=Count("pk", filter=Q(status__gte=500)),
        slow=Count("pk", filter=Q(duration_ms__gt=limit)) if limit is not None else Count("pk", filter=Q(pk=None)),
        p50_ms=Percentile(took, 0.5),
        p95_ms=Percentile(took, 0.95),
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
