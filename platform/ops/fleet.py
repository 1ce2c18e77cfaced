"""The fleet: workers, places to train, running and waiting jobs, queues, and what the engine holds in memory.

Read on the ops role, inside its scope. Redis or the engine being away is a fact to show, never a reason to fail.
"""

import contextlib
import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils.functional import Promise
from redis import Redis
from redis.exceptions import RedisError

from inference.announcement import SHARED
from inference.errors import EngineError
from inference.wire import MERGED
from kit import heartbeat
from kit.clock import now
from ops.alerts import doubted_since, open_alerts
from ops.queue import REASONS
from ops.temperature import temperature
from registry.models import ModelVersion
from serving.models import Replica
from serving.selectors import engine_health
from serving.selectors import replicas as serving_replicas
from tenants.models import Tenant
from training import states
from training.models import Attempt, Job, Slot
from training.selectors.queue import Waiting, positions, waiting

SILENT = dt.timedelta(seconds=90)
"""A place whose host has said nothing for so long is unwell; the queue does not count it either.
One that holds a job is never called so: the job's own lease says sooner and surer whether somebody is there."""
QUIET = dt.timedelta(seconds=30)
"""An engine that was not heard of for so long is unwell, or nobody listens: Redis or the tick is away."""
A_RESTART_S = 60.0
"""An engine that was heard of so lately may be starting again."""
MOST = 100
NEXT = 20
"""Of the waiting jobs, how many are shown."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One Celery queue: messages waiting, and the workers that serve it. None when Redis is away."""

    name: str
    depth: int | None
    workers: int | None


@dataclass(frozen=True, slots=True)
class Place:
    """One place to train. `state` is unwell, draining, drained, busy or idle."""

    slot: Slot
    state: str
    job: Job | None


@dataclass(frozen=True, slots=True)
class Run:
    """A job some worker holds, with its tries before."""

    job: Job
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in the engine's memory; names are empty for what the database no longer knows."""

    tenant: str
    model: str
    kind: str
    bytes: int
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """A backend in the engine's trial; `rates` in texts a second at its three sizes, None where not measured."""

    backend: str
    precision: str
    rates: list[float | None]
    difference: float
    outcome: str

    @property
    def measured(self) -> bool:
        """Whether it answered at all, so that its difference says something."""
        return any(rate is not None for rate in self.rates)


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine's own report, or why there is none."""

    report: Any = None
    problem: str = ""
    silent_s: float | None = None
    """Of one that may be starting again: seconds since it was heard of. None where it has been away for longer."""
    residents: list[Resident] = field(default_factory=list)
    trial: list[Tried] = field(default_factory=list)


def context() -> dict[str, Any]:
    """Everything the fleet page shows."""
    alive = workers()
    return {
        "alerts": open_alerts(),
        "heat": temperature(),
        "workers": alive,
        "queues": queues(alive),
        "places": places(),
        "runs": runs(),
        "runs_n": Job.ops.filter(state__in=states.HELD).count(),
        "waiting": waiting_jobs(),
        "waiting_n": Job.ops.filter(state=states.QUEUED).count(),
        "replicas": replicas(),
        "engine": engine(),
    }


def workers() -> list[heartbeat.Alive] | None:
    """Background processes heard of in the last 15 seconds; None when Redis is away."""
    try:
        return heartbeat.alive()
    except RedisError:
        return None


def queues(alive: list[heartbeat.Alive] | None) -> list[Queue]:
    """Messages waiting in the broker. A short time-out: the page must open when Redis does not."""
    try:
        broker = Redis.from_url(settings.BROKER_URL, socket_timeout=1, socket_connect_timeout=1)
        depths: list[int | None] = [int(broker.llen(name)) for name in settings.QUEUES]
    except RedisError:
        depths = [None] * len(settings.QUEUES)
    served = [None if alive is None else sum(one.name == name for one in alive) for name in settings.QUEUES]
    return [Queue(*facts) for facts in zip(settings.QUEUES, depths, served, strict=True)]


