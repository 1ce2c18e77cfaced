"""What happened in a job, in order, and its numbers thinned for a chart."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from training.models import Job, JobEvent

MOST_POINTS = 2000
SERIES = (
    "train_loss",
    "learning_rate",
    "grad_norm",
    "samples_per_second",
    "valid_loss",
    "valid_accuracy",
    "valid_macro_f1",
    "valid_mean_token_accuracy",
)


def events(job: Job) -> "QuerySet[JobEvent]":
    """All events of a job."""
    found: QuerySet[JobEvent] = JobEvent.objects.filter(job=job)
    return found


def events_after(job: Job, seq: int, *, limit: int = 500) -> list[JobEvent]:
    """Events with a number above `seq`, in order: what a listener has not seen yet.

    Listen on the Redis channel `news:job:<uuid>` for a hint that there is more; the channel may stay silent, so look
    every second or two as well.
    """
    return list(JobEvent.objects.filter(job=job, seq__gt=seq).order_by("seq")[:limit])


def metric_points(job: Job, *, most: int = MOST_POINTS) -> dict[str, list[list[float | None]]]:
    """Each series as [[step, value], …], at most `most` points, with the extremes of every stretch kept.

    A step that a resumed run took again counts once, as it was last. A value that was not a number is None.
    """
    latest: dict[str, dict[int, float | None]] = {name: {} for name in SERIES}
    rows = JobEvent.objects.filter(job=job, type="metrics").order_by("seq").values_list("data", flat=True)
    for data in rows.iterator(chunk_size=5000):
        for name in SERIES:
            if data and name in data:
                latest[name][int(data["step"])] = data[name]
    return {name: thin(sorted(points.items()), most) for name, points in latest.items() if points}


def thin(points: Iterable[tuple[int, float | None]], most: int) -> list[list[float | None]]:
    """At most `most` points: of each stretch its first, lowest, highest and last, and every missing value's place."""
    every = [[float(step), value] for step, value in points]
    if len(every) <= most:
        return every
    size = -(-len(every) // max(most // 4, 1))  # whole stretches: each may keep four
    kept: list[list[float | None]] = []
    for start in range(0, len(every), size):
        stretch = every[start : start + size]
        kept.extend(stretch[index] for index in sorted(_extremes(stretch)))
    return kept


def _extremes(stretch: list[list[Any]]) -> set[int]:
    known = [index for index, (_, value) in enumerate(stretch) if value is not None]
    if not known:
        return {0}
    lowest = min(known, key=lambda index: stretch[index][1])
    highest = max(known, key=lambda index: stretch[index][1])
    missing = next((index for index, (_, value) in enumerate(stretch) if value is None), len(stretch) - 1)
    return {0, lowest, highest, missing}
