"""The audit log: who changed what, with a stable action code. Append-only in the database."""

from django.db import models

from kit.clock import now
from tenants.models.base import LastingModel


class AuditEvent(LastingModel):
    """One change."""

    prefix = "audit_"

    at = models.DateTimeField(default=now, editable=False)
    actor_kind = models.CharField(max_length=16)
    """user, key, staff, system or shell."""
    actor_id = models.CharField(max_length=64, blank=True)
    actor_label = models.CharField(max_length=254)
    action = models.CharField(max_length=64)
    """A stable code such as `key.created`."""
    target_kind = models.CharField(max_length=40)
    target_id = models.CharField(max_length=64, blank=True)
    target_label = models.CharField(max_length=200, blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=300, blank=True)
    ip = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=40, blank=True)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-at"], name="tenants_audit_recent")]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_label}"
