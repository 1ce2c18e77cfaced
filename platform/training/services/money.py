"""Holding, charging and freeing the price of a job, through billing. All inside the job's own transactions."""

from billing.prices import Price, Usage, price_books, rate
from billing.quotas.trace import Caller
from billing.services.jobs import job_extend, job_release, job_reserve, job_settle, job_shrink
from kit.clock import now
from tenants.currency import paid_in
from training.models import Job
from training.scheduling.fairness import PREEMPTIBLE, PRIORITY, STANDARD

KINDS = {STANDARD: "training", PREEMPTIBLE: "training_preemptible", PRIORITY: "training_priority"}
"""What a job of each lane is metered and priced as."""


def asking(job: Job) -> Caller:
    """Whose job it is, for the trace of what was refused."""
    return Caller(job.public_id, KINDS[job.lane], job.base, job.project_id, job.key_id)


def price_version() -> str:
    """The price book in force."""
    return price_books().current(_now_ms(), paid_in()).version


def price_per_million(job: Job) -> int:
    """Nano-USD per million tokens trained on, in its lane."""
    price: Price = price_books().current(_now_ms(), paid_in()).price(KINDS[job.lane], job.base)
    return price.trained_token * 10**6


def reserve(job: Job, *, nano: int) -> None:
    """Hold the ceiling before the job joins the queue; PaymentRequired when a budget cannot carry it."""
    job_reserve(job_id=job.pk, project_id=job.project_id, key_id=job.key_id, ceiling_nano=nano)


def extend(job: Job, *, nano: int) -> None:
    """Hold a higher ceiling; PaymentRequired when a budget cannot carry it, and then nothing has changed."""
    job_extend(job_id=job.pk, ceiling_nano=nano)


def shrink(job: Job) -> None:
    """Hold no more than what the job has used: it stops where it is. `extend` holds the rest again."""
    job_shrink(job_id=job.pk, ceiling_nano=used(job))


def used(job: Job) -> int:
    """What the job's tokens so far cost, within its ceiling."""
    return min(cost_so_far(job, job.trained_tokens), job.ceiling_nano) if job.trained_tokens else 0


def settle(job: Job, *, trained_tokens: int, machine_ms: int) -> int:
    """Charge what was trained, at most the ceiling, and free the rest; returns the nano charged."""
    usage = Usage(KINDS[job.lane], job.base, input_tokens=trained_tokens, requests=1, machine_ms=machine_ms)
    event = job_settle(job_id=job.pk, usage=usage)
    return 0 if event is None else min(int(event.cost_nano), job.ceiling_nano)


def release(job: Job) -> None:
    """Free the hold without a charge; a job that never reached the queue has none."""
    if job.queued_at is not None:
        job_release(job_id=job.pk)


def cost_so_far(job: Job, trained_tokens: int) -> int:
    """What the tokens so far would cost, uncapped."""
    return rate(Usage(KINDS[job.lane], job.base, input_tokens=trained_tokens), price_books().get(job.price_version))


def _now_ms() -> int:
    return int(now().timestamp() * 1000)
