"""Where a waiting job stands, why it waits, and for about how long.

Positions come from playing the claim's own rule forward over everybody's waiting jobs. That needs every tenant's rows,
so it is read through the ops role; only numbers come out of it, never another tenant's data.
"""

import bisect
import heapq
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import F
from django.db.models.functions import Coalesce

from billing.plans import GPU_CLASSES
from kit.clock import now
from tenants.scope import OPS, ops_scope
from training import states
from training.models import Attempt, Job
from training.models.jobs import URGENT
from training.scheduling.dispatch import why
from training.scheduling.fairness import PREEMPTIBLE
from training.scheduling.picture import Head, Picture, Place, Share
from training.selectors.picture import LEAST_SECONDS, RANKS, SHARES, lines, picture_read, share_of

FRESH_SECONDS = 1.0
MOST = 5000
REASONS = ("resources", "priority", "tenant_limit", "not_before", "no_workers", "no_place")
"""`no_place`: workers are up, and none of them takes jobs of this plan's class."""
HISTORY = 200
USUAL = (1.0, 1.5)
"""Median and 90th percentile of real over likely time where nothing has been measured yet."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Position 1 is next. `reason` is one of REASONS. It starts in `seconds` in half of such cases, and in
    `seconds_p90` in nine of ten."""

    position: int
    reason: str
    seconds: int
    seconds_p90: int


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What would bring a waiting job forward: in how many seconds it would start, and at which position."""

    change: str
    """`as_is`, `one_more_place`, `one_more_parallel_job` or `urgent`."""
    position: int
    seconds: int
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
    """When the last of them starts, in seconds."""

    def free(self, rank: int) -> int:
        """Free places up to a class."""
        return sum(place.job is None and place.kept_for is None and place.rank <= rank for place in self.picture.places)


_cache: tuple[float, _Queue] | None = None


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
    if found is None:  # it joined the queue within the last second
        share = queue.picture.shares.get(job.tenant_id)
        seconds = wait_seconds(GPU_CLASSES[share.rank if share else 0])
        return Waiting(len(queue.found) + 1, "priority", seconds, int(seconds * queue.off[1] / queue.off[0]))
    return found


def wait_seconds(gpu_class: str) -> int:
    """About how long a job of a plan with this class would wait if it joined now."""
    queue = _queue()
    rank = RANKS[gpu_class]
    if queue.free(rank) and not queue.rows:
        return 0
    busy = (_left(queue.picture, place) for place in queue.picture.places if place.rank <= rank)
    return int(queue.off[0] * max(queue.last, min(busy, default=0.0)))


def explain(job: Job) -> Explanation | None:
    """Why a job waits and what would change that; None for one that is not in the queue. In an ops scope of its own."""
    changes = ("as_is", "one_more_place", "one_more_parallel_job", "urgent")
    found = {change: _imagined(job, change) for change in changes}
    queue = found["as_is"]
    row = next((row for row in queue.rows if row["pk"] == job.pk), None)
    if row is None:
        return None
    fresh = _read()
    head, share = _head(row, now()), fresh.picture.shares[job.tenant_id]
    kind, score = fresh.picture.turn(head)[:2]
    usable = [place for place in fresh.picture.places if place.rank <= share.rank]
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
            for change in changes
            if (place := found[change].found.get(job.pk)) is not None
        ),
    )


def _imagined(job: Job, change: str) -> _Queue:
    """The queue played forward with one thing changed for a job."""
    queue = _read()
    share = queue.picture.shares.get(job.tenant_id)
    if change == "one_more_place":
        queue.picture.places.append(Place(-1, "imagined", share.rank if share else 0))
    elif change == "one_more_parallel_job" and share is not None:
        share.most += 1
    elif change == "urgent":
        queue.rows = [row | {"priority": URGENT} if row["pk"] == job.pk else row for row in queue.rows]
    _play(queue)
    return queue


def _left(picture: Picture, place: Place) -> float:
    return picture.runs[place.job].left if place.job in picture.runs else 0.0


def _queue() -> _Queue:
    global _cache
    if _cache is None or time.monotonic() - _cache[0] > FRESH_SECONDS:
        queue = _read()
        _play(queue)
        _cache = (time.monotonic(), queue)
    return _cache[1]


def _read() -> _Queue:
    with ops_scope("show queue positions"):
        picture = picture_read()
        queued = Job.ops.filter(state=states.QUEUED).annotate(since=Coalesce("queued_at", "created_at"))
        fields = ("pk", "tenant_id", "lane", "width", "priority", "likely_seconds", "progress", "not_before", "since")
        rows = list(queued.order_by("since", "id").values(*fields)[:MOST])
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
    """Start waiting jobs one after another by the claim's rule, each when enough places of a host come free."""
    moment, picture, hosts = now(), queue.picture, _Hosts(queue.picture)
    upcoming = [deque(rows) for rows in lines(queue.rows).values()]
    heads = (_head(rows[0], moment) for rows in upcoming)
    heap = [(picture.turn(head), number, head) for number, head in enumerate(heads)]
    heapq.heapify(heap)
    while heap:
        turn, number, head = heapq.heappop(heap)
        if (turned := picture.turn(head)) != turn:  # another job of its tenant has started since
            heapq.heappush(heap, (turned, number, head))
            continue
        row, share = upcoming[number].popleft(), picture.shares[head.tenant]
        start, position = hosts.start(head, share.rank), len(queue.found) + 1
        if row["not_before"] is not None and row["not_before"] > moment:
            reason = "not_before"
        else:
            reason = why(picture, head, position=1 if queue.free(share.rank) else position)
        queue.found[row["pk"]] = Waiting(position, reason, int(start * queue.off[0]), int(start * queue.off[1]))
        queue.last = max(queue.last, start)
        share.used_ms += 1000 * head.seconds * head.width
        share.firm += head.width * (head.lane != PREEMPTIBLE)
        if upcoming[number]:
            following = _head(upcoming[number][0], moment)
            heapq.heappush(heap, (picture.turn(following), number, following))


class _Hosts:
    """When each place of each host comes free, in seconds from now."""

    def __init__(self, picture: Picture) -> None:
        self._ranks = {place.host: place.rank for place in picture.places}
        self._free: dict[str, list[float]] = {host: [] for host in self._ranks}
        for place in picture.places:
            bisect.insort(self._free[place.host], _left(picture, place))
        self._nowhere = [0.0]
        """A host that is not there: what is said of its time is a guess, and the reason says why."""

    def start(self, head: Head, rank: int) -> float:
        """When a job can start where it can soonest; its places are taken from then on."""
        usable = [free for host, free in self._free.items() if self._ranks[host] <= rank and len(free) >= head.width]
        soonest = min(usable, key=lambda free: free[head.width - 1], default=self._nowhere)
        width = min(head.width, len(soonest))
        start = soonest[width - 1]
        soonest[:] = sorted([start + head.seconds] * width + soonest[width:])
        return start


def _head(row: dict[str, Any], moment: Any) -> Head:
    seconds = max(row["likely_seconds"] * (1 - row["progress"]), LEAST_SECONDS)
    waited = max((moment - row["since"]).total_seconds(), 0.0)
    urgent = row["priority"] >= URGENT
    return Head(row["pk"], row["tenant_id"], seconds, row["since"], waited, row["lane"], row["width"], urgent)
