"""Reading what machines cost and who used them; across tenants, inside `ops_scope`."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncMonth

from billing.models import MachineHour, UsageHour
from billing.periods import bounds
from billing.prices import ENGINES, STORAGE, TRAINING

CALLS, OWN, TRAINED = "calls", "own_engines", "training"
"""What machine time is used for; and the classes of machines that it is used on."""
ON = {CALLS: "engine", OWN: "engine_own"}


@dataclass(frozen=True, slots=True)
class Pot:
    """The machines of a class in a span: how many, their time and at work of it (ms), and what they cost."""

    machine_class: str
    machines: int = 0
    capacity_ms: int = 0
    busy_ms: int = 0
    cost_nano: int = 0


def pots(since: dt.datetime, until: dt.datetime) -> dict[str, Pot]:
    """What there was by class, over whole hours; classes without machines are absent."""
    rows = (
        MachineHour.objects.filter(hour__gte=since, hour__lt=until)
        .order_by()
        .values_list("machine_class")
        .annotate(
            machines=Count("machine", distinct=True),
            capacity=Sum("capacity_ms"),
            busy=Sum("busy_ms"),
            cost=Sum("cost_nano"),
        )
    )
    return {name: Pot(name, n, int(capacity), int(busy), int(cost)) for name, n, capacity, busy, cost in rows}


def cost_by_month(first: dt.date, last: dt.date) -> dict[dt.date, int]:
    """Nano-USD of all machines by month; months in which none was seen are absent."""
    since, until = bounds(first)[0], bounds(last)[1]
    rows = (
        MachineHour.objects.filter(hour__gte=since, hour__lt=until)
        .order_by()
        .annotate(month=TruncMonth("hour", tzinfo=dt.UTC))
        .values_list("month")
        .annotate(nano=Sum("cost_nano"))
    )
    return {month.date(): int(nano) for month, nano in rows}


def classes_of_hosts(since: dt.datetime, until: dt.datetime) -> dict[str, str]:
    """Which class of places each host had that trained in a span."""
    rows = MachineHour.objects.filter(hour__gte=since, hour__lt=until, machine_class__startswith="trainer_")
    found = rows.order_by().values_list("machine", "machine_class").distinct()
    return {machine.rpartition("/")[0]: machine_class for machine, machine_class in found}


@dataclass(frozen=True, slots=True)
class Used:
    """Of one tenant's model, for one purpose: machine time, and in its currency the price at the book's, before
    allowances."""

    tenant_id: UUID
    model: str
    purpose: str
    ms: int
    nano: int
    requests: int
    currency: str


def used(since: dt.datetime, until: dt.datetime) -> list[Used]:
    """By tenant, model and purpose. Calls of a model that had engines of its own in the span are carried by those:
    their price stands with the purpose OWN, their time nowhere, because those engines are counted whole."""
    rows = (
        UsageHour.ops.filter(hour__gte=since, hour__lt=until)
        .exclude(kind=STORAGE)
        .order_by()
        .values_list("tenant_id", "model", "tenant__currency")
        .annotate(
            own_ms=Sum("gpu_ms", filter=Q(kind=ENGINES), default=0),
            own_nano=Sum("cost_nano", filter=Q(kind=ENGINES), default=0),
            trained_nano=Sum("cost_nano", filter=Q(kind__in=TRAINING), default=0),
            call_ms=Sum("gpu_ms", filter=~Q(kind__in=(*TRAINING, ENGINES)), default=0),
            call_nano=Sum("cost_nano", filter=~Q(kind__in=(*TRAINING, ENGINES)), default=0),
            calls=Sum("requests", filter=~Q(kind__in=(*TRAINING, ENGINES)), default=0),
        )
    )
    found = []
    for tenant_id, model, pays, own_ms, own_nano, trained_nano, call_ms, call_nano, calls in rows:
        if own_ms:
            found.append(Used(tenant_id, model, OWN, int(own_ms), int(own_nano + call_nano), int(calls), pays))
        elif calls or call_ms:
            found.append(Used(tenant_id, model, CALLS, int(call_ms), int(call_nano), int(calls), pays))
        if trained_nano:
            found.append(Used(tenant_id, model, TRAINED, 0, int(trained_nano), 0, pays))
    return found


def by_class(rows: list[Used]) -> dict[str, dict[tuple[UUID, str, str], int]]:
    """Machine time by class of engines, of each tenant's model and purpose."""
    found: dict[str, dict[tuple[UUID, str, str], int]] = defaultdict(dict)
    for row in rows:
        if row.purpose in ON:
            found[ON[row.purpose]][row.tenant_id, row.model, row.purpose] = row.ms
    return found
