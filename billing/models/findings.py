"""What is not as it must be between our books and Stripe. Belongs to the installation, not to a tenant."""

from django.db import models

from kit.clock import now
from tenants.models import HouseModel


class BillingFinding(HouseModel):
    """One difference, from the first look that saw it to the one that no longer did, or to whoever settled it."""

    kind = models.CharField(max_length=80)
    """`books.…` from the invariants, `stripe.…` from the daily comparison, `command.…` from the outbox."""
    object = models.CharField(max_length=300)
    """What it is about: an id at Stripe, a command, or the invariant's own sentence."""
    organisation = models.UUIDField(null=True)
    expected = models.CharField(max_length=500)
    found = models.CharField(max_length=500)
    first_seen = models.DateTimeField(default=now)
    last_seen = models.DateTimeField(default=now)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=254, blank=True)
    """Who settled it; `look` when a later look no longer found it."""
    resolution = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "object"], name="billing_finding_open", condition=models.Q(resolved_at=None)
            )
        ]
        indexes = [models.Index(fields=["-last_seen"], name="billing_finding_recent")]

    def __str__(self) -> str:
        return f"{self.kind} {self.object}"[:120]
