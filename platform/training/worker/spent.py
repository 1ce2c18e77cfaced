"""How much of a job's time limit its earlier attempts have used."""

from tenants.scope import tenant_scope
from training.models import Attempt, JobEvent
from training.services.leases import Lease

OURS = ("lost", "crashed", "unfit", "unready", "moved")
"""Ends through a fault of ours, or by our hand: what they took is not held against the job."""


def spent_seconds(lease: Lease) -> float:
    """Machine time of the attempts before this one that came to a stop they were asked for. Of one that took turns with
    others in a process, its share."""
    with tenant_scope(lease.tenant_id):
        earlier = Attempt.objects.filter(job_id=lease.job_id, number__lt=lease.attempt).exclude(outcome__in=OURS)
        taken = dict(earlier.values_list("number", "machine_ms"))
        # Earlier versions let a trainer warn under any code.
        shared = JobEvent.objects.filter(job_id=lease.job_id, attempt__in=taken, code="shared", level="info")
        runs = {number: 1 + data["others"] for number, data in shared.values_list("attempt", "data")}
    return sum(ms / runs.get(number, 1) for number, ms in taken.items()) / 1000
