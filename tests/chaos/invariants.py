"""What must hold after every fault, whatever happened: letters as in the list that the product is measured against.

Each rule about the ledger is one statement that finds what breaks it, so that it sees a single moment of the database.

A  every accepted job is there, in one state; an end is said once
B  attempts are 1..n without gaps, one open at most, and only while the job is held
C  results come from the winning attempt alone, and what is stored has the hashes that were written down
D  a job that succeeded has one usage event, others none; holds are settled or released exactly; machine time adds up
E  places and held jobs agree
F  nothing of a tenant stands under another's prefix
G  the API answered 2xx, 4xx or 503, and never took half a minute
   and when all is quiet: no process of a trainer is left behind, every job has ended
"""

import hashlib
import os
import signal
import time
from typing import Any

from django.db import connections

from kit import storage
from tenants.scope import OPS, ops_scope, tenant_scope
from tests.chaos.fleet import LONGEST_ANSWER, Fleet
from tests.chaos.host import processes_in
from tests.training import fake_lab
from training import states

STEADY_SEEDS = (fake_lab.STEADY, fake_lab.BULKY)
LONG = (fake_lab.LONG, fake_lab.LOADER)
OURS = "job.tenant_id = ANY(%(tenants)s)"
JOB = f"FROM training_job job WHERE {OURS} AND"
HELD = "job.state IN ('leased', 'starting', 'running', 'finishing', 'cancelling')"
ATTEMPTS = "FROM training_attempt attempt WHERE attempt.job_id = job.id"

RULES = {
    "A: an end is said once, and only by a job that has ended": f"""
        SELECT job.id, job.state {JOB} (job.state = 'succeeded')::int <> (SELECT count(*) FROM training_jobevent event
        WHERE event.job_id = job.id AND event.code = 'succeeded')""",
    "A: the log has no gap": f"""
        SELECT job.id, job.event_seq {JOB} job.event_seq <> (SELECT count(*) FROM training_jobevent event
        WHERE event.job_id = job.id AND event.seq BETWEEN 1 AND job.event_seq)""",
    "A: a job that failed says why": f"SELECT job.id {JOB} job.state = 'failed' AND job.error_code = ''",
    "B: attempts are numbered without a gap": f"""
        SELECT job.id, job.attempt {JOB} (job.attempt <> (SELECT count(*) {ATTEMPTS})
        OR job.attempt <> (SELECT coalesce(max(number), 0) {ATTEMPTS}))""",
    "B: an attempt is open only while it holds the lease": f"""
        SELECT job.id, job.state {JOB} ({HELD})::int <> (SELECT count(*) {ATTEMPTS} AND attempt.ended_at IS NULL)""",
    "B: the open attempt is the newest": f"""
        SELECT job.id {JOB} EXISTS (SELECT {ATTEMPTS} AND attempt.ended_at IS NULL
        AND attempt.number <> job.attempt)""",
    "C: one attempt wins, the last": f"""
        SELECT job.id, job.state {JOB} (job.state = 'succeeded')::int <> (SELECT count(*) {ATTEMPTS}
        AND attempt.outcome = 'succeeded' AND attempt.number = job.attempt)""",
    "C: no other attempt calls itself the winner": f"""
        SELECT job.id {JOB} EXISTS (SELECT {ATTEMPTS} AND attempt.outcome = 'succeeded'
        AND attempt.number <> job.attempt)""",
    "C: one version for a success, none for anything else": f"""
        SELECT job.id, job.state {JOB} (job.state = 'succeeded')::int <> (SELECT count(*) FROM registry_modelversion
        version WHERE version.job_id = job.id)""",
    "C: the job names that version": f"""
        SELECT job.id {JOB} job.state = 'succeeded' AND NOT EXISTS (SELECT FROM registry_modelversion version
        WHERE version.id = job.model_version_id AND version.job_id = job.id)""",
    "D: one usage event for a success, none for anything else": f"""
        SELECT job.id, job.state {JOB} (job.state = 'succeeded')::int <> (SELECT count(*) FROM billing_usageevent event
        WHERE event.tenant_id = job.tenant_id AND event.request_id = 'job:' || job.id)""",
    "D: it charges what the job says, for the tokens it trained on": f"""
        SELECT job.id, event.cost_nano FROM training_job job JOIN billing_usageevent event
        ON event.tenant_id = job.tenant_id AND event.request_id = 'job:' || job.id WHERE {OURS}
        AND (event.cost_nano <> job.price_nano OR event.input_tokens <> job.trained_tokens)""",
    "D: it counts the machine time of every attempt, on every place": f"""
        SELECT job.id, event.gpu_ms FROM training_job job JOIN billing_usageevent event
        ON event.tenant_id = job.tenant_id AND event.request_id = 'job:' || job.id WHERE {OURS}
        AND event.gpu_ms <> job.width * (SELECT coalesce(sum(attempt.machine_ms), 0) {ATTEMPTS})""",
    "D: an attempt that has ended says what it took": f"""
        SELECT job.id {JOB} EXISTS (SELECT {ATTEMPTS} AND attempt.ended_at IS NOT NULL
        AND abs(attempt.machine_ms - 1000 * extract(epoch FROM attempt.ended_at - attempt.started_at)) > 1)""",
    "D: a hold ends with its job, as its job": f"""
        SELECT job.id, job.state, hold.state FROM training_job job LEFT JOIN billing_jobhold hold
        ON hold.job_id = job.id WHERE {OURS} AND job.queued_at IS NOT NULL
        AND hold.state IS DISTINCT FROM CASE job.state WHEN 'succeeded' THEN 'settled'
        WHEN 'failed' THEN 'released' WHEN 'cancelled' THEN 'released' ELSE 'held' END""",
    "D: machine time is the sum of the attempts": f"""
        SELECT share.tenant_id, share.usage_ms FROM training_tenantshare share WHERE share.tenant_id = ANY(%(tenants)s)
        AND share.usage_ms <> (SELECT coalesce(sum(attempt.machine_ms * job.width), 0) FROM training_attempt attempt
        JOIN training_job job ON job.id = attempt.job_id WHERE {OURS} AND job.tenant_id = share.tenant_id)""",
    "E: a held job has its places": f"""
        SELECT job.id, job.state {JOB} (CASE WHEN {HELD} THEN job.width ELSE 0 END) <> (SELECT count(*) FROM
        training_slot slot WHERE slot.job_id = job.id AND slot.attempt = job.attempt)""",
    "E: a place is held for a job that holds it": f"""
        SELECT slot.host, slot.job_id FROM training_slot slot WHERE slot.job_id IS NOT NULL AND NOT EXISTS (SELECT
        {JOB} job.id = slot.job_id AND slot.attempt = job.attempt AND {HELD})""",
    "F: checkpoints and versions stand under their tenant's prefix": """
        SELECT point.id FROM training_checkpoint point WHERE point.tenant_id = ANY(%(tenants)s)
        AND NOT starts_with(point.storage_prefix, 't/' || point.tenant_id || '/')
        UNION ALL SELECT version.id FROM registry_modelversion version WHERE version.tenant_id = ANY(%(tenants)s)
        AND NOT starts_with(version.artefact_prefix, 't/' || version.tenant_id || '/')""",
}


