"""API keys. The secret is never stored; a keyed hash of it is."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from kit.clock import now
from tenants.models.base import ProjectModel


class ApiKey(ProjectModel):
    """A key of a project: what it may do, until when, and what it may spend."""

    prefix = "key_"

    name = models.CharField(max_length=100)
    lookup = models.CharField(max_length=16, unique=True)
    """The public part of the key, by which it is found."""
    secret_hash = models.CharField(max_length=64)
    """HMAC-SHA256 of the secret under the server's pepper, hex."""
    last_four = models.CharField(max_length=4)
    scopes = ArrayField(models.CharField(max_length=40))
    limits = models.JSONField(default=dict, blank=True)
    """Optional own limits: some of `tenants.services.keys.LIMIT_NAMES`."""
    created_by = models.ForeignKey("tenants.User", on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    rotated_from = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["tenant", "project", "-created_at"], name="tenants_key_project")]

    def __str__(self) -> str:
        return self.name

    @property
    def redacted(self) -> str:
        """What may be shown after creation."""
        return f"ts_live_{self.lookup}_…{self.last_four}"
