"""Who may use how much, and what there is to use."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from kit.clock import now
from tenants.models.base import TenantModel


class TenantShare(TenantModel):
    """A tenant's standing in the queue. Its row is locked while a job of the tenant is claimed."""

    prefix = "share_"

    max_running = models.PositiveIntegerField(default=1)
    """The plan's parallel jobs, as read when last needed. Counted in places: a job on two GPUs counts two."""
    guaranteed = models.PositiveIntegerField(default=0, db_default=0)
    """Places the plan promises, as read when last needed."""
    gpu_class = models.CharField(max_length=16, default="cpu")
    """The plan's class of places, as read when last needed."""
    weight = models.PositiveIntegerField(default=1)
    shares_base = models.BooleanField(default=False, db_default=False)
    """Whether its jobs may train in one process with jobs of other organisations that allow it as well."""
    waiting = models.BooleanField(default=False, db_default=False)
    """Whether a job of its may wait: set by the database with every job that is queued, and taken away by a claim that
    finds none."""
    read_at = models.DateTimeField(default=now, db_default=Now())
    """When the plan was read."""
    last_started_at = models.DateTimeField(null=True, blank=True)
    usage_ms = models.BigIntegerField(default=0)
    """Machine time of all attempts so far."""
    recent_ms = models.FloatField(default=0.0)
    """Machine time that counts in the queue, as it stood at `recent_at`; it fades, see
    training/scheduling/fairness.py."""
    recent_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="training_share_once")]

    def __str__(self) -> str:
        return str(self.tenant_id)


class Slot(models.Model):
    """One place to train on one host. Belongs to no tenant."""

    host = models.CharField(max_length=120)
    number = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=16, default="cpu")
    gpu_class = models.CharField(max_length=16, default="cpu")
    """Jobs of plans with this class or a higher one may hold it; see docs/decisions/0020."""
    heartbeat_at = models.DateTimeField(default=now)
    draining = models.BooleanField(default=False)
    """Its worker is leaving."""
    parked_at = models.DateTimeField(null=True, blank=True)
    """Since when new jobs are kept away from it."""
    parked_because = models.CharField(max_length=300, blank=True, default="", db_default="")
    """What its worker found, where it was not staff who parked it: their reasons stand in the staff log."""
    crashed_jobs = models.JSONField(default=list, db_default=[], blank=True)
    """Ids of the jobs whose trainers crashed here since one last ended well."""
    failed_attempts = models.JSONField(default=dict, db_default={}, blank=True)
    """Attempts (`id/a2`) that could not be made ready here, and when; forgotten after a day."""
    inventory = models.JSONField(default=dict, db_default={}, blank=True)
    """What it runs on, as its worker last looked: see training/worker/inventory.py."""
    job_id = models.UUIDField(null=True, blank=True, db_index=True)
    """The job that holds it, and perhaps others of the host; free when empty."""
    attempt = models.PositiveIntegerField(default=0)
    kept_for = models.UUIDField(null=True, blank=True)
    """The tenant for whose job somebody is making, or has made, room here; until `kept_until` nobody else starts on
    it."""
    kept_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["host", "number"], name="training_slot_once"),
            models.CheckConstraint(
                condition=Q(kept_for=None, kept_until=None) | Q(kept_for__isnull=False, kept_until__isnull=False),
                name="training_slot_kept",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.host}/{self.number}"
