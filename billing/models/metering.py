"""Usage: the facts (append-only), what is summed from them, and what they cost."""

from django.db import models

from kit.clock import now
from tenants.models import LastingModel


class UsageEvent(LastingModel):
    """One metered fact. The id is the uuid5 of tenant, request and kind: the only place where doubles are dropped.

    Project and key are plain ids: a late event of a deleted key must still be stored.
    """

    prefix = "uev_"

    request_id = models.CharField(max_length=80)
    project_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    model = models.CharField(max_length=200)
    kind = models.CharField(max_length=20)
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    requests = models.BigIntegerField()
    gpu_ms = models.BigIntegerField()
    byte_hours = models.BigIntegerField(default=0, db_default=0)
    cached_tokens = models.BigIntegerField(default=0, db_default=0)
    """Of the input tokens, those that the engine had computed before."""
    price_version = models.CharField(max_length=40)
    cost_nano = models.BigIntegerField()
    occurred_at = models.DateTimeField()
    """When the call was admitted, by the quota server's clock; it decides the period."""
    received_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "occurred_at"], name="billing_usage_when"),
            models.Index(fields=["tenant", "request_id"], name="billing_usage_request"),
            models.Index(
                fields=["tenant", "occurred_at"], name="billing_usage_stored", condition=models.Q(kind="storage")
            ),
            models.Index(fields=["occurred_at"], name="billing_usage_measured", condition=models.Q(kind="storage")),
            models.Index(
                fields=["tenant", "occurred_at"],
                include=["project_id", "key_id", "cost_nano"],
                name="billing_usage_engines",
                condition=models.Q(kind="dedicated"),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(input_tokens__gte=0, output_tokens__gte=0, requests__gte=0, gpu_ms__gte=0)
                & models.Q(byte_hours__gte=0, cost_nano__gte=0),
                name="billing_usage_not_negative",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.request_id}"


class DirtyHour(LastingModel):
    """An hour whose sums are older than its events. A trigger on the events marks it in their own transaction."""

    hour = models.DateTimeField()
    marks = models.BigIntegerField(default=1)
    marked_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "hour"], name="billing_dirty_hour_once")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%dT%H}"


class UsageHour(LastingModel):
    """Sums of one hour, always computed afresh from the events, never added to."""

    project_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    model = models.CharField(max_length=200)
    kind = models.CharField(max_length=20)
    price_version = models.CharField(max_length=40)
    hour = models.DateTimeField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    requests = models.BigIntegerField()
    gpu_ms = models.BigIntegerField()
    byte_hours = models.BigIntegerField(default=0, db_default=0)
    cached_tokens = models.BigIntegerField(default=0, db_default=0)
    cost_nano = models.BigIntegerField()
    events = models.BigIntegerField()
    computed_at = models.DateTimeField(default=now)

    class Meta:
        indexes = [models.Index(fields=["tenant", "hour"], name="billing_hour_when")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "hour", "project_id", "key_id", "model", "kind", "price_version"],
                nulls_distinct=False,
                name="billing_hour_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%dT%H} {self.kind} {self.model}"


class RatedLine(LastingModel):
    """What one day of one model cost under one price version; derived from the hours.

    `posted_nano` is what the ledger has of it and `invoiced_nano` what a closed period billed. A late event makes the
    amount differ from them, and the difference is posted and billed on its own.
    """

    project_id = models.UUIDField()
    model = models.CharField(max_length=200)
    kind = models.CharField(max_length=20)
    price_version = models.CharField(max_length=40)
    day = models.DateField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    requests = models.BigIntegerField()
    gpu_ms = models.BigIntegerField()
    byte_hours = models.BigIntegerField(default=0, db_default=0)
    amount_nano = models.BigIntegerField()
    posted_nano = models.BigIntegerField(default=0)
    invoiced_nano = models.BigIntegerField(default=0)
    rated_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "day", "project_id", "model", "kind", "price_version"], name="billing_rated_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.kind} {self.model}"


class UsageDispute(LastingModel):
    """A reservation whose fate nobody could tell. Its amount counts against the budget, and is never billed."""

    class State(models.TextChoices):
        """What became of it."""

        OPEN = "open"
        DISPROVED = "disproved"
        """A usage event arrived later: that is billed, and the difference went back to the budget."""
        DROPPED = "dropped"
        """Nothing arrived within a day."""

    request_id = models.CharField(max_length=80)
    tokens = models.BigIntegerField()
    nano = models.BigIntegerField()
    reserved_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    created_at = models.DateTimeField(default=now, editable=False)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "request_id"], name="billing_dispute_once")]

    def __str__(self) -> str:
        return self.request_id
