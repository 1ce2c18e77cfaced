"""Why calls were refused: what the quota server said no to, kept for a while and shown."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from kit.clock import now
from tenants.models import TenantModel


class QuotaDecision(TenantModel):
    """One refusal, or several alike of one second. Amounts are in the limit's unit: requests, tokens, calls at once or
    nano. Project, key and model are plain values: they may be gone when the row is read."""

    prefix = "qdec_"

    at = models.DateTimeField()
    """When the first was refused, by the quota server's clock."""
    refused = models.PositiveIntegerField(default=1)
    """How many calls this row stands for."""
    request_ids = ArrayField(models.CharField(max_length=80))
    """Of the first of them."""
    project_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=20)
    model = models.CharField(max_length=200)
    layer = models.CharField(max_length=10)
    """Whose limit: tenant, wallet, project, member, key, model; platform where the quota server did not answer."""
    scope_id = models.CharField(max_length=64, blank=True)
    limit_kind = models.CharField(max_length=20)
    cap = models.BigIntegerField()
    window_ms = models.BigIntegerField(default=0)
    asked = models.BigIntegerField()
    remaining = models.BigIntegerField(null=True)
    wait_ms = models.BigIntegerField(null=True)
    reason = models.CharField(max_length=12)
    status = models.PositiveSmallIntegerField()
    stored_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "at"], name="billing_decision_when"),
            models.Index(fields=["at"], name="billing_decision_old"),
        ]

    def __str__(self) -> str:
        return f"{self.layer} {self.limit_kind} {self.at:%Y-%m-%dT%H:%M:%S}"
