"""Jobs for tests, made through the product's own doors, and moved on without a broker."""

import datetime as dt
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils.timezone import now

from billing.services.entitlements import override_set
from data.models import File
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person
from tests.data.making import checked_file
from training import states
from training.models import Attempt, Job, Slot, Sweep, TenantShare
from training.selectors import job_by_public_id
from training.services.endings import NO_LEASE
from training.services.queueing import job_validate

BASE = "all-MiniLM-L6-v2"
SAYINGS = {
    "refund": ["I want my money back", "please refund the order", "return the payment to my card"],
    "delivery": ["where is my parcel", "the delivery is late again", "my package got lost"],
    "login": ["I cannot sign in", "forgot the password", "the account is locked"],
}
ENDINGS = ["today", "please", "thanks", "again", "for order", "since Monday", "urgently", "as promised"]


def intents(rows: int = 120, *, seed: int = 1) -> bytes:
    """A CSV of three easy intents, no two rows alike."""
    rng = random.Random(seed)
    lines = ["text,label"]
    for number in range(rows):
        label = list(SAYINGS)[number % 3]
        lines.append(f"{rng.choice(SAYINGS[label])} {rng.choice(ENDINGS)} {rng.choice(ENDINGS)} {number},{label}")
    return "\n".join(lines).encode()


def empty_queue() -> None:
    """No job of another test waits or will wait again, and no host has a place to train: a claim asks every tenant
    there is. What another test left with a lease counts too: a sweep gives it back to the queue once that is over. So
    do those that are still validated, and sweeps that would make more.
    """
    with ops_scope("empty the queue for a test"):
        Sweep.ops.exclude(state__in=states.FINAL).update(state=states.CANCELLED, finished_at=now())
        ended = {"finished_at": now(), **NO_LEASE}
        Job.ops.filter(state__in=states.WORKING).update(state=states.FAILED, **ended)
        Job.ops.filter(state__in=(states.VALIDATING, states.QUEUED, states.CANCELLING)).update(
            state=states.CANCELLED, **ended
        )
        Slot.objects.all().delete()


def no_losses() -> None:
    """No worker was lost lately: sweeps of expired leases count them."""
    with ops_scope("forget the losses of other tests"):
        lost = Attempt.ops.filter(outcome="lost", ended_at__gt=now() - timedelta(minutes=2))
        lost.update(ended_at=now() - timedelta(minutes=30))


def no_troubles() -> None:
    """No host failed to make a run ready lately: whose fault the next failure is goes by it."""
    with ops_scope("forget the troubles of other tests"):
        Attempt.ops.filter(outcome__in=("unfit", "unready")).update(ended_at=now() - timedelta(days=1))


def body(person: Person, **changes: Any) -> dict[str, Any]:
    """The body of a create on a fresh, checked file."""
    content = changes.pop("content", None)
    file = checked_file(person, content).public_id if content else usual_file(person)
    return {"model": BASE, "training_file": file, "x_method": "head"} | changes


def usual_file(person: Person) -> str:
    """A checked file of `intents` in the person's project, read once: most tests only need some job."""
    found = _usual.get(person.project.id)
    with tenant_scope(person.tenant.id):
        if found is None or not File.objects.filter(pk=found.pk, deleted_at=None).exists():
            found = _usual[person.project.id] = checked_file(person, intents())
    return str(found.public_id)


_usual: dict[UUID, File] = {}


def create(person: Person, **changes: Any) -> Job:
    """A job fresh from the API, still validating."""
    answer = person.api.post("/v1/fine_tuning/jobs", body(person, **changes))
    assert answer.status_code == 200, answer.content
    return reload(person, answer.json()["id"])


def queued(person: Person, **changes: Any) -> Job:
    """A job in the queue."""
    job = create(person, **changes)
    assert job_validate(tenant_id=job.tenant_id, job_id=job.pk) == "queued"
    return reload(person, job.public_id)


def reload(person: Person, public_id: str) -> Job:
    """The job as the database has it."""
    with tenant_scope(person.tenant.id):
        return job_by_public_id(person.project.id, public_id)


def read(person: Person, job: Job) -> dict[str, Any]:
    """The job as the wire has it."""
    answer: dict[str, Any] = person.api.get(f"/v1/fine_tuning/jobs/{job.public_id}").json()
    return answer


def allow(person: Person, jobs: int, *, guaranteed: int = 0) -> None:
    """Change the plan's parallel jobs, and what is guaranteed of them."""
    with tenant_scope(person.tenant.id):
        limits = {"parallel_jobs": jobs, "guaranteed_jobs": guaranteed}
        override_set(reason="test", created_by="test", limits=limits)
        TenantShare.objects.update(read_at=now() - dt.timedelta(hours=1))