def broken(fleet: Fleet) -> list[str]:
    """Every rule that does not hold now, with what breaks it."""

    def look() -> list[str]:
        found = []
        with ops_scope("hold the ledger against its rules"), connections[OPS].cursor() as cursor:
            for words, statement in RULES.items():
                cursor.execute(statement, {"tenants": [person.tenant.id for person in fleet.people]})
                rows = cursor.fetchall()
                found += [f"{words}: {[tuple(str(one) for one in row) for row in rows[:5]]}"] if rows else []
        return found

    found: list[str] = fleet.steady(look)
    return found + _answers(fleet)


def _answers(fleet: Fleet) -> list[str]:
    wrong = [one for one in fleet.answers if not (200 <= one.status < 500 or one.status == 503)]
    late = [one for one in fleet.answers if one.seconds > LONGEST_ANSWER]
    return [f"G: {one}" for one in (*wrong, *late)]


def check(fleet: Fleet) -> None:
    """While work goes on."""
    assert not broken(fleet)


def check_quiet(fleet: Fleet, *, seconds: float = 90.0) -> None:
    """Heal, wait until every accepted job has ended, and hold everything against the rules, the stored bytes too."""
    fleet.heal()
    for job in fleet.jobs:
        row = fleet.row(job)
        if not row.is_final and row.seed in LONG:
            fleet.cancel(job)
    fleet.ended(seconds=seconds)
    assert not broken(fleet)
    for job in fleet.jobs:
        row = fleet.row(job)
        if row.state == states.SUCCEEDED:
            _stored(fleet, job.person.tenant.id, row)
    _nobody_left(fleet)


def _stored(fleet: Fleet, tenant_id: Any, row: Any) -> None:
    from registry.selectors import version_of_job

    def look() -> Any:
        with tenant_scope(tenant_id):
            return version_of_job(row.pk)

    version = fleet.steady(look)
    for name, entry in version.files.items():
        digest = hashlib.sha256()
        for chunk in storage.read_chunks(f"{version.artefact_prefix}/{name}"):
            digest.update(chunk)
        assert digest.hexdigest() == entry["sha256"], f"C: {name} of {row.pk} is not what was written down"
    if row.seed in STEADY_SEEDS:
        assert row.trained_tokens == 3 * fake_lab.STEADY_STEPS, "D: no step is charged twice, and none is free"


def _nobody_left(fleet: Fleet) -> None:
    deadline = time.monotonic() + 15
    while left := processes_in(fleet.home / "work"):
        if time.monotonic() > deadline:
            for pid in left:  # the next test is not to blame
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"these were left behind: {left}")
        time.sleep(0.2)
