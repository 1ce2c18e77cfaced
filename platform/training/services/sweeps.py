"""What a person or a key asks of sweeps: create, estimate, cancel. What a sweep does by itself is in `trials.py`."""

import secrets
from typing import Any
from uuid import UUID

from billing.quotas.jobs import Reached, naming
from billing.selectors.dunning import work_check
from billing.services.decisions import job_refusals
from kit.errors import BadRequest
from kit.ids import new_id
from kit.money import number
from registry.selectors import base_by_name
from tenants import audit
from tenants.models import Project
from tenants.services.organisations import project_open, tenant_turn
from training import plans
from training.errors import FileNotReady, JobFinished, QueueFull, SweepFinished
from training.models import Job, Sweep
from training.searching.rungs import rungs_of
from training.searching.space import methods_of, settings_of
from training.selectors.queue import wait_seconds
from training.selectors.sweeps import trials_of
from training.serializers import SEEDS
from training.services import intake, queueing
from training.services.announcing import sweep_ring
from training.services.jobs import asking, job_cancel, lane_of, maker_of, sources_of, width_of
from training.services.sweep_pricing import Priced, check_budget, draft_of, priced
from training.states import FINAL

OPEN = (Sweep.State.PREPARING, Sweep.State.RUNNING, Sweep.State.CANCELLING)


def sweep_create(
    *,
    project: Project,
    wanted: dict[str, Any],
    key_id: UUID | None = None,
    by: str = "",
    user_id: UUID | None = None,
) -> Sweep:
    """A sweep from the validated body of `sweep_serializers.SweepInput`; its data are read after the commit.

    `user_id` is whoever hears of its end by e-mail. CeilingTooLow where the files are read already and the budget does
    not carry the first trial.
    """
    work_check()
    who = asking(project, wanted, key_id)
    with job_refusals(who):
        draft = _draft(project, wanted)
    intake.check_usable(
        {name: getattr(draft, name) for name in ("dataset_version_id", "training_file_id", "validation_file_id")},
        draft.columns,
        draft.task,
    )
    if draft.max_price_nano is not None:
        _check_budget(draft)
    with job_refusals(who):
        _check_room()
    project_open(project.pk)
    draft.created_by, draft.key_id = by[:254], key_id
    draft.mail_to = user_id or maker_of(key_id, wanted)
    draft.save(force_insert=True)
    audit.record(action="sweep.created", target=draft, after={"model": draft.base, "strategy": draft.strategy})
    sweep_ring(draft.tenant_id, draft.pk)
    return draft


def _draft(project: Project, wanted: dict[str, Any]) -> Sweep:
    """The sweep that a body asks for, not saved."""
    base = base_by_name(wanted["model"], plan=plans.allowance().plan)
    if wanted["x_task"] not in base.tasks:
        raise BadRequest(f"The base '{base.name}' cannot be tuned for '{wanted['x_task']}'.", param="model")
    seed = wanted.get("seed")
    seed = secrets.randbelow(SEEDS) if seed is None else seed
    settings = settings_of(wanted["strategy"], wanted["space"], trials=wanted["trials"], seed=seed)
    rungs = rungs_of(len(settings), most_epochs=wanted.get("max_epochs"))
    return Sweep(
        id=new_id(),
        tenant_id=project.tenant_id,
        project=project,
        name=wanted["name"],
        task=wanted["x_task"],
        base=base.name,
        strategy=wanted["strategy"],
        space=wanted["space"],
        trials_asked=wanted["trials"],
        max_epochs=wanted.get("max_epochs"),
        seed=seed,
        parallel=wanted["parallel"],
        columns=wanted.get("x_columns") or {},
        lane=lane_of(wanted),
        width=width_of(wanted, methods=methods_of(wanted["space"])),
        metadata=wanted.get("metadata"),
        max_price_nano=wanted.get("x_max_price_usd"),
        settings=settings,
        rungs=[{"size": rung.size, "epochs": rung.epochs} for rung in rungs],
        **sources_of(project, wanted),
    )


def _price(sweep: Sweep, job: Job, seen: intake.Seen) -> Priced | None:
    """What its trials may cost, from what was seen of its data; None where findings keep it from training at all."""
    return None if seen.counts["blocking"] else priced(sweep, queueing.work_of(job, seen))


def _check_budget(sweep: Sweep) -> None:
    """CeilingTooLow where what is known of the data already says so; else it is looked at once they have been read."""
    job = draft_of(sweep)
    try:
        found = _price(sweep, job, queueing.looked_at(job))
    except FileNotReady:
        return
    if found is not None:
        check_budget(sweep.max_price_nano, found)


def _check_room() -> None:
    """As many sweeps may be open as jobs may wait: each has one at work, or about to be."""
    tenant_turn()
    limit = plans.allowance().queued_jobs
    there = Sweep.objects.filter(state__in=OPEN).count()
    if there >= limit:
        refused = QueueFull(
            f"{there} sweeps are open already, and your plan allows {limit}. Cancel one, wait until one ends, or take "
            "a larger plan.",
            headers={"Retry-After": "60"},
        )
        raise naming(refused, Reached("open_sweeps", limit, 1, 0, "concurrency"))


def sweep_estimate(*, project: Project, wanted: dict[str, Any]) -> dict[str, Any]:
    """Trials, price, time and findings of a sweep that is not made. FileNotReady while a file is being read."""
    draft = _draft(project, wanted)
    job = draft_of(draft)
    seen = queueing.looked_at(job)
    answer: dict[str, Any] = {
        "object": "fine_tuning.sweep.estimate",
        "settings": len(draft.settings),
        "trials": sum(rung["size"] for rung in draft.rungs),
        "rungs": [{"trials": rung["size"], "n_epochs": rung["epochs"]} for rung in draft.rungs],
        "findings": seen.counts,
        "queue_seconds": wait_seconds(project.tenant_id, plans.allowance().gpu_class),
    }
    found = _price(draft, job, seen)
    if found is None:
        return answer | {"price_usd": None, "seconds": None, "x_blocking": seen.blocking}
    budget = check_budget(draft.max_price_nano, found)
    return answer | {
        "price_usd": {
            "low": number(min(found.nano_low, budget)),
            "high": number(min(found.nano_high, budget)),
            "ceiling": number(budget),
        },
        "seconds": {"low": found.seconds_low, "high": found.seconds_high},
        "x_covers_all": budget >= found.nano_high,
    }


def sweep_cancel(*, sweep: Sweep) -> Sweep:
    """Start no more trials and cancel the open ones. Twice is the same; after another end, SweepFinished."""
    row: Sweep = Sweep.objects.select_for_update(no_key=True).get(pk=sweep.pk)
    if row.state in (Sweep.State.CANCELLED, Sweep.State.CANCELLING):
        return row
    if row.is_final:
        raise SweepFinished(f"The sweep {row.public_id} has already {row.state}; it cannot be cancelled any more.")
    before, row.state = row.state, Sweep.State.CANCELLING
    row.save(update_fields=["state"])
    audit.record(action="sweep.cancelled", target=row, before={"state": before})
    for job in trials_of(row).exclude(state__in=FINAL):
        trial_cancel(job)
    sweep_ring(row.tenant_id, row.pk)
    return row


def trial_cancel(job: Job) -> None:
    """Cancel a trial that may end by itself at this very moment; then its end stands."""
    try:
        job_cancel(job=job)
    except JobFinished:
        return
