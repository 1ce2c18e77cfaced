"""Where a waiting job stands, why it waits, and for about how long.

Positions come from playing the claim's own rule forward over everybody's waiting jobs. That needs every tenant's rows,
so it is read through the ops role; only numbers come out of it, never another tenant's data.
"""

import statistics
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import F
from django.db.models.functions import Coalesce

from kit.clock import now
from tenants.scope import OPS, ops_scope
from training import states
from training.models import Attempt, Job
from training.models.jobs import URGENT
from training.scheduling.dispatch import why
from training.scheduling.picture import Head, Picture, Place, Share
from training.scheduling.playing import play
from training.selectors.picture import LEAST_SECONDS, RANKS, SHARES, avoided, lines, picture_read, share_of

FRESH_SECONDS = 1.0
COSTS = 0.1
"""The share of a process's time that playing a very long queue may take: it is looked at less often then."""
LATE_SECONDS = 30.0
"""Past its time a picture is still shown for so long while a thread works out the next."""
REASONS = ("resources", "priority", "tenant_limit", "not_before", "no_workers", "no_place")
"""`no_place`: workers are up, and none of them takes jobs of this plan's class."""
HISTORY = 200
USUAL = (1.0, 1.5)
"""Median and 90th percentile of real over likely time where nothing has been measured yet."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Position 1 is next. `reason` is one of REASONS. It starts in `seconds` in half of such cases, and in
    `seconds_p90` in nine of ten; None where nobody can say, as while no worker is up."""

    position: int
    reason: str
    seconds: int | None
    seconds_p90: int | None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What would bring a waiting job forward: in how many seconds it would start, and at which position."""

    change: str
    """`as_is`, `one_more_place`, `one_more_parallel_job` or `urgent`."""
    position: int
    seconds: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a waiting job does not run, in the numbers the rule goes by."""

    share: Share
    head: Head
    kind: int
    """The rank of its turn: 0 urgent, 1 within its guarantee, 2 by machine time, 3 on what is left."""
    score: float
    ahead: int
    usable: int
    """Places of a class it may have."""
    free: int
    what_if: tuple[WhatIf, ...]


@dataclass(slots=True)
class _Queue:
    """The whole queue at one moment, played forward."""

    picture: Picture
    rows: list[dict[str, Any]]
    off: tuple[float, float]
    """How far estimates are off: median and 90th percentile of real over likely time."""
    found: dict[UUID, Waiting] = field(default_factory=dict)
    last: float = 0.0
    """When the last of those starts that wait for a place, in seconds."""
    last_of: dict[UUID, float] = field(default_factory=dict)
    """When the last waiting job of a tenant starts."""

    def free(self, rank: int, avoids: frozenset[str]) -> bool:
        """Whether there is a free place up to a class, and not on these hosts."""
        free = (place for place in self.picture.places if place.job is None and place.kept_for is None)
        return any(place.rank <= rank and place.host not in avoids for place in free)

    def band(self, start: float | None) -> tuple[int | None, int | None]:
        """A start in the play as a median and a 90th percentile."""
        return (None, None) if start is None else (int(start * self.off[0]), int(start * self.off[1]))


_cache: tuple[float, _Queue] | None = None
"""Until when it serves, on the monotonic clock, and the queue."""
_playing = threading.Lock()


def places() -> tuple[int, int]:
    """(places to train that are alive, free ones among them)."""
    queue = _queue()
    return len(queue.picture.places), sum(place.job is None for place in queue.picture.places)


def waiting(job: Job) -> Waiting | None:
    """Where a queued job stands; None for any other."""
    if job.state != states.QUEUED:
        return None
    queue = _queue()
    found = queue.found.get(job.pk)
    if found is None:  # it joined the queue since that was last looked at
        share = queue.picture.shares.get(job.tenant_id) or Share(job.tenant_id)
        reason = "priority" if queue.picture.places else "no_workers"
        return Waiting(len(queue.found) + 1, reason, *queue.band(_joining(queue, job.tenant_id, share.rank)))
    return found


def positions() -> dict[UUID, int]:
    """The position of every waiting job but those that joined since the queue was last looked at."""
    return {job: place.position for job, place in _queue().found.items()}


def wait_seconds(tenant_id: UUID, gpu_class: str) -> int | None:
    """About how long a job of a tenant whose plan has this class would wait if it joined now; None where nobody can
    say, as while no worker for it is up."""
    queue = _queue()
    return queue.band(_joining(queue, tenant_id, RANKS[gpu_class]))[0]


def _joining(queue: _Queue, tenant_id: UUID, rank: int) -> float | None:
    """When a job that joins last would start: after those that wait for places, and after those of its own tenant."""
    picture = queue.picture
    usable = [picture.left(place) for place in picture.places if place.rank <= rank]
    if not usable:
        return None
    share = picture.shares.get(tenant_id)
    own = queue.last_of.get(tenant_id, 0.0)
    if not own and share is not None and share.running >= share.most:
        own = min((run.left for run in picture.runs.values() if run.tenant == tenant_id), default=0.0)
    return max(own, queue.last, min(usable))


