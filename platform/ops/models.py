"""The staff's own log, append-only in the database for every role, what they must hear of, and plans they keep."""

from django.db import models
from django.db.models.functions import Lower

from kit.clock import now
from kit.ids import new_id


class StaffAction(models.Model):
    """One thing a member of staff did, and why. Belongs to no tenant, so that a tenant's end does not erase it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    at = models.DateTimeField(default=now, editable=False)
    actor_id = models.UUIDField(null=True)
    actor_label = models.CharField(max_length=254)
    action = models.CharField(max_length=64)
    """A stable code such as `tenant.suspend`."""
    target_kind = models.CharField(max_length=40)
    target_id = models.CharField(max_length=64, blank=True)
    target_label = models.CharField(max_length=200, blank=True)
    organisation = models.UUIDField(null=True)
    """The tenant it was done to, where there is one."""
    reason = models.CharField(max_length=300)
    detail = models.JSONField(default=dict)
    ip = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=40, blank=True)

    class Meta:
        indexes = [models.Index(fields=["-at"], name="ops_staff_recent")]
        verbose_name = "staff action"

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_label}"


class Alert(models.Model):
    """A condition of `ops.alerts` that began to hold, and perhaps ended. One of a kind is open at a time."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=40)
    figure = models.FloatField()
    """What was measured last while it held, in the rule's unit."""
    began_at = models.DateTimeField(default=now, editable=False)
    told_at = models.DateTimeField(null=True, blank=True)
    """Since when it is on pages; None until it has held for as long as its rule asks."""
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind"], condition=models.Q(ended_at=None), name="ops_alert_open_once")
        ]

    def __str__(self) -> str:
        return self.kind


class Scenario(models.Model):
    """A plan of the unit-economics planner under a name. It never changes: another plan is another scenario."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=80)
    inputs = models.JSONField()
    """Decimal texts by input, as `billing.economics.Inputs.of` reads them."""
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), name="ops_scenario_name_once")]

    def __str__(self) -> str:
        return self.name
