"""Trials that were taken, and by whom: nobody gets two."""

from django.db import models

from kit.clock import now
from tenants.models import LastingModel


class TrialTaken(LastingModel):
    """A trial that a subscription of the tenant began with."""

    prefix = "trl_"

    class Refused(models.TextChoices):
        """Whose trial it would have been the second of."""

        OWNER = "owner"
        CARD = "card"

    subscription = models.CharField(max_length=255, unique=True)
    """Stripe's id."""
    plan = models.CharField(max_length=40, blank=True)
    plan_version = models.PositiveIntegerField(default=0)
    ends_at = models.DateTimeField(null=True)
    refused = models.CharField(max_length=10, blank=True, choices=Refused.choices)
    """It was ended at once, without a charge, because another organisation of the same owner or card had one."""
    reminded_at = models.DateTimeField(null=True)
    """When its end was announced by mail."""
    begun_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-begun_at"], name="billing_trial_recent")]

    def __str__(self) -> str:
        return f"{self.subscription} {self.refused or self.plan}"


class TrialMark(models.Model):
    """An owner's address or a card that has had a trial, in whichever organisation. Belongs to no tenant, and says
    nothing to read: it is a keyed digest."""

    digest = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=10, choices=TrialTaken.Refused.choices)
    organisation = models.UUIDField()
    """That had it."""
    at = models.DateTimeField(default=now, editable=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.digest[:8]}"
