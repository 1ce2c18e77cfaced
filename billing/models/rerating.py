"""Usage that was priced anew after the fact. Append-only: what was charged is never changed, only compensated."""

from django.db import models

from kit.clock import now
from tenants.models import LastingModel


class Rerating(LastingModel):
    """One decision to price usage of some days by another price version."""

    prefix = "rer_"

    price_version = models.CharField(max_length=40)
    first_day = models.DateField()
    last_day = models.DateField()
    kind = models.CharField(max_length=40, blank=True)
    """Only usage of this kind; empty for all."""
    base = models.CharField(max_length=200, blank=True)
    """Only usage of this base and of models tuned on it; empty for all."""
    reason = models.CharField(max_length=300)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=now, editable=False)

    def __str__(self) -> str:
        return f"{self.first_day} to {self.last_day} by {self.price_version}"


class RatedChange(LastingModel):
    """What a re-rating changed of one rated line."""

    rerating = models.ForeignKey(Rerating, on_delete=models.PROTECT, related_name="changes")
    day = models.DateField()
    project_id = models.UUIDField()
    model = models.CharField(max_length=200)
    kind = models.CharField(max_length=40)
    price_version = models.CharField(max_length=40)
    """That of the line, by which its calls were charged."""
    events = models.BigIntegerField()
    input_tokens = models.BigIntegerField(default=0, db_default=0)
    output_tokens = models.BigIntegerField(default=0, db_default=0)
    requests = models.BigIntegerField(default=0, db_default=0)
    gpu_ms = models.BigIntegerField(default=0, db_default=0)
    byte_hours = models.BigIntegerField(default=0, db_default=0)
    """Quantities of those events: a month's tiers and packages count them under the version they have now."""
    before_nano = models.BigIntegerField()
    after_nano = models.BigIntegerField()
    billed = models.BooleanField()
    """Its month was closed: what is due back came as credit. Otherwise it is on the bill of its month."""

    class Meta:
        indexes = [models.Index(fields=["tenant", "day"], name="billing_change_day")]
        constraints = [
            models.UniqueConstraint(
                fields=["rerating", "day", "project_id", "model", "kind", "price_version"], name="billing_change_once"
            ),
            models.CheckConstraint(
                condition=models.Q(events__gt=0, after_nano__gte=0),
                name="billing_change_of_events",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.kind} {self.model}: {self.before_nano} to {self.after_nano}"
