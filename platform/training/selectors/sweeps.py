"""Sweeps of the scope's tenant, and their trials."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from kit.errors import NotFound
from kit.ids import parse_id
from registry.models import Model, ModelVersion
from registry.selectors import bytes_of, models_aside, models_deleted
from training import states
from training.models import Job, Sweep
from training.searching import rules


def sweeps(project_id: UUID) -> "QuerySet[Sweep]":
    """A project's sweeps, newest first."""
    found: QuerySet[Sweep] = Sweep.objects.filter(project_id=project_id).order_by("-id")
    return found


def sweep_by_public_id(project_id: UUID, text: str) -> Sweep:
    """One sweep by its `sweep_…`; NotFound for anybody else's."""
    sweep = Sweep.objects.filter(project_id=project_id, pk=parse_id(Sweep.prefix, text)).first()
    if sweep is None:
        raise NotFound.of(text)
    found: Sweep = sweep
    return found


def trials_of(sweep: Sweep) -> "QuerySet[Job]":
    """A sweep's trials, newest first."""
    found: QuerySet[Job] = Job.objects.filter(sweep=sweep).order_by("-id")
    return found


def versions_of_losers(project_id: UUID) -> Any:
    """The model versions that trials made which have not won, or not yet: a sweep makes dozens."""
    won = Sweep.objects.filter(project_id=project_id, winner__isnull=False).values("winner_id")
    trials = Job.objects.filter(project_id=project_id, sweep__isnull=False, model_version_id__isnull=False)
    return trials.exclude(pk__in=won).values("model_version_id")


def losers(sweep: Sweep) -> "QuerySet[Model]":
    """The models of an ended sweep's trials that have not won and that nobody has named or put live."""
    if not sweep.is_final:
        return Model.objects.none()
    return models_aside(sweep.project_id, _made_by_losers(sweep))


@dataclass(frozen=True, slots=True)
class Losers:
    """Models, by name, and the bytes of their weights."""

    names: list[str]
    size: int


def losers_seen(sweep: Sweep) -> Losers:
    """What `services.losers_delete` would delete now; nothing while the sweep is open."""
    found = losers(sweep)
    return Losers([model.name for model in found], bytes_of(found))


def losers_deleted(sweep: Sweep) -> "QuerySet[Model]":
    """Of its losers' models those that were deleted together last and can be brought back."""
    made = ModelVersion.objects.filter(pk__in=_made_by_losers(sweep)).values("model_id")
    return models_deleted(sweep.project_id).filter(pk__in=made, deleted_at=sweep.losers_deleted_at)


def _made_by_losers(sweep: Sweep) -> Any:
    trials = Job.objects.filter(sweep=sweep, model_version_id__isnull=False).exclude(pk=sweep.winner_id)
    return trials.values("model_version_id")


def committed(job: Job) -> int:
    """What a trial takes of the budget: what it cost, or may cost while it is open. Nano-USD."""
    if job.is_final:
        return job.price_nano
    return job.max_price_nano or 0 if job.state == states.VALIDATING else job.ceiling_nano


def as_rules(jobs: Iterable[Job]) -> list[rules.Trial]:
    """Trials as the rules look at them."""
    return [
        rules.Trial(
            rung=job.sweep_rung or 0,
            number=job.sweep_number or 0,
            open=not job.is_final,
            score=job.sweep_score,
            committed=committed(job),
        )
        for job in jobs
    ]


def plan_of(sweep: Sweep) -> rules.Plan:
    """What was planned."""
    sizes = [rung["size"] for rung in sweep.rungs]
    return rules.Plan(sizes=sizes, ceilings=sweep.ceilings, budget=sweep.budget_nano, parallel=sweep.parallel)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a sweep is, and what it has cost, in nano."""

    planned: int
    jobs: list[Job]
    spent: int
    reserved: int
    best: Job | None

    @property
    def open(self) -> int:
        """Trials that have not ended."""
        return sum(not job.is_final for job in self.jobs)

    def ended(self, state: str) -> int:
        """Trials that ended so."""
        return sum(job.state == state for job in self.jobs)


def standing(sweep: Sweep) -> Standing:
    """Read now. The best trial is the winner so far."""
    jobs = list(trials_of(sweep).defer("spec", "metadata").order_by("id"))
    best = rules.winner(as_rules(jobs))
    return Standing(
        planned=sum(rung["size"] for rung in sweep.rungs),
        jobs=jobs,
        spent=sum(job.price_nano for job in jobs if job.is_final),
        reserved=sum(committed(job) for job in jobs if not job.is_final),
        best=next(
            (job for job in jobs if best and (job.sweep_rung, job.sweep_number) == (best.rung, best.number)), None
        ),
    )
