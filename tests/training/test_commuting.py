"""What people ask of a job comes out the same wherever workers die, are replaced or make room in between (invariant
I15 of the scheduler)."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from billing.models import JobHold
from kit.errors import ApiError
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import empty_queue, queued, reload
from training import states
from training.errors import Fenced
from training.models import Attempt, Job
from training.services import job_cancel, job_pause, job_resume
from training.services.claiming import claim, slots_keep
from training.services.endings import job_block, job_cancelled, job_give_back, job_reclaim
from training.services.leases import Lease, Standing, lease_advance, lease_look, lease_renew
from training.services.requeueing import job_hold, job_release, job_requeue

HOST = "commuting-host"
MOST_LOSSES = 4
"""Far fewer than end a job."""

COMMANDS: dict[str, Callable[[Job], Any]] = {
    "pause": lambda job: job_pause(job=job),
    "resume": lambda job: job_resume(job=job),
    "cancel": lambda job: job_cancel(job=job),
    "hold": lambda job: job_hold(job_id=job.pk, reason="test"),
    "release": lambda job: job_release(job_id=job.pk, reason="test"),
    "requeue": lambda job: job_requeue(job_id=job.pk, reason="test"),
}
AFTER = {
    "free": {"pause": "paused", "resume": "free", "cancel": "cancelled", "hold": "held", "requeue": "free"},
    "paused": {"pause": "paused", "resume": "free", "cancel": "cancelled"},
    "held": {"pause": "held", "cancel": "cancelled", "release": "free"},
    "cancelled": {"cancel": "cancelled"},
}
"""What each command makes of a job; what is not here is refused and changes nothing."""
EVENTS = ["claim", "steps", "obey", "lose", "drain", "make room"]


@dataclass
class Machines:
    """Workers of one host, as far as the ledger knows of them."""

    person: Person
    job: Job
    lease: Lease | None = None
    losses: int = 0

    def happen(self, event: str) -> None:
        """One thing that happens to whoever runs the job."""
        if event == "claim" and self.lease is None:
            self.lease = claim(host=HOST, worker=f"{HOST}/1/{uuid.uuid4().hex[:4]}")
        elif self.lease is not None:
            try:
                self._happen(event, self.lease)
            except Fenced:
                self.lease = None

    def _happen(self, event: str, lease: Lease) -> None:
        if event == "steps":
            if lease_advance(lease=lease, state=states.STARTING) and lease_advance(lease=lease, state=states.RUNNING):
                lease_renew(lease=lease, standing=Standing("training", 5, 9))
        elif event == "obey":
            self._obey(lease)
        elif event == "lose" and self.losses < MOST_LOSSES:
            self._lose()
        elif event in ("drain", "make room"):
            outcome = "drained" if event == "drain" else "preempted"
            job_give_back(lease=lease, outcome=outcome, reason="Asked.")

    def _lose(self) -> None:
        """As the sweeper does."""
        with tenant_scope(self.person.tenant.id):
            job = Job.objects.select_for_update().filter(pk=self.job.pk, state__in=states.HELD).first()
            if job is not None:
                self.losses += job.state != states.CANCELLING
                job_reclaim(job=job, reason="Lost.")

    def _obey(self, lease: Lease) -> None:
        signals = lease_look(lease=lease)
        if signals.cancelled:
            job_cancelled(lease=lease)
        elif signals.stop == states.PAUSED:
            job_block(lease=lease)

    def settle(self) -> None:
        """Whoever runs it looks at the ledger once more."""
        self.happen("obey")


def ask(person: Person, job: Job, command: str) -> bool:
    """Whether it was accepted."""
    try:
        with tenant_scope(person.tenant.id):
            COMMANDS[command](Job.objects.get(pk=job.pk))
    except ApiError:
        return False
    return True


@pytest.fixture(autouse=True)
def _a_place(settings: Any) -> None:
    settings.TRAINING_RETRY_SECONDS = 0
    empty_queue()
    slots_keep(host=HOST, count=1, kind="cpu-fp32", gpu_class="cpu")


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.sampled_from(sorted(COMMANDS)), st.sampled_from(EVENTS)), min_size=3, max_size=14))
@example(["claim", "steps", "pause", "lose"])
@example(["claim", "pause", "drain", "claim", "resume"])
@example(["claim", "hold", "release"] * 11)
@example(["claim", "steps", "cancel", "make room"])
def test_commands_come_out_the_same_wherever_machines_fail_in_between(cast: Cast, history: list[str]) -> None:
    person = cast.owner
    job = queued(person)
    machines, expected = Machines(person, job), "free"
    for step in history:
        if step in COMMANDS:
            allowed, accepted = AFTER[expected].get(step), ask(person, job, step)
            # A job on its way out may still be taken off its machine, which changes nothing.
            assert accepted == (allowed is not None) or (expected, step) == ("paused", "requeue"), (expected, step)
            expected = allowed or expected
        else:
            machines.happen(step)
    machines.settle()
    row = reload(person, job.public_id)
    if expected == "free":
        assert row.state in (states.QUEUED, *states.WORKING) and row.pause_requested_at is None
    elif expected == "cancelled":
        assert row.state == states.CANCELLED
    else:
        assert (row.state, row.blocked_by) == (states.BLOCKED, {"paused": states.PAUSED, "held": states.HOLD}[expected])
    assert row.platform_retries == machines.losses, "nothing that people or staff ask for counts as a fault of ours"
    with tenant_scope(person.tenant.id):
        attempts = list(Attempt.objects.filter(job=job).order_by("number").values_list("number", "ended_at"))
        assert [number for number, _ in attempts] == list(range(1, row.attempt + 1))
        assert sum(ended is None for _, ended in attempts) == (row.state in states.HELD)
        assert JobHold.objects.get(job_id=job.pk).state == ("released" if expected == "cancelled" else "held")
    ask(person, job, "cancel")
    machines.settle()
