"""Sweeps and their trials as clients read them."""

from typing import Any

from kit.clock import unix
from kit.ids import public_id
from kit.money import in_name, number
from training import states
from training.models import Job, Sweep
from training.searching.space import METHOD
from training.selectors.sweeps import Losers, Standing, standing
from training.wire import knobs_shown, spent, training_source

METRIC = {"name": "macro_f1", "split": "validation"}


def sweep_object(sweep: Sweep) -> dict[str, Any]:
    """A sweep as it stands."""
    now = standing(sweep)
    return {
        "id": sweep.public_id,
        "object": "fine_tuning.sweep",
        "created_at": unix(sweep.created_at),
        "finished_at": unix(sweep.finished_at),
        "name": sweep.name,
        "model": sweep.base,
        "status": sweep.state,
        "ended_because": sweep.ending or None,
        "strategy": sweep.strategy,
        "space": sweep.space,
        "trials": sweep.trials_asked,
        "max_epochs": sweep.max_epochs,
        "parallel": sweep.parallel,
        "seed": sweep.seed,
        "metric": METRIC,
        "training_file": training_source(sweep),
        "validation_file": public_id("file-", sweep.validation_file_id) if sweep.validation_file_id else None,
        "metadata": sweep.metadata,
        "rungs": [{"trials": rung["size"], "n_epochs": rung["epochs"]} for rung in sweep.rungs],
        "progress": _progress(now),
        "price_usd": _price(sweep, now),
        "winner": trial_object(now.best, sweep) if now.best else None,
        "error": _error(sweep),
        "x_columns": sweep.columns or None,
        "x_lane": sweep.lane,
        "x_gpus": sweep.width,
        "x_email_on_end": sweep.mail_to is not None,
        "x_dataset_version": public_id("dsv_", sweep.dataset_version_id) if sweep.dataset_version_id else None,
    }


def _progress(now: Standing) -> dict[str, int]:
    return {
        "planned": now.planned,
        "started": len(now.jobs),
        "open": now.open,
        "succeeded": now.ended(states.SUCCEEDED),
        "failed": now.ended(states.FAILED),
        "cancelled": now.ended(states.CANCELLED),
    }


def _price(sweep: Sweep, now: Standing) -> dict[str, float | None]:
    known = sweep.budget_nano if sweep.ceilings else sweep.max_price_nano
    return {
        "budget": None if known is None else number(known),
        "spent": number(now.spent),
        "reserved": number(now.reserved),
    }


def _error(sweep: Sweep) -> dict[str, Any] | None:
    if not sweep.error_code:
        return None
    return {"code": sweep.error_code, "message": sweep.error_message, "param": in_name(sweep.error_param) or None}


def losers_object(sweep: Sweep, found: Losers, *, deleted: bool) -> dict[str, Any]:
    """Models of trials that have not won."""
    return {
        "object": "fine_tuning.sweep.losers",
        "sweep": sweep.public_id,
        "models": found.names,
        "bytes": found.size,
        "deleted": deleted,
    }


def trial_object(job: Job, sweep: Sweep) -> dict[str, Any]:
    """A trial: what it tries, how it did, and the job that it is."""
    return {
        "id": job.public_id,
        "object": "fine_tuning.sweep.trial",
        "created_at": unix(job.created_at),
        "finished_at": unix(job.finished_at),
        "sweep": sweep.public_id,
        "number": (job.sweep_number or 0) + 1,
        "rung": (job.sweep_rung or 0) + 1,
        "setting": {METHOD: job.method, **knobs_shown(job)},
        "status": states.wire(job.state),
        "score": job.sweep_score,
        "fine_tuned_model": job.model_name if job.state == states.SUCCEEDED else None,
        "price_usd": number(spent(job)),
        "ceiling_usd": number(job.ceiling_nano),
    }
