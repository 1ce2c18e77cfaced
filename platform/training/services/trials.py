"""What a sweep does by itself. A doorbell, a tick or the end of a trial asks it to look; each look is one transaction
under the lock of the sweep's row that reads every trial and asks `training.searching.rules` what to do. So a look may
come twice, late, at once with another, or die half-way: what is not committed did not happen, and the next look sees
what is missing. Two trials of one setting in one rung are refused by the database as well.

The lock of the tenant's row is taken first, as by everybody who adds jobs to it.
"""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from kit.errors import ApiError, Conflict, PaymentRequired
from kit.ids import public_id
from tenants.models import Project, Tenant
from tenants.scope import tenant_scope
from tenants.selectors import tenant_current
from tenants.services.organisations import tenant_turn
from training import forecast, states
from training.errors import QueueFull
from training.models import Job, Sweep
from training.searching import rules
from training.searching.rules import Start
from training.selectors.events import metric_points
from training.selectors.sweeps import as_rules, plan_of, trials_of
from training.services import intake
from training.services.announcing import sweep_announce
from training.services.jobs import job_create
from training.services.queueing import check_rows
from training.services.sweep_pricing import body_of, check_budget, draft_of, priced
from training.services.sweeps import trial_cancel

SCORE = "valid_macro_f1"
"""Measured on the validation rows after each pass; the best pass is the one whose weights are kept. Never the test
rows: a choice by them would make the winner's report a lie."""


def sweep_step(*, tenant_id: UUID, sweep_id: UUID) -> str:
    """Look what a sweep has to do, and do it; returns its state. Safe to repeat."""
    with tenant_scope(tenant_id):
        sweep = Sweep.objects.filter(pk=sweep_id).first()
    if sweep is None or sweep.is_final:
        return sweep.state if sweep else ""
    if sweep.state == Sweep.State.PREPARING and not _prepare(sweep):
        return Sweep.State.PREPARING
    with tenant_scope(tenant_id):
        return _step(sweep_id)


def _prepare(sweep: Sweep) -> bool:
    """Read the data, pin their version, price every trial. False while a file is still being read. May be slow."""
    draft = draft_of(sweep)
    try:
        ready = intake.prepare(draft)
        if ready is None:
            return False
        work = forecast.workload(draft, ready.parquet_key)
        with tenant_scope(sweep.tenant_id):
            check_rows(ready)
            found = priced(sweep, work)
            values: dict[str, Any] = {
                "state": Sweep.State.RUNNING,
                "dataset_version_id": ready.version_id,
                "ceilings": found.ceilings,
                "estimate": found.as_dict(),
                "budget_nano": check_budget(sweep.max_price_nano, found),
            }
            Sweep.objects.filter(pk=sweep.pk, state=Sweep.State.PREPARING).update(**values)
    except ApiError as error:
        with tenant_scope(sweep.tenant_id):
            row = Sweep.objects.select_for_update(no_key=True).get(pk=sweep.pk)
            if row.state == Sweep.State.PREPARING:
                _end(row, Sweep.State.FAILED, error=error)
    return True


def _step(sweep_id: UUID) -> str:
    tenant_turn()
    row: Sweep = Sweep.objects.select_for_update(no_key=True).get(pk=sweep_id)
    if row.state not in (Sweep.State.RUNNING, Sweep.State.CANCELLING):
        return row.state
    jobs = list(trials_of(row))
    for job in jobs:
        _look_at(job)
    if row.state == Sweep.State.CANCELLING:
        if all(job.is_final for job in jobs):
            _end(row, Sweep.State.CANCELLED, jobs=jobs)
        return row.state
    if tenant_current().status != Tenant.Status.ACTIVE:
        return row.state  # nothing new for a suspended organisation; the sweep goes on when it is let back in
    move = rules.decide(plan_of(row), as_rules(jobs), halt=_halt(jobs))
    if move.ending:
        _end_with(row, move.ending, jobs)
        return row.state
    for start in move.starts:
        refused = _start(row, start)
        if refused is None:
            continue
        if not isinstance(refused, QueueFull) and not any(not job.is_final for job in trials_of(row)):
            _end_with(row, rules.REFUSED, jobs, error=refused)
        break  # a full queue, or open trials: there will be another look
    return row.state


def _look_at(job: Job) -> None:
    """Note the score of a trial that has made a model; end one that waits for a higher ceiling, which no trial gets."""
    if job.state == states.SUCCEEDED and job.sweep_score is None:
        points = metric_points(job).get(SCORE, [])
        job.sweep_score = max((value for _, value in points if value is not None), default=None)
        Job.objects.filter(pk=job.pk).update(sweep_score=job.sweep_score)
    elif job.state == states.BLOCKED and job.blocked_by == states.BUDGET:
        trial_cancel(job)


def _halt(jobs: list[Job]) -> str:
    """Why nothing more may start: the organisation's or the project's spend limit refused a trial."""
    return rules.SPEND_LIMIT if any(job.error_code == PaymentRequired.default_code for job in jobs) else ""


def _start(sweep: Sweep, start: Start) -> ApiError | None:
    """Start a trial; what refuses it, or None."""
    assert sweep.dataset_version_id is not None  # noqa: S101 - pinned before it runs
    setting, rung = sweep.settings[start.number], sweep.rungs[start.rung]
    wanted = body_of(setting, rung["epochs"]) | {
        "model": sweep.base,
        "training_file": public_id("dsv_", sweep.dataset_version_id),
        "suffix": trial_name(sweep, start.rung, start.number),
        "seed": sweep.seed,
        "metadata": sweep.metadata,
        "x_task": sweep.task,
        "x_lane": sweep.lane,
        "x_gpus": sweep.width,
        "x_max_price_usd": start.ceiling,
    }
    try:
        with transaction.atomic():
            job_create(
                project=Project.objects.get(pk=sweep.project_id),
                wanted=wanted,
                key_id=sweep.key_id,
                by=sweep.created_by,
                trial={"sweep": sweep, "sweep_rung": start.rung, "sweep_number": start.number},
            )
    except ApiError as error:
        return error
    return None


def trial_name(sweep: Sweep, rung: int, number: int) -> str:
    """What a trial's model is called: the sweep's name, the rung where there are several, and the setting's number."""
    middle = f"r{rung + 1}-" if len(sweep.rungs) > 1 else ""
    return f"{sweep.name}-{middle}t{number + 1:02d}"


def _end_with(row: Sweep, ending: str, jobs: list[Job], *, error: ApiError | None = None) -> None:
    row.ending = ending
    won = rules.winner(as_rules(jobs))
    if won is None and error is None:
        error = Conflict(f"None of the {len(jobs)} trials made a model. Each one's page says why.", code="no_model")
    _end(row, Sweep.State.SUCCEEDED if won else Sweep.State.FAILED, jobs=jobs, error=error)


def _end(row: Sweep, state: str, *, jobs: list[Job] | None = None, error: ApiError | None = None) -> None:
    """The end, once: the caller holds the row's lock and has seen that it was open."""
    won = rules.winner(as_rules(jobs or []))
    if won is not None:
        row.winner = next(job for job in jobs or [] if (job.sweep_rung, job.sweep_number) == (won.rung, won.number))
    row.state = state
    row.finished_at = Now()
    if error is not None:
        row.error_code = (error.code or "invalid_request")[:60]
        row.error_message, row.error_param = error.message, (error.param or "")[:60]
    row.save()
    row.refresh_from_db()
    sweep_announce(row)