def places() -> list[Place]:
    """Every place to train, unwell ones first."""
    slots = list(Slot.objects.order_by("host", "number"))
    jobs = Job.ops.select_related("tenant").in_bulk([slot.job_id for slot in slots if slot.job_id])
    found = [Place(slot, _state(slot), jobs.get(slot.job_id)) for slot in slots]
    return sorted(found, key=lambda place: place.state != "unwell")


def replicas() -> list[tuple[Replica, str]]:
    """Engines that announce themselves, and how each stands: draining, busy, idle, or unwell where it fell silent."""
    return [(row, _standing(row)) for row in serving_replicas()]


def _standing(row: Replica) -> str:
    if row.seen_at < now() - QUIET:
        return "unwell"
    return "draining" if row.draining else "busy" if row.facts.get("load") else "idle"


def _state(slot: Slot) -> str:
    leaving = bool(slot.draining or slot.parked_at)
    if slot.job_id:
        return "draining" if leaving else "busy"
    if slot.heartbeat_at < now() - SILENT:
        return "unwell"
    return "drained" if leaving else "idle"


def runs() -> list[Run]:
    """Jobs with a lease, the longest running first, each with every attempt so far."""
    jobs = list(Job.ops.select_related("tenant").filter(state__in=states.HELD).order_by("started_at", "pk")[:MOST])
    tries: dict[UUID, list[Attempt]] = defaultdict(list)
    for attempt in Attempt.ops.filter(job__in=[job.pk for job in jobs]).order_by("number"):
        tries[attempt.job_id].append(attempt)
    return [Run(job, tries[job.pk]) for job in jobs]


def waiting_jobs() -> list[tuple[Job, Waiting | None, str | Promise]]:
    """The next jobs to start, with what they wait for."""
    first = sorted((position, pk) for pk, position in positions().items())[:NEXT]
    jobs = Job.ops.select_related("tenant").filter(state=states.QUEUED).in_bulk([pk for _, pk in first])
    standing = [(jobs[pk], waiting(jobs[pk])) for _, pk in first if pk in jobs]
    return [(job, place, REASONS[place.reason] if place else "") for job, place in standing]


def engine() -> Engine:
    """What the engine says of itself, tenants and models by name."""
    try:
        report = engine_health()
    except EngineError as error:
        return Engine(problem=error.message, silent_s=_silent_s())
    tenants = _named(Tenant.ops.all(), [one.tenant for one in report.residents])
    held = [one.model.removesuffix(MERGED) for one in report.residents]
    models = _named(ModelVersion.ops.select_related("model"), held)
    return Engine(
        report,
        residents=[
            Resident(
                tenant=tenants.get(one.tenant, ""),
                model=models.get(one.model.removesuffix(MERGED), ""),
                kind=one.kind,
                bytes=one.bytes,
                pinned=one.pinned,
            )
            for one in reversed(report.residents)
        ],
        trial=[
            Tried(one.backend, one.precision, (one.rows_per_s + [None] * 3)[:3], one.difference, one.outcome)
            for one in report.trial
        ],
    )


def _silent_s() -> float | None:
    if any(notice.alert.kind == "no_engine" for notice in open_alerts()):
        return None
    heard = [row.seen_at for row in serving_replicas() if row.pool == SHARED]
    since = max(heard, default=None) or doubted_since("no_engine") or now()
    silent = (now() - since).total_seconds()
    return max(silent, 0.0) if silent < A_RESTART_S else None


def _named(rows: "QuerySet[Any]", names: list[str]) -> dict[str, str]:
    """What rows are called, by their ids in hex; the engine's names that are no id are left out."""
    wanted = set()
    for name in names:
        with contextlib.suppress(ValueError):
            wanted.add(UUID(name))
    return {row.pk.hex: str(row) for row in rows.filter(pk__in=wanted)}
