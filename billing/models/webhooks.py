"""The inbox of Stripe's events: stored first under their own id, worked on later. Belongs to no tenant."""

from django.db import models

from kit.clock import now


class StripeEvent(models.Model):
    """One event as it came. Its payload says which object to fetch; it is never believed about the object's state."""

    class State(models.TextChoices):
        """Where the work on it stands."""

        RECEIVED = "received"
        DONE = "done"
        FAILED = "failed"
        PARKED = "parked"
        """Its customer is not known here (yet)."""
        IGNORED = "ignored"
        """Nothing we keep depends on it."""

    event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=100)
    object_kind = models.CharField(max_length=60, blank=True)
    object_id = models.CharField(max_length=255, blank=True)
    customer_id = models.CharField(max_length=255, blank=True, db_index=True)
    payload = models.JSONField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.RECEIVED)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField()
    """When Stripe says it happened."""
    received_at = models.DateTimeField(default=now, editable=False)
    handled_at = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True, default=now)
    """When the sweep looks at it again; None when nothing is left to do."""

    class Meta:
        indexes = [
            models.Index(
                fields=["next_try_at"], name="billing_event_due", condition=models.Q(next_try_at__isnull=False)
            ),
            models.Index(fields=["state", "-received_at"], name="billing_event_state"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"
