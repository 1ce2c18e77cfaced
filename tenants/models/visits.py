"""A member of staff looking at an organisation's console, for a while, for a reason."""

from django.db import models

from kit.clock import now
from tenants.models.base import TenantModel


class Visit(TenantModel):
    """Leave to look and to change nothing. It opens while it is neither over nor ended; see `tenants.visiting`."""

    prefix = "visit_"

    user = models.ForeignKey("tenants.User", on_delete=models.SET_NULL, null=True, related_name="+")
    reason = models.CharField(max_length=300)
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"visit by {self.user}"
