"""Endpoints, what is announced to them, and every try to deliver it."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from kit.clock import now
from tenants.models.base import ProjectModel, TenantModel

EXCERPT = 1000
"""Characters kept of an answer's body."""


class Endpoint(ProjectModel):
    """A URL that is told of a project's events."""

    prefix = "we_"

    class State(models.TextChoices):
        """Whether anything is sent to it."""

        ENABLED = "enabled", _("Enabled")
        DISABLED = "disabled", _("Disabled")

    class Reason(models.TextChoices):
        """Why it is disabled."""

        NONE = "", "–"
        ASKED = "asked", _("Disabled on request")
        GONE = "gone", _("It answered 410 Gone")
        FAILING = "failing", _("Nothing reached it for 5 days")

    name = models.CharField(max_length=100)
    url = models.CharField(max_length=1000)
    event_types = ArrayField(models.CharField(max_length=60))
    state = models.CharField(max_length=16, choices=State, default=State.ENABLED)
    reason = models.CharField(max_length=16, choices=Reason, default=Reason.NONE, blank=True)
    secret = models.TextField()
    """The signing secret, sealed (`kit.sealing`)."""
    secret_hint = models.CharField(max_length=16)
    """What may be shown of it after creation."""
    old_secret = models.TextField(blank=True)
    """The one before, sealed; it signs beside the other until `old_secret_until`."""
    old_secret_until = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=254, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    updated_at = models.DateTimeField(default=now)
    tested_at = models.DateTimeField(null=True, blank=True)

    lease = models.UUIDField(null=True, blank=True)
    """Whoever holds it is the only one sending; null while nobody does."""
    busy_until = models.DateTimeField(null=True, blank=True)
    """When the lease runs out, should its holder have died."""
    claimed_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)
    """Failed tries since the last that arrived."""
    failing_since = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    timeouts = models.PositiveIntegerField(default=0)
    """Tries in a row that ended without any answer in time."""
    resting_until = models.DateTimeField(null=True, blank=True)
    """The breaker: nothing is tried before."""

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=["enabled", "disabled"]), name="hooks_endpoint_state")
        ]
        indexes = [models.Index(fields=["tenant", "project", "-created_at"], name="hooks_endpoint_project")]

    def __str__(self) -> str:
        return self.name


class Event(ProjectModel):
    """Something that happened, thin: which object it is about, and nothing of that object's content."""

    prefix = "evt_"

    type = models.CharField(max_length=60)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="hooks_event_age")]

    def __str__(self) -> str:
        return self.type


class Delivery(TenantModel):
    """One event for one endpoint. `pending -> delivered`, or `failed` after the last try, or `blocked`."""

    prefix = "whd_"

    class State(models.TextChoices):
        """How far it is."""

        PENDING = "pending", _("Waiting")
        DELIVERED = "delivered", _("Delivered")
        FAILED = "failed", _("Failed")
        BLOCKED = "blocked", _("Blocked")

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    tries = models.PositiveIntegerField(default=0)
    step = models.PositiveSmallIntegerField(default=0)
    """Place in the schedule of tries; a replay begins it anew."""
    next_at = models.DateTimeField(null=True, blank=True)
    """Of a pending one: not before."""
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    """Of the last try, as are the next three; null where there was no answer."""
    error = models.CharField(max_length=300, blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    excerpt = models.TextField(blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "endpoint", "event"], name="hooks_delivery_once"),
            models.CheckConstraint(
                condition=models.Q(state__in=["pending", "delivered", "failed", "blocked"]), name="hooks_delivery_state"
            ),
            models.CheckConstraint(
                condition=models.Q(state="pending", next_at__isnull=False)
                | (~models.Q(state="pending") & models.Q(next_at__isnull=True)),
                name="hooks_delivery_pending_has_a_time",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "endpoint", "-id"], name="hooks_delivery_log"),
            models.Index(fields=["event"], name="hooks_delivery_event"),
            models.Index(
                fields=["endpoint", "next_at"], condition=models.Q(state="pending"), name="hooks_delivery_due"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.state})"


class DeliveryTry(TenantModel):
    """One request to an endpoint and what came back: a line of the delivery log."""

    prefix = "whtry_"

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField()
    at = models.DateTimeField(default=now, editable=False)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    duration_ms = models.PositiveIntegerField(default=0)
    excerpt = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "delivery", "number"], name="hooks_try_number_once")]
        indexes = [models.Index(fields=["delivery"], name="hooks_try_delivery")]

    def __str__(self) -> str:
        return f"try {self.number}"
