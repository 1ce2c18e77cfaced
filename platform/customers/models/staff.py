"""What staff note about a customer. No page of a tenant's can read it: the role behind them has no right to it.

Neither says its words in `str()`, which the staff's log keeps and the tenants' role could read.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _

from customers import health
from customers.limits import TAG
from kit.clock import now
from tenants.models import StaffModel


class Note(StaffModel):
    """Something to know about a customer."""

    prefix = "note_"

    text = models.TextField()
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=now, editable=False)
    removed_at = models.DateTimeField(null=True, blank=True)
    removed_by = models.CharField(max_length=254, blank=True)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-created_at"], name="customers_note_recent")]

    def __str__(self) -> str:
        return self.public_id


class Tag(StaffModel):
    """A word by which customers are found and announcements are addressed."""

    prefix = "tag_"

    name = models.CharField(max_length=TAG)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=now, editable=False)
    removed_at = models.DateTimeField(null=True, blank=True)
    removed_by = models.CharField(max_length=254, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"], condition=models.Q(removed_at=None), name="customers_tag_once"
            )
        ]
        indexes = [models.Index(fields=["name"], condition=models.Q(removed_at=None), name="customers_tag_name")]

    def __str__(self) -> str:
        return self.public_id


class HealthScore(StaffModel):
    """How well a customer fares, as computed last; lists are filtered and sorted by it."""

    prefix = "health_"

    class Band(models.TextChoices):
        """See `customers.health`."""

        GOOD = health.GOOD, _("Good")
        FAIR = health.FAIR, _("Fair")
        POOR = health.POOR, _("Poor")
        NEW = health.NEW, _("New")

    score = models.PositiveSmallIntegerField(null=True)
    """0 to 100; null for somebody new."""
    band = models.CharField(max_length=8, choices=Band)
    computed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="customers_health_once")]
        indexes = [models.Index(fields=["band", "score"], name="customers_health_band")]

    def __str__(self) -> str:
        return f"{self.band} ({self.score})"
