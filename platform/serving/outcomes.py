"""What the arms of a rollout did, counted from the request log and from feedback. Read inside the tenant's scope.

A call counts once it was answered, or failed by our fault (5xx). What the caller got wrong, was refused by a limit or
left is no version's doing, and neither is a queue that is full or an engine that is being started (`rounds.NOBODYS`).

Batches' lines count as calls like any other, but nobody times them: they wait by design. Nor are calls timed that had
the model brought into memory, or that came with their reasons, which takes many readings of the text.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from django.db.models import Aggregate, FloatField

from inference.tasks import EMBEDDINGS, REGRESSION, TEXT_GENERATION
from serving import rounds
from serving.errors import SpanTooLarge
from serving.figures import MANY
from serving.models import Rollout
from serving.models.counts import ShadowCount
from serving.patience import PATIENCE_MS, bounded
from serving.splits import CANDIDATE, STABLE
from serving.verdict import Arm, Guards

MEASURED = (REGRESSION, EMBEDDINGS)
"""Tasks whose answers are more or less alike, and never the same."""
NEWEST = 50_000
"""Of more timed calls of an arm, the percentiles are those of the newest."""
TIMES_MS = 2_000
"""For the percentiles of an arm, which are left out where that is too short."""


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
    def of(cls, arm: Arm, p50_ms: float | None = None, p95_ms: float | None = None) -> Self:
        """Of what was counted."""
        return cls(**arm.kept(), p50_ms=p50_ms, p95_ms=p95_ms)

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

    def stored(self) -> dict[str, Any]:
        """To be kept."""
        return asdict(self)


def guards_of(rollout: Rollout) -> Guards:
    """What the candidate is held to."""
    found = rollout.guards
    return Guards(
        found["alpha"], found["error_margin"], found["quality_margin"], limits_latency=found["latency_ms"] is not None
    )


def figures_of(
    rollout: Rollout, counted: Sequence[rounds.Round] = (), *, patience_ms: int = PATIENCE_MS
) -> dict[str, Figures]:
    """Both arms' figures by arm: of a rollout that ended those at its end, else those since its start, which are
    counted here where nobody has. SpanTooLarge where what came since the last tick cannot be counted in time."""
    if rollout.figures:
        return {arm: Figures.read(found) for arm, found in rollout.figures.items()}
    found = counted or rounds.rounds_of(rollout, patience_ms=patience_ms)
    return {arm: Figures.of(rounds.total(found, arm), *_times(rollout, arm)) for arm in (STABLE, CANDIDATE)}


def shadow_of(rollout: Rollout) -> ShadowCount:
    """What became of its shadow calls."""
    return ShadowCount.objects.filter(rollout=rollout).first() or ShadowCount(rollout=rollout)


def shadow_wire(rollout: Rollout) -> dict[str, Any]:
    """A shadow's count on the wire: what its task can say of two answers, null for the rest."""
    count, task = shadow_of(rollout), rollout.stable.model.task
    mean = count.measured / count.compared if count.compared else None
    wrote = task == TEXT_GENERATION and count.compared > 0
    return {
        "compared": count.compared,
        "agreed": None if task in MEASURED else count.agreed,
        "overlap": count.parts_agreed / count.parts if count.parts else None,
        "difference": mean if task == REGRESSION else None,
        "cosine": mean if task == EMBEDDINGS else None,
        "endings_agreed": count.endings_agreed if task == TEXT_GENERATION else None,
        "stable_tokens": count.stable_tokens / count.compared if wrote else None,
        "candidate_tokens": count.candidate_tokens / count.compared if wrote else None,
        "dropped": count.dropped,
    }


def _times(rollout: Rollout, arm: str) -> tuple[float | None, float | None]:
    """Median and 95th percentile; None without calls, or where it takes too long."""
    took = "engine_ms" if rollout.mode == Rollout.Mode.SHADOW else "duration_ms"
    lines = rounds.records_of(rollout, arm, rollout.created_at).filter(rounds.TIMED).order_by("-at")[:NEWEST]
    try:
        with bounded(MANY, milliseconds=TIMES_MS):
            found = lines.aggregate(p50=Percentile(took, 0.5), p95=Percentile(took, 0.95))
    except SpanTooLarge:
        return None, None
    return found["p50"], found["p95"]
