"""What machines cost by tenant, model and job, and what is left of what they pay. Read inside `ops_scope`."""

import datetime as dt
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Q

from billing.economics import Laid, Share, lay
from billing.periods import bounds
from billing.selectors import machines, recurring
from billing.selectors.house import in_house
from billing.selectors.machines import CALLS, OWN, TRAINED, Pot
from kit.clock import now
from tenants.models import Tenant
from training.models import Attempt, Job

Key = tuple[UUID, str, str]
"""Tenant, model (of a training its base), purpose."""
UNSEEN = "trainer_cpu"
"""Class of places on a host that no look has seen."""


@dataclass(slots=True)
class Line:
    """One tenant, model or job: what it used and costs, and what it pays, nano-USD."""

    tenant_id: UUID
    tenant: str
    name: str = ""
    purpose: str = ""
    share: Share = field(default_factory=Share)
    revenue: int = 0
    contracts: int = 0
    """Of the revenue: custom models made to order."""
    requests: int = 0
    job_id: UUID | None = None

    @property
    def margin_own(self) -> int:
        """What its own use leaves."""
        return self.revenue - self.share.own

    @property
    def margin(self) -> int:
        """What is left with its part of what stood idle."""
        return self.revenue - self.share.cost


@dataclass(frozen=True, slots=True)
class Margins:
    """A month: the machines, their cost as it was laid on users, and lines by tenant, model and job."""

    pots: Mapping[str, Pot]
    laid: Mapping[str, Laid[Any]]
    tenants: list[Line]
    models: list[Line]
    jobs: list[Line]

    @property
    def cost(self) -> int:
        """Of all machines."""
        return sum(pot.cost_nano for pot in self.pots.values())

    @property
    def idle(self) -> int:
        """Of that, what nobody used."""
        return sum(laid.idle for laid in self.laid.values())

    @property
    def house(self) -> int:
        """Of that, what cannot be laid on anybody, because nobody used the class at all."""
        return sum(laid.house for laid in self.laid.values())


def margins(month: dt.date) -> Margins:
    """Everything of a month. Each class of machines is one pot for the month."""
    since, until = bounds(month)
    pots = machines.pots(since, until)
    used = machines.used(since, until)
    attempts = _trained(since, until)
    uses: dict[str, dict[Any, int]] = defaultdict(dict)
    for machine_class, of_models in machines.by_class(used).items():
        uses[machine_class].update(of_models)
    for machine_class, of_jobs in attempts.items():
        uses[machine_class].update(of_jobs)
    laid = {
        name: lay(
            pots[name].cost_nano if name in pots else 0, pots[name].capacity_ms if name in pots else 0, uses[name]
        )
        for name in sorted({*pots, *uses})
    }
    jobs = {job.pk: job for job in _jobs({job_id for of_jobs in attempts.values() for job_id in of_jobs})}
    names, whose = {}, {}
    for tenant_id, name, currency in Tenant.ops.values_list("pk", "name", "currency"):
        names[tenant_id], whose[tenant_id] = name, currency
    return Margins(
        pots,
        laid,
        _by_tenant(laid, jobs, names, month),
        _by_model(laid, jobs, names, used, month),
        _by_job(laid, jobs, names, whose, month),
    )


def _trained(since: dt.datetime, until: dt.datetime) -> dict[str, dict[UUID, int]]:
    """Milliseconds of places by class and job: what of its attempts lies in the span, times the places they held."""
    hosts = machines.classes_of_hosts(since, until)
    moment = min(now(), until)
    found: dict[str, dict[UUID, int]] = defaultdict(lambda: defaultdict(int))
    rows = Attempt.ops.filter(Q(ended_at=None) | Q(ended_at__gt=since), started_at__lt=moment)
    for job_id, worker, began, ended, width in rows.values_list(
        "job_id", "worker", "started_at", "ended_at", "job__width"
    ).iterator(chunk_size=5000):
        ms = (min(ended or moment, moment) - max(began, since)) // dt.timedelta(milliseconds=1)
        if ms > 0:
            found[hosts.get(worker.split("/")[0], UNSEEN)][job_id] += ms * width
    return found


def _jobs(ids: set[UUID]) -> list[Job]:
    return list(Job.ops.filter(pk__in=ids))


def _owner(key: Hashable, jobs: Mapping[UUID, Job]) -> Key | None:
    """Tenant, model and purpose of what a share was laid on."""
    if isinstance(key, tuple):
        return key
    job = jobs.get(key) if isinstance(key, UUID) else None
    return None if job is None else (job.tenant_id, job.base, TRAINED)


def _shares(laid: Mapping[str, Laid[Any]], jobs: Mapping[UUID, Job]) -> dict[Key, Share]:
    found: dict[Key, Share] = defaultdict(Share)
    for one in laid.values():
        for key, share in one.shares.items():
            if (owner := _owner(key, jobs)) is not None:
                found[owner] += share
    return found


def _by_tenant(
    laid: Mapping[str, Laid[Any]], jobs: Mapping[UUID, Job], names: Mapping[UUID, str], month: dt.date
) -> list[Line]:
    lines: dict[UUID, Line] = {}
    for (tenant_id, _model, _purpose), share in _shares(laid, jobs).items():
        line = lines.setdefault(tenant_id, Line(tenant_id, names.get(tenant_id, "")))
        line.share += share
    for tenant_id, booked in recurring.revenue_by_tenant(month, month).items():
        line = lines.setdefault(tenant_id, Line(tenant_id, names.get(tenant_id, "")))
        line.revenue, line.contracts = booked.total, booked.contracts
    return _sorted(lines.values())


def _by_model(
    laid: Mapping[str, Laid[Any]],
    jobs: Mapping[UUID, Job],
    names: Mapping[UUID, str],
    used: list[machines.Used],
    month: dt.date,
) -> list[Line]:
    lines = {key: Line(key[0], names.get(key[0], ""), *key[1:], share) for key, share in _shares(laid, jobs).items()}
    for row in used:
        key = (row.tenant_id, row.model, row.purpose)
        line = lines.setdefault(key, Line(row.tenant_id, names.get(row.tenant_id, ""), row.model, row.purpose))
        line.revenue, line.requests = in_house(row.nano, row.currency, month), row.requests
    return _sorted(lines.values())


def _by_job(
    laid: Mapping[str, Laid[Any]],
    jobs: Mapping[UUID, Job],
    names: Mapping[UUID, str],
    whose: Mapping[UUID, str],
    month: dt.date,
) -> list[Line]:
    lines: dict[UUID, Line] = {}
    for one in laid.values():
        for key, share in one.shares.items():
            if isinstance(key, UUID) and (job := jobs.get(key)) is not None:
                fresh = Line(job.tenant_id, names.get(job.tenant_id, ""), job.public_id, job.base, job_id=key)
                line = lines.setdefault(key, fresh)
                line.revenue = in_house(job.price_nano, whose[job.tenant_id], month)
                line.share += share
    return _sorted(lines.values())


def _sorted(lines: Any) -> list[Line]:
    """Those that leave least first: that is where something is to do."""
    return sorted(lines, key=lambda line: (line.margin, line.tenant, line.name))


__all__ = ["CALLS", "OWN", "TRAINED", "Line", "Margins", "margins"]
