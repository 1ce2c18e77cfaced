"""What the web process tells Prometheus of the whole product, beside its own counts: jobs, places, queues, workers,
doorbells and webhooks that wait. Asked of PostgreSQL and Redis at most once in `FRESH` seconds.
"""

import threading
import time
from collections.abc import Iterator

from django.db import DatabaseError
from django.db.models import Count, Min
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from billing.models import StripeEvent
from kit.clock import now
from kit.metrics import Collector
from kit.models import OutboxEntry
from ops import fleet
from serving.models import Deployment
from tenants.scope import ops_scope
from training import states
from training.models import Attempt, Job

FRESH = 5.0
"""Seconds for which an answer is given again: scrapes of several servers must not become load."""


class Product(Collector):
    """The state of the product; `product_up` is 0 while the database does not answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[Metric] = []
        self._asked = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """Called by a scrape."""
        with self._lock:
            if time.monotonic() - self._asked > FRESH:
                self._found, self._asked = _look(), time.monotonic()
            yield from self._found


def _look() -> list[Metric]:
    up = GaugeMetricFamily("product_up", "Whether the database answered for the figures below.")
    try:
        with ops_scope("metrics"):
            found = [*_jobs(), *_places(), *_waiting()]
    except DatabaseError:
        up.add_metric([], 0)
        return [up]
    up.add_metric([], 1)
    return [up, *found, *_fleet()]


def _jobs() -> Iterator[Metric]:
    counts = dict(Job.ops.values_list("state").annotate(n=Count("pk")))
    yield _gauge("jobs", "Training jobs by state.", "state", {state: counts.get(state, 0) for state in states.ALL})
    oldest = Job.ops.filter(state=states.QUEUED).aggregate(at=Min("queued_at"))["at"]
    wait = GaugeMetricFamily("jobs_oldest_wait_seconds", "How long the first waiting job has waited.")
    wait.add_metric([], (now() - oldest).total_seconds() if oldest else 0)
    yield wait
    ends = CounterMetricFamily(
        "job_attempts", "Tries of jobs by how they ended; `lost` lost their lease.", labels=["end"]
    )
    for outcome, n in Attempt.ops.exclude(outcome="").values_list("outcome").annotate(n=Count("pk")):
        ends.add_metric([outcome], n)
    yield ends
    live = dict(Deployment.ops.values_list("state").annotate(n=Count("pk")))
    yield _gauge("deployments", "Deployments by state.", "state", live)


def _places() -> Iterator[Metric]:
    counts: dict[str, int] = dict.fromkeys(("busy", "idle", "draining", "drained", "unwell"), 0)
    for place in fleet.places():
        counts[place.state] += 1
    yield _gauge("training_places", "Places to train by state.", "state", counts)


def _waiting() -> Iterator[Metric]:
    outbox = OutboxEntry.objects.aggregate(n=Count("pk"), at=Min("created_at"))
    for name, text, value in (
        ("outbox_entries", "Doorbells not yet rung.", outbox["n"]),
        (
            "outbox_oldest_seconds",
            "Age of the oldest doorbell not yet rung.",
            (now() - outbox["at"]).total_seconds() if outbox["at"] else 0,
        ),
        (
            "stripe_events_stuck",
            "Webhooks that failed or wait for staff.",
            StripeEvent.objects.filter(state__in=("failed", "parked")).count(),
        ),
    ):
        gauge = GaugeMetricFamily(name, text)
        gauge.add_metric([], value)
        yield gauge


def _fleet() -> Iterator[Metric]:
    """Of Redis; absent while it is away, as a gap says more than a zero."""
    queues = fleet.queues(fleet.workers())
    depths = {queue.name: queue.depth for queue in queues if queue.depth is not None}
    served = {queue.name: queue.workers for queue in queues if queue.workers is not None}
    if depths:
        yield _gauge("queue_messages", "Messages waiting in the broker.", "queue", depths)
    if served:
        yield _gauge("queue_workers", "Workers that serve a queue.", "queue", served)


def _gauge(name: str, text: str, label: str, figures: dict[str, int]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=[label])
    for value, n in figures.items():
        gauge.add_metric([value], n)
    return gauge
