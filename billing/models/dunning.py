"""What was told about overdue invoices, and what staff allowed."""

from django.db import models

from billing.plans.ladder import STEPS
from kit.clock import now
from tenants.models import LastingModel


class DunningNotice(LastingModel):
    """A step that was reached because of an invoice. One mail each."""

    prefix = "dun_"

    invoice = models.CharField(max_length=255)
    """Stripe's id of the oldest overdue one."""
    step = models.CharField(max_length=20)
    at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "invoice", "step"], name="billing_dunning_once")]

    def __str__(self) -> str:
        return f"{self.step} for {self.invoice}"


class DunningHold(LastingModel):
    """Staff let a tenant go no further than a step, with a reason."""

    prefix = "hold_"

    most = models.CharField(max_length=20, choices=[(step, step) for step in STEPS], blank=True)
    """The worst step it may reach; empty for none at all."""
    reason = models.CharField(max_length=300)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=now, editable=False)
    until = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-created_at"], name="billing_hold_recent")]

    def __str__(self) -> str:
        return f"no further than {self.most or 'nothing'}"
