"""The outbox: doorbells that must ring after a commit, kept until they have rung."""

from django.db import models

from kit.clock import now


class OutboxEntry(models.Model):
    """One task call to publish. Holds ids only; belongs to no tenant."""

    task = models.CharField(max_length=120)
    queue = models.CharField(max_length=40)
    arguments = models.JSONField(default=list)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="kit_outbox_oldest")]

    def __str__(self) -> str:
        return self.task
