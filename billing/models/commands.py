"""The outbox of what is asked of Stripe: written with the change that asks for it, sent after the commit."""

from django.db import models

from kit.clock import now
from tenants.models import LastingModel


class StripeCommand(LastingModel):
    """One write to Stripe. Its key stays the same for as long as Stripe remembers it."""

    prefix = "cmd_"

    class State(models.TextChoices):
        """Where it stands."""

        WAITING = "waiting"
        """Not answered yet; it is sent again until it is."""
        DONE = "done"
        REFUSED = "refused"
        """Stripe, or the bank, said no."""
        DOUBT = "doubt"
        """Nobody knows whether it happened, and to send it again might charge twice: a person has to look."""
        DROPPED = "dropped"
        """Not needed any more, or given up by staff."""

    operation = models.CharField(max_length=40)
    """A name in `services.operations.OPERATIONS`."""
    once = models.CharField(max_length=200, null=True)
    """What it is for, where the tenant can want it only once; a second command for the same is the first one."""
    params = models.JSONField(default=dict)
    """What the change knew when it was made."""
    request = models.JSONField(null=True)
    """What is sent, fixed before the first sending: a key never goes out with other values."""
    key = models.CharField(max_length=200)
    """Stripe's idempotency key, from this row."""
    round = models.PositiveIntegerField(default=1)
    """Grows when it is sent again after Stripe has forgotten the key, or after a no."""
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=1000, blank=True)
    error_code = models.CharField(max_length=100, blank=True)
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(default=now, editable=False)
    first_sent_at = models.DateTimeField(null=True)
    """When this round's key first went out; Stripe's memory counts from here."""
    due_at = models.DateTimeField(default=now)
    claimed_until = models.DateTimeField(null=True)
    """Somebody is sending it; after this moment they are taken for dead."""
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "operation", "once"], name="billing_command_once"),
            models.UniqueConstraint(fields=["key"], name="billing_command_key"),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="billing_command_due", condition=models.Q(state="waiting")),
            models.Index(fields=["tenant", "created_at"], name="billing_command_order"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.state}"

    @property
    def key_now(self) -> str:
        """The key of this round."""
        return self.key if self.round == 1 else f"{self.key}/{self.round}"
