"""Answers kept for `Idempotency-Key`, so that a create repeated by a client has one effect."""

from django.db import models

from kit.clock import now
from tenants.models.base import TenantModel


class IdempotentRequest(TenantModel):
    """One create and its answer, in the same transaction as its effect; kept 24 hours."""

    actor = models.CharField(max_length=64)
    """The key or user whose namespace the idempotency key lives in."""
    key = models.CharField(max_length=255)
    path = models.CharField(max_length=200)
    body_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    """HTTP status of the stored answer."""
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "actor", "key"], name="tenants_idempotency_once")]
