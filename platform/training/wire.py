"""Jobs, events and checkpoints in the words of the OpenAI wire, with our own fields after `x_`."""

import datetime as dt
from typing import Any

from kit.clock import now, unix
from kit.fields import AUTO
from kit.ids import public_id
from kit.money import in_name, number
from training import states
from training.methods import LORA, RANK
from training.models import Checkpoint, Job, JobEvent, Sweep
from training.selectors.queue import Waiting, waiting
from training.serializers import KNOBS, PRIORITIES
from training.services import money

PRIORITY_WORDS = {number: word for word, number in PRIORITIES.items()}


def job_object(job: Job) -> dict[str, Any]:
    """A job as the client reads it."""
    place = waiting(job)
    eta = _eta(job, place)
    knobs = knobs_shown(job)
    succeeded = job.state == states.SUCCEEDED
    return {
        "id": job.public_id,
        "object": "fine_tuning.job",
        "created_at": unix(job.created_at),
        "finished_at": unix(job.finished_at),
        "estimated_finish": None if eta is None else unix(now() + dt.timedelta(seconds=eta)),
        "model": job.base,
        "fine_tuned_model": job.model_name if succeeded else None,
        "organization_id": public_id("org_", job.tenant_id),
        "status": states.wire(job.state),
        "training_file": training_source(job),
        "validation_file": public_id("file-", job.validation_file_id) if job.validation_file_id else None,
        "result_files": [public_id("file-", job.result_file_id)] if job.result_file_id else [],
        "trained_tokens": job.trained_tokens if succeeded else None,
        "seed": job.seed,
        "hyperparameters": knobs,
        "method": {"type": "supervised", "supervised": {"hyperparameters": knobs}},
        "error": _error(job),
        "integrations": [],
        "metadata": job.metadata,
        **_own(job, eta, _queue(place)),
    }


def knobs_shown(job: Job) -> dict[str, Any]:
    """The hyperparameters that its method has, as they were asked for; `auto` for those that are newer than the job."""
    knobs = KNOBS if job.method == LORA else [knob for knob in KNOBS if knob != RANK]
    return {knob: job.hyperparameters.get(knob, AUTO) for knob in knobs}


def _queue(place: Waiting | None) -> dict[str, Any] | None:
    if place is None:
        return None
    seconds = {"p50": place.seconds, "p90": place.seconds_p90}
    return {"position": place.position, "reason": place.reason, "seconds": seconds}


def training_source(job: Job | Sweep) -> str | None:
    """What it trains on, as it was named: a file, or a dataset version."""
    if job.training_file_id is not None:
        return public_id("file-", job.training_file_id)
    return None if job.dataset_version_id is None else public_id("dsv_", job.dataset_version_id)


def _own(job: Job, eta: int | None, queue: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "x_task": job.task,
        "x_method": job.method,
        "x_columns": job.columns or None,
        "x_state": job.state,
        "x_phase": job.phase or None,
        "x_progress": round(job.progress, 4),
        "x_step": job.step,
        "x_total_steps": job.total_steps,
        "x_eta_seconds": eta,
        "x_queue": queue,
        "x_gpus": job.width,
        "x_lane": job.lane,
        "x_priority": PRIORITY_WORDS.get(job.own_priority, "normal"),
        "x_blocked_by": job.blocked_by or None,
        "x_attempt": job.attempt,
        "x_deploy": job.deploy,
        "x_email_on_end": job.mail_to is not None,
        "x_dataset_version": public_id("dsv_", job.dataset_version_id) if job.dataset_version_id else None,
        "x_sweep": public_id(Sweep.prefix, job.sweep_id) if job.sweep_id else None,
        "x_price_usd": number(spent(job)),
        "x_price": _price(job),
        "x_report": f"/v1/fine_tuning/jobs/{job.public_id}/report" if job.state == states.SUCCEEDED else None,
    }


def spent(job: Job) -> int:
    """What it cost; while it runs, what it would cost if it ended well now. Nano-USD."""
    return job.price_nano if job.is_final else money.used(job)


def _price(job: Job) -> dict[str, float] | None:
    nano = (job.estimate or {}).get("nano")
    if not nano:
        return None
    low, high = min(nano["low"], job.ceiling_nano), min(nano["high"], job.ceiling_nano)
    return {"low": number(low), "high": number(high), "ceiling": number(job.ceiling_nano)}


def _error(job: Job) -> dict[str, Any] | None:
    if not job.error_code:
        return None
    return {"code": job.error_code, "message": job.error_message, "param": in_name(job.error_param) or None}


def _eta(job: Job, place: Waiting | None) -> int | None:
    """Seconds until the end, as far as anybody knows."""
    if job.is_final or job.state in (states.CANCELLING, states.BLOCKED):
        return None
    if place is not None and place.seconds is None:
        return None
    if job.eta_seconds is not None:
        return job.eta_seconds
    seconds = (job.estimate or {}).get("seconds")
    if not seconds:
        return None
    return int((seconds["low"] + seconds["high"]) / 2 * (1 - job.progress)) + ((place and place.seconds) or 0)


def event_object(event: JobEvent) -> dict[str, Any]:
    """An event as the client reads it."""
    return {
        "id": event.public_id,
        "object": "fine_tuning.job.event",
        "created_at": unix(event.created_at),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": event.data or {},
        "x_seq": event.seq,
        "x_code": event.code or None,
    }


def checkpoint_object(checkpoint: Checkpoint, job: Job) -> dict[str, Any]:
    """A checkpoint as the client reads it."""
    return {
        "id": checkpoint.public_id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": unix(checkpoint.created_at),
        "fine_tuned_model_checkpoint": f"{job.model_name}:ckpt-step-{checkpoint.step}",
        "fine_tuning_job_id": job.public_id,
        "step_number": checkpoint.step,
        "metrics": {"step": checkpoint.step, **checkpoint.metrics},
        "x_size_bytes": checkpoint.size_bytes,
        "x_kept": checkpoint.removed_at is None,
    }
