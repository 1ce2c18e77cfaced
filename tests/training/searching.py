"""Sweeps for tests, made through the API and moved on without a broker; their trials end as a test wants."""

from typing import Any

from django.db.models.functions import Now

from billing.services.entitlements import override_set
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.data.making import checked_file
from tests.training.making import BASE, usual_file
from training.models import Job, Sweep
from training.selectors import sweep_by_public_id, trials_of
from training.services.announcing import job_announce
from training.services.events import events_append, metrics
from training.services.queueing import job_validate
from training.services.trials import sweep_step

SWEEPS = "/v1/fine_tuning/sweeps"
RATES = {"learning_rate_multiplier": [0.5, 1, 2]}


def roomy() -> Person:
    """A new owner with room for many jobs."""
    person = make_person("ada")
    with tenant_scope(person.tenant.id):
        override_set(reason="many sweeps", created_by="test", limits={"queued_jobs": 1000})
    return person


def body(person: Person, **changes: Any) -> dict[str, Any]:
    """The body of a create on a checked file: a grid of three rates on the head."""
    content = changes.pop("content", None)
    file = checked_file(person, content).public_id if content else usual_file(person)
    wanted = {
        "name": "triage",
        "model": BASE,
        "training_file": file,
        "strategy": "grid",
        "space": {"x_method": ["head"], **RATES},
        "seed": 5,
    }
    return wanted | changes


def create(person: Person, **changes: Any) -> Sweep:
    """A sweep fresh from the API, still preparing."""
    answer = person.api.post(SWEEPS, body(person, **changes))
    assert answer.status_code == 200, answer.content
    return reload(person, answer.json()["id"])


def running(person: Person, **changes: Any) -> Sweep:
    """A sweep with its first trials."""
    sweep = create(person, **changes)
    assert step(sweep) == "running"
    return reload(person, sweep.public_id)


def step(sweep: Sweep) -> str:
    """Let it look once."""
    return sweep_step(tenant_id=sweep.tenant_id, sweep_id=sweep.pk)


def reload(person: Person, public_id: str) -> Sweep:
    """The sweep as the database has it."""
    with tenant_scope(person.tenant.id):
        return sweep_by_public_id(person.project.id, public_id)


def read(person: Person, sweep: Sweep) -> dict[str, Any]:
    """The sweep as the wire has it."""
    answer = person.api.get(f"{SWEEPS}/{sweep.public_id}")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def trials(sweep: Sweep) -> list[Job]:
    """Its trials, first to last."""
    with tenant_scope(sweep.tenant_id):
        return list(trials_of(sweep).order_by("id"))


def queue(job: Job) -> Job:
    """A trial in the queue, its price reserved."""
    job_validate(tenant_id=job.tenant_id, job_id=job.pk)
    with tenant_scope(job.tenant_id):
        found: Job = Job.objects.get(pk=job.pk)
    return found


def end(job: Job, *, score: float | None, share: float = 1.0, made: Any = None) -> Job:
    """End a trial: with a score, a share of its ceiling as its price and the version it made; or, without a score, as
    failed and free.

    The states between are walked as the database wants them; what a worker would do beside is left out.
    """
    queue(job)
    with tenant_scope(job.tenant_id):
        rows = Job.objects.filter(pk=job.pk)
        found: Job = rows.get()
        if score is None:
            rows.update(state="failed", finished_at=Now(), error_code="diverged", error_message="It diverged.")
            job_announce(found, "failed")
        else:
            lease = {"lease_token": job.pk, "lease_expires_at": Now()}
            for state in ("leased", "starting", "running", "finishing"):
                rows.update(state=state, **lease)
            data = {"step": 10, "valid_macro_f1": score}
            worse = {"step": 5, "valid_macro_f1": score / 2}
            events_append(job=found, news=[metrics("Step 5", worse), metrics("Step 10", data)])
            price = int(found.ceiling_nano * share)
            over = {"finished_at": Now(), "lease_token": None, "lease_expires_at": None}
            rows.update(state="succeeded", price_nano=price, model_version_id=made and made.pk, **over)
            job_announce(found, "succeeded")
        ended: Job = rows.get()
    return ended
