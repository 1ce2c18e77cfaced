"""What staff announce in the console. Whom it is for is theirs to know: members get it from a door function."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from customers.limits import TAG, TITLE
from kit.clock import now
from kit.ids import new_id
from tenants.models import OpsManager


class Announcement(models.Model):
    """A banner, from a moment on until another, for everybody or for customers of some plans and tags."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    title = models.CharField(max_length=TITLE)
    text = models.TextField(blank=True)
    link = models.CharField(max_length=300, blank=True)
    """A path of this product or an https address; empty for none."""
    plans = ArrayField(models.CharField(max_length=40), default=list)
    """Empty: every plan."""
    tags = ArrayField(models.CharField(max_length=TAG), default=list)
    """Empty: every customer; else those with any of them."""
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=now, editable=False)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    objects = OpsManager()
    ops = OpsManager()

    class Meta:
        indexes = [
            models.Index(
                fields=["starts_at"], condition=models.Q(withdrawn_at=None), name="customers_announcement_open"
            )
        ]

    def __str__(self) -> str:
        return self.title


class Dismissal(models.Model):
    """A person has read an announcement and wants it gone, in every organisation."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    announcement = models.ForeignKey(Announcement, on_delete=models.CASCADE, related_name="+", db_index=False)
    at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["announcement", "user"], name="customers_dismissal_once")]

    def __str__(self) -> str:
        return f"dismissed at {self.at}"