def explain(job: Job) -> Explanation | None:
    """Why a job waits and what would change that; None for one that is not in the queue. In an ops scope of its own."""
    queue = _queue(anew=True)
    row = next((row for row in queue.rows if row["pk"] == job.pk), None)
    if row is None:
        return None
    changes = ("one_more_place", "one_more_parallel_job", "urgent")
    found = {"as_is": queue} | {change: _imagined(queue, job, change) for change in changes}
    head, share = _head(row, now()), queue.picture.shares[job.tenant_id]
    kind, score = queue.picture.turn(head)[:2]
    usable = [one for one in queue.picture.places if one.rank <= share.rank and one.host not in head.avoids]
    return Explanation(
        share=share,
        head=head,
        kind=kind,
        score=score,
        ahead=queue.found[job.pk].position - 1,
        usable=len(usable),
        free=sum(place.job is None for place in usable),
        what_if=tuple(
            WhatIf(change, place.position, place.seconds, place.reason)
            for change, imagined in found.items()
            if (place := imagined.found.get(job.pk)) is not None
        ),
    )


def _imagined(seen: _Queue, job: Job, change: str) -> _Queue:
    """The queue played forward with one thing changed for a job; what was seen stays as it is."""
    queue = _Queue(replace(seen.picture), seen.rows, seen.off)
    picture, share = queue.picture, queue.picture.shares[job.tenant_id]
    if change == "one_more_place":
        picture.places = [*picture.places, Place(-1, "imagined", share.rank)]
    elif change == "one_more_parallel_job":
        picture.shares = picture.shares | {job.tenant_id: replace(share, most=share.most + 1)}
    elif change == "urgent":
        queue.rows = [row | {"priority": URGENT} if row["pk"] == job.pk else row for row in queue.rows]
    _play(queue)
    return queue


def _queue(*, anew: bool = False) -> _Queue:
    """The queue as it was lately: a second ago, longer where it is very long; or as it is now. One thread of a process
    looks at it anew; the others show the last picture meanwhile, unless nobody has asked for it for long."""
    global _cache
    began, kept = time.monotonic(), _cache
    if kept is not None and began <= kept[0] and not anew:
        return kept[1]
    wait = anew or kept is None or began > kept[0] + LATE_SECONDS
    if not _playing.acquire(blocking=wait) and kept is not None:
        return kept[1]
    try:
        if anew or _cache is None or _cache is kept:
            began = time.monotonic()
            queue = _read()
            _play(queue)
            done = time.monotonic()
            _cache = (done + max(FRESH_SECONDS, (done - began) / COSTS), queue)
        return _cache[1]
    finally:
        _playing.release()


def _read() -> _Queue:
    with ops_scope("show queue positions"):
        picture = picture_read()
        queued = Job.ops.filter(state=states.QUEUED).annotate(since=Coalesce("queued_at", "created_at"))
        fields = ("pk", "tenant_id", "lane", "width", "priority", "likely_seconds", "progress", "not_before", "since")
        kept_from = avoided()
        rows = [row | {"avoids": kept_from.get(row["pk"], frozenset())} for row in queued.values(*fields)]
        unseen = {row["tenant_id"] for row in rows} - picture.shares.keys()
        if unseen:  # all of their jobs wait for their next try
            with connections[OPS].cursor() as cursor:
                cursor.execute(SHARES, [list(unseen)])
                picture.shares |= {row[0]: share_of(row) for row in cursor.fetchall()}
        for tenant in unseen - picture.shares.keys():
            picture.shares[tenant] = Share(tenant)
        done = Attempt.ops.filter(outcome="succeeded", charged_ms__gt=0).order_by("-ended_at")
        off = done.annotate(off=1.0 * F("machine_ms") / F("charged_ms")).values_list("off", flat=True)
        ratios = list(off[:HISTORY])
    return _Queue(picture, rows, _band(ratios))


def _band(ratios: list[float]) -> tuple[float, float]:
    if len(ratios) < 10:
        return USUAL
    tenths = statistics.quantiles(ratios, n=10)
    return max(tenths[4], 0.05), max(tenths[8], tenths[4], 0.05)


def _play(queue: _Queue) -> None:
    """Let the rule say when each waiting job starts, and why it waits until then."""
    moment, picture = now(), queue.picture
    rows = {row["pk"]: row for row in queue.rows}
    reasons: dict[tuple[Any, ...], str] = {}
    waiting_lines = [[_head(row, moment) for row in line] for line in lines(queue.rows)]
    for position, one in enumerate(play(picture, waiting_lines), start=1):
        head, row = one.head, rows[one.head.job]
        rank = picture.shares[head.tenant].rank
        kind = (picture.within_limit(head), rank, head.width, head.avoids, position == 1)
        if kind not in reasons:
            first = position == 1 or queue.free(rank, head.avoids)
            reasons[kind] = why(picture, head, position=1 if first else position)
        reason = reasons[kind]
        if row["not_before"] is not None and row["not_before"] > moment:
            reason = "not_before"
        elif one.own:
            reason = "tenant_limit"
        queue.found[head.job] = Waiting(position, reason, *queue.band(one.start))
        if one.start is not None:
            queue.last_of[head.tenant] = one.start
            queue.last = queue.last if one.own else max(queue.last, one.start)


def _head(row: dict[str, Any], moment: Any) -> Head:
    seconds = max(row["likely_seconds"] * (1 - row["progress"]), LEAST_SECONDS)
    waited = max((moment - row["since"]).total_seconds(), 0.0)
    urgent = row["priority"] >= URGENT
    line = (row["lane"], row["width"])
    return Head(row["pk"], row["tenant_id"], seconds, row["since"], waited, *line, urgent, avoids=row["avoids"])
