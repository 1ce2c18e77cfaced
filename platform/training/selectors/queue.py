"""Where a waiting job stands, why it waits, and for about how long.

Positions come from playing the claim's own rule forward over everybody's waiting jobs. That needs every tenant's rows,
so it is read through the ops role; only numbers come out of it, never another tenant's data.
"""

import datetime as dt
import heapq
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models.functions import Coalesce

from billing.plans import GPU_CLASSES, classes_within
from kit.clock import now
from tenants.scope import ops_scope
from training import states
from training.fairness import Claimant, faded
from training.forecast import likely_seconds
from training.models import Job, Slot, TenantShare

STALE = dt.timedelta(seconds=90)
"""A place whose host has not been heard of for so long is not counted."""
FRESH_SECONDS = 1.0
REASONS = ("resources", "priority", "tenant_limit", "not_before", "no_workers", "no_place")
"""`no_place`: workers are up, and none of them takes jobs of this plan's class."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Position 1 is next. `reason` is one of REASONS."""

    position: int
    reason: str
    seconds: int


@dataclass(slots=True)
class _Picture:
    """The whole queue at one moment."""

    places: Counter[str] = field(default_factory=Counter)
    """Those alive, by class."""
    free: Counter[str] = field(default_factory=Counter)
    busy: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds until each place that is taken comes free, by class."""
    waiting: list[dict[str, Any]] = field(default_factory=list)
    running: dict[UUID, int] = field(default_factory=dict)
    limits: dict[UUID, int] = field(default_factory=dict)
    classes: dict[UUID, str] = field(default_factory=dict)
    """The class of each tenant's plan."""
    used: dict[UUID, tuple[float, int]] = field(default_factory=dict)
    """Machine time that counts now, in ms, and the weight of the plan."""

    def within(self, tenant_id: UUID) -> tuple[str, ...]:
        """The classes of places that a tenant's jobs may take."""
        return classes_within(self.classes.get(tenant_id, GPU_CLASSES[0]))


_cache: tuple[float, _Picture, dict[UUID, Waiting]] | None = None


def places() -> tuple[int, int]:
    """(places to train that are alive, free ones among them)."""
    picture = _picture()
    return picture.places.total(), picture.free.total()


def waiting(job: Job) -> Waiting | None:
    """Where a queued job stands; None for any other."""
    if job.state != states.QUEUED:
        return None
    found = _standings().get(job.pk)
    if found is None:  # it joined the queue within the last second
        return Waiting(len(_standings()) + 1, "priority", wait_seconds(_picture().within(job.tenant_id)[-1]))
    return found


def wait_seconds(gpu_class: str) -> int:
    """About how long a job of a plan with this class would wait if it joined now."""
    last = max((place.seconds for place in _standings().values()), default=0)
    picture, within = _picture(), classes_within(gpu_class)
    if any(picture.free[name] for name in within) and not picture.waiting:
        return 0
    return max(last, int(min((one for name in within for one in picture.busy[name]), default=0)))


def _standings() -> dict[UUID, Waiting]:
    global _cache
    if _cache is None or time.monotonic() - _cache[0] > FRESH_SECONDS:
        picture = _picture()
        _cache = (time.monotonic(), picture, _play(picture))
    return _cache[2]


def _picture() -> _Picture:
    moment = now()
    with ops_scope("show queue positions"):
        usable = Slot.objects.filter(heartbeat_at__gt=moment - STALE, draining=False, parked_at=None)
        slots = list(usable.values_list("job_id", "gpu_class"))
        held = Job.ops.filter(state__in=states.HELD).values_list("pk", "tenant_id", "eta_seconds", "estimate")
        queued = Job.ops.filter(state=states.QUEUED).annotate(since=Coalesce("queued_at", "created_at"))
        picture = _Picture(
            places=Counter(name for _, name in slots), free=Counter(name for job_id, name in slots if job_id is None)
        )
        taken = dict(slots)
        running: dict[UUID, int] = defaultdict(int)
        for job_id, tenant_id, eta, estimate in held:
            running[tenant_id] += 1
            if job_id in taken:  # not on a place that is leaving: that one comes free for nobody
                picture.busy[taken[job_id]].append(float(eta if eta is not None else likely_seconds(estimate)))
        picture.running = dict(running)
        picture.waiting = list(
            queued.order_by("since", "id").values("pk", "tenant_id", "estimate", "not_before", "since")[:5000]
        )
        for share in TenantShare.ops.all():
            picture.limits[share.tenant_id], picture.classes[share.tenant_id] = share.max_running, share.gpu_class
            age = (moment - share.recent_at).total_seconds()
            picture.used[share.tenant_id] = (faded(share.recent_ms, age), share.weight)
    return picture


def _play(picture: _Picture) -> dict[UUID, Waiting]:
    """Start waiting jobs one after another by the claim's rule, each when a place comes free."""
    moment = now()
    queues: dict[UUID, deque[dict[str, Any]]] = defaultdict(deque)
    for row in picture.waiting:
        queues[row["tenant_id"]].append(row)
    claimants = (
        Claimant(tenant, *picture.used.get(tenant, (0.0, 1)), since=rows[0]["since"]) for tenant, rows in queues.items()
    )
    heap = [(one.turn, one) for one in claimants]
    heapq.heapify(heap)
    free_at = {name: sorted([0.0] * picture.free[name] + picture.busy[name]) for name in GPU_CLASSES}
    nowhere = [0.0]
    """A place that is not there: what is said of its time is a guess, and the reason says why."""
    found: dict[UUID, Waiting] = {}
    while heap:
        _, claimant = heapq.heappop(heap)
        queue = queues[claimant.tenant]
        row = queue.popleft()
        likely = likely_seconds(row["estimate"])
        usable = [free_at[name] for name in picture.within(claimant.tenant) if free_at[name]] or [nowhere]
        soonest = min(usable, key=lambda place: place[0])
        start = soonest[0]
        heapq.heapreplace(soonest, start + likely)
        position = len(found) + 1
        found[row["pk"]] = Waiting(position, _reason(picture, row, position, moment), int(start))
        if queue:
            claimant = claimant.after_start(1000 * likely, queue[0]["since"])
            heapq.heappush(heap, (claimant.turn, claimant))
    return found


def _reason(picture: _Picture, row: dict[str, Any], position: int, moment: dt.datetime) -> str:
    tenant = row["tenant_id"]
    if row["not_before"] is not None and row["not_before"] > moment:
        return "not_before"
    if picture.running.get(tenant, 0) >= picture.limits.get(tenant, 1):
        return "tenant_limit"
    within = picture.within(tenant)
    if not any(picture.places[name] for name in within):
        return "no_place" if picture.places.total() else "no_workers"
    return "resources" if position == 1 or any(picture.free[name] for name in within) else "priority"
